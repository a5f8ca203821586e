//! A program that is killed at any moment loses no message and uses no message key twice: two users over the SQLite store,
//! killed again and again by SIGKILL. `COMITY_KILLS` says how often; `cargo xtask kill` runs it a thousand times.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::print_stdout)]
#![allow(clippy::panic, reason = "a test")]

use comity_client::SqliteStore;
use comity_core::{Batch, RecordKey, RecordKind, Store, StoreError, Timestamp};
use comity_signal::suite_tests::signal_position;
use comity_signal::{
    Account, Address, Bundle, EncKind, Encrypted, Error, IdentityPolicy, Records, Suites, account_key, decrypt,
    encrypt, establish, keys_for_decrypt, keys_for_encrypt, pq_pre_key_key,
};
use rand::RngExt as _;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Kills in the ordinary tests, of each suite.
const KILLS: usize = 15;
/// The worker lives at most so long, in microseconds after it began to work.
const LIFE: std::ops::Range<u64> = 0..60_000;
const WORKER: &str = "COMITY_KILL_WORKER";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const NAMES: [&str; 2] = ["alice", "bob"];

#[test]
fn nothing_is_lost_to_sigkill() {
    let kills = std::env::var("COMITY_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for version in [3, 4] {
        let dir = tempfile::tempdir().unwrap();
        set_up(dir.path(), version);
        let mut rng = rand::rng();
        for _ in 0..kills {
            let mut worker = start(dir.path(), "work").stdout(Stdio::piped()).spawn().unwrap();
            // It says when it begins; what it says of itself later is read by nobody.
            let mut said = [0; 1];
            let mut out = worker.stdout.take().unwrap();
            while said != *b"!" {
                assert_eq!(out.read(&mut said).unwrap(), 1, "the worker ended by itself");
            }
            std::thread::sleep(Duration::from_micros(rng.random_range(LIFE)));
            worker.kill().unwrap();
            assert!(!worker.wait().unwrap().success());
        }
        assert!(start(dir.path(), "finish").stdout(Stdio::null()).status().unwrap().success());
        check(dir.path(), version, kills);
    }
}

fn start(dir: &Path, task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "worker", "--nocapture"]).env(WORKER, format!("{task}={}", dir.display()));
    command
}

/// Not a test: the program that is killed, in a process of its own.
#[test]
fn worker() {
    let Ok(order) = std::env::var(WORKER) else { return };
    let (task, dir) = order.split_once('=').unwrap();
    let mut users = NAMES.map(|name| User::open(Path::new(dir), name));
    println!("!");
    if task == "work" {
        let mut rng = rand::rng();
        loop {
            let user = &mut users[rng.random_range(0..2)];
            match rng.random_range(0..3) {
                0 => user.say(),
                _ => drop(user.hear()),
            }
        }
    }
    while users[0].hear() || users[1].hear() {}
}

/// One user: the store, what was sent to the user, and what the user sends.
struct User {
    store: SqliteStore,
    suites: Suites,
    peer: Address,
    inbound: PathBuf,
    outbound: File,
}

impl User {
    /// Opens what is there, and does what a crash has left undone.
    fn open(dir: &Path, name: &str) -> Self {
        let peer = NAMES.into_iter().find(|other| *other != name).unwrap();
        let path = dir.join(peer).with_extension("log");
        let mut outbound = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).unwrap();
        // A message that was cut off by the kill was not sent.
        let whole = messages(&mut outbound, 0).iter().map(len).sum();
        outbound.set_len(whole).unwrap();
        outbound.seek(SeekFrom::End(0)).unwrap();
        let mut user = Self {
            store: SqliteStore::open(&dir.join(name).with_extension("db")).unwrap(),
            suites: Suites::new().with(comity_signal_x3dh::X3dh).with(comity_signal_pqxdh::Pqxdh::new()),
            peer: Address::new(peer, 0).unwrap(),
            inbound: dir.join(name).with_extension("log"),
            outbound,
        };
        for waiting in user.store.scan(RecordKind::Outbox, "", "", usize::MAX).unwrap() {
            user.send(waiting.key, waiting.value.unwrap().expose());
        }
        user
    }

    fn load(&self, keys: &[RecordKey]) -> Records {
        self.store.load(keys).unwrap().into_iter().collect()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.commit(&[batch]).remove(0).map(drop)
    }

    fn number(&self, name: &str) -> u64 {
        let key = RecordKey::new(RecordKind::Meta, name);
        let records = self.load(std::slice::from_ref(&key));
        records.value(&key).unwrap().map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
    }

    /// Takes the next number from the user: the ratchet's step and the body in one batch, sent when it is durable.
    fn say(&mut self) {
        let next = self.number("next");
        let records = self.load(&keys_for_encrypt(&self.peer));
        // A number taken twice is sealed as another plaintext, so that it shows.
        let text = [next, rand::rng().random()].map(u64::to_be_bytes).concat();
        let (sealed, mut batch) = encrypt(&records, &self.suites, &self.peer, &text, NOW, &mut rand::rng()).unwrap();
        let mut message = vec![u8::from(sealed.kind == EncKind::Pkmsg)];
        message.extend_from_slice(&u32::try_from(sealed.body.len()).unwrap().to_be_bytes());
        message.extend_from_slice(&sealed.body);
        let waiting = RecordKey::new(RecordKind::Outbox, format_args!("{next:08}"));
        batch.put_owned(waiting.clone(), message.clone());
        batch.put_owned(RecordKey::new(RecordKind::Meta, "next"), (next + 1).to_be_bytes().to_vec());
        self.commit(batch).unwrap();
        self.send(waiting, &message);
    }

    fn send(&mut self, waiting: RecordKey, message: &[u8]) {
        self.outbound.write_all(message).unwrap();
        let mut batch = Batch::new();
        batch.delete_owned(waiting);
        self.commit(batch).unwrap();
    }

    /// Opens the next message, if there is one: the ratchet's step, the plaintext and the place in one batch.
    fn hear(&mut self) -> bool {
        let heard = self.number("heard");
        let inbound = messages(&mut File::open(&self.inbound).unwrap(), heard);
        let Some(message) = inbound.first() else { return false };
        let keys = keys_for_decrypt(&self.suites, &self.peer, message.kind, &message.body).unwrap();
        let (records, policy) = (self.load(&keys), IdentityPolicy::Block);
        let opened =
            decrypt(&records, &self.suites, policy, &self.peer, message.kind, &message.body, NOW, &mut rand::rng());
        let mut batch = match opened {
            Ok((opened, mut batch)) => {
                let number = u64::from_be_bytes(*opened.plaintext.first_chunk().unwrap());
                let key = RecordKey::new(RecordKind::Inbox, format_args!("{number:08}"));
                let absent = self.store.load(&[key]).unwrap().remove(0);
                assert!(absent.value.is_none(), "message {number} arrived twice");
                batch.put(&absent, Vec::new());
                batch
            }
            Err(Error::Duplicate) => Batch::new(), // sent again after a kill
            Err(error) => panic!("at byte {heard}: {error}"),
        };
        batch.put_owned(RecordKey::new(RecordKind::Meta, "heard"), (heard + len(message)).to_be_bytes().to_vec());
        self.commit(batch).unwrap();
        true
    }
}

