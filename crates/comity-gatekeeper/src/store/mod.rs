//! Durable state. The rest of the crate sees [`Storage`] and plain values; [`Store`] is the one on SQLite, and all SQL stands
//! in this folder.
//!
//! One thread writes. It takes every write that waits, runs them in one transaction, each in its own savepoint, commits
//! once (`synchronous=FULL`: the commit returns after the disk has it) and only then answers any of them. A few threads
//! with connections of their own read.

mod alias;
mod keys;
mod mailbox;
mod model;
mod schema;
mod social;
mod storage;
mod tokens;
mod users;

pub(crate) use keys::{Uploaded, Wanted};
pub(crate) use mailbox::{Class, Mail, Notice, Outcome, Waiting};
pub(crate) use model::*;
pub(crate) use social::{Blocklist, Lookup};
pub(crate) use storage::Storage;
pub(crate) use tokens::Use;
pub(crate) use users::{Enlisted, Enlistment};

use crate::limits::{MAX_GROUP_COMMIT, READER_THREADS, WRITE_QUEUE};
use comity_core::{StoreError, Timestamp};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

type Result<T, E = StoreError> = std::result::Result<T, E>;

pub(crate) fn medium(e: rusqlite::Error) -> StoreError {
    match e {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            StoreError::Corrupt(e.to_string())
        }
        e => StoreError::Medium(e.to_string()),
    }
}

/// A write or read as the threads see it: run it, and answer when told that what it did is durable.
trait Job: Send {
    /// Runs the closure; `false` if it failed and must be rolled back.
    fn run(&mut self, db: &Connection) -> bool;
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct JobOf<F, R> {
    work: Option<F>,
    result: Option<Result<R>>,
    answer: oneshot::Sender<Result<R>>,
}

impl<R: Send, F: FnOnce(&Connection) -> Result<R> + Send> Job for JobOf<F, R> {
    fn run(&mut self, db: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(db));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let Self { result, answer, .. } = *self;
        let _nobody_waits = answer.send(committed.and_then(|()| result.unwrap_or_else(|| Err(closed()))));
    }
}

fn closed() -> StoreError {
    StoreError::Medium("the store is closed".into())
}

/// Makes the file if it is not there, and it is its owner's alone; SQLite gives its other files the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let _file = options.write(true).create(true).truncate(false).open(path)?;
    #[cfg(unix)]
    _file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

/// The result of a write once it is durable. Dropping it does not undo the write.
pub(crate) struct Committed<R>(oneshot::Receiver<Result<R>>);

impl<R> Future for Committed<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or_else(|_| Err(closed())))
    }
}

/// The gatekeeper's database.
pub(crate) struct Store {
    writer: mpsc::Sender<Box<dyn Job>>,
    readers: mpsc::Sender<Box<dyn Job>>,
    terms: Terms,
}

impl Store {
    /// Opens (or makes) the database file and starts its threads; they end when it is dropped.
    pub(crate) fn open(path: &Path, terms: Terms) -> Result<Self> {
        private(path).map_err(|e| StoreError::Medium(e.to_string()))?;
        let mut db = Connection::open(path).map_err(medium)?;
        db.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=5000;
             PRAGMA trusted_schema=OFF;",
        )
        .map_err(medium)?;
        schema::migrate(&mut db)?;
        db.set_prepared_statement_cache_capacity(128);
        let (writer, write_queue) = mpsc::channel(WRITE_QUEUE);
        spawn("comity-store-write", move || write_loop(db, write_queue))?;

        let (readers, read_queue) = mpsc::channel(WRITE_QUEUE);
        let read_queue = Arc::new(Mutex::new(read_queue));
        for _ in 0..READER_THREADS {
            let db =
                Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                    .map_err(medium)?;
            db.execute_batch("PRAGMA busy_timeout=5000; PRAGMA query_only=ON;").map_err(medium)?;
            db.set_prepared_statement_cache_capacity(128);
            let queue = Arc::clone(&read_queue);
            spawn("comity-store-read", move || read_loop(&db, &queue))?;
        }
        Ok(Self { writer, readers, terms })
    }

    /// When what is queued now is given up.
    fn expiry(&self, now: Timestamp) -> Timestamp {
        now.after(self.terms.mail_keep)
    }

    /// Hands a write to the writer thread, in the order of the calls; await the answer for durability.
    async fn submit<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<R> + Send + 'static,
    ) -> Committed<R> {
        let (answer, receiver) = oneshot::channel();
        let job = Box::new(JobOf { work: Some(work), result: None, answer });
        let _closed = self.writer.send(job).await; // a dropped job closes the receiver, which answers `closed`
        Committed(receiver)
    }

    /// A write, awaited until durable.
    async fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.submit(work).await.await
    }

    /// A read on one of the reader threads: it sees every write answered before the call.
    async fn read<R: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<R> + Send + 'static) -> Result<R> {
        let (answer, receiver) = oneshot::channel();
        let job = Box::new(JobOf { work: Some(work), result: None, answer });
        self.readers.send(job).await.map_err(|_| closed())?;
        Committed(receiver).await
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(|e| StoreError::Medium(e.to_string()))?;
    Ok(())
}

