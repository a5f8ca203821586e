//! XEdDSA signatures by X25519 keys: certificates (PROTOCOL §5.3) and signed pre-keys (PROTOCOL §8).
//!
//! The signature carries the sign of the signer's Edwards point in the otherwise unused bit 7 of its last byte, so both
//! signs occur on the wire. Ours always have sign 0; verification takes both.

use crate::{Error, PublicKey, StaticKey};
use comity_core::CryptoRng;
use ed25519_dalek::{Signature, VerifyingKey};
use xeddsa::xed25519;
use xeddsa::{ConvertMont as _, Sign as _};

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// Signs `message`; 64 bytes are drawn from `rng`.
pub fn sign(key: &StaticKey, message: &[u8], rng: &mut dyn CryptoRng) -> [u8; SIGNATURE_LEN] {
    xed25519::PrivateKey::from(key.expose()).sign(message, rng)
}

/// Verifies `signature` over `message`.
///
/// # Errors
/// [`Error::Signature`] if it does not verify, or key or signature hold a low-order point or an unreduced scalar.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), Error> {
    let mut plain = *signature;
    let [.., last] = &mut plain;
    let sign = *last >> 7;
    *last &= 0x7f;
    let edwards = xed25519::PublicKey(*key.as_bytes()).convert_mont(sign).map_err(|_| Error::Signature)?;
    VerifyingKey::from_bytes(&edwards)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(&plain)))
        .map_err(|_| Error::Signature)
}
