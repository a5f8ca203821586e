//! Storage as data: records, batches, and the small trait a store implements.
//!
//! Protocol functions take records and return a change set; whoever drives them commits the whole [`Batch`] at once. A
//! commit is atomic and durable when it returns, or it changed nothing.

use crate::{ErrorKind, Secret};
use core::fmt;

/// What a record holds; the first part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum RecordKind {
    /// The account: identity key pair, registration id, id counters.
    Account = 1,
    /// A session with one peer address.
    Session = 2,
    /// The identity key pinned for one peer address.
    PeerIdentity = 3,
    /// A one-time pre-key.
    PreKey = 4,
    /// A signed pre-key.
    SignedPreKey = 5,
    /// A post-quantum pre-key, one-time or last-resort.
    PqPreKey = 6,
    /// A group sender key, ours or a member's.
    SenderKey = 7,
    /// A message or receipt waiting to be taken by the server.
    Outbox = 8,
    /// An event the application has not confirmed yet.
    Inbox = 9,
    /// The id of a message already given to the application.
    Seen = 10,
    /// What a sender keeps of a sent message, so that a retry receipt can be answered.
    Sent = 11,
    /// Connection state: server key, credentials, counters.
    Meta = 12,
    /// A file that was asked for again.
    MediaRetry = 13,
}

/// A record's key: its kind and a text that is unique within the kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// What the record holds.
    pub kind: RecordKind,
    /// Which one of its kind.
    pub id: Box<str>,
}

impl RecordKey {
    /// The key of record `id` of `kind`.
    pub fn new(kind: RecordKind, id: impl fmt::Display) -> Self {
        Self { kind, id: id.to_string().into() }
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.kind, crate::Redacted(&self.id))
    }
}

/// The commit that last wrote a record; grows over the store's life and is never used again. 0: there is no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a record that does not exist.
    pub const ABSENT: Self = Self(0);
}

/// A record as loaded: `value` is `None`, and `revision` is [`Revision::ABSENT`], if there is none.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its key.
    pub key: RecordKey,
    /// The commit that wrote it.
    pub revision: Revision,
    /// Its bytes.
    pub value: Option<Secret<Vec<u8>>>,
}

/// One change of a batch.
#[derive(Clone, Debug)]
pub struct Change {
    /// The record changed.
    pub key: RecordKey,
    /// The revision it was read at; `None` writes whatever is there (for records with only one writer).
    pub expected: Option<Revision>,
    /// Its new bytes; `None` deletes it.
    pub value: Option<Secret<Vec<u8>>>,
}

/// Changes that are committed together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes, in any order; a key occurs at most once.
    pub changes: Vec<Change>,
}

impl Batch {
    /// A batch without changes.
    pub const fn new() -> Self {
        Self { changes: Vec::new() }
    }

    /// Adds the write of `value` over a record read as `read`.
    pub fn put(&mut self, read: &Record, value: Vec<u8>) {
        self.push(read.key.clone(), Some(read.revision), Some(value));
    }

    /// Adds the deletion of a record read as `read`.
    pub fn delete(&mut self, read: &Record) {
        self.push(read.key.clone(), Some(read.revision), None);
    }

    /// Adds the write of a record that only the caller writes.
    pub fn put_owned(&mut self, key: RecordKey, value: Vec<u8>) {
        self.push(key, None, Some(value));
    }

    /// Adds the deletion of a record that only the caller writes.
    pub fn delete_owned(&mut self, key: RecordKey) {
        self.push(key, None, None);
    }

    /// Adds all changes of `other`.
    pub fn append(&mut self, mut other: Self) {
        self.changes.append(&mut other.changes);
    }

    /// Whether there is nothing to commit.
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn push(&mut self, key: RecordKey, expected: Option<Revision>, value: Option<Vec<u8>>) {
        debug_assert!(self.changes.iter().all(|c| c.key != key), "a key occurs at most once in a batch");
        self.changes.push(Change { key, expected, value: value.map(Secret::new) });
    }
}

/// A durable key-value store, the only one a client needs.
///
/// Calls block; an async caller runs them on a thread for blocking work. Two processes may use one store: whoever
/// commits on a stale revision gets [`StoreError::Conflict`], and nothing of that batch is written.
pub trait Store: Send + Sync {
    /// The records of `keys`, in the same order, all of one moment.
    fn load(&self, keys: &[RecordKey]) -> Result<Vec<Record>, StoreError>;

    /// Up to `limit` records of `kind` whose id starts with `prefix` and is greater than `after`, in ascending order of
    /// id (bytewise).
    fn scan(&self, kind: RecordKind, prefix: &str, after: &str, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Commits each batch atomically, in order; durable when this returns. One result per batch: a batch that conflicts
    /// changes nothing and does not hinder the others (group commit).
    fn commit(&self, batches: &[Batch]) -> Vec<Result<Revision, StoreError>>;
}

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another commit changed a record since it was read; nothing was written.
    #[error("a record was changed by another commit; nothing was written")]
    Conflict,
    /// The store's schema is newer than this program.
    #[error("the store has schema version {found}, this program knows versions up to {known}")]
    SchemaTooNew {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The medium failed or is full; nothing was written.
    #[error("the store failed: {0}")]
    Medium(String),
    /// The store is sealed with another key, or not as it was opened.
    #[error("the store is sealed with another key, or not as it was opened")]
    Key,
    /// What is stored does not parse.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict => ErrorKind::Conflict,
            Self::SchemaTooNew { .. } => ErrorKind::PeerIncompatible,
            Self::Medium(_) => ErrorKind::Transport,
            Self::Key => ErrorKind::ApiMisuse,
            Self::Corrupt(_) => ErrorKind::StateCorrupt,
        }
    }
}