/// Bytes of a message in a log.
fn len(message: &Encrypted) -> u64 {
    message.body.len() as u64 + 5
}

/// The whole messages of a log from a byte on.
fn messages(log: &mut File, from: u64) -> Vec<Encrypted> {
    let mut bytes = Vec::new();
    log.seek(SeekFrom::Start(from)).unwrap();
    log.read_to_end(&mut bytes).unwrap();
    let (mut rest, mut messages) = (&bytes[..], Vec::new());
    while let Some(([pkmsg, len @ ..], after)) = rest.split_first_chunk::<5>()
        && let Some((body, after)) = after.split_at_checked(u32::from_be_bytes(*len) as usize)
    {
        let kind = if *pkmsg == 1 { EncKind::Pkmsg } else { EncKind::Msg };
        messages.push(Encrypted { kind, body: body.to_vec().into(), version: 0 });
        rest = after;
    }
    messages
}

/// Two accounts, and a session from the first to the second.
fn set_up(dir: &Path, version: u8) {
    let rng = &mut rand::rng();
    for name in NAMES {
        File::create(dir.join(name).with_extension("log")).unwrap();
    }
    let suites = match version {
        3 => Suites::new().with(comity_signal_x3dh::X3dh),
        _ => Suites::new().with(comity_signal_x3dh::X3dh).with(comity_signal_pqxdh::Pqxdh::new()),
    };
    let users = NAMES.map(|name| {
        let user = User::open(dir, name);
        let (_, batch) = Account::generate(&user.load(&[account_key()]), &suites, NOW, rng).unwrap();
        user.commit(batch).unwrap();
        user
    });
    let [alice, bob] = users;
    let account = Account::load(&bob.load(&[account_key()])).unwrap();
    let (one_time, batch) = Account::new_pre_keys(&bob.load(&[account_key()]), 1, rng).unwrap();
    bob.commit(batch).unwrap();
    let pq = account.pq_last_resort().map(|id| Account::pq_pre_key(&bob.load(&[pq_pre_key_key(id)]), id).unwrap());
    assert_eq!(pq.is_some(), version == 4);
    let bundle = Bundle {
        registration_id: account.registration_id(),
        identity: account.identity(),
        signed: account.signed_pre_key().clone(),
        one_time: one_time.into_iter().next(),
        pq,
    };
    let records = alice.load(&keys_for_encrypt(&alice.peer));
    let (established, batch) =
        establish(&records, &suites, IdentityPolicy::Block, &alice.peer, &bundle, NOW, rng).unwrap();
    assert_eq!(established.version, version);
    alice.commit(batch).unwrap();
    // Bob can speak from the first message on.
    let (mut alice, mut bob) = (alice, bob);
    alice.say();
    assert!(bob.hear());
}

/// Every number that was taken arrived, and no message key sealed two bodies.
fn check(dir: &Path, version: u8, kills: usize) {
    let users = NAMES.map(|name| User::open(dir, name));
    let mut total = 0;
    for (from, to) in [(0, 1), (1, 0)] {
        let taken = users[from].number("next");
        let arrived: Vec<String> = users[to]
            .store
            .scan(RecordKind::Inbox, "", "", usize::MAX)
            .unwrap()
            .into_iter()
            .map(|record| record.key.id.into())
            .collect();
        let expected: Vec<String> = (0..taken).map(|number| format!("{number:08}")).collect();
        assert_eq!(arrived, expected);
        let mut sealed = BTreeMap::new();
        for message in messages(&mut File::open(&users[to].inbound).unwrap(), 0) {
            let before = sealed.insert(signal_position(&message), message.clone());
            assert!(before.is_none_or(|before| before == message), "a key used twice");
        }
        assert_eq!(sealed.len() as u64, taken);
        total += taken;
    }
    assert!(total > kills as u64 / 2, "{total} messages in {kills} kills show little");
    println!("version {version}: {kills} kills, {total} messages, 0 lost, 0 keys used twice");
}
