//! Our sessions: records in, change set out, as an application would call them.

use crate::TEXT;
use comity_client::SqliteStore;
use comity_core::{Batch, Change, Record, RecordKey, RecordKind, Revision, Store, Timestamp};
use comity_signal::{
    Account, Address, Bundle, Encrypted, IdentityPolicy, Records, Suites, account_key, decrypt, encrypt, establish,
    keys_for_decrypt, keys_for_encrypt, pq_pre_key_key,
};
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;

/// Messages of one commit.
pub const BATCH: usize = 64;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn suites(version: u8) -> Suites {
    let suites = Suites::new().with(X3dh);
    if version == 4 { suites.with(Pqxdh::new()) } else { suites }
}

/// Two users and what they hold.
#[derive(Clone)]
pub struct Pair {
    suites: Suites,
    addresses: [Address; 2],
    records: [Records; 2],
    bundle: Bundle,
}

impl Pair {
    pub fn new(version: u8) -> Self {
        let suites = suites(version);
        let rng = &mut rand::rng();
        let addresses = ["alice", "bob"].map(|name| Address::new(name, 0).unwrap());
        let mut records = [empty(&addresses[1]), empty(&addresses[0])];
        for records in &mut records {
            let (_, batch) = Account::generate(records, &suites, NOW, rng).unwrap();
            commit(records, batch);
        }
        let bob = &mut records[1];
        let (one_time, batch) = Account::new_pre_keys(bob, 1, rng).unwrap();
        commit(bob, batch);
        let account = Account::load(bob).unwrap();
        let pq = account.pq_last_resort().map(|id| {
            assert!(bob.get(&pq_pre_key_key(id)).is_ok());
            Account::pq_pre_key(bob, id).unwrap()
        });
        let bundle = Bundle {
            registration_id: account.registration_id(),
            identity: account.identity(),
            signed: account.signed_pre_key().clone(),
            one_time: one_time.into_iter().next(),
            pq,
        };
        Self { suites, addresses, records, bundle }
    }

    /// With a session that has gone both ways.
    pub fn talking(version: u8) -> Self {
        let mut pair = Self::new(version).establish();
        let answer = pair.encrypt(1);
        pair.decrypt(0, &answer);
        pair
    }

    pub fn establish(mut self) -> Self {
        let (peer, records) = (&self.addresses[1], &mut self.records[0]);
        let policy = IdentityPolicy::AcceptAndTell;
        let (_, batch) = establish(records, &self.suites, policy, peer, &self.bundle, NOW, &mut rand::rng()).unwrap();
        commit(records, batch);
        self.message();
        self
    }

    pub fn message(&mut self) {
        let sealed = self.encrypt(0);
        self.decrypt(1, &sealed);
    }

    fn encrypt(&mut self, from: usize) -> Encrypted {
        let (peer, records) = (&self.addresses[1 - from], &mut self.records[from]);
        let (sealed, batch) = encrypt(records, &self.suites, peer, &TEXT, NOW, &mut rand::rng()).unwrap();
        commit(records, batch);
        sealed
    }

    fn decrypt(&mut self, at: usize, sealed: &Encrypted) {
        let (peer, records) = (&self.addresses[1 - at], &mut self.records[at]);
        keys_for_decrypt(&self.suites, peer, sealed.kind, &sealed.body).unwrap();
        let policy = IdentityPolicy::AcceptAndTell;
        let (opened, batch) =
            decrypt(records, &self.suites, policy, peer, sealed.kind, &sealed.body, NOW, &mut rand::rng()).unwrap();
        assert_eq!(*opened.plaintext, TEXT);
        commit(records, batch);
    }
}

/// Commits to memory.
fn commit(records: &mut Records, batch: Batch) {
    for Change { key, value, .. } in batch.changes {
        records.insert(Record { key, revision: Revision::default(), value });
    }
}

/// The records that there are none of yet.
fn empty(peer: &Address) -> Records {
    let keys = keys_for_encrypt(peer).into_iter().chain([account_key()]);
    let store = SqliteStore::in_memory().unwrap();
    store.load(&keys.collect::<Vec<_>>()).unwrap().into_iter().collect()
}

/// One user, and as many peers as messages are committed together.
pub struct Durable {
    suites: Suites,
    store: SqliteStore,
    peers: Vec<Address>,
    _dir: tempfile::TempDir,
}

impl Durable {
    pub fn new(version: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("store.db")).unwrap();
        let suites = suites(version);
        let rng = &mut rand::rng();
        let load = |keys: &[RecordKey]| -> Records { store.load(keys).unwrap().into_iter().collect() };
        let (_, batch) = Account::generate(&load(&[account_key()]), &suites, NOW, rng).unwrap();
        store.commit(&[batch]).remove(0).unwrap();
        let bundle = Pair::new(version).bundle;
        let peers: Vec<Address> = (0..BATCH).map(|n| Address::new(&format!("peer{n}"), 0).unwrap()).collect();
        for peer in &peers {
            let policy = IdentityPolicy::AcceptAndTell;
            let records = load(&keys_for_encrypt(peer));
            let (_, batch) = establish(&records, &suites, policy, peer, &bundle, NOW, rng).unwrap();
            store.commit(&[batch]).remove(0).unwrap();
        }
        Self { suites, store, peers, _dir: dir }
    }

    /// A message to each peer: loaded, encrypted, and all of them committed with their bodies, durably.
    pub fn batch(&mut self) {
        let batches: Vec<Batch> = self.peers.iter().enumerate().map(|(n, peer)| self.message(n, peer)).collect();
        for result in self.store.commit(&batches) {
            result.unwrap();
        }
    }

    fn message(&self, n: usize, peer: &Address) -> Batch {
        let records: Records = self.store.load(&keys_for_encrypt(peer)).unwrap().into_iter().collect();
        let (sealed, mut batch) = encrypt(&records, &self.suites, peer, &TEXT, NOW, &mut rand::rng()).unwrap();
        batch.put_owned(RecordKey::new(RecordKind::Outbox, n), sealed.body.to_vec());
        batch
    }
}
