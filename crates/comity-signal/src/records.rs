//! The records an operation reads, as loaded by the caller.

use crate::{Address, Error};
use comity_core::{Batch, Record, RecordKey, RecordKind, Revision};
use std::collections::BTreeMap;

/// Loaded records by key; a record that does not exist is there with value `None`.
#[derive(Clone, Debug, Default)]
pub struct Records(BTreeMap<RecordKey, Record>);

impl Records {
    /// No records.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a record as loaded.
    pub fn insert(&mut self, record: Record) {
        self.0.insert(record.key.clone(), record);
    }

    /// The record of `key`.
    ///
    /// # Errors
    /// [`Error::NotLoaded`] if the caller did not hand it in.
    pub fn get(&self, key: &RecordKey) -> Result<&Record, Error> {
        self.0.get(key).ok_or(Error::NotLoaded)
    }

    /// The bytes of `key`'s record, if it exists.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub fn value(&self, key: &RecordKey) -> Result<Option<&[u8]>, Error> {
        Ok(self.get(key)?.value.as_ref().map(|value| value.expose().as_slice()))
    }

    /// Shows the next operation what an earlier one, not yet committed, changed. Revisions stay those that were read,
    /// so that the [`merge`] of both batches commits, or conflicts, as one.
    pub fn apply(&mut self, batch: &Batch) {
        for change in &batch.changes {
            let revision = match self.0.get(&change.key) {
                Some(record) => record.revision,
                None => change.expected.unwrap_or(Revision::ABSENT),
            };
            self.insert(Record { key: change.key.clone(), revision, value: change.value.clone() });
        }
    }
}

impl FromIterator<Record> for Records {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        Self(records.into_iter().map(|record| (record.key.clone(), record)).collect())
    }
}

/// One batch of two that followed each other over the same records (see [`Records::apply`]); the later value wins.
pub fn merge(first: Batch, second: Batch) -> Batch {
    let mut out = first;
    for change in second.changes {
        match out.changes.iter_mut().find(|c| c.key == change.key) {
            Some(earlier) => earlier.value = change.value,
            None => out.changes.push(change),
        }
    }
    out
}

/// The account's key.
pub fn account_key() -> RecordKey {
    RecordKey::new(RecordKind::Account, "self")
}

/// A key by `peer`, in the form that the address prints as: each operation makes several.
fn peer_key(kind: RecordKind, peer: &Address) -> RecordKey {
    match peer.device() {
        0 => RecordKey { kind, id: [peer.name(), ".0"].concat().into() },
        _ => RecordKey::new(kind, peer),
    }
}

/// The key of the session with `peer`.
pub fn session_key(peer: &Address) -> RecordKey {
    peer_key(RecordKind::Session, peer)
}

/// The key of `peer`'s pinned identity.
pub fn identity_key(peer: &Address) -> RecordKey {
    peer_key(RecordKind::PeerIdentity, peer)
}

/// The key of one-time pre-key `id`; ids sort as numbers.
pub fn pre_key_key(id: u32) -> RecordKey {
    RecordKey::new(RecordKind::PreKey, format_args!("{id:08}"))
}

/// The key of signed pre-key `id`.
pub fn signed_pre_key_key(id: u32) -> RecordKey {
    RecordKey::new(RecordKind::SignedPreKey, format_args!("{id:08}"))
}

/// The key of post-quantum pre-key `id`.
pub fn pq_pre_key_key(id: u32) -> RecordKey {
    RecordKey::new(RecordKind::PqPreKey, format_args!("{id:08}"))
}

/// The key of `sender`'s sender key in `group`.
pub fn sender_key_key(group: &str, sender: &Address) -> RecordKey {
    RecordKey::new(RecordKind::SenderKey, format_args!("{group}:{sender}"))
}
