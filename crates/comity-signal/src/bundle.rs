//! Pre-key bundles, as fetched from the server or carried in a retry receipt (PROTOCOL §7, §8).

use crate::keys::PublicKey;
use crate::limits::{MAX_PQ_KEY_LEN, MAX_PRE_KEY_ID};
use crate::{Error, xeddsa};
use bytes::Bytes;

/// The public half of a one-time pre-key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreKeyPublic {
    /// Its id, 24 bits.
    pub id: u32,
    /// Its value.
    pub value: PublicKey,
}

/// The public half of a signed pre-key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPreKeyPublic {
    /// Its id, 24 bits.
    pub id: u32,
    /// Its value.
    pub value: PublicKey,
    /// XEdDSA of the identity key over the type byte 5 and the value.
    pub signature: [u8; 64],
}

/// The public half of a post-quantum pre-key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PqPreKeyPublic {
    /// Its id, 24 bits.
    pub id: u32,
    /// Its value as the suite writes it, type byte included.
    pub value: Bytes,
    /// XEdDSA of the identity key over the value.
    pub signature: [u8; 64],
}

/// What a session is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The peer's registration id; readers take any u32.
    pub registration_id: u32,
    /// The peer's identity key.
    pub identity: PublicKey,
    /// The signed pre-key.
    pub signed: SignedPreKeyPublic,
    /// A one-time pre-key, if the server had one left.
    pub one_time: Option<PreKeyPublic>,
    /// A post-quantum pre-key, if the peer publishes any.
    pub pq: Option<PqPreKeyPublic>,
}

impl Bundle {
    /// Checks ids and sizes. Low-order keys do not get this far: [`PublicKey`] refuses them.
    ///
    /// # Errors
    /// [`Error::Malformed`] for an id over 24 bits, [`Error::LimitExceeded`] for a post-quantum value over
    /// [`MAX_PQ_KEY_LEN`].
    pub fn check(&self) -> Result<(), Error> {
        let ids = [Some(self.signed.id), self.one_time.as_ref().map(|k| k.id), self.pq.as_ref().map(|k| k.id)];
        // Foreign clients count from 0 and up to 0xFFFFFF; only what 3 bytes hold is on the wire.
        if ids.into_iter().flatten().any(|id| id > MAX_PRE_KEY_ID + 1) {
            return Err(Error::Malformed("pre-key id"));
        }
        if self.pq.as_ref().is_some_and(|pq| pq.value.len() > MAX_PQ_KEY_LEN) {
            return Err(Error::LimitExceeded("post-quantum pre-key"));
        }
        Ok(())
    }

    /// Checks both signatures: for a suite whose engine does not.
    ///
    /// # Errors
    /// [`Error::BadSignature`].
    pub fn verify(&self) -> Result<(), Error> {
        xeddsa::verify(&self.identity, &self.signed.value.with_type(), &self.signed.signature)?;
        self.pq.as_ref().map_or(Ok(()), |pq| xeddsa::verify(&self.identity, &pq.value, &pq.signature))
    }
}
