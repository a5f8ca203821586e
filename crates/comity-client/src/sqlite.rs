//! The SQLite store: one file, WAL, every commit synced before it returns.

use comity_core::{Batch, Change, Record, RecordKey, RecordKind, Revision, Secret, Store, StoreError};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The schema this version writes.
const SCHEMA: u32 = 1;

/// How long a commit waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const CREATE: &str = "
    CREATE TABLE record (kind INTEGER NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (kind, id));
    CREATE TABLE clock (revision INTEGER NOT NULL);
    INSERT INTO clock VALUES (0);
";

/// A [`Store`] in one SQLite file, created with access for its owner alone.
///
/// Several processes may open one file; a commit on a record that another changed fails with
/// [`StoreError::Conflict`]. A commit has reached the medium (`synchronous = FULL`) when it returns.
pub struct SqliteStore(Mutex<Connection>);

impl SqliteStore {
    /// Opens the store in `path`, or creates it.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] for a file of a newer version, [`StoreError::Corrupt`] for what is no store,
    /// [`StoreError::Medium`] if the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            let _created = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)
                .map_err(|e| StoreError::Medium(e.to_string()))?;
        }
        Self::prepare(Connection::open(path).map_err(medium)?)
    }

    /// A store that lives as long as this value: for tests.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory().map_err(medium)?)
    }

    fn prepare(mut db: Connection) -> Result<Self, StoreError> {
        db.busy_timeout(BUSY_TIMEOUT).map_err(medium)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")
            .map_err(medium)?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(medium)?;
        let found: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(medium)?;
        match found {
            0 => {
                tx.execute_batch(CREATE).map_err(medium)?;
                tx.pragma_update(None, "user_version", SCHEMA).map_err(medium)?;
            }
            SCHEMA => {}
            found => return Err(StoreError::SchemaTooNew { found, known: SCHEMA }),
        }
        tx.commit().map_err(medium)?;
        Ok(Self(Mutex::new(db)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held left no open transaction: SQLite rolled it back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore(..)")
    }
}

impl Store for SqliteStore {
    fn load(&self, keys: &[RecordKey]) -> Result<Vec<Record>, StoreError> {
        let mut db = self.lock();
        let tx = db.transaction().map_err(medium)?;
        let mut find =
            tx.prepare_cached("SELECT revision, value FROM record WHERE kind = ?1 AND id = ?2").map_err(medium)?;
        keys.iter()
            .map(|key| {
                let found = find
                    .query_row(params![key.kind as u8, key.id], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
                    .map_err(medium)?;
                Ok(match found {
                    Some((revision, value)) => record(key.clone(), revision, value),
                    None => Record { key: key.clone(), revision: Revision::ABSENT, value: None },
                })
            })
            .collect()
    }

    fn scan(&self, kind: RecordKind, prefix: &str, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        let db = self.lock();
        let mut find = db
            .prepare_cached(
                "SELECT id, revision, value FROM record
                 WHERE kind = ?1 AND id > ?2 AND substr(id, 1, length(?3)) = ?3 ORDER BY id LIMIT ?4",
            )
            .map_err(medium)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = find
            .query_map(params![kind as u8, after, prefix, limit], |row| {
                let id: String = row.get(0)?;
                Ok(record(RecordKey { kind, id: id.into() }, row.get(1)?, row.get(2)?))
            })
            .map_err(medium)?;
        rows.collect::<Result<_, _>>().map_err(medium)
    }

    fn commit(&self, batches: &[Batch]) -> Vec<Result<Revision, StoreError>> {
        let mut db = self.lock();
        commit_all(&mut db, batches).unwrap_or_else(|error| batches.iter().map(|_| Err(error.clone())).collect())
    }
}

/// One transaction for all batches, a savepoint for each.
fn commit_all(db: &mut Connection, batches: &[Batch]) -> Result<Vec<Result<Revision, StoreError>>, StoreError> {
    let mut tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(medium)?;
    let mut revision: u64 = tx.query_row("SELECT revision FROM clock", [], |row| row.get(0)).map_err(medium)?;
    let mut results = Vec::with_capacity(batches.len());
    for batch in batches {
        let next = revision + 1;
        let savepoint = tx.savepoint().map_err(medium)?;
        match batch.changes.iter().try_for_each(|change| apply(&savepoint, change, next)) {
            Ok(()) => {
                savepoint.commit().map_err(medium)?;
                revision = next;
                results.push(Ok(Revision(next)));
            }
            // Dropping the savepoint takes this batch back, and it alone.
            Err(StoreError::Conflict) => results.push(Err(StoreError::Conflict)),
            Err(error) => return Err(error),
        }
    }
    tx.execute("UPDATE clock SET revision = ?1", [revision]).map_err(medium)?;
    tx.commit().map_err(medium)?;
    Ok(results)
}

fn apply(db: &Connection, change: &Change, revision: u64) -> Result<(), StoreError> {
    let (kind, id) = (change.key.kind as u8, &change.key.id);
    if let Some(expected) = change.expected {
        let found: Option<u64> = db
            .prepare_cached("SELECT revision FROM record WHERE kind = ?1 AND id = ?2")
            .and_then(|mut find| find.query_row(params![kind, id], |row| row.get(0)).optional())
            .map_err(medium)?;
        if found.unwrap_or(0) != expected.0 {
            return Err(StoreError::Conflict);
        }
    }
    match &change.value {
        Some(value) => db
            .prepare_cached("INSERT OR REPLACE INTO record (kind, id, revision, value) VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut put| put.execute(params![kind, id, revision, value.expose()])),
        None => db
            .prepare_cached("DELETE FROM record WHERE kind = ?1 AND id = ?2")
            .and_then(|mut delete| delete.execute(params![kind, id])),
    }
    .map(|_rows| ())
    .map_err(medium)
}

fn record(key: RecordKey, revision: u64, value: Vec<u8>) -> Record {
    Record { key, revision: Revision(revision), value: Some(Secret::new(value)) }
}

fn medium(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Corrupt(error.to_string())
        }
        _ => StoreError::Medium(error.to_string()),
    }
}
