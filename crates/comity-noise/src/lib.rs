//! The transport of the interop protocol: frames, Noise handshakes, server certificates, transport ciphers
//! (PROTOCOL §5.1 to §5.3).
//!
//! No I/O: bytes go in, bytes come out; time and randomness are arguments. The feature `tokio` adds `io`, an adapter
//! for byte streams, and `websocket` one for WebSockets on top.
//!
//! A handshake is a value that each step consumes: [`Initiator`] → [`Established`] at the client, [`Responder`] →
//! [`Step`] → [`Accepted`] at the server. Only the last has a [`Transport`], so sending too early does not compile, and a
//! failed handshake leaves nothing to go on with:
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use comity_core::{CryptoRng, Timestamp};
//! use comity_noise::{Error, Initiator, InitiatorConfig, Responder, ResponderConfig, Step, frame::FrameDecoder};
//!
//! fn log_in(
//!     client: &InitiatorConfig,
//!     server: &ResponderConfig,
//!     now: Timestamp,
//!     rng: &mut dyn CryptoRng,
//! ) -> Result<(), Error> {
//!     let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
//!     let (mut at_server, mut at_client) = (FrameDecoder::with_prologue(), FrameDecoder::new());
//!
//!     let waiting = Initiator::start(client, Bytes::from_static(b"login"), now, rng, &mut to_server)?;
//!     let Some(hello) = at_server.decode(&mut to_server)? else { return Ok(()) }; // more bytes are needed
//!     let step = Responder::new(server).read(&hello, rng, &mut to_client)?;
//!     let Some(hello) = at_client.decode(&mut to_client)? else { return Ok(()) };
//!     let mut established = waiting.read(&hello, now, &mut to_server)?;
//!     let mut accepted = match step {
//!         Step::Done(accepted) => accepted,
//!         Step::Continue(waiting) => {
//!             let Some(finish) = at_server.decode(&mut to_server)? else { return Ok(()) };
//!             waiting.read(&finish)?
//!         }
//!     };
//!
//!     let mut message = BytesMut::from("hello");
//!     accepted.transport.seal(&mut message)?;
//!     established.transport.open(&mut message)?;
//!     assert_eq!(message, "hello");
//!     Ok(())
//! }
//! # use comity_noise::{ServerTrust, StaticKey, TrustRoot, Validity, cert::Issuer};
//! # let rng: &mut rand::rngs::ThreadRng = &mut rand::rng();
//! # let (root, key) = (StaticKey::generate(rng), StaticKey::generate(rng));
//! # let issuer = Issuer::new(&root, StaticKey::generate(rng), 1, Validity::ALWAYS, rng);
//! # let chain = issuer.chain(key.public(), 2, Validity::ALWAYS, rng);
//! # let trust = ServerTrust::Chain(TrustRoot(root.public()));
//! # let client = InitiatorConfig::new(StaticKey::generate(rng), trust);
//! # log_in(&client, &ResponderConfig::new(key, chain), Timestamp::from_secs(1), rng).unwrap();
//! ```
//!
//! ```compile_fail
//! fn too_early(waiting: comity_noise::Initiator) -> comity_noise::Transport {
//!     waiting.transport // there is none before the server's message was read
//! }
//! ```
//!
//! # What it gives, and what it does not
//! Mutual authentication, forward secrecy, and integrity of the order of messages in each direction; the first message
//! that does not open ends the connection. An IK login (0-RTT) has forward secrecy only against loss of the client's key,
//! and can be replayed: see [`Login`]. Lengths are not hidden. Long-lived and transport keys are wiped when dropped; the
//! handshake library's own working copies are not.

#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;

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
