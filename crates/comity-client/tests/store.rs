//! The promises of a store, on the SQLite one.
#![allow(clippy::disallowed_methods, reason = "makes files to open")]

use comity_client::SqliteStore;
use comity_core::{Batch, RecordKey, RecordKind, Revision, Secret, Store, StoreError};

mod open {
    comity_signal::store_tests!({
        let dir = tempfile::tempdir().unwrap();
        move || Box::new(super::SqliteStore::open(&dir.path().join("s.db")).unwrap())
    });
}

mod sealed {
    comity_signal::store_tests!({
        let dir = tempfile::tempdir().unwrap();
        move || Box::new(super::sealed(&dir.path().join("s.db"), 1).unwrap())
    });
}

fn key(id: &str) -> RecordKey {
    RecordKey::new(RecordKind::Session, id)
}

#[test]
fn stale_commit_conflicts_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let (a, b) = (SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap());
    let absent = a.load(&[key("x")]).unwrap().remove(0);
    assert_eq!(absent.revision, Revision::ABSENT);

    let mut first = Batch::new();
    first.put(&absent, b"one".to_vec());
    let revision = a.commit(&[first]).remove(0).unwrap();

    // B read before A's commit; its batch also touches another record, which must stay as it was.
    let mut stale = Batch::new();
    stale.put_owned(key("y"), b"other".to_vec());
    stale.put(&absent, b"two".to_vec());
    let mut fresh = Batch::new();
    fresh.put_owned(key("z"), b"beside".to_vec());
    let results = b.commit(&[stale, fresh]);
    assert_eq!(results[0], Err(StoreError::Conflict));
    assert!(results[1].is_ok(), "a conflict hinders no other batch");

    let now = b.load(&[key("x"), key("y"), key("z")]).unwrap();
    assert_eq!(now[0].revision, revision);
    assert_eq!(now[0].value.as_ref().unwrap().expose(), b"one");
    assert!(now[1].value.is_none());
    assert!(now[2].value.is_some());
}

#[test]
fn revisions_never_repeat_even_after_deletion() {
    let store = SqliteStore::in_memory().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let read = store.load(&[key("x")]).unwrap().remove(0);
        let mut put = Batch::new();
        put.put(&read, vec![1]);
        assert!(seen.insert(store.commit(&[put]).remove(0).unwrap()));
        let mut delete = Batch::new();
        delete.delete_owned(key("x"));
        assert!(seen.insert(store.commit(&[delete]).remove(0).unwrap()));
    }
}

#[test]
fn scan_is_ordered_and_bounded() {
    let store = SqliteStore::in_memory().unwrap();
    let mut batch = Batch::new();
    for id in ["b2", "a1", "b1", "b3", "c"] {
        batch.put_owned(key(id), vec![]);
    }
    store.commit(&[batch]).remove(0).unwrap();
    let ids = |after, limit| -> Vec<String> {
        store.scan(RecordKind::Session, "b", after, limit).unwrap().into_iter().map(|r| r.key.id.into()).collect()
    };
    assert_eq!(ids("", 10), ["b1", "b2", "b3"]);
    assert_eq!(ids("b1", 1), ["b2"]);
}

#[test]
fn a_foreign_file_and_a_newer_schema_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    std::fs::write(&path, [0x55; 4096]).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Corrupt(_))));
    let newer = dir.path().join("n.db");
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(&newer), Err(StoreError::SchemaTooNew { found: 99, .. })));
}

fn sealed(path: &std::path::Path, key: u8) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_sealed(path, Secret::new([key; 32]))
}

#[test]
fn a_sealed_store_gives_its_values_to_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut batch = Batch::new();
    batch.put_owned(key("x"), b"the ratchet's secret".to_vec());
    batch.put_owned(key("y"), Vec::new());
    sealed(&path, 1).unwrap().commit(&[batch]).remove(0).unwrap();

    let store = sealed(&path, 1).unwrap();
    let read = store.load(&[key("x"), key("y"), key("z")]).unwrap();
    assert_eq!(read[0].value.as_ref().unwrap().expose(), b"the ratchet's secret");
    assert!(read[1].value.as_ref().unwrap().expose().is_empty() && read[2].value.is_none());
    assert_eq!(store.scan(RecordKind::Session, "", "", 9).unwrap().len(), 2);
    drop(store);
    assert!(matches!(sealed(&path, 2), Err(StoreError::Key)));
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Key)));
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|w| w == b"ratchet"));
    }

    // A value that was damaged, put in another's place or rolled back does not open.
    let db = rusqlite::Connection::open(&path).unwrap();
    for damage in [
        "UPDATE record SET value = substr(value, 1, length(value) - 1) || x'00' WHERE id = 'x'",
        "UPDATE record SET value = (SELECT value FROM record WHERE id = 'y') WHERE id = 'x'",
        "UPDATE record SET revision = revision + 1 WHERE id = 'y'",
        "UPDATE record SET value = x''",
    ] {
        db.execute_batch("SAVEPOINT before").unwrap();
        db.execute_batch(damage).unwrap();
        db.execute_batch("RELEASE before").unwrap();
        let store = sealed(&path, 1).unwrap();
        assert!(matches!(store.load(&[key("x"), key("y")]), Err(StoreError::Corrupt(_))), "{damage}");
    }
}

#[test]
fn a_store_with_open_values_is_not_sealed_by_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut batch = Batch::new();
    batch.put_owned(key("x"), vec![1]);
    SqliteStore::open(&path).unwrap().commit(&[batch]).remove(0).unwrap();
    assert!(matches!(sealed(&path, 1), Err(StoreError::Key)));
    assert!(SqliteStore::open(&path).is_ok());
}

#[test]
fn a_store_of_the_first_schema_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v1.db");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store/v1.db"), &path).unwrap();
    for _ in 0..2 {
        let store = SqliteStore::open(&path).unwrap();
        let read = store.load(&[key("5@lid"), RecordKey::new(RecordKind::Meta, "server")]).unwrap();
        assert_eq!(read[0].value.as_ref().unwrap().expose(), b"session");
        assert_eq!((read[0].revision, read[1].revision), (Revision(3), Revision(7)));
    }
    let store = SqliteStore::open(&path).unwrap();
    let mut batch = Batch::new();
    batch.put_owned(key("new"), vec![]);
    assert_eq!(store.commit(&[batch]).remove(0), Ok(Revision(8)));
}
