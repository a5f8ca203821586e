//! The transport of the interop protocol: frames, Noise handshakes, server certificates, transport ciphers
//! (PROTOCOL §5.1 to §5.3).
//!
//! No I/O: bytes go in, bytes come out; time and randomness are arguments. The feature `tokio` adds `io`, an adapter
//! for byte streams, and `websocket` one for WebSockets on top.
//!
//! A handshake is a value that each step consumes: [`Initiator`] → [`Established`] at the client, [`Responder`] →
//! [`Step`] → [`Accepted`] at the server. Only the last has a [`Transport`], so sending too early does not compile, and a
//! failed handshake leaves nothing to go on with.
//!
//! # What it gives, and what it does not
//! Mutual authentication, forward secrecy, and integrity of the order of messages in each direction; the first message
//! that does not open ends the connection. An IK login (0-RTT) has forward secrecy only against loss of the client's key,
//! and can be replayed: see [`Login`]. Lengths are not hidden. Long-lived and transport keys are wiped when dropped; the
//! handshake library's own working copies are not.

pub mod cert;
mod error;
pub mod frame;
mod initiator;
#[cfg(feature = "tokio")]
pub mod io;
mod keys;
pub mod limits;
mod profile;
mod provider;
mod responder;
mod state;
mod transport;
mod wire;
pub mod xeddsa;

pub use cert::{TrustRoot, Validity, VerifiedServer};
pub use error::Error;
pub use initiator::{Established, Initiator, InitiatorConfig, ServerTrust};
pub use keys::{KEY_LEN, PublicKey, StaticKey};
pub use profile::{Pattern, Profile};
pub use provider::Provider;
pub use responder::{Accepted, AwaitFinish, Login, Responder, ResponderConfig, Step};
pub use transport::{Opener, Sealer, Transport};
