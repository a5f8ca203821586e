//! Safety numbers: the displayable Signal fingerprint (PROTOCOL §8).

use crate::limits::{FINGERPRINT_ROUNDS, MAX_FINGERPRINT_ID_LEN};
use crate::{Error, PublicKey};
use sha2::{Digest, Sha512};

/// One side of a safety number.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The internal id, canonical text.
    pub id: &'a str,
    /// The identity key.
    pub identity: PublicKey,
}

/// The 60 digits both sides can compare; the same whoever computes them.
///
/// # Errors
/// [`Error::LimitExceeded`] for an id over [`MAX_FINGERPRINT_ID_LEN`].
pub fn safety_number(one: Party<'_>, other: Party<'_>) -> Result<String, Error> {
    let (one, other) = (half(one)?, half(other)?);
    Ok(if one <= other { one + &other } else { other + &one })
}

fn half(party: Party<'_>) -> Result<String, Error> {
    if party.id.len() > MAX_FINGERPRINT_ID_LEN {
        return Err(Error::LimitExceeded("id of a safety number"));
    }
    let key = party.identity.with_type();
    // The first round hashes version ‖ key ‖ id ‖ key, each later one hash ‖ key.
    let mut hash =
        Sha512::new().chain_update([0, 0]).chain_update(key).chain_update(party.id).chain_update(key).finalize();
    for _ in 1..FINGERPRINT_ROUNDS {
        hash = Sha512::new().chain_update(hash).chain_update(key).finalize();
    }
    let mut digits = String::with_capacity(60);
    for chunk in hash.chunks_exact(5).take(6) {
        let n = chunk.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        digits += &format!("{:05}", n % 100_000);
    }
    Ok(digits)
}
