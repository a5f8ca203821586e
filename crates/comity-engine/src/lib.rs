//! The client of the interop protocol as a state machine: it knows Noise, stanzas, Signal sessions and media, and does no
//! I/O.
//!
//! [`Engine::handle`] takes one [`Input`] and gives a [`Drain`] of [`Output`]s: bytes to write, batches to commit, records
//! to load, HTTP calls to make, events to show. `comity-client` drives it with tokio and SQLite; a test drives it with a
//! virtual clock.
//!
//! What an output depends on is durable before the output exists: a ciphertext, a receipt or an event leaves the engine
//! only after [`Input::Persisted`] named the batch that holds the ratchet's step behind it. A driver can therefore commit
//! batches in groups and cannot get the order wrong.

mod commands;
mod config;
mod connection;
mod content;
mod drain;
mod engine;
mod error;
mod incoming;
mod io;
mod iq;
mod keys;
mod lane;
pub mod limits;
mod media;
mod media_retry;
mod outbox;
mod receipts;
mod receive;
mod record;
mod retry;
mod start;
mod sweep;
mod upkeep;

pub use comity_noise::Pattern;
pub use config::{Config, Role};
pub use content::{Content, Quote, Side, Target};
pub use engine::{Drain, Engine};
pub use error::Error;
pub use io::{
    BatchId, Command, CommandId, ConnectionState, Event, EventId, Failure, Input, LoginRefusal, LookUp, MediaConn,
    MediaRequest, MessageEvent, MessageState, NextStep, Output, Query, Reply, ReportedMessage, RequestId, StreamEnd,
};
pub use media::Media;
