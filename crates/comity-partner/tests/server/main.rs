//! The ready server on a real listener.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test"
)]

mod basics;
mod keys;
mod oidc;
mod openapi;
mod operations;
#[cfg(feature = "s3")]
mod s3;
mod sidecar;
mod tus;
mod webpush;
mod world;
