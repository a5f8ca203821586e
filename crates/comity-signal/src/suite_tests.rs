//! The tests that every suite has to pass, and the in-memory store they run on (feature `tests`).
//!
//! ```ignore
//! comity_signal::suite_tests!(one_to_one; MySuite::new());
//! comity_signal::suite_tests!(pre_keys; MySuite::new());
//! comity_signal::suite_tests!(groups; MySuite::new());
//! ```
//! `one_to_one` asks for what every engine should give; `pre_keys` for Signal's signed and one-time pre-keys; `groups`
//! for sender keys.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use crate::{
    Account, Address, Bundle, Decrypted, EncKind, Encrypted, Error, IdentityPolicy, Records, Suite, Suites,
    account_key, decrypt, encrypt, establish, group_decrypt, group_distribution, group_encrypt, group_process,
    keys_for_decrypt, keys_for_encrypt, keys_for_group, pre_key_key,
};
use comity_core::{Batch, Record, RecordKey, RecordKind, Revision, Secret, Timestamp};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A deterministic generator for tests: SHA-256 in counter mode over a seed.
#[derive(Clone, Debug)]
pub struct TestRng(u64, u64);

impl TestRng {
    pub const fn new(seed: u64) -> Self {
        Self(seed, 0)
    }
}

impl TryRng for TestRng {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut b = [0; 4];
        self.try_fill_bytes(&mut b)?;
        Ok(u32::from_le_bytes(b))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut b = [0; 8];
        self.try_fill_bytes(&mut b)?;
        Ok(u64::from_le_bytes(b))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(32) {
            self.1 += 1;
            let block = Sha256::new().chain_update(self.0.to_le_bytes()).chain_update(self.1.to_le_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

/// One end: an account, a store in memory, a clock that stands still.
#[derive(Clone, Debug)]
pub struct End {
    pub address: Address,
    pub suites: Suites,
    pub policy: IdentityPolicy,
    pub rng: TestRng,
    pub now: Timestamp,
    store: BTreeMap<RecordKey, (Revision, Vec<u8>)>,
    commits: u64,
    one_time: Vec<crate::PreKeyPublic>,
}

impl End {
    /// A fresh account with `one_time` one-time pre-keys of each sort.
    pub fn new(name: &str, seed: u64, suites: &Suites, one_time: usize) -> Self {
        let mut end = Self {
            address: Address::new(name, 0).unwrap(),
            suites: suites.clone(),
            policy: IdentityPolicy::AcceptAndTell,
            rng: TestRng::new(seed),
            now: Timestamp::from_secs(1_700_000_000),
            store: BTreeMap::new(),
            commits: 0,
            one_time: Vec::new(),
        };
        let records = end.load(&[account_key()]);
        let (_, batch) = Account::generate(&records, &end.suites, end.now, &mut end.rng).unwrap();
        end.commit(&batch).unwrap();
        let records = end.load(&[account_key()]);
        let (keys, batch) = Account::new_pre_keys(&records, one_time, &mut end.rng).unwrap();
        end.commit(&batch).unwrap();
        end.one_time = keys;
        end
    }

    pub fn load(&self, keys: &[RecordKey]) -> Records {
        keys.iter()
            .map(|key| {
                let found = self.store.get(key);
                Record {
                    key: key.clone(),
                    revision: found.map_or(Revision::ABSENT, |(revision, _)| *revision),
                    value: found.map(|(_, value)| Secret::new(value.clone())),
                }
            })
            .collect()
    }

    /// Commits a batch; `Err` if it is stale, and then nothing is written.
    #[expect(clippy::result_unit_err, reason = "test code")]
    pub fn commit(&mut self, batch: &Batch) -> Result<(), ()> {
        let stale = |change: &comity_core::Change| {
            let have = self.store.get(&change.key).map_or(Revision::ABSENT, |(revision, _)| *revision);
            change.expected.is_some_and(|expected| expected != have)
        };
        if batch.changes.iter().any(stale) {
            return Err(());
        }
        self.commits += 1;
        for change in &batch.changes {
            match &change.value {
                Some(value) => {
                    self.store.insert(change.key.clone(), (Revision(self.commits), value.expose().clone()));
                }
                None => {
                    self.store.remove(&change.key);
                }
            }
        }
        Ok(())
    }

    /// Every record's bytes.
    pub fn snapshot(&self) -> Vec<(RecordKey, Vec<u8>)> {
        self.store.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect()
    }

    pub fn count(&self, kind: RecordKind) -> usize {
        self.store.keys().filter(|key| key.kind == kind).count()
    }

    pub fn account(&self) -> Account {
        Account::load(&self.load(&[account_key()])).unwrap()
    }

    /// What the server hands out: each one-time pre-key once.
    pub fn bundle(&mut self) -> Bundle {
        let one_time = if self.one_time.is_empty() { None } else { Some(self.one_time.remove(0)) };
        let account = self.account();
        let pq = account
            .pq_last_resort()
            .map(|id| Account::pq_pre_key(&self.load(&[crate::pq_pre_key_key(id)]), id).unwrap());
        Bundle {
            registration_id: account.registration_id(),
            identity: account.identity(),
            signed: account.signed_pre_key().clone(),
            one_time,
            pq,
        }
    }

    pub fn establish(&mut self, peer: &Address, bundle: &Bundle) -> Result<crate::Established, Error> {
        let records = self.load(&keys_for_encrypt(peer));
        let (out, batch) = establish(&records, &self.suites, self.policy, peer, bundle, self.now, &mut self.rng)?;
        self.commit(&batch).unwrap();
        Ok(out)
    }

    pub fn encrypt(&mut self, peer: &Address, plaintext: &[u8]) -> Result<Encrypted, Error> {
        let records = self.load(&keys_for_encrypt(peer));
        let (out, batch) = encrypt(&records, &self.suites, peer, plaintext, self.now, &mut self.rng)?;
        self.commit(&batch).unwrap();
        Ok(out)
    }

    /// The output and the batch, not committed.
    pub fn try_decrypt(&mut self, peer: &Address, message: &Encrypted) -> Result<(Decrypted, Batch), Error> {
        let keys = keys_for_decrypt(&self.suites, peer, message.kind, &message.body)?;
        let records = self.load(&keys);
        decrypt(&records, &self.suites, self.policy, peer, message.kind, &message.body, self.now, &mut self.rng)
    }

    pub fn decrypt(&mut self, peer: &Address, message: &Encrypted) -> Result<Decrypted, Error> {
        let (out, batch) = self.try_decrypt(peer, message)?;
        self.commit(&batch).unwrap();
        Ok(out)
    }

    /// Asserts that `message` fails and that not one byte of any record changed; gives the error.
    pub fn refuses(&mut self, peer: &Address, message: &Encrypted) -> Error {
        let before = self.snapshot();
        let error = self.decrypt(peer, message).expect_err("refused");
        assert_eq!(before, self.snapshot(), "a failed decrypt changes no record");
        error
    }

    /// Asserts that `message` opens to `plaintext`.
    pub fn opens(&mut self, peer: &Address, message: &Encrypted, plaintext: &[u8]) -> Decrypted {
        let out = self.decrypt(peer, message).expect("opens");
        assert_eq!(out.plaintext.as_slice(), plaintext);
        assert_eq!(out.sender, *peer);
        out
    }
}

/// Two ends, each other's peers.
pub fn two(suite: impl Suite + 'static, one_time: usize) -> (End, End) {
    let suites = Suites::new().with(suite);
    (End::new("alice", 1, &suites, one_time), End::new("bob", 2, &suites, one_time))
}

/// Two ends with a session that has gone both ways.
pub fn talking(suite: impl Suite + 'static) -> (End, End) {
    let (mut a, mut b) = two(suite, 10);
    start(&mut a, &mut b);
    (a, b)
}

/// Lets `a` set up a session with `b`, and `b` answer.
pub fn start(a: &mut End, b: &mut End) {
    let bundle = b.bundle();
    a.establish(&b.address, &bundle).unwrap();
    let first = a.encrypt(&b.address, b"first").unwrap();
    assert_eq!(first.kind, EncKind::Pkmsg);
    b.opens(&a.address.clone(), &first, b"first");
    let answer = b.encrypt(&a.address, b"answer").unwrap();
    assert_eq!(answer.kind, EncKind::Msg);
    a.opens(&b.address.clone(), &answer, b"answer");
}

pub fn flipped(message: &Encrypted, at: usize, bit: u8) -> Encrypted {
    let mut body = message.body.to_vec();
    body[at] ^= 1 << bit;
    Encrypted { body: body.into(), ..message.clone() }
}

pub fn both_directions(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    for i in 0..40_u8 {
        let m = a.encrypt(&bob, &[i; 100]).unwrap();
        assert_eq!(m.kind, EncKind::Msg);
        b.opens(&alice, &m, &[i; 100]);
        if i % 3 == 0 {
            let m = b.encrypt(&alice, &[i]).unwrap();
            a.opens(&bob, &m, &[i]);
        }
    }
    let m = a.encrypt(&bob, b"").unwrap();
    b.opens(&alice, &m, b"");
}

/// 30 messages each way, delivered in a shuffled order: within the 40 skipped keys that every known engine keeps.
pub fn out_of_order(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    for round in 0..4_usize {
        let sent: Vec<_> = (0..30_u8).map(|i| a.encrypt(&bob, &[i]).unwrap()).collect();
        let back: Vec<_> = (0..30_u8).map(|i| b.encrypt(&alice, &[i]).unwrap()).collect();
        for i in 0..30_usize {
            let i = (i * 7 + 11 * round) % 30;
            b.opens(&alice, &sent[i], &[u8::try_from(i).unwrap()]);
            a.opens(&bob, &back[29 - i], &[u8::try_from(29 - i).unwrap()]);
        }
    }
}

pub fn replay_is_refused(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 3);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"1").unwrap();
    let second = a.encrypt(&bob, b"2").unwrap();
    b.opens(&alice, &first, b"1");
    b.opens(&alice, &second, b"2");
    assert_eq!(b.refuses(&alice, &first), Error::Duplicate);
    let answer = b.encrypt(&alice, b"3").unwrap();
    a.opens(&bob, &answer, b"3");
    assert!(matches!(a.refuses(&bob, &answer), Error::Duplicate | Error::NotAuthentic));
    for i in 0..5 {
        let m = a.encrypt(&bob, &[i]).unwrap();
        b.opens(&alice, &m, &[i]);
        assert!(matches!(b.refuses(&alice, &m), Error::Duplicate | Error::NotAuthentic));
    }
    assert_eq!(b.refuses(&alice, &second), Error::Duplicate);
}

/// Every byte of a `msg` and of a `pkmsg`, one bit each: refused, and no record changes.
pub fn a_failed_decrypt_changes_no_record(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 3);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"hello").unwrap();
    let tries = |len: usize| (0..len).filter(move |i| len < 400 || *i < 60 || *i + 60 > len || i % 17 == 0);
    let header = crate::wire::PreKeyMessage::parse(&first.body).map(|m| m.initial).ok();
    for at in tries(first.body.len()) {
        // The low half of the outer version byte is the sender's newest version: told, not used.
        let forged = flipped(&first, at, if at == 0 { 4 } else { u8::try_from(at % 8).unwrap() });
        // The registration id of a pkmsg is outside the MAC, and nothing is derived from it.
        let now = crate::wire::PreKeyMessage::parse(&forged.body).map(|m| m.initial).ok();
        if let (Some(header), Some(now)) = (&header, &now)
            && header.registration_id != now.registration_id
        {
            continue;
        }
        b.refuses(&alice, &forged);
    }
    b.opens(&alice, &first, b"hello");
    let answer = b.encrypt(&alice, b"answer").unwrap();
    for at in tries(answer.body.len()) {
        a.refuses(&bob, &flipped(&answer, at, u8::try_from(at % 8).unwrap()));
    }
    for cut in [0, 1, 8, 9, answer.body.len() - 1] {
        a.refuses(&bob, &Encrypted { body: answer.body.slice(..cut), ..answer.clone() });
    }
    a.opens(&bob, &answer, b"answer");
}

