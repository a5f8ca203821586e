//! Values sealed at rest: `format ‖ salt 16 ‖ nonce 12 ‖ ciphertext ‖ tag 16`.
//!
//! Each value has a key of its own, HMAC-SHA256(key, salt), so that random nonces never come near their limit; the record's
//! kind, id and revision are authenticated, so that values cannot be moved or rolled back one by one.

use aes_gcm::aead::KeyInit as _;
use aes_gcm::{AeadInOut as _, Aes256Gcm};
use comity_core::{RecordKey, Secret, StoreError};
use hmac::{Hmac, Mac as _};
use rand_core::TryRng as _;
use sha2::Sha256;

const FORMAT: u8 = 1;
const SALT: usize = 16;
const NONCE: usize = 12;
const HEAD: usize = 1 + SALT + NONCE;

/// The store's key.
pub(crate) struct Seal(Secret<[u8; 32]>);

impl Seal {
    pub(crate) const fn new(key: Secret<[u8; 32]>) -> Self {
        Self(key)
    }

    pub(crate) fn seal(&self, key: &RecordKey, revision: u64, value: &Secret<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
        let mut random = [0; SALT + NONCE];
        getrandom::SysRng.try_fill_bytes(&mut random).map_err(|e| StoreError::Medium(e.to_string()))?;
        let (salt, nonce) = random.split_first_chunk::<SALT>().ok_or(StoreError::Key)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| StoreError::Key)?;
        let mut sealed = Vec::with_capacity(HEAD + value.expose().len() + 16);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&random);
        sealed.extend_from_slice(value.expose());
        let text = sealed.get_mut(HEAD..).unwrap_or_default();
        let tag = self
            .cipher(salt)?
            .encrypt_inout_detached(&nonce.into(), &aad(key, revision), text.into())
            .map_err(|_| StoreError::Medium("a value is too long to be sealed".to_owned()))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    pub(crate) fn open(&self, key: &RecordKey, revision: u64, sealed: Vec<u8>) -> Result<Secret<Vec<u8>>, StoreError> {
        let damaged = || StoreError::Corrupt(format!("{key:?} does not open"));
        let (&format, rest) = sealed.split_first().ok_or_else(damaged)?;
        let (salt, rest) = rest.split_first_chunk::<SALT>().ok_or_else(damaged)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let (text, tag) = rest.split_last_chunk::<16>().ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(damaged());
        }
        let mut text = text.to_vec();
        self.cipher(salt)?
            .decrypt_inout_detached(&(*nonce).into(), &aad(key, revision), (&mut *text).into(), tag.into())
            .map_err(|_| damaged())?;
        Ok(Secret::new(text))
    }

    fn cipher(&self, salt: &[u8; SALT]) -> Result<Aes256Gcm, StoreError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).map_err(|_| StoreError::Key)?;
        mac.update(salt);
        Ok(Aes256Gcm::new(&mac.finalize().into_bytes()))
    }
}

fn aad(key: &RecordKey, revision: u64) -> Vec<u8> {
    [&[FORMAT, key.kind as u8][..], &revision.to_be_bytes(), key.id.as_bytes()].concat()
}
