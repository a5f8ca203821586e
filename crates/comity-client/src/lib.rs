//! The async client of the interop protocol: it gives the engine (`comity-engine`) sockets, HTTP, timers and a store.
//!
//! [`Client::builder`] takes the account's [`Config`] and the places to talk to; [`Client`] sends, [`Events`] tells what
//! comes in. Nothing is sent, shown or acknowledged to the server before the store has it durably.
#![allow(clippy::disallowed_methods, reason = "this crate is where the engine's I/O happens")]

mod builder;
mod client;
mod driver;
mod error;
mod http;
pub mod limits;
mod link;
mod media_retry;
#[cfg(feature = "thumbnails")]
mod preview;
mod seal;
mod sqlite;
mod transfer;

pub use builder::ClientBuilder;
pub use client::{Client, Events};
pub use comity_engine::{
    Command, Config, ConnectionState, Content, Event, EventId, Failure, LoginRefusal, LookUp, Media, MediaRequest,
    MessageEvent, MessageState, NextStep, Quote, Reply, ReportedMessage, Role, Side, StreamEnd, Target,
};
pub use comity_media::transfer::{Progress, Received};
pub use error::Error;
pub use http::{Http, PartnerServer, TokenSource};
pub use media_retry::Fetched;
pub use sqlite::SqliteStore;
pub use transfer::{FileToSend, SentFile};
