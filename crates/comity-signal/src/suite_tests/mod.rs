//! The tests that every suite has to pass, and the in-memory store they run on (feature `tests`).
//!
//! ```text
//! comity_signal::suite_tests!(one_to_one; MySuite::new());
//! comity_signal::suite_tests!(pre_keys; MySuite::new());
//! comity_signal::suite_tests!(groups; MySuite::new());
//! comity_signal::suite_tests!(histories; MySuite::new(), comity_signal::suite_tests::signal_position);
//! ```
//! `one_to_one` asks for what every engine should give; `pre_keys` for Signal's signed and one-time pre-keys; `groups`
//! for sender keys; `histories` runs two clients through random histories, and wants to be told what names the message
//! key of a body. A history that fails shows its seed, for [`history`].
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

mod groups;
mod histories;
mod one_to_one;
mod pre_keys;
mod state;

use crate::store_tests::MemoryStore;
use crate::{
    Account, Address, Bundle, Decrypted, EncKind, Encrypted, Error, IdentityPolicy, Records, Suite, Suites,
    account_key, decrypt, encrypt, establish, keys_for_decrypt, keys_for_encrypt,
};
use comity_core::{Batch, RecordKey, RecordKind, Store, StoreError, Timestamp};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

pub use groups::*;
pub use histories::*;
pub use one_to_one::*;
pub use pre_keys::*;
pub use state::*;

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
#[derive(Debug)]
pub struct End {
    pub address: Address,
    pub suites: Suites,
    pub policy: IdentityPolicy,
    pub rng: TestRng,
    pub now: Timestamp,
    pub store: MemoryStore,
    one_time: Vec<crate::PreKeyPublic>,
}

/// A clone has a store of its own.
impl Clone for End {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            suites: self.suites.clone(),
            policy: self.policy,
            rng: self.rng.clone(),
            now: self.now,
            store: self.store.fork(),
            one_time: self.one_time.clone(),
        }
    }
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
            store: MemoryStore::new(),
            one_time: Vec::new(),
        };
        let records = end.load(&[account_key()]);
        let (_, batch) = Account::generate(&records, &end.suites, end.now, &mut end.rng).unwrap();
        end.commit(&batch).unwrap();
        end.upload(one_time);
        end
    }

    /// Gives the server `one_time` more one-time pre-keys.
    pub fn upload(&mut self, one_time: usize) {
        let records = self.load(&[account_key()]);
        let (keys, batch) = Account::new_pre_keys(&records, one_time, &mut self.rng).unwrap();
        self.commit(&batch).unwrap();
        self.one_time.extend(keys);
    }

    pub fn load(&self, keys: &[RecordKey]) -> Records {
        self.store.load(keys).unwrap().into_iter().collect()
    }

    /// Commits a batch; fails if it is stale, and then nothing is written.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.store.commit(core::slice::from_ref(batch)).remove(0).map(drop)
    }

    /// Every record's bytes.
    pub fn snapshot(&self) -> Vec<(RecordKey, Vec<u8>)> {
        self.store.snapshot()
    }

    pub fn count(&self, kind: RecordKind) -> usize {
        self.store.scan(kind, "", "", usize::MAX).unwrap().len()
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

/// Generates the generic tests of a group (`one_to_one`, `pre_keys`, `groups`, `histories`) for a suite.
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
            archived_sessions_read_but_do_not_send no_session crashes_lose_nothing_and_repeat_nothing
            sixty_four_at_once);
    };
    (pre_keys; $suite:expr) => {
        $crate::suite_tests!(@each $suite; without_one_time_key one_time_keys_are_used_once_and_only_on_success
            the_outer_identity_is_bound bad_bundles_are_refused low_order_keys_are_refused a_message_is_from_whom_it_says
            signed_pre_key_rotation);
    };
    (histories; $suite:expr, $position:expr) => {
        #[test]
        fn histories() {
            $crate::suite_tests::histories(&$crate::Suites::new().with($suite), $position);
        }
    };
    (state; $suite:expr, $text:expr) => {
        #[test]
        fn stored_state_is_read() {
            $crate::suite_tests::stored_state_is_read($suite, $text);
        }

        #[test]
        fn damaged_state_is_an_error() {
            $crate::suite_tests::damaged_state_is_an_error($suite, $text);
        }
    };
    (groups; $suite:expr) => {
        $crate::suite_tests!(@each $suite; sender_keys sender_keys_count_on sender_keys_are_bound_to_identity
            low_order_signing_keys_are_refused a_sender_key_can_never_be_used_twice);
    };
}
