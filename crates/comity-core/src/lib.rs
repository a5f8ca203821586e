//! Ids, secrets, time, error kinds and storage as data: what every Comity crate shares and nothing else.
//!
//! No I/O: time and randomness are arguments.

mod error;
mod ids;
mod jid;
pub mod limits;
mod profile;
mod secret;
mod store;
mod time;

pub use error::ErrorKind;
pub use ids::{IdError, IntegratorId, MessageId, UserNumber, UserVisibleId};
pub use jid::{Jid, PartnerUser, Server};
pub use profile::{Field, Mark, Profile, ProfileError};
pub use rand_core::CryptoRng;
pub use secret::{Redacted, Secret, Wipe};
pub use store::{Batch, Change, Record, RecordKey, RecordKind, Revision, Store, StoreError};
pub use time::Timestamp;
