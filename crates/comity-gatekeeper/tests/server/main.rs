//! The whole server over real sockets: a partner's HTTP server, clients on Noise and stanzas, the binary under SIGKILL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod binary;
mod client;
mod consent;
mod enlist;
mod hostile;
mod keys;
mod login;
mod mail;
mod media;
mod native;
mod openapi;
mod ops;
mod page;
mod partner;
mod push;
mod registry;
mod relay;
mod replay;
mod rotation;
#[cfg(target_os = "linux")]
mod stalled;
mod tokens;
mod world;
