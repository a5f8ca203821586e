//! Format 1, reading: nothing counts as the file before MAC, hashes and length are verified (PROTOCOL §10).

use crate::encrypt::{ciphertext_length, encrypted_length};
use crate::key::{BLOCK_LEN, Derived, HmacSha256, MAC_LEN, tag};
use crate::limits::PIECE_LEN;
use crate::{Encrypted, Error, Limits, MediaKey, MediaKind};
use aes::Aes256;
use bytes::{BufMut, Bytes, BytesMut};
use cbc::cipher::{Array, BlockModeDecrypt};
use hmac::Mac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the message says about the file, and what the file has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `fileSHA256`
    pub file_sha256: [u8; 32],
    /// `fileEncSHA256`
    pub file_enc_sha256: [u8; 32],
    /// `fileLength`
    pub file_length: u64,
}

impl From<&Encrypted> for Expected {
    fn from(encrypted: &Encrypted) -> Self {
        Self {
            file_sha256: encrypted.file_sha256,
            file_enc_sha256: encrypted.file_enc_sha256,
            file_length: encrypted.file_length,
        }
    }
}

/// Plaintext that nothing vouches for yet: it may be written where nobody reads it, and becomes the file only with a
/// [`Verified`].
#[derive(Default)]
pub struct Unverified(BytesMut);

impl Unverified {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes so far. For a temporary file, not for eyes.
    pub fn expose_unverified(&self) -> &[u8] {
        &self.0
    }

    /// Forgets the bytes so far, keeping the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plaintext, now that a decryptor has verified it. Holds only what was not [`clear`](Self::clear)ed.
    pub fn release(self, _proof: &Verified) -> Bytes {
        self.0.freeze()
    }
}

impl core::fmt::Debug for Unverified {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Unverified({} bytes)", self.0.len())
    }
}

/// Proof that a whole file was what its message said: MAC, both hashes and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the file may be kept only with this"]
pub struct Verified {
    file_sha256: [u8; 32],
    file_length: u64,
}

impl Verified {
    /// SHA-256 of the plaintext.
    pub const fn file_sha256(&self) -> [u8; 32] {
        self.file_sha256
    }

    /// Length of the plaintext in bytes.
    pub const fn file_length(&self) -> u64 {
        self.file_length
    }
}

/// The last cipher block and the MAC: held back until everything is verified.
const TAIL_LEN: usize = BLOCK_LEN + MAC_LEN;

/// Decrypts one file, chunk by chunk, in constant memory.
///
/// The last block of plaintext is not decrypted before the MAC and the encrypted file's hash are verified.
pub struct Decryptor {
    cbc: cbc::Decryptor<Aes256>,
    mac: HmacSha256,
    plain_hash: Sha256,
    enc_hash: Sha256,
    expected: Expected,
    /// Cipher bytes still to come before the tail.
    body_left: u64,
    received: u64,
    carry: Vec<u8>,
    tail: Vec<u8>,
}

impl Decryptor {
    /// Starts on a file of `kind`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the message states a length past the limit.
    pub fn new(kind: MediaKind, key: &MediaKey, expected: Expected, limits: &Limits) -> Result<Self, Error> {
        if expected.file_length > limits.max_file_len {
            return Err(Error::TooLarge { max: limits.max_file_len });
        }
        let keys = Derived::new(kind, key);
        let mut mac = keys.mac();
        mac.update(&keys.iv());
        Ok(Self {
            cbc: keys.decryptor(keys.iv()),
            mac,
            plain_hash: Sha256::new(),
            enc_hash: Sha256::new(),
            expected,
            body_left: ciphertext_length(expected.file_length) - BLOCK_LEN as u64,
            received: 0,
            carry: Vec::with_capacity(BLOCK_LEN),
            tail: Vec::with_capacity(TAIL_LEN),
        })
    }

    /// How long the encrypted file has to be.
    pub const fn encrypted_length(&self) -> u64 {
        encrypted_length(self.expected.file_length)
    }

    /// Takes the next bytes of the encrypted file, appending what they decrypt to, unverified, to `out`.
    ///
    /// # Errors
    /// [`Error::Overlong`] past the stated length; give up then.
    pub fn update(&mut self, encrypted: &[u8], out: &mut Unverified) -> Result<(), Error> {
        let received = self.received.saturating_add(encrypted.len() as u64);
        if received > self.encrypted_length() {
            return Err(Error::Overlong { expected: self.encrypted_length() });
        }
        self.received = received;
        let body = usize::try_from(self.body_left).map_or(encrypted.len(), |left| left.min(encrypted.len()));
        let (body, tail) = encrypted.split_at(body);
        self.body_left -= body.len() as u64;
        for piece in body.chunks(PIECE_LEN) {
            self.enc_hash.update(piece);
            self.mac.update(piece);
            let start = out.0.len();
            out.0.reserve(self.carry.len() + piece.len());
            out.0.put_slice(&self.carry);
            out.0.put_slice(piece);
            let ready = start + (out.0.len() - start) / BLOCK_LEN * BLOCK_LEN;
            self.carry.clear();
            self.carry.extend_from_slice(out.0.split_at(ready).1);
            out.0.truncate(ready);
            let blocks = out.0.split_at_mut(start).1;
            self.cbc.decrypt_blocks(Array::slice_as_chunks_mut(blocks).0);
            self.plain_hash.update(&*blocks);
        }
        self.tail.extend_from_slice(tail);
        Ok(())
    }

    /// Verifies the file and appends its last bytes to `out`.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::EncHash`], [`Error::Mac`], [`Error::Padding`], [`Error::Hash`], in this order:
    /// delete what was written.
    pub fn finish(mut self, out: &mut Unverified) -> Result<Verified, Error> {
        let truncated = Error::Truncated { expected: self.encrypted_length(), actual: self.received };
        let (block, mac) = self.tail.split_first_chunk::<BLOCK_LEN>().ok_or(truncated)?;
        let mac: [u8; MAC_LEN] = mac.try_into().map_err(|_| truncated)?;
        self.enc_hash.update(&self.tail);
        if !bool::from(self.enc_hash.finalize().as_slice().ct_eq(&self.expected.file_enc_sha256)) {
            return Err(Error::EncHash);
        }
        self.mac.update(block);
        if !bool::from(tag(self.mac).ct_eq(&mac)) {
            return Err(Error::Mac);
        }
        let mut block = *block;
        self.cbc.decrypt_blocks(Array::slice_as_chunks_mut(&mut block).0);
        let last = usize::try_from(self.expected.file_length % BLOCK_LEN as u64).unwrap_or_default();
        let (last, padding) = block.split_at(last);
        if padding.iter().any(|byte| usize::from(*byte) != padding.len()) {
            return Err(Error::Padding);
        }
        self.plain_hash.update(last);
        if !bool::from(self.plain_hash.finalize().as_slice().ct_eq(&self.expected.file_sha256)) {
            return Err(Error::Hash);
        }
        out.0.put_slice(last);
        Ok(Verified { file_sha256: self.expected.file_sha256, file_length: self.expected.file_length })
    }
}

/// Decrypts a file that is in memory.
///
/// # Errors
/// As [`Decryptor`].
pub fn decrypt(kind: MediaKind, key: &MediaKey, expected: Expected, encrypted: &[u8]) -> Result<Bytes, Error> {
    let mut decryptor = Decryptor::new(kind, key, expected, &Limits::default())?;
    let mut out = Unverified::new();
    decryptor.update(encrypted, &mut out)?;
    let proof = decryptor.finish(&mut out)?;
    Ok(out.release(&proof))
}