/// Two encryptions over the same records: only one of them commits, so only one may be sent; and what follows uses
/// another key. The same for two decryptions.
pub fn a_key_can_never_be_used_twice(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let mut bodies = std::collections::BTreeSet::new();
    for i in 0..20_u8 {
        let records = a.load(&keys_for_encrypt(&bob));
        let one = encrypt(&records, &a.suites, &bob, &[i], a.now, &mut TestRng::new(9)).unwrap();
        let two = encrypt(&records, &a.suites, &bob, &[i + 100], a.now, &mut TestRng::new(9)).unwrap();
        a.commit(&one.1).unwrap();
        assert!(a.commit(&two.1).is_err(), "the second commit over the same records is stale");
        assert!(bodies.insert(one.0.body.clone()));
        let (first, batch) = b.try_decrypt(&alice, &one.0).unwrap();
        let (_, again) = b.try_decrypt(&alice, &one.0).unwrap();
        assert_eq!(first.plaintext.as_slice(), [i]);
        b.commit(&batch).unwrap();
        assert!(b.commit(&again).is_err(), "a message is given to the application once");
        // What lost the race was never sent; the counter it would have used goes to the next message.
        b.refuses(&alice, &one.0);
    }
}

pub fn simultaneous_initiation(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 5);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let (of_a, of_b) = (a.bundle(), b.bundle());
    a.establish(&bob, &of_b).unwrap();
    b.establish(&alice, &of_a).unwrap();
    let from_a = a.encrypt(&bob, b"from a").unwrap();
    let from_b = b.encrypt(&alice, b"from b").unwrap();
    b.opens(&alice, &from_a, b"from a");
    a.opens(&bob, &from_b, b"from b");
    for i in 0..10 {
        let (from_a, from_b) = (a.encrypt(&bob, &[i]).unwrap(), b.encrypt(&alice, &[i]).unwrap());
        b.opens(&alice, &from_a, &[i]);
        a.opens(&bob, &from_b, &[i]);
    }
}

