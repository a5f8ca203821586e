//! `comity chat` and `comity doctor` as programs, beside real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod chat;
mod doctor;
mod world;
