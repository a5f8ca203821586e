//! Format 1, writing: AES-256-CBC, then a truncated HMAC, both hashes on the way (PROTOCOL §10).

use crate::key::{BLOCK_LEN, Derived, HmacSha256, MAC_LEN, tag};
use crate::limits::PIECE_LEN;
use crate::sidecar::SidecarWriter;
use crate::{Error, Limits, MediaKey, MediaKind};
use aes::Aes256;
use bytes::{BufMut, Bytes, BytesMut};
use cbc::cipher::{Array, BlockModeEncrypt};
use hmac::Mac;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a message says about an encrypted file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encrypted {
    /// SHA-256 of the plaintext: `fileSHA256`.
    pub file_sha256: [u8; 32],
    /// SHA-256 of the whole encrypted file: `fileEncSHA256`.
    pub file_enc_sha256: [u8; 32],
    /// Length of the plaintext in bytes: `fileLength`.
    pub file_length: u64,
    /// Length of the encrypted file in bytes.
    pub encrypted_length: u64,
    /// `streamingSidecar`: ten bytes per started 64 KiB; `None` where official clients send none.
    pub sidecar: Option<Bytes>,
}

/// The length of the encrypted form of `file_length` bytes.
pub const fn encrypted_length(file_length: u64) -> u64 {
    ciphertext_length(file_length).saturating_add(MAC_LEN as u64)
}

pub(crate) const fn ciphertext_length(file_length: u64) -> u64 {
    (file_length / BLOCK_LEN as u64).saturating_add(1).saturating_mul(BLOCK_LEN as u64)
}

/// The first pass: encrypts.
pub(crate) struct Sealer {
    cbc: cbc::Encryptor<Aes256>,
    carry: Zeroizing<Vec<u8>>,
    length: u64,
    limits: Limits,
}

impl Sealer {
    pub(crate) fn new(kind: MediaKind, key: &MediaKey, limits: Limits) -> Self {
        let cbc = Derived::new(kind, key).encryptor();
        Self { cbc, carry: Zeroizing::new(Vec::with_capacity(BLOCK_LEN)), length: 0, limits }
    }

    fn length_with(&self, plaintext: &[u8]) -> Result<u64, Error> {
        let length = self.length.saturating_add(plaintext.len() as u64);
        if length > self.limits.max_file_len {
            return Err(Error::TooLarge { max: self.limits.max_file_len });
        }
        Ok(length)
    }

    /// As [`Encryptor::update`], without the other passes.
    pub(crate) fn update(&mut self, plaintext: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        self.length = self.length_with(plaintext)?;
        let start = out.len();
        out.reserve(self.carry.len() + plaintext.len());
        out.put_slice(&self.carry);
        out.put_slice(plaintext);
        let ready = start + (out.len() - start) / BLOCK_LEN * BLOCK_LEN;
        self.carry.clear();
        self.carry.extend_from_slice(out.split_at(ready).1);
        out.truncate(ready);
        self.seal(out.split_at_mut(start).1);
        Ok(())
    }

    /// Appends the last block to `out`.
    pub(crate) fn finish(&mut self, out: &mut BytesMut) {
        let start = out.len();
        let pad = BLOCK_LEN - self.carry.len();
        out.put_slice(&self.carry);
        out.put_bytes(u8::try_from(pad).unwrap_or_default(), pad);
        self.seal(out.split_at_mut(start).1);
    }

    fn seal(&mut self, blocks: &mut [u8]) {
        self.cbc.encrypt_blocks(Array::slice_as_chunks_mut(blocks).0);
    }
}

/// The passes over the ciphertext: MAC, hash, sidecar.
pub(crate) struct Readers {
    mac: HmacSha256,
    enc_hash: Sha256,
    sidecar: Option<SidecarWriter>,
}

impl Readers {
    pub(crate) fn new(kind: MediaKind, key: &MediaKey) -> Self {
        let keys = Derived::new(kind, key);
        let mut mac = keys.mac();
        mac.update(&keys.iv());
        Self { mac, enc_hash: Sha256::new(), sidecar: kind.has_sidecar().then(|| SidecarWriter::new(&keys)) }
    }

    pub(crate) fn update(&mut self, ciphertext: &[u8]) {
        for piece in ciphertext.chunks(PIECE_LEN) {
            self.mac.update(piece);
            self.enc_hash.update(piece);
            if let Some(sidecar) = &mut self.sidecar {
                sidecar.update(piece);
            }
        }
    }

    /// Appends the MAC to `out`.
    pub(crate) fn finish(mut self, sealer: &Sealer, plain_hash: Sha256, out: &mut BytesMut) -> Encrypted {
        let tag = tag(self.mac);
        out.put_slice(&tag);
        self.enc_hash.update(tag);
        Encrypted {
            file_sha256: plain_hash.finalize().into(),
            file_enc_sha256: self.enc_hash.finalize().into(),
            file_length: sealer.length,
            encrypted_length: encrypted_length(sealer.length),
            sidecar: self.sidecar.map(|mut sidecar| {
                sidecar.update(&tag);
                sidecar.finish()
            }),
        }
    }
}

/// Encrypts one file, chunk by chunk, in constant memory (a sidecar grows by ten bytes per 64 KiB).
///
/// Takes the key by reference and consumes itself in [`finish`](Self::finish); a key must not see a second file.
pub struct Encryptor {
    sealer: Sealer,
    readers: Readers,
    plain_hash: Sha256,
}

impl Encryptor {
    /// Starts a file of `kind` under a fresh `key`. A [`MediaKind::Video`] gets a sidecar.
    pub fn new(kind: MediaKind, key: &MediaKey) -> Self {
        let sealer = Sealer::new(kind, key, Limits::default());
        Self { sealer, readers: Readers::new(kind, key), plain_hash: Sha256::new() }
    }

    /// Replaces the default limits.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.sealer.limits = limits;
        self
    }

    /// Encrypts the next `plaintext`, appending what is ready to `out`: at most its length plus 15 bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past the limit; nothing is consumed then.
    pub fn update(&mut self, plaintext: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        self.sealer.length_with(plaintext)?;
        out.reserve(plaintext.len() + BLOCK_LEN);
        for piece in plaintext.chunks(PIECE_LEN) {
            let start = out.len();
            self.sealer.update(piece, out)?;
            self.plain_hash.update(piece);
            self.readers.update(out.split_at(start).1);
        }
        Ok(())
    }

    /// Appends the last block and the MAC to `out`.
    pub fn finish(mut self, out: &mut BytesMut) -> Encrypted {
        let start = out.len();
        self.sealer.finish(out);
        self.readers.update(out.split_at(start).1);
        self.readers.finish(&self.sealer, self.plain_hash, out)
    }
}

/// Encrypts a file that is in memory.
///
/// # Errors
/// [`Error::TooLarge`] past [`MAX_FILE_LEN`](crate::limits::MAX_FILE_LEN).
pub fn encrypt(kind: MediaKind, key: &MediaKey, plaintext: &[u8]) -> Result<(Bytes, Encrypted), Error> {
    let mut out = BytesMut::new();
    let mut encryptor = Encryptor::new(kind, key);
    encryptor.update(plaintext, &mut out)?;
    let encrypted = encryptor.finish(&mut out);
    Ok((out.freeze(), encrypted))
}