pub fn identity_change(suite: impl Suite + Clone + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let late = b.encrypt(&alice, b"late").unwrap();
    let old = b.account().identity();
    // Bob starts over with a new identity.
    let mut new_bob = End::new("bob", 77, &b.suites, 5);
    let bundle = a.bundle();
    new_bob.establish(&alice, &bundle).unwrap();
    let hello = new_bob.encrypt(&alice, b"new phone").unwrap();
    let new = new_bob.account().identity();

    let mut blocking = a.clone();
    blocking.policy = IdentityPolicy::Block;
    assert_eq!(blocking.refuses(&bob, &hello), Error::IdentityChanged { identity: new });
    let records = blocking.load(&crate::keys_for_peer(&bob));
    let batch = crate::accept_identity(&records, &bob, new).unwrap();
    blocking.commit(&batch).unwrap();
    assert_eq!(blocking.encrypt(&bob, b"x").unwrap_err(), Error::NoSession);
    assert_eq!(blocking.opens(&bob, &hello, b"new phone").identity, new);

    let out = a.opens(&bob, &hello, b"new phone");
    assert_eq!(out.identity_change, Some(crate::IdentityChange { old, new }));
    assert_eq!(out.identity, new);
    // What is under way from the old identity no longer speaks for Bob, and does not bring that identity back.
    assert!(matches!(a.refuses(&bob, &late), Error::UntrustedIdentity | Error::NotAuthentic | Error::NoSession));
    let m = a.encrypt(&bob, b"to the new one").unwrap();
    new_bob.opens(&alice, &m, b"to the new one");
    assert!(matches!(b.refuses(&alice, &m), Error::NotAuthentic | Error::NoSession | Error::MissingPreKey));
    let m = new_bob.encrypt(&alice, b"no change now").unwrap();
    assert_eq!(a.opens(&bob, &m, b"no change now").identity_change, None);
}

