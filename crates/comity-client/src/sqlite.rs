//! The SQLite store: one file, WAL, every commit synced before it returns.

use crate::seal::Seal;
use comity_core::{Batch, Change, Record, RecordKey, RecordKind, Revision, Secret, Store, StoreError};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The schema this version writes.
const SCHEMA: u32 = 2;

/// How long a commit waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What makes each schema of the one before; the first of an empty file.
const MIGRATIONS: [&str; SCHEMA as usize] = [
    "CREATE TABLE record (kind INTEGER NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, value BLOB NOT NULL,
         PRIMARY KEY (kind, id));
     CREATE TABLE clock (revision INTEGER NOT NULL);
     INSERT INTO clock VALUES (0);",
    // One row if values are sealed: nothing, sealed with the key.
    "CREATE TABLE seal (proof BLOB NOT NULL);",
];

/// A [`Store`] in one SQLite file, created with access for its owner alone.
///
/// Several processes may open one file; a commit on a record that another changed fails with
/// [`StoreError::Conflict`]. A commit has reached the medium (`synchronous = FULL`) when it returns.
pub struct SqliteStore {
    db: Mutex<Connection>,
    seal: Option<Seal>,
}

impl SqliteStore {
    /// Opens the store in `path`, or creates it. A file of an older version is brought to this one's.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] for a file of a newer version, [`StoreError::Corrupt`] for what is no store,
    /// [`StoreError::Key`] for a sealed one, [`StoreError::Medium`] if the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(connect(path)?, None)
    }

    /// As [`SqliteStore::open`], with every value sealed under `key` (AES-256-GCM under a key of its own, derived from
    /// `key` and a random salt; bound to its record and revision). Kinds, ids and revisions of the records stay readable.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; [`StoreError::Key`] if the file is sealed with another key, or holds records that are
    /// not sealed.
    pub fn open_sealed(path: &Path, key: Secret<[u8; 32]>) -> Result<Self, StoreError> {
        Self::prepare(connect(path)?, Some(Seal::new(key)))
    }

    /// A store that lives as long as this value: for tests.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory().map_err(medium)?, None)
    }

    fn prepare(mut db: Connection, seal: Option<Seal>) -> Result<Self, StoreError> {
        db.busy_timeout(BUSY_TIMEOUT).map_err(medium)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")
            .map_err(medium)?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(medium)?;
        let found: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(medium)?;
        if found > SCHEMA {
            return Err(StoreError::SchemaTooNew { found, known: SCHEMA });
        }
        for migration in MIGRATIONS.iter().skip(found as usize) {
            tx.execute_batch(migration).map_err(medium)?;
        }
        tx.pragma_update(None, "user_version", SCHEMA).map_err(medium)?;
        prove(&tx, seal.as_ref())?;
        tx.commit().map_err(medium)?;
        Ok(Self { db: Mutex::new(db), seal })
    }

    /// The record of a row.
    fn record(&self, key: RecordKey, revision: u64, value: Vec<u8>) -> Result<Record, StoreError> {
        let value = match &self.seal {
            Some(seal) => seal.open(&key, revision, value)?,
            None => Secret::new(value),
        };
        Ok(Record { key, revision: Revision(revision), value: Some(value) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held left no open transaction: SQLite rolled it back.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
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
                match found {
                    Some((revision, value)) => self.record(key.clone(), revision, value),
                    None => Ok(Record { key: key.clone(), revision: Revision::ABSENT, value: None }),
                }
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
                Ok((RecordKey { kind, id: id.into() }, row.get(1)?, row.get(2)?))
            })
            .map_err(medium)?;
        rows.map(|row| row.map_err(medium).and_then(|(key, revision, value)| self.record(key, revision, value)))
            .collect()
    }

    fn commit(&self, batches: &[Batch]) -> Vec<Result<Revision, StoreError>> {
        let mut db = self.lock();
        commit_all(&mut db, self.seal.as_ref(), batches)
            .unwrap_or_else(|error| batches.iter().map(|_| Err(error.clone())).collect())
    }
}

/// One transaction for all batches, a savepoint for each.
fn commit_all(
    db: &mut Connection,
    seal: Option<&Seal>,
    batches: &[Batch],
) -> Result<Vec<Result<Revision, StoreError>>, StoreError> {
    let mut tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(medium)?;
    let mut revision: u64 = tx.query_row("SELECT revision FROM clock", [], |row| row.get(0)).map_err(medium)?;
    let mut results = Vec::with_capacity(batches.len());
    for batch in batches {
        let next = revision + 1;
        let savepoint = tx.savepoint().map_err(medium)?;
        match batch.changes.iter().try_for_each(|change| apply(&savepoint, seal, change, next)) {
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

fn apply(db: &Connection, seal: Option<&Seal>, change: &Change, revision: u64) -> Result<(), StoreError> {
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
    let sealed = match (&change.value, seal) {
        (Some(value), Some(seal)) => Some(seal.seal(&change.key, revision, value)?),
        _ => None,
    };
    match sealed.as_ref().or(change.value.as_ref().map(Secret::expose)) {
        Some(value) => db
            .prepare_cached("INSERT OR REPLACE INTO record (kind, id, revision, value) VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut put| put.execute(params![kind, id, revision, value])),
        None => db
            .prepare_cached("DELETE FROM record WHERE kind = ?1 AND id = ?2")
            .and_then(|mut delete| delete.execute(params![kind, id])),
    }
    .map(|_rows| ())
    .map_err(medium)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
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
    Connection::open(path).map_err(medium)
}

/// Checks that the file is sealed with this key, or not at all; an empty one is sealed now.
fn prove(db: &Connection, seal: Option<&Seal>) -> Result<(), StoreError> {
    let proof: Option<Vec<u8>> =
        db.query_row("SELECT proof FROM seal", [], |row| row.get(0)).optional().map_err(medium)?;
    let key = RecordKey::new(RecordKind::Meta, "");
    match (seal, proof) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(StoreError::Key),
        (Some(seal), Some(proof)) => seal.open(&key, 0, proof).map(drop).map_err(|_| StoreError::Key),
        (Some(seal), None) => {
            let used: bool =
                db.query_row("SELECT EXISTS (SELECT 1 FROM record)", [], |row| row.get(0)).map_err(medium)?;
            if used {
                return Err(StoreError::Key);
            }
            let proof = seal.seal(&key, 0, &Secret::new(Vec::new()))?;
            db.execute("INSERT INTO seal (proof) VALUES (?1)", [proof]).map(drop).map_err(medium)
        }
    }
}

fn medium(error: rusqlite::Error) -> StoreError {
    use rusqlite::Error as E;
    if let E::InvalidColumnType(..) | E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) = error {
        return StoreError::Corrupt(error.to_string());
    }
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Corrupt(error.to_string())
        }
        _ => StoreError::Medium(error.to_string()),
    }
}
