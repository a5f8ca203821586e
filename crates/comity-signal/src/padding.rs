//! The padding of `enc v=2` plaintexts: n bytes of value n (PROTOCOL §8).

use crate::Error;
use rand_core::CryptoRng;

/// Appends n bytes of value n, n random in 1..=16.
pub fn pad(plaintext: &mut Vec<u8>, rng: &mut dyn CryptoRng) {
    let mut byte = [0];
    rng.fill_bytes(&mut byte);
    let n = (byte[0] & 15) + 1;
    plaintext.resize(plaintext.len() + usize::from(n), n);
}

/// The plaintext without its padding.
///
/// # Errors
/// [`Error::BadPadding`] unless the last n bytes, n the last one, are all n, with 1 ≤ n ≤ length.
pub fn unpad(padded: &[u8]) -> Result<&[u8], Error> {
    let n = *padded.last().ok_or(Error::BadPadding)?;
    let at = padded.len().checked_sub(usize::from(n)).ok_or(Error::BadPadding)?;
    let (plaintext, padding) = padded.split_at(at);
    if n == 0 || padding.iter().any(|b| *b != n) {
        return Err(Error::BadPadding);
    }
    Ok(plaintext)
}