pub fn archived_sessions_read_but_do_not_send(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let under_way = b.encrypt(&alice, b"under way").unwrap();
    let records = a.load(&crate::keys_for_peer(&bob));
    let batch = crate::archive(&records, &a.suites, &bob).unwrap();
    a.commit(&batch).unwrap();
    assert_eq!(a.encrypt(&bob, b"x").unwrap_err(), Error::NoSession);
    a.opens(&bob, &under_way, b"under way");
}

pub fn no_session(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob, carol) = (a.address.clone(), b.address.clone(), Address::new("carol", 0).unwrap());
    assert_eq!(a.encrypt(&carol, b"x").unwrap_err(), Error::NoSession);
    let m = a.encrypt(&bob, b"x").unwrap();
    assert_eq!(b.refuses(&carol, &m), Error::NoSession);
    b.opens(&alice, &m, b"x");
}

pub fn without_one_time_key(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 0);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    assert!(bundle.one_time.is_none());
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    let out = b.opens(&alice, &first, b"first");
    assert_eq!((out.new_session, out.consumed_pre_key), (true, None));
    let answer = b.encrypt(&alice, b"answer").unwrap();
    a.opens(&bob, &answer, b"answer");
    // Played again after the session is gone, it would open: no one-time key stands against it.
    let batch = crate::accept_identity(&b.load(&crate::keys_for_peer(&alice)), &alice, b.account().identity()).unwrap();
    b.commit(&batch).unwrap();
    assert_eq!(b.refuses(&alice, &first), Error::Duplicate);
}

