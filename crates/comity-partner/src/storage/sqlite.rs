//! The embedded store: one SQLite file, mode 0600, WAL, `synchronous=FULL`.
//!
//! One thread with one connection runs everything in the order it was asked for. What waits is committed together: the
//! answers leave after the disk has it.

use super::{Delivery, PartnerStore, SecretName, StoreResult, StoredUpload, Subscription, UserQuota, Versioned};
use crate::BoxFuture;
use crate::limits::{MAX_GROUP_COMMIT, MAX_OPEN_UPLOADS, MAX_PENDING_WAKES, MAX_SUBSCRIPTIONS, STORE_QUEUE};
use comity_core::{Secret, StoreError, Timestamp, UserVisibleId};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::Path;
use tokio::sync::{mpsc, oneshot};

const V1: &str = "
CREATE TABLE secret (
    name TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
-- One row per user who is to be woken.
CREATE TABLE wake (
    user TEXT PRIMARY KEY NOT NULL,
    since INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX wake_due ON wake(due);
CREATE TABLE subscription (
    user TEXT PRIMARY KEY NOT NULL,
    endpoint TEXT NOT NULL,
    p256dh BLOB NOT NULL,
    auth BLOB NOT NULL
) STRICT;
-- What each user has on the media host; done 0 while it is being received.
CREATE TABLE media (
    reference TEXT PRIMARY KEY NOT NULL,
    user TEXT NOT NULL,
    len INTEGER NOT NULL,
    at INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX media_user ON media(user, len);
CREATE INDEX media_at ON media(at);
-- Sizes of tables that have a limit, kept by triggers.
CREATE TABLE counter (name TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES ('wake', 0), ('subscription', 0);
CREATE TRIGGER wake_in AFTER INSERT ON wake BEGIN UPDATE counter SET n = n + 1 WHERE name = 'wake'; END;
CREATE TRIGGER wake_out AFTER DELETE ON wake BEGIN UPDATE counter SET n = n - 1 WHERE name = 'wake'; END;
CREATE TRIGGER subscription_in AFTER INSERT ON subscription
    BEGIN UPDATE counter SET n = n + 1 WHERE name = 'subscription'; END;
CREATE TRIGGER subscription_out AFTER DELETE ON subscription
    BEGIN UPDATE counter SET n = n - 1 WHERE name = 'subscription'; END;
";

// done 2: a file that comes in parts, `offset` bytes so far, given up at `until`.
const V2: &str = "
ALTER TABLE media ADD COLUMN offset INTEGER NOT NULL DEFAULT 0;
ALTER TABLE media ADD COLUMN until INTEGER;
CREATE INDEX media_open ON media(reference) WHERE done = 2;
";

/// One entry per version, applied in order, each in one transaction.
const MIGRATIONS: &[&str] = &[V1, V2];

fn medium(e: rusqlite::Error) -> StoreError {
    match e {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            StoreError::Corrupt(e.to_string())
        }
        e => StoreError::Medium(e.to_string()),
    }
}

fn closed() -> StoreError {
    StoreError::Medium("the store is closed".into())
}

/// Runs the closure; `Some` of its answerer if what it did is to be kept.
type Job = Box<dyn FnOnce(&Connection) -> (bool, Answerer) + Send>;
/// Answers, once it is known whether the commit succeeded.
type Answerer = Box<dyn FnOnce(StoreResult<()>) + Send>;

/// The embedded store. Cheap to clone; its thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    queue: mpsc::Sender<Job>,
}

impl SqliteStore {
    /// Opens the file at `path`, made with mode 0600 if missing. It blocks for as long as the file system does. Several
    /// processes may have it open.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] for a file of a later version; [`StoreError::Medium`], [`StoreError::Corrupt`].
    pub fn open(path: &Path) -> StoreResult<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600); // SQLite gives its other files the same
        }
        options.open(path).map_err(|e| StoreError::Medium(format!("{}: {e}", path.display())))?;
        Self::start(Connection::open(path).map_err(medium)?)
    }

    /// A store in memory, for tests and trials.
    ///
    /// # Errors
    /// [`StoreError::Medium`].
    pub fn in_memory() -> StoreResult<Self> {
        Self::start(Connection::open_in_memory().map_err(medium)?)
    }

    fn start(mut db: Connection) -> StoreResult<Self> {
        db.execute_batch(
            "PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF;
             PRAGMA secure_delete=ON;",
        )
        .map_err(medium)?;
        migrate(&mut db)?;
        db.set_prepared_statement_cache_capacity(64);
        let (queue, jobs) = mpsc::channel(STORE_QUEUE);
        let thread = std::thread::Builder::new().name("comity-store".into());
        thread.spawn(move || run(&db, jobs)).map_err(|e| StoreError::Medium(e.to_string()))?;
        Ok(Self { queue })
    }

    /// Runs `work` in a transaction; resolves when it is durable.
    fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<StoreResult<R>> + Send + 'static,
    ) -> BoxFuture<'_, StoreResult<R>> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let result = work(db).map_err(medium).and_then(|inner| inner);
            let keep = result.is_ok();
            let answerer: Answerer = Box::new(move |committed| {
                let _nobody_waits = answer.send(committed.and(result));
            });
            (keep, answerer)
        });
        Box::pin(async move {
            self.queue.send(job).await.map_err(|_| closed())?;
            answered
                .await
                .map_err(|_| StoreError::Medium("the store did not come to it: it is busy or failed".into()))?
        })
    }

    /// One statement in a transaction, however many rows it changes.
    fn change<P: rusqlite::Params + Send + 'static>(
        &self,
        sql: &'static str,
        params: P,
    ) -> BoxFuture<'_, StoreResult<()>> {
        self.with(move |db| execute(db, sql, params).map(|_| Ok(())))
    }

    /// Forgets uploads that a crash left unfinished. To be called before any is begun.
    pub(crate) async fn forget_unfinished(&self) -> StoreResult<()> {
        self.change("DELETE FROM media WHERE done = 0", []).await
    }
}

