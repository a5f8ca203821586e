//! Signal accounts, pre-keys and sessions as values, with the engine plugged in as a suite (PROTOCOL §8).
//!
//! Operations take the records they need and give their output **and** one batch to commit. They do no I/O and keep no
//! state: whoever drives them loads ([`keys_for_encrypt`], [`keys_for_decrypt`]), calls, commits, and only then lets
//! the output out. A commit that fails [`Conflict`](comity_core::StoreError::Conflict) is answered by loading and
//! calling again, so any number of tasks and processes can work on one peer without a key being used twice.
//!
//! # In two minutes
//! 1. A store: yours, behind [`Store`](comity_core::Store), or the SQLite one of `comity-client`.
//! 2. The suites: `Suites::new().with(X3dh).with(Pqxdh::new())` of `comity-signal-x3dh` (message version 3, WhatsApp's)
//!    and `comity-signal-pqxdh` (version 4), both AGPL, or an engine of your own. What is spoken with whom is
//!    negotiated.
//! 3. Once: [`Account::generate`]; now and then [`Account::new_pre_keys`], [`Account::rotate`] when
//!    [`rotation_due`](Account::rotation_due), [`Account::prune`]. Commit, then upload what they gave.
//! 4. Every operation the same way, here sending; [`decrypt`] and the group's functions differ in their arguments
//!    alone:
//!
//! ```
//! use comity_core::{CryptoRng, Store, StoreError, Timestamp};
//! use comity_signal::{
//!     Address, Bundle, Encrypted, Error, IdentityPolicy, Suites, encrypt, establish, keys_for_encrypt, merge,
//! };
//!
//! fn send(
//!     store: &dyn Store,
//!     suites: &Suites,
//!     to: &Address,
//!     padded: &[u8],
//!     fetch: &dyn Fn() -> Bundle,
//!     now: Timestamp,
//!     rng: &mut dyn CryptoRng,
//! ) -> Result<Encrypted, Box<dyn std::error::Error>> {
//!     loop {
//!         let mut records: comity_signal::Records = store.load(&keys_for_encrypt(to))?.into_iter().collect();
//!         let (message, batch) = match encrypt(&records, suites, to, padded, now, rng) {
//!             Err(Error::NoSession) => {
//!                 let policy = IdentityPolicy::AcceptAndTell;
//!                 let (_, built) = establish(&records, suites, policy, to, &fetch(), now, rng)?;
//!                 records.apply(&built);
//!                 let (message, batch) = encrypt(&records, suites, to, padded, now, rng)?;
//!                 (message, merge(built, batch))
//!             }
//!             done => done?,
//!         };
//!         match store.commit(&[batch]).remove(0) {
//!             Ok(_) => return Ok(message), // durable: it may leave
//!             Err(StoreError::Conflict) => {} // another task came first: from the load again
//!             Err(error) => return Err(error.into()),
//!         }
//!     }
//! }
//! ```
//!
//! An error never comes with a batch: nothing was changed or used up. [`Error::retry_code`] says which of them a retry
//! receipt answers; counting those, and holding back a peer that asks too often ([`limits::MAX_RETRIES_PER_MESSAGE`],
//! [`limits::MAX_REBUILDS_PER_PEER`]), is the driver's part, as is not taking a message id twice. `comity-engine` does
//! both.
//!
//! # An engine of your own
//! This crate speaks no Signal Protocol itself: a [`Suite`] does. Implement the trait over your engine: bytes of state
//! in, bytes of state out, under a message version that no other suite has (the high nibble of each body's first byte).
//! What is asked beyond encrypting and decrypting: [`Suite::inspect`] reads what a first message names without any key
//! and checks every public key in it; the session that opened a message says whose identity it has; archived sessions
//! read and do not send. Then let it show what it promises (feature `tests`):
//!
//! ```text
//! comity_signal::suite_tests!(one_to_one; MySuite::new()); // what every engine should give
//! comity_signal::suite_tests!(pre_keys; MySuite::new());   // with Signal's signed and one-time pre-keys
//! comity_signal::suite_tests!(groups; MySuite::new());     // with sender keys
//! comity_signal::suite_tests!(histories; MySuite::new(), comity_signal::suite_tests::signal_position);
//! ```
//!
//! `comity-testkit` has a suite over vodozemac's Olm, which passes `one_to_one` and `histories`. It keeps 40 skipped
//! keys of a chain and has no signed pre-key, no post-quantum part and no sender keys: a subset is allowed, if it is
//! known.
//!
//! # A store of your own
//! `comity_signal::store_tests!` holds it to what the operations rest on: batches that are written as a whole,
//! conflicts, two handles on one medium, restarts.
//!
//! # Limits
//! Every bound is a constant in [`limits`]. How many skipped messages a session follows a sender over is its suite's
//! matter: 2,000 in versions 3 and 4. Where official clients write both addresses into a message (UUID
//! names, since 0.91), the sender's is held against the peer; ours is not known here, and is bound by the identity keys
//! under the MAC. Multi-device fan-out, sealed sender and sender-key members' lists are not part of this crate.
#![deny(unsafe_code)]

mod account;
mod address;
mod bundle;
mod codec;
mod error;
mod fingerprint;
mod group;
mod keys;
pub mod limits;
mod padding;
mod records;
mod session;
#[cfg(feature = "tests")]
pub mod store_tests;
mod suite;
#[cfg(feature = "tests")]
pub mod suite_tests;
pub mod wire;
pub mod xeddsa;

pub use account::{Account, Import};
pub use address::Address;
pub use bundle::{Bundle, PqPreKeyPublic, PreKeyPublic, SignedPreKeyPublic};
pub use error::Error;
pub use fingerprint::{Party, safety_number};
pub use group::{group_decrypt, group_distribution, group_encrypt, group_process, group_rotate, keys_for_group};
pub use keys::{KEY_TYPE, KeyPair, PublicKey};
pub use padding::{pad, unpad};
pub use records::{
    Records, account_key, identity_key, merge, pq_pre_key_key, pre_key_key, sender_key_key, session_key,
    signed_pre_key_key,
};
pub use session::{
    Decrypted, Encrypted, Established, IdentityChange, IdentityPolicy, accept_identity, archive, decrypt, encrypt,
    establish, has_session, keys_for_decrypt, keys_for_encrypt, keys_for_peer, pinned_identity,
};
pub use suite::{Context, EncKind, Initial, Opened, PqKeyPair, PreKeys, Sealed, State, Suite, Suites};