pub fn one_time_keys_are_used_once_and_only_on_success(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 2);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    let id = bundle.one_time.as_ref().unwrap().id;
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    let forged = flipped(&first, first.body.len() - 20, 0);
    b.refuses(&alice, &forged);
    assert_eq!(b.count(RecordKind::PreKey), 2);
    let (out, batch) = b.try_decrypt(&alice, &first).unwrap();
    assert_eq!((out.new_session, out.consumed_pre_key), (true, Some(id)));
    assert!(batch.changes.iter().any(|c| c.key == pre_key_key(id) && c.value.is_none()), "in the same batch");
    b.commit(&batch).unwrap();
    assert_eq!(b.count(RecordKind::PreKey), 1);
    // Another session over the same bundle: the key is gone.
    let mut c = End::new("carol", 3, &a.suites, 0);
    c.establish(&bob, &bundle).unwrap();
    let m = c.encrypt(&bob, b"x").unwrap();
    assert_eq!(b.refuses(&c.address.clone(), &m), Error::MissingPreKey);
    let second = a.encrypt(&bob, b"second").unwrap();
    let out = b.opens(&alice, &second, b"second");
    assert_eq!((out.new_session, out.consumed_pre_key), (false, None));
}

/// An identity put in place of the sender's in the outer part of a `pkmsg`, which no MAC covers.
pub fn the_outer_identity_is_bound(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 2);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    b.opens(&alice, &first, b"first");
    let second = a.encrypt(&bob, b"second").unwrap();
    let mallory = End::new("mallory", 66, &a.suites, 0).account().identity();
    let mut body = second.body.to_vec();
    let ours = a.account().identity();
    let at = body.windows(32).position(|w| w == ours.as_bytes()).expect("identity in the pkmsg");
    body[at..at + 32].copy_from_slice(mallory.as_bytes());
    b.refuses(&alice, &Encrypted { body: body.into(), ..second.clone() });
    assert_eq!(b.opens(&alice, &second, b"second").identity, ours);
}

pub fn bad_bundles_are_refused(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 1);
    let bob = b.address.clone();
    let bundle = b.bundle();
    let before = a.snapshot();
    let mut bad = bundle.clone();
    bad.signed.signature[5] ^= 1;
    assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    let mut bad = bundle.clone();
    bad.signed.value = a.account().identity();
    assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    let mut bad = bundle.clone();
    bad.identity = a.account().identity();
    assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    if let Some(pq) = &bundle.pq {
        let mut bad = bundle.clone();
        let mut value = pq.value.to_vec();
        value[100] ^= 1;
        bad.pq.as_mut().unwrap().value = value.into();
        assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    }
    assert_eq!(before, a.snapshot());
    a.establish(&bob, &bundle).unwrap();
}

