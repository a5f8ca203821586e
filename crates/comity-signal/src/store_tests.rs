//! The tests that every [`Store`] has to pass, and the one in memory (feature `tests`).
//!
//! ```text
//! comity_signal::store_tests!({
//!     let dir = tempfile::tempdir().unwrap();
//!     move || Box::new(MyStore::open(dir.path()).unwrap())
//! });
//! ```
//! The macro takes what makes a fresh, empty medium and gives a function that opens it: as often as it is called, every
//! handle is one more on the same medium, as of another process or after a restart.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code"
)]

use comity_core::{Batch, Change, Record, RecordKey, RecordKind, Revision, Secret, Store, StoreError};
use core::ops::Bound;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone, Debug, Default)]
struct Held {
    records: BTreeMap<RecordKey, (Revision, Secret<Vec<u8>>)>,
    commits: u64,
}

/// A store in memory. A clone is another handle on the same records; they are gone with the last one.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Held>>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with the same records at the same revisions: what a copy of the medium would be.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(|held| held.clone()))))
    }

    /// Every record's key and bytes, in the order of keys.
    pub fn snapshot(&self) -> Vec<(RecordKey, Vec<u8>)> {
        self.with(|held| held.records.iter().map(|(key, (_, value))| (key.clone(), value.expose().clone())).collect())
    }

    /// Writes one record as it is, as damage to the medium or another version of the program would.
    pub fn overwrite(&self, key: RecordKey, value: Vec<u8>) {
        let mut batch = Batch::new();
        batch.put_owned(key, value);
        self.commit(&[batch]).remove(0).unwrap();
    }

    fn with<T>(&self, run: impl FnOnce(&mut Held) -> T) -> T {
        // A thread that panicked did not leave a commit half done: nothing below can panic between its writes.
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn record(&self, key: &RecordKey) -> Record {
        let found = self.records.get(key);
        Record {
            key: key.clone(),
            revision: found.map_or(Revision::ABSENT, |(revision, _)| *revision),
            value: found.map(|(_, value)| value.clone()),
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, StoreError> {
        let stale = |change: &Change| change.expected.is_some_and(|read| read != self.record(&change.key).revision);
        if batch.changes.iter().any(stale) {
            return Err(StoreError::Conflict);
        }
        self.commits += 1;
        let revision = Revision(self.commits);
        for change in &batch.changes {
            match &change.value {
                Some(value) => self.records.insert(change.key.clone(), (revision, value.clone())),
                None => self.records.remove(&change.key),
            };
        }
        Ok(revision)
    }
}

impl Store for MemoryStore {
    fn load(&self, keys: &[RecordKey]) -> Result<Vec<Record>, StoreError> {
        Ok(self.with(|held| keys.iter().map(|key| held.record(key)).collect()))
    }

    fn scan(&self, kind: RecordKind, prefix: &str, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        let from = RecordKey::new(kind, if after < prefix { prefix } else { after });
        let from = if after < prefix { Bound::Included(from) } else { Bound::Excluded(from) };
        Ok(self.with(|held| {
            let range = held.records.range((from, Bound::Unbounded));
            let of_prefix = range.take_while(|(key, _)| key.kind == kind && key.id.starts_with(prefix));
            of_prefix.take(limit).map(|(key, _)| held.record(key)).collect()
        }))
    }

    fn commit(&self, batches: &[Batch]) -> Vec<Result<Revision, StoreError>> {
        self.with(|held| batches.iter().map(|batch| held.commit(batch)).collect())
    }
}

type Opened = Box<dyn Store>;

fn key(id: &str) -> RecordKey {
    RecordKey::new(RecordKind::Session, id)
}

fn one(store: &dyn Store, id: &str) -> Record {
    store.load(&[key(id)]).unwrap().remove(0)
}

fn text(store: &dyn Store, id: &str) -> Option<String> {
    one(store, id).value.map(|value| String::from_utf8(value.expose().clone()).unwrap())
}

fn put(read: &Record, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(read, value.into());
    batch
}

fn put_owned(id: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put_owned(key(id), value.into());
    batch
}

fn commit(store: &dyn Store, batch: Batch) -> Result<Revision, StoreError> {
    let mut results = store.commit(&[batch]);
    assert_eq!(results.len(), 1, "one result per batch");
    results.remove(0)
}

/// What is loaded is what was committed: in the order asked, absent ones at [`Revision::ABSENT`].
pub fn loads_what_was_committed(open: impl Fn() -> Opened) {
    let store = open();
    let absent = one(&*store, "a");
    assert_eq!((absent.revision, absent.value.is_none()), (Revision::ABSENT, true));
    let long: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let mut batch = Batch::new();
    batch.put(&absent, vec![0, 255, 0]);
    batch.put_owned(key("long"), long.clone());
    batch.put_owned(key("none"), Vec::new());
    batch.put_owned(RecordKey::new(RecordKind::PreKey, "a"), b"another kind".to_vec());
    let revision = commit(&*store, batch).unwrap();
    let got = store.load(&[key("none"), key("b"), key("long"), key("a"), key("a")]).unwrap();
    assert!(got.iter().map(|r| &*r.key.id).eq(["none", "b", "long", "a", "a"]), "in the order asked");
    let values: Vec<_> = got.iter().map(|r| r.value.as_ref().map(|v| v.expose().clone())).collect();
    assert_eq!(values, [Some(vec![]), None, Some(long), Some(vec![0, 255, 0]), Some(vec![0, 255, 0])]);
    assert!(got.iter().all(|r| r.revision == if r.value.is_some() { revision } else { Revision::ABSENT }));
    assert!(store.load(&[]).unwrap().is_empty());
}

/// A batch is written as a whole or, if one record of it is stale, not at all; others beside it are not hindered.
pub fn a_batch_is_all_or_nothing(open: impl Fn() -> Opened) {
    let store = open();
    let absent = one(&*store, "x");
    commit(&*store, put(&absent, "one")).unwrap();
    for stale_last in [true, false] {
        let mut stale = Batch::new();
        if !stale_last {
            stale.put(&absent, b"two".to_vec());
        }
        stale.put_owned(key("y"), b"must not be".to_vec());
        stale.delete_owned(key("x2"));
        if stale_last {
            stale.put(&absent, b"two".to_vec());
        }
        let results = store.commit(&[put_owned("x2", "before"), stale, put_owned("z", "after")]);
        assert!(results[0].is_ok() && results[2].is_ok(), "a conflict hinders no other batch: {results:?}");
        assert_eq!(results[1], Err(StoreError::Conflict));
        assert_eq!(text(&*store, "x").as_deref(), Some("one"));
        assert_eq!(text(&*store, "y"), None);
        assert_eq!(text(&*store, "x2").as_deref(), Some("before"));
        assert_eq!(text(&*store, "z").as_deref(), Some("after"));
    }
}

/// Batches of one call are committed in order: the second may rest on the first.
pub fn batches_are_committed_in_order(open: impl Fn() -> Opened) {
    let store = open();
    let absent = one(&*store, "x");
    let results = store.commit(&[put(&absent, "first"), put(&absent, "stale by then"), put_owned("x", "last")]);
    assert_eq!(results[1], Err(StoreError::Conflict));
    assert!(results[0].clone().unwrap() < results[2].clone().unwrap());
    assert_eq!(text(&*store, "x").as_deref(), Some("last"));
    assert_eq!(one(&*store, "x").revision, results[2].clone().unwrap());
}

/// A revision is never used again, not even for a record that was deleted and made anew, or after a restart.
pub fn revisions_never_repeat(open: impl Fn() -> Opened) {
    let mut seen = BTreeSet::from([Revision::ABSENT]);
    for _ in 0..3 {
        let store = open();
        let read = one(&*store, "x");
        assert_eq!(read.revision, Revision::ABSENT);
        assert!(seen.insert(commit(&*store, put(&read, "1")).unwrap()));
        let read = one(&*store, "x");
        let mut delete = Batch::new();
        delete.delete(&read);
        assert!(seen.insert(commit(&*store, delete).unwrap()));
        // The record is gone: what was read before can neither be written nor deleted.
        assert_eq!(commit(&*store, put(&read, "2")), Err(StoreError::Conflict));
        let mut delete = Batch::new();
        delete.delete(&read);
        assert_eq!(commit(&*store, delete), Err(StoreError::Conflict));
        assert_eq!(text(&*store, "x"), None);
    }
}

/// Two handles on one medium, as an application and its notification extension: each sees the other's commits, and a
/// commit on what the other has changed since fails.
pub fn two_handles_see_each_other(open: impl Fn() -> Opened) {
    let (app, extension) = (open(), open());
    let absent = one(&*extension, "x");
    let revision = commit(&*app, put(&absent, "app")).unwrap();
    assert_eq!(commit(&*extension, put(&absent, "extension")), Err(StoreError::Conflict));
    let read = one(&*extension, "x");
    assert_eq!(read.revision, revision);
    assert!(commit(&*extension, put(&read, "extension")).unwrap() > revision, "revisions grow over all handles");
    assert_eq!(commit(&*app, put(&read, "app again")), Err(StoreError::Conflict));
    assert_eq!(text(&*app, "x").as_deref(), Some("extension"));
}

/// What a commit has returned for is there after a restart, and revisions go on.
pub fn a_restart_keeps_everything(open: impl Fn() -> Opened) {
    let mut last = Revision::ABSENT;
    for round in 0..5_u8 {
        let store = open();
        for before in 0..round {
            assert_eq!(text(&*store, &before.to_string()), Some(before.to_string()));
        }
        let revision = commit(&*store, put_owned(&round.to_string(), &round.to_string())).unwrap();
        assert!(revision > last);
        last = revision;
    }
    assert_eq!(open().scan(RecordKind::Session, "", "", 100).unwrap().len(), 5);
}

/// A scan is by kind and prefix, in bytewise order of id, after a given id, and no longer than asked.
pub fn scans_are_ordered_and_bounded(open: impl Fn() -> Opened) {
    let store = open();
    let mut batch = Batch::new();
    for id in ["b2", "a1", "b1", "b", "bé", "b_", "b%", "c", "B1"] {
        batch.put_owned(key(id), id.into());
    }
    batch.put_owned(RecordKey::new(RecordKind::PreKey, "b1"), vec![]);
    batch.put_owned(RecordKey::new(RecordKind::PeerIdentity, "b1"), vec![]);
    commit(&*store, batch).unwrap();
    let ids = |prefix, after, limit| -> Vec<String> {
        let found = store.scan(RecordKind::Session, prefix, after, limit).unwrap();
        assert!(found.iter().all(|r| r.key.kind == RecordKind::Session && r.revision > Revision::ABSENT));
        assert!(found.iter().all(|r| r.value.as_ref().unwrap().expose() == r.key.id.as_bytes()));
        found.into_iter().map(|r| r.key.id.into()).collect()
    };
    assert_eq!(ids("b", "", 100), ["b", "b%", "b1", "b2", "b_", "bé"]);
    assert_eq!(ids("", "", 100), ["B1", "a1", "b", "b%", "b1", "b2", "b_", "bé", "c"]);
    assert_eq!(ids("b", "b1", 2), ["b2", "b_"]);
    assert_eq!(ids("b", "a", 1), ["b"]);
    assert_eq!(ids("b_", "", 100), ["b_"], "a prefix is no pattern");
    assert!(ids("b", "bé", 100).is_empty() && ids("d", "", 100).is_empty() && ids("b", "", 0).is_empty());
}

/// Many threads count up one record, each over a handle of its own: load, commit, again on a conflict. None is lost.
pub fn conflicts_lose_nothing(open: impl Fn() -> Opened) {
    const THREADS: usize = 8;
    const TURNS: usize = 25;
    let handles: Vec<_> = (0..THREADS).map(|_| open()).collect();
    std::thread::scope(|scope| {
        for store in &handles {
            scope.spawn(move || {
                for _ in 0..TURNS {
                    loop {
                        let read = one(&**store, "n");
                        let n =
                            read.value.as_ref().map_or(0, |v| u64::from_be_bytes(v.expose()[..].try_into().unwrap()));
                        let mut batch = Batch::new();
                        batch.put(&read, (n + 1).to_be_bytes().to_vec());
                        match commit(&**store, batch) {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error, StoreError::Conflict),
                        }
                    }
                }
            });
        }
    });
    let total = u64::try_from(THREADS * TURNS).unwrap();
    assert_eq!(one(&*open(), "n").value.unwrap().expose()[..], total.to_be_bytes());
}

/// Generates the tests of a store. The expression makes a fresh medium and gives `Fn() -> Box<dyn Store>` over it (see
/// the [module](mod@crate::store_tests)).
#[macro_export]
macro_rules! store_tests {
    (@each $fresh:expr; $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::store_tests::$name($fresh);
        })*
    };
    ($fresh:expr) => {
        $crate::store_tests!(@each $fresh; loads_what_was_committed a_batch_is_all_or_nothing
            batches_are_committed_in_order revisions_never_repeat two_handles_see_each_other
            a_restart_keeps_everything scans_are_ordered_and_bounded conflicts_lose_nothing);
    };
}