fn write_loop(db: Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut jobs = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        jobs.push(first);
        while jobs.len() < MAX_GROUP_COMMIT
            && let Ok(next) = queue.try_recv()
        {
            jobs.push(next);
        }
        let committed = commit_group(&db, &mut jobs).map_err(medium);
        if committed.is_err() && !db.is_autocommit() {
            let _already_failed = db.execute_batch("ROLLBACK");
        }
        for job in jobs.drain(..) {
            job.answer(committed.clone());
        }
    }
}

fn commit_group(db: &Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let run = |sql| db.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    run("BEGIN IMMEDIATE")?;
    for job in jobs {
        run("SAVEPOINT job")?;
        if !job.run(db) {
            run("ROLLBACK TO job")?;
        }
        run("RELEASE job")?;
    }
    run("COMMIT")?;
    Ok(())
}

fn read_loop(db: &Connection, queue: &Mutex<mpsc::Receiver<Box<dyn Job>>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(mut job) = next else { return };
        // One transaction per job: several statements see one moment.
        let _fails_in_the_job = db.execute_batch("BEGIN");
        job.run(db);
        let _read_only = db.execute_batch("COMMIT");
        job.answer(Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comity_core::{Jid, Timestamp};

    fn native(number: u32) -> Jid {
        format!("4915{number}@s.whatsapp.net").parse().unwrap()
    }

    #[tokio::test]
    async fn a_failed_write_of_a_group_undoes_itself_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db"), Terms::default()).unwrap();
        let insert = |number: u32, fail: bool| {
            store.submit(move |db| {
                db.execute("INSERT INTO tombstone (account, at) VALUES (?1, 0)", [native(number).to_string()])
                    .map_err(medium)?;
                if fail { Err(StoreError::Conflict) } else { Ok(()) }
            })
        };
        let jobs = [insert(1, false).await, insert(2, true).await, insert(3, false).await];
        let mut results = Vec::new();
        for job in jobs {
            results.push(job.await.is_ok());
        }
        assert_eq!(results, [true, false, true]);
        let count = store
            .read(|db| db.query_row("SELECT count(*) FROM tombstone", [], |row| row.get::<_, u32>(0)).map_err(medium));
        assert_eq!(count.await, Ok(2));
    }

    #[tokio::test]
    async fn a_full_mailbox_refuses_and_its_counters_follow_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db"), Terms::default()).unwrap();
        let now = Timestamp::from_secs(1_764_000_000);
        for number in [1, 2] {
            store.register_native(native(number), [number as u8; 32], String::new(), false, now).await.unwrap();
        }
        let sender = store.user(native(1)).await.unwrap().unwrap();
        let mail = |id: u32, len: usize| Mail {
            to: native(2),
            class: Class::Message,
            sender: native(1),
            id: id.to_string(),
            kind: String::new(),
            stanza: vec![0; len],
        };
        let big = crate::limits::MAX_QUEUED_STANZA;
        let fit = crate::limits::MAX_MAILBOX_BYTES as usize / big;
        for id in 0..fit as u32 {
            let stored = store.send(&sender, mail(id, big), now).await.await.unwrap();
            assert!(matches!(stored, Outcome::Stored { wakeable: false }));
        }
        assert_eq!(store.send(&sender, mail(1_000, 1), now).await.await, Ok(Outcome::Full));
        assert_eq!(store.acked(&native(2), Class::Message, native(1), "0".into(), None).await.await, Ok(1));
        assert!(matches!(store.send(&sender, mail(1_000, 1), now).await.await, Ok(Outcome::Stored { .. })));
        assert_eq!(store.waiting(native(2)).await.unwrap().message, fit as u32);
    }

    fn enlistment(visible_id: &str, numbers: &[u64]) -> Enlistment {
        Enlistment {
            integrator: comity_core::IntegratorId::new(12).unwrap(),
            visible_id: visible_id.parse().unwrap(),
            auth_key: [1; 32],
            registration: 1,
            identity: [2; 32],
            skey: SignedKey { id: 1, value: vec![3; 32], signature: vec![4; 64] },
            candidates: numbers.iter().map(|n| comity_core::UserNumber::new(*n).unwrap()).collect(),
            single_use: None,
        }
    }

    async fn enlist(store: &Store, visible_id: &str, numbers: &[u64], now: Timestamp) -> Result<String> {
        let notice = |_: &Jid| Ok(Notice { id: "n".into(), stanza: Vec::new() });
        match store.enlist(enlistment(visible_id, numbers), now, Box::new(notice)).await? {
            Enlisted::Ok { account, .. } => Ok(account.to_string()),
            _ => panic!("refused"),
        }
    }

    #[tokio::test]
    async fn an_id_is_never_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut store = Store::open(&path, Terms::default()).unwrap();
        let now = Timestamp::from_secs(1_764_000_000);
        let alice = enlist(&store, "alice", &[7], now).await.unwrap();
        assert_eq!(alice, "12-7@interop");
        assert_eq!(enlist(&store, "bob", &[7], now).await, Err(StoreError::Conflict));
        assert_eq!(enlist(&store, "bob", &[7, 8], now).await.unwrap(), "12-8@interop");
        let notice = Notice { id: "n".into(), stanza: Vec::new() };
        store.delete_account(alice.parse().unwrap(), notice, now).await.unwrap();
        for _ in 0..2 {
            assert_eq!(enlist(&store, "carol", &[7], now).await, Err(StoreError::Conflict));
            // Not even to whom it belonged, nor after any time, nor after a restart.
            let later = now.after(std::time::Duration::from_secs(400 * 86_400));
            store.sweep(Vec::new(), later).await.unwrap();
            assert_eq!(enlist(&store, "alice", &[7], later).await, Err(StoreError::Conflict));
            drop(store);
            store = Store::open(&path, Terms::default()).unwrap();
        }
        assert_eq!(enlist(&store, "alice", &[7, 9], now).await.unwrap(), "12-9@interop");
    }

    #[tokio::test]
    async fn who_is_connected_does_not_lapse() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db"), Terms::default()).unwrap();
        let now = Timestamp::from_secs(1_764_000_000);
        let mut users = Vec::new();
        for (name, number) in [("alice", 7), ("bob", 8)] {
            users.push(enlist(&store, name, &[number], now).await.unwrap().parse::<Jid>().unwrap());
        }
        let later = now.after(Terms::default().lapse_after);
        assert_eq!(store.sweep(users.clone(), Timestamp::from_millis(later.as_millis() - 1)).await.unwrap(), []);
        let later = later.after(Terms::default().lapse_after);
        assert_eq!(store.sweep(users[..1].to_vec(), later).await.unwrap(), users[1..]);
        assert!(!store.user(users[0].clone()).await.unwrap().unwrap().has_lapsed(later, Terms::default().lapse_after));
        assert!(store.user(users[1].clone()).await.unwrap().unwrap().has_lapsed(now, Terms::default().lapse_after));
    }

    #[tokio::test]
    async fn used_tokens_are_bounded_by_issuer_and_make_room_when_they_expire() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db"), Terms::default()).unwrap();
        let now = Timestamp::from_secs(1_764_000_000);
        let minute = std::time::Duration::from_secs(60);
        let token = |issuer: &str, jti: String, until: Timestamp| comity_identity::SingleUse {
            issuer: issuer.into(),
            jti,
            until,
        };
        let use_up = |token, at| store.write(move |db| tokens::use_up(db, &token, at));
        // All but one of the places, without asking each time.
        store
            .write(move |db| {
                let sql = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                           INSERT INTO used_token (issuer, jti, until) SELECT 'a', 'x' || i, ?2 FROM n";
                let until = now.after(minute).as_millis() as i64;
                db.execute(sql, rusqlite::params![crate::limits::MAX_USED_TOKENS - 1, until]).map_err(medium)
            })
            .await
            .unwrap();
        assert_eq!(use_up(token("a", "x5".into(), now.after(minute)), now).await, Ok(Use::Again));
        assert_eq!(use_up(token("a", "last".into(), now.after(minute * 2)), now).await, Ok(Use::First));
        assert_eq!(use_up(token("a", "over".into(), now.after(minute)), now).await, Ok(Use::Full));
        assert_eq!(use_up(token("a", "last".into(), now.after(minute)), now).await, Ok(Use::Again));
        assert_eq!(use_up(token("b", "over".into(), now.after(minute)), now).await, Ok(Use::First));
        // A minute later all but the last have expired: they go, it stays.
        assert_eq!(use_up(token("a", "over".into(), now.after(minute * 2)), now.after(minute)).await, Ok(Use::First));
        assert!(store.is_used(token("a", "last".into(), now)).await.unwrap());
        assert!(!store.is_used(token("a", "x5".into(), now)).await.unwrap());
    }

    #[test]
    fn the_file_is_its_owners_and_a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        drop(Store::open(&path, Terms::default()).unwrap());
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Store::open(&path, Terms::default()), Err(StoreError::SchemaTooNew { found: 99, .. })));
    }
}
