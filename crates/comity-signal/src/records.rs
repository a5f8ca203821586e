//! The records an operation reads, as loaded by the caller.

use crate::{Address, Error};
use comity_core::{Batch, Record, RecordKey, RecordKind, Revision};

/// Loaded records, in order of their keys; a record that does not exist is there with value `None`.
#[derive(Clone, Debug, Default)]
pub struct Records(Vec<Record>);

impl Records {
    /// No records.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn find(&self, kind: RecordKind, id: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|record| record.key.kind.cmp(&kind).then_with(|| (*record.key.id).cmp(id)))
    }

    /// Adds a record as loaded, in place of the one there was.
    pub fn insert(&mut self, record: Record) {
        let (Ok(at) | Err(at)) = self.find(record.key.kind, &record.key.id);
        match self.0.get_mut(at).filter(|found| found.key == record.key) {
            Some(found) => *found = record,
            None => self.0.insert(at, record),
        }
    }

    /// The record of `peer`, found without making its key: each message asks for two.
    pub(crate) fn of_peer(&self, kind: RecordKind, peer: &Address) -> Result<&Record, Error> {
        let mut found = self.0.iter().filter(|record| record.key.kind == kind);
        let record = match peer.device() {
            0 => found.find(|record| record.key.id.strip_suffix(".0") == Some(peer.name())),
            _ => found.find(|record| record.key == peer_key(kind, peer)),
        };
        record.ok_or(Error::NotLoaded)
    }

    /// The account record.
    pub(crate) fn account(&self) -> Result<&Record, Error> {
        let at = self.find(ACCOUNT.0, ACCOUNT.1).map_err(|_| Error::NotLoaded)?;
        self.0.get(at).ok_or(Error::NotLoaded)
    }

    /// The record of `key`.
    ///
    /// # Errors
    /// [`Error::NotLoaded`] if the caller did not hand it in.
    pub fn get(&self, key: &RecordKey) -> Result<&Record, Error> {
        let at = self.find(key.kind, &key.id).map_err(|_| Error::NotLoaded)?;
        self.0.get(at).ok_or(Error::NotLoaded)
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
            let revision = match self.get(&change.key) {
                Ok(record) => record.revision,
                Err(_) => change.expected.unwrap_or(Revision::ABSENT),
            };
            self.insert(Record { key: change.key.clone(), revision, value: change.value.clone() });
        }
    }
}

impl FromIterator<Record> for Records {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut out = Self::new();
        records.into_iter().for_each(|record| out.insert(record));
        out
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

const ACCOUNT: (RecordKind, &str) = (RecordKind::Account, "self");

/// The account's key.
pub fn account_key() -> RecordKey {
    RecordKey { kind: ACCOUNT.0, id: ACCOUNT.1.into() }
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