fn migrate(db: &mut Connection) -> StoreResult<()> {
    // Immediate: two processes that start at once migrate one after the other.
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(medium)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(medium)?;
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    for sql in MIGRATIONS.iter().skip(found as usize) {
        tx.execute_batch(sql).map_err(medium)?;
    }
    tx.pragma_update(None, "user_version", known).map_err(medium)?;
    tx.commit().map_err(medium)
}

fn run(db: &Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP_COMMIT
            && let Ok(next) = jobs.try_recv()
        {
            group.push(next);
        }
        let mut answers = Vec::with_capacity(group.len());
        let committed = commit(db, group, &mut answers).map_err(medium);
        if committed.is_err() && !db.is_autocommit() {
            let _already_failed = db.execute_batch("ROLLBACK");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

fn commit(db: &Connection, group: Vec<Job>, answers: &mut Vec<Answerer>) -> rusqlite::Result<()> {
    let sql = |sql| db.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    sql("BEGIN IMMEDIATE")?;
    for job in group {
        sql("SAVEPOINT job")?;
        let (keep, answer) = job(db);
        answers.push(answer);
        if !keep {
            sql("ROLLBACK TO job")?;
        }
        sql("RELEASE job")?;
    }
    sql("COMMIT")?;
    Ok(())
}

/// Times are within SQLite's integers for the next 292 million years.
fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

fn execute(db: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
    db.prepare_cached(sql)?.execute(params)
}

fn full(db: &Connection, table: &str, max: u64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT n >= ?2 FROM counter WHERE name = ?1")?.query_row(params![table, max], |row| row.get(0))
}

/// Whether a user may have another file of that length.
fn has_room(db: &Connection, user: &str, len: u64, quota: UserQuota) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*), coalesce(sum(len), 0) FROM media WHERE user = ?1";
    let (files, bytes): (u64, u64) = db.prepare_cached(sql)?.query_row([user], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(files < quota.max_files && bytes.saturating_add(len) <= quota.max_bytes)
}

const UPLOAD: &str = "reference, user, len, CASE done WHEN 1 THEN len ELSE offset END, done = 1, until";

fn stored_upload(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, StoreResult<StoredUpload>)> {
    let (len, offset, done) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let until = row.get::<_, Option<u64>>(5)?.map(Timestamp::from_millis);
    let user = row.get::<_, String>(1)?.parse().map_err(|_| StoreError::Corrupt("a user's id".into()));
    Ok((row.get(0)?, user.map(|user| StoredUpload { user, len, offset, done, until })))
}

fn known(db: &Connection, sql: &str, user: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(sql)?.exists([user])
}

impl PartnerStore for SqliteStore {
    fn secret(&self, name: SecretName) -> BoxFuture<'_, StoreResult<Option<Versioned>>> {
        self.with(move |db| {
            db.prepare_cached("SELECT revision, bytes FROM secret WHERE name = ?1")?
                .query_row([name.as_str()], |row| {
                    Ok(Versioned { revision: row.get(0)?, bytes: Secret::new(row.get(1)?) })
                })
                .optional()
                .map(Ok)
        })
    }

    fn secret_revision(&self, name: SecretName) -> BoxFuture<'_, StoreResult<u64>> {
        self.with(move |db| {
            db.prepare_cached("SELECT revision FROM secret WHERE name = ?1")?
                .query_row([name.as_str()], |row| row.get(0))
                .optional()
                .map(|found| Ok(found.unwrap_or(0)))
        })
    }

    fn put_secret(&self, name: SecretName, bytes: Secret<Vec<u8>>, replaces: u64) -> BoxFuture<'_, StoreResult<u64>> {
        self.with(move |db| {
            let changed = if replaces == 0 {
                let sql = "INSERT INTO secret (name, revision, bytes) VALUES (?1, 1, ?2) ON CONFLICT DO NOTHING";
                execute(db, sql, params![name.as_str(), bytes.expose()])?
            } else {
                let sql = "UPDATE secret SET revision = revision + 1, bytes = ?2 WHERE name = ?1 AND revision = ?3";
                execute(db, sql, params![name.as_str(), bytes.expose(), replaces])?
            };
            Ok(if changed == 1 { Ok(replaces + 1) } else { Err(StoreError::Conflict) })
        })
    }

    fn put_wake(&self, user: &UserVisibleId, now: Timestamp) -> BoxFuture<'_, StoreResult<bool>> {
        let user = user.as_str().to_owned();
        self.with(move |db| {
            let again = "UPDATE wake SET due = ?2, attempts = 0, version = version + 1 WHERE user = ?1";
            if execute(db, again, params![user, ms(now)])? == 0 {
                if full(db, "wake", MAX_PENDING_WAKES)? {
                    return Ok(Ok(false));
                }
                execute(db, "INSERT INTO wake (user, since, due) VALUES (?1, ?2, ?2)", params![user, ms(now)])?;
            }
            Ok(Ok(true))
        })
    }

    fn has_wake(&self, user: &UserVisibleId) -> BoxFuture<'_, StoreResult<bool>> {
        let user = user.as_str().to_owned();
        self.with(move |db| known(db, "SELECT 1 FROM wake WHERE user = ?1", &user).map(Ok))
    }

    fn take_wake(&self, user: &UserVisibleId) -> BoxFuture<'_, StoreResult<()>> {
        self.change("DELETE FROM wake WHERE user = ?1", [user.as_str().to_owned()])
    }

    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> BoxFuture<'_, StoreResult<Vec<Delivery>>> {
        self.with(move |db| {
            let mut statement = db.prepare_cached(
                "UPDATE wake SET due = ?2 WHERE user IN
                    (SELECT wake.user FROM wake JOIN subscription ON wake.user = subscription.user
                     WHERE due <= ?1 ORDER BY due LIMIT ?3)
                 RETURNING user, attempts, version",
            )?;
            let rows = statement.query_map(params![ms(now), ms(until), limit], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
            })?;
            let mut claimed = Vec::new();
            for row in rows {
                let (user, attempts, version) = row?;
                let Ok(user) = user.parse() else { return Ok(Err(StoreError::Corrupt("a user's id".into()))) };
                claimed.push(Delivery { user, attempts, version });
            }
            Ok(Ok(claimed))
        })
    }

    fn next_due(&self) -> BoxFuture<'_, StoreResult<Option<Timestamp>>> {
        self.with(|db| {
            let sql = "SELECT due FROM wake JOIN subscription ON wake.user = subscription.user ORDER BY due LIMIT 1";
            let due: Option<u64> = db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
            Ok(Ok(due.map(Timestamp::from_millis)))
        })
    }

    fn delivered(&self, delivery: &Delivery) -> BoxFuture<'_, StoreResult<()>> {
        let of = (delivery.user.as_str().to_owned(), delivery.version);
        self.change("DELETE FROM wake WHERE user = ?1 AND version = ?2", of)
    }

    fn retry(&self, delivery: &Delivery, again: Timestamp) -> BoxFuture<'_, StoreResult<()>> {
        let sql = "UPDATE wake SET due = ?3, attempts = attempts + 1 WHERE user = ?1 AND version = ?2";
        self.change(sql, (delivery.user.as_str().to_owned(), delivery.version, ms(again)))
    }

    fn subscription(&self, user: &UserVisibleId) -> BoxFuture<'_, StoreResult<Option<Subscription>>> {
        let user = user.as_str().to_owned();
        self.with(move |db| {
            db.prepare_cached("SELECT endpoint, p256dh, auth FROM subscription WHERE user = ?1")?
                .query_row([user], |row| {
                    Ok(Subscription { endpoint: row.get(0)?, p256dh: row.get(1)?, auth: Secret::new(row.get(2)?) })
                })
                .optional()
                .map(Ok)
        })
    }

    fn put_subscription(&self, user: &UserVisibleId, subscription: Subscription) -> BoxFuture<'_, StoreResult<bool>> {
        let user = user.as_str().to_owned();
        self.with(move |db| {
            let Subscription { endpoint, p256dh, auth } = &subscription;
            let values = params![user, endpoint, p256dh, auth.expose()];
            let update = "UPDATE subscription SET endpoint = ?2, p256dh = ?3, auth = ?4 WHERE user = ?1";
            if execute(db, update, values)? == 0 {
                if full(db, "subscription", MAX_SUBSCRIPTIONS)? {
                    return Ok(Ok(false));
                }
                let insert = "INSERT INTO subscription (user, endpoint, p256dh, auth) VALUES (?1, ?2, ?3, ?4)";
                execute(db, insert, values)?;
            }
            Ok(Ok(true))
        })
    }

    fn remove_subscription(&self, user: &UserVisibleId, endpoint: Option<&str>) -> BoxFuture<'_, StoreResult<bool>> {
        let of = (user.as_str().to_owned(), endpoint.map(str::to_owned));
        self.with(move |db| {
            let sql = "DELETE FROM subscription WHERE user = ?1 AND (?2 IS NULL OR endpoint = ?2)";
            execute(db, sql, of).map(|removed| Ok(removed == 1))
        })
    }

    fn reserve_media(
        &self,
        user: &UserVisibleId,
        reference: &str,
        len: u64,
        quota: UserQuota,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<bool>> {
        let (user, reference) = (user.as_str().to_owned(), reference.to_owned());
        self.with(move |db| {
            if !has_room(db, &user, len, quota)? {
                return Ok(Ok(false));
            }
            let sql = "INSERT INTO media (reference, user, len, at) VALUES (?1, ?2, ?3, ?4)";
            execute(db, sql, params![reference, user, len, ms(now)]).map(|_| Ok(true))
        })
    }

    fn begin_upload(
        &self,
        user: &UserVisibleId,
        reference: &str,
        len: u64,
        quota: UserQuota,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, StoreResult<bool>> {
        let (user, reference) = (user.as_str().to_owned(), reference.to_owned());
        self.with(move |db| {
            let open: u64 =
                db.prepare_cached("SELECT count(*) FROM media WHERE done = 2")?.query_row([], |row| row.get(0))?;
            if open >= MAX_OPEN_UPLOADS || !has_room(db, &user, len, quota)? {
                return Ok(Ok(false));
            }
            let sql = "INSERT INTO media (reference, user, len, at, until, done) VALUES (?1, ?2, ?3, ?4, ?5, 2)";
            execute(db, sql, params![reference, user, len, ms(now), ms(until)]).map(|_| Ok(true))
        })
    }

    fn upload(&self, reference: &str) -> BoxFuture<'_, StoreResult<Option<StoredUpload>>> {
        let reference = reference.to_owned();
        self.with(move |db| {
            let sql = format!("SELECT {UPLOAD} FROM media WHERE reference = ?1 AND done > 0");
            let found = db.prepare_cached(&sql)?.query_row([reference], stored_upload).optional()?;
            Ok(found.map(|(_, upload)| upload).transpose())
        })
    }

    fn advance_upload(&self, reference: &str, offset: u64) -> BoxFuture<'_, StoreResult<()>> {
        let sql = "UPDATE media SET offset = ?2 WHERE reference = ?1 AND done = 2 AND offset < ?2";
        self.change(sql, (reference.to_owned(), offset))
    }

    fn open_uploads(&self) -> BoxFuture<'_, StoreResult<Vec<(String, StoredUpload)>>> {
        self.with(|db| {
            let mut statement = db.prepare_cached(&format!("SELECT {UPLOAD} FROM media WHERE done = 2"))?;
            let rows = statement.query_map([], stored_upload)?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(rows.into_iter().map(|(reference, upload)| Ok((reference, upload?))).collect())
        })
    }

    fn keep_media(&self, reference: &str) -> BoxFuture<'_, StoreResult<()>> {
        let sql = "UPDATE media SET done = 1, offset = len, until = NULL WHERE reference = ?1";
        self.change(sql, [reference.to_owned()])
    }

    fn release_media(&self, reference: &str) -> BoxFuture<'_, StoreResult<()>> {
        self.change("DELETE FROM media WHERE reference = ?1", [reference.to_owned()])
    }

    fn sweep(&self, wakes: Timestamp, media: Timestamp) -> BoxFuture<'_, StoreResult<()>> {
        self.with(move |db| {
            execute(db, "DELETE FROM wake WHERE since < ?1", [ms(wakes)])?;
            execute(db, "DELETE FROM media WHERE at < ?1 AND done = 1", [ms(media)]).map(|_| Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u32) -> UserVisibleId {
        format!("user{n}@partner.test").parse().unwrap()
    }

    const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);

    #[tokio::test]
    async fn a_secret_is_replaced_by_who_knows_it() {
        let store = SqliteStore::in_memory().unwrap();
        let name = SecretName::SigningKeys;
        let put = |bytes: &[u8], replaces| store.put_secret(name, Secret::new(bytes.to_vec()), replaces);
        assert!(store.secret(name).await.unwrap().is_none());
        assert_eq!(put(b"one", 0).await, Ok(1));
        assert_eq!(put(b"lost", 0).await, Err(StoreError::Conflict));
        assert_eq!(put(b"two", 1).await, Ok(2));
        assert_eq!(put(b"lost", 1).await, Err(StoreError::Conflict));
        let stored = store.secret(name).await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.bytes.expose().as_slice()), (2, &b"two"[..]));
        assert_eq!(store.secret_revision(SecretName::Vapid).await, Ok(0));
    }

    #[tokio::test]
    async fn a_wake_up_survives_a_restart_and_a_delivery_of_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let store = SqliteStore::open(&path).unwrap();
        let subscription =
            Subscription { endpoint: "https://push.example/x".into(), p256dh: [4; 65], auth: Secret::new([1; 16]) };
        assert!(store.put_subscription(&user(1), subscription).await.unwrap());
        for n in [1, 2] {
            assert!(store.put_wake(&user(n), NOW).await.unwrap());
        }
        drop(store);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let store = SqliteStore::open(&path).unwrap();
        let after = |secs| NOW.after(core::time::Duration::from_secs(secs));
        let claimed = store.claim(NOW, after(60), 10).await.unwrap();
        assert_eq!(claimed.iter().map(|d| d.user.clone()).collect::<Vec<_>>(), [user(1)]); // who has a subscription
        assert!(store.claim(NOW, after(60), 10).await.unwrap().is_empty()); // claimed
        assert_eq!(store.claim(after(60), after(120), 10).await.unwrap().len(), 1); // whoever claimed it is gone
        assert!(store.put_wake(&user(1), NOW).await.unwrap()); // while the first is on its way
        store.delivered(&claimed[0]).await.unwrap();
        assert!(store.has_wake(&user(1)).await.unwrap());
        let again = store.claim(NOW, after(60), 10).await.unwrap();
        store.retry(&again[0], after(9)).await.unwrap();
        assert!(store.claim(after(8), after(60), 10).await.unwrap().is_empty());
        assert_eq!(store.next_due().await.unwrap(), Some(after(9)));
        let third = store.claim(after(9), after(60), 10).await.unwrap();
        assert_eq!(third[0].attempts, 1);
        store.sweep(NOW.after(core::time::Duration::from_secs(1)), NOW).await.unwrap();
        assert!(!store.has_wake(&user(2)).await.unwrap());
    }

    #[tokio::test]
    async fn a_quota_counts_files_and_bytes_and_what_is_under_way() {
        let store = SqliteStore::in_memory().unwrap();
        let quota = UserQuota { max_files: 2, max_bytes: 100 };
        let reserve = |reference: &'static str, len| {
            let (store, user) = (store.clone(), user(1));
            async move { store.reserve_media(&user, reference, len, quota, NOW).await.unwrap() }
        };
        assert!(reserve("a", 60).await);
        assert!(!reserve("b", 41).await);
        assert!(reserve("b", 40).await);
        assert!(!reserve("c", 0).await);
        assert!(store.reserve_media(&user(2), "other", 100, quota, NOW).await.unwrap());
        store.keep_media("a").await.unwrap();
        store.forget_unfinished().await.unwrap();
        assert!(reserve("d", 40).await);
        store.release_media("a").await.unwrap();
        assert!(reserve("e", 60).await);
    }

    #[tokio::test]
    async fn a_file_in_parts_is_remembered_and_never_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let store = SqliteStore::open(&path).unwrap();
        let quota = UserQuota { max_files: 2, max_bytes: 100 };
        let until = NOW.after(core::time::Duration::from_secs(60));
        assert!(store.begin_upload(&user(1), "a", 60, quota, NOW, until).await.unwrap());
        assert!(!store.begin_upload(&user(1), "b", 41, quota, NOW, until).await.unwrap(), "room is set aside");
        store.advance_upload("a", 30).await.unwrap();
        store.advance_upload("a", 20).await.unwrap();
        drop(store);
        let store = SqliteStore::open(&path).unwrap();
        store.forget_unfinished().await.unwrap();
        let open = store.open_uploads().await.unwrap();
        assert_eq!(open.len(), 1);
        let upload = store.upload("a").await.unwrap().unwrap();
        assert_eq!((upload.user, upload.len, upload.offset, upload.done), (user(1), 60, 30, false));
        assert_eq!(upload.until, Some(until));
        store.keep_media("a").await.unwrap();
        assert!(store.open_uploads().await.unwrap().is_empty());
        let whole = store.upload("a").await.unwrap().unwrap();
        assert_eq!((whole.offset, whole.done, whole.until), (60, true, None));
        store.release_media("a").await.unwrap();
        assert!(store.upload("a").await.unwrap().is_none());
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        drop(SqliteStore::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(SqliteStore::open(&path), Err(StoreError::SchemaTooNew { found: 99, .. })));
    }
}
