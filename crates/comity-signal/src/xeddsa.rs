//! XEdDSA over X25519 keys with both signs: bit 7 of byte 63 is the sign of the Edwards point (PROTOCOL §4).

use crate::{Error, PublicKey};
use ed25519_dalek::{Signature, VerifyingKey};
use rand_core::CryptoRng;
use xeddsa::xed25519;
use xeddsa::{ConvertMont, Sign};

/// Signs `message` with the X25519 secret; the signature's sign bit is 0.
pub fn sign(secret: &[u8; 32], message: &[u8], rng: &mut dyn CryptoRng) -> [u8; 64] {
    xed25519::PrivateKey(*secret).sign(message, rng)
}

/// Verifies a signature of either sign.
///
/// # Errors
/// [`Error::BadSignature`].
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
    let mut signature = *signature;
    let sign = signature[63] >> 7;
    signature[63] &= 0x7f;
    let edwards = xed25519::PublicKey(*key.as_bytes()).convert_mont(sign).map_err(|_| Error::BadSignature)?;
    let key = VerifyingKey::from_bytes(&edwards).map_err(|_| Error::BadSignature)?;
    // The strict form also refuses a small-order R.
    key.verify_strict(message, &Signature::from_bytes(&signature)).map_err(|_| Error::BadSignature)
}