/// Each of the twelve in place of the base key, the identity and the ratchet key of a `pkmsg`, and in a bundle.
pub fn low_order_keys_are_refused(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 1);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    let message = crate::wire::PreKeyMessage::parse(&first.body).unwrap();
    let ratchet_key = crate::wire::SignalMessage::parse(message.inner).unwrap().ratchet_key;
    for low in crate::keys::LOW_ORDER {
        assert_eq!(crate::PublicKey::new(low).unwrap_err(), Error::LowOrderKey, "no bundle can hold it");
        for key in [message.initial.base_key, message.initial.identity, ratchet_key] {
            let mut body = first.body.to_vec();
            let at = body.windows(32).position(|w| w == key.as_bytes()).unwrap();
            body[at..at + 32].copy_from_slice(&low);
            assert_eq!(b.refuses(&alice, &Encrypted { body: body.into(), ..first.clone() }), Error::LowOrderKey);
        }
    }
    b.opens(&alice, &first, b"first");
}

/// A message `most` ahead opens, one further does not; `most` is the engine's bound.
pub fn skips(suite: impl Suite + 'static, most: usize) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    // The first of a new chain, so that the next ones only skip.
    let m = a.encrypt(&bob, b"0").unwrap();
    b.opens(&alice, &m, b"0");
    for _ in 0..most {
        a.encrypt(&bob, b"skipped").unwrap();
    }
    let at_bound = a.encrypt(&bob, b"at the bound").unwrap();
    let beyond = a.encrypt(&bob, b"beyond").unwrap();
    assert!(matches!(b.refuses(&alice, &beyond), Error::LimitExceeded(_) | Error::NotAuthentic));
    b.opens(&alice, &at_bound, b"at the bound");
    b.opens(&alice, &beyond, b"beyond");
}

pub fn signed_pre_key_rotation(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 0);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let old = b.bundle();
    let (signed, batch) = Account::rotate(&b.load(&[account_key()]), b.now, &mut b.rng).unwrap();
    b.commit(&batch).unwrap();
    assert_ne!(signed.id, old.signed.id);
    assert_eq!(b.bundle().signed, signed);
    a.establish(&bob, &old).unwrap();
    let m = a.encrypt(&bob, b"old key").unwrap();
    b.opens(&alice, &m, b"old key");
    for _ in 0..20 {
        b.now = b.now.after(core::time::Duration::from_hours(24));
        let (_, batch) = Account::rotate(&b.load(&[account_key()]), b.now, &mut b.rng).unwrap();
        b.commit(&batch).unwrap();
    }
    assert_eq!(b.count(RecordKind::SignedPreKey), 1 + crate::limits::MAX_PREVIOUS_SIGNED_PRE_KEYS);
    let mut c = End::new("carol", 3, &a.suites, 0);
    c.establish(&bob, &old).unwrap();
    let m = c.encrypt(&bob, b"too late").unwrap();
    assert_eq!(b.refuses(&c.address.clone(), &m), Error::MissingPreKey);
}

const GROUP: &str = "120363000000000001@g.us";

fn distribution(end: &mut End) -> Vec<u8> {
    let me = end.address.clone();
    let version = end.suites.iter().next().unwrap().version();
    let records = end.load(&keys_for_group(GROUP, &me));
    let (out, batch) = group_distribution(&records, &end.suites, version, GROUP, &me, &mut end.rng).unwrap();
    end.commit(&batch).unwrap();
    out.to_vec()
}

fn group_send(end: &mut End, plaintext: &[u8]) -> Encrypted {
    let me = end.address.clone();
    let records = end.load(&keys_for_group(GROUP, &me));
    let (out, batch) = group_encrypt(&records, &end.suites, GROUP, &me, plaintext, &mut end.rng).unwrap();
    end.commit(&batch).unwrap();
    out
}

fn group_read(end: &mut End, from: &Address, message: &Encrypted) -> Result<Vec<u8>, Error> {
    let before = end.snapshot();
    let records = end.load(&keys_for_group(GROUP, from));
    match group_decrypt(&records, &end.suites, GROUP, from, &message.body) {
        Ok((out, batch)) => {
            end.commit(&batch).unwrap();
            Ok(out.plaintext.to_vec())
        }
        Err(error) => {
            assert_eq!(before, end.snapshot());
            Err(error)
        }
    }
}

