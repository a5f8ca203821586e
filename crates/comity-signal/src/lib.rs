//! Signal accounts, pre-keys and sessions as values, with the engine plugged in as a suite (PROTOCOL §8).
//!
//! Operations take the records they need and give their output **and** one batch to commit. They do no I/O and keep no
//! state: whoever drives them loads ([`keys_for_encrypt`], [`keys_for_decrypt`]), calls, commits, and only then lets the
//! output out. A commit that fails [`Conflict`](comity_core::StoreError::Conflict) is answered by loading and calling
//! again, so any number of tasks and processes can work on one peer without a key being used twice.
//!
//! This crate speaks no Signal Protocol itself: a [`Suite`] does. `comity-signal-x3dh` is message version 3, WhatsApp's;
//! `comity-signal-pqxdh` is version 4. Another engine plugs in by implementing the trait.
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
