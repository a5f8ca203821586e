//! The reference gatekeeper: enlistment, chat, mailbox, key directory, media relay and push calls of the interop
//! protocol (PROTOCOL §3 to §13), as a library and as the binary `comity-gatekeeper`.
//!
//! What it promises: a message is acknowledged after the commit that stores it has returned, and leaves the mailbox when
//! its recipient has answered it. It holds no end-to-end key and links no code that could decrypt a message.
//!
//! - `store/`: all SQL; one writer thread with group commit.
//! - `http/`: enlistment, media, administration, probes, the upgrade to WebSocket.
//! - `conn/`: chat connections, over TCP or WebSocket: handshake, log-in, one task per client, delivery.
//! - `chat/`: one file per conversation, behind a router.
//! - `partners`, `push`: what is asked of and said to partners' servers.
//!
//! ```no_run
//! # async fn run() -> Result<(), comity_gatekeeper::Error> {
//! use comity_gatekeeper::{Config, Gatekeeper, Options};
//! let config = Config::from_toml(r#"
//!     listen_chat = "127.0.0.1:0"
//!     listen_http = "127.0.0.1:0"
//!     data_dir = "sandbox"
//! "#)?;
//! let gatekeeper = Gatekeeper::start(config, Options::default()).await?;
//! println!("chat on {}, trust {}", gatekeeper.chat_addr(), gatekeeper.root());
//! gatekeeper.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![allow(clippy::disallowed_methods, reason = "a server: sockets, files, threads and the clock are its work")]

mod chat;
mod clock;
mod config;
mod conn;
mod error;
mod http;
mod hub;
mod keys;
mod limiter;
pub mod limits;
mod location;
mod metrics;
mod native;
mod partners;
mod push;
mod rng;
mod server;
mod site;
mod store;

pub use clock::Clock;
pub use config::{AdminToken, Config, IdentifierType, Integrator, IntegratorLimits, IntegratorStatus};
pub use error::Error;
#[doc(hidden)]
pub use http::fuzz_form;
pub use location::{Location, LocationPolicy, Networks};
pub use metrics::METRICS;
pub use native::{NativeUser, register_native};
pub use server::{Gatekeeper, Options};