pub fn sender_keys(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let dist = distribution(&mut a);
    assert_eq!(dist, distribution(&mut a), "one key until it is rotated");
    let m = a.encrypt(&bob, &dist).unwrap();
    let got = b.opens(&alice, &m, &dist);
    let records = b.load(&keys_for_group(GROUP, &alice));
    let batch = group_process(&records, &b.suites, GROUP, &alice, got.identity, &got.plaintext).unwrap();
    b.commit(&batch).unwrap();

    let sent: Vec<_> = (0..20_u8).map(|i| group_send(&mut a, &[i; 50])).collect();
    assert!(sent.iter().all(|m| m.kind == EncKind::Skmsg));
    for i in (0..20_usize).map(|i| (i * 7) % 20) {
        assert!(group_read(&mut b, &alice, &flipped(&sent[i], sent[i].body.len() / 2, 1)).is_err());
        assert_eq!(group_read(&mut b, &alice, &sent[i]).unwrap(), [u8::try_from(i).unwrap(); 50]);
        assert_eq!(group_read(&mut b, &alice, &sent[i]).unwrap_err(), Error::Duplicate);
    }
    assert_eq!(group_read(&mut b, &Address::new("carol", 0).unwrap(), &sent[0]).unwrap_err(), Error::NoSenderKey);
    let records = a.load(&keys_for_group(GROUP, &alice));
    let batch = crate::group_rotate(&records, GROUP, &alice).unwrap();
    a.commit(&batch).unwrap();
    let records = a.load(&keys_for_group(GROUP, &alice));
    assert_eq!(
        group_encrypt(&records, &a.suites, GROUP, &alice, b"x", &mut a.rng).unwrap_err(),
        Error::NoSenderKey,
        "a rotated key is not used again"
    );
    assert_ne!(dist, distribution(&mut a));
    let m = group_send(&mut a, b"under the new key");
    assert_eq!(group_read(&mut b, &alice, &m).unwrap_err(), Error::NoSenderKey);
}

/// One encryption per load: with a fresh load before each, iterations go up by one, none skipped, none repeated.
pub fn sender_keys_count_on(suite: impl Suite + 'static) {
    let (mut a, _) = talking(suite);
    distribution(&mut a);
    let bodies: std::collections::BTreeSet<_> = (0..100).map(|_| group_send(&mut a, b"same").body).collect();
    assert_eq!(bodies.len(), 100);
}

/// A sender key is bound to the identity of the session that brought it.
pub fn sender_keys_are_bound_to_identity(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let alice = a.address.clone();
    let dist = distribution(&mut a);
    let stranger = End::new("alice", 99, &a.suites, 0).account().identity();
    let records = b.load(&keys_for_group(GROUP, &alice));
    let batch = group_process(&records, &b.suites, GROUP, &alice, stranger, &dist).unwrap();
    b.commit(&batch).unwrap();
    let m = group_send(&mut a, b"x");
    assert_eq!(group_read(&mut b, &alice, &m).unwrap_err(), Error::UntrustedIdentity);
}

/// Generates the generic tests of a group (`one_to_one`, `pre_keys`, `groups`) for a suite.
#[macro_export]
macro_rules! suite_tests {
    (@each $suite:expr; $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::suite_tests::$name($suite);
        })*
    };
    (one_to_one; $suite:expr) => {
        $crate::suite_tests!(@each $suite; both_directions out_of_order replay_is_refused
            a_failed_decrypt_changes_no_record a_key_can_never_be_used_twice simultaneous_initiation identity_change
            archived_sessions_read_but_do_not_send no_session);
    };
    (pre_keys; $suite:expr) => {
        $crate::suite_tests!(@each $suite; without_one_time_key one_time_keys_are_used_once_and_only_on_success
            the_outer_identity_is_bound bad_bundles_are_refused low_order_keys_are_refused signed_pre_key_rotation);
    };
    (groups; $suite:expr) => {
        $crate::suite_tests!(@each $suite; sender_keys sender_keys_count_on sender_keys_are_bound_to_identity);
    };
}
