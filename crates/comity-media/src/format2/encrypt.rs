//! Format 2, writing.

use super::{Expected, FileCipher, HEADER_LEN, Layout, TAG_LEN, encrypted_length};
use crate::{Error, Limits, MediaKey, MediaKind};
use bytes::{BufMut, Bytes, BytesMut};
use comity_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a message says about an encrypted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encrypted {
    /// Length of the plaintext in bytes: `fileLength`.
    pub file_length: u64,
    /// Length of the encrypted file in bytes.
    pub encrypted_length: u64,
    /// SHA-256 of the plaintext, if it was asked for.
    pub file_sha256: Option<[u8; 32]>,
    /// SHA-256 of the whole encrypted file, if it was asked for.
    pub file_enc_sha256: Option<[u8; 32]>,
}

impl Encrypted {
    /// What a decryptor has to expect.
    pub const fn expected(&self) -> Expected {
        Expected { file_length: self.file_length, file_sha256: self.file_sha256, file_enc_sha256: self.file_enc_sha256 }
    }
}

/// Encrypts one file, chunk by chunk. Holds no more than one segment of plaintext, zeroized on drop: 64 KiB, or 1 MiB in
/// a large file.
pub struct Encryptor {
    cipher: FileCipher,
    layout: Layout,
    header: Option<[u8; HEADER_LEN]>,
    next: u64,
    taken: u64,
    pending: Zeroizing<Vec<u8>>,
    hashes: Option<(Sha256, Sha256)>,
}

impl Encryptor {
    /// Starts a file of `kind` and `file_length` bytes under a fresh `key`, with a salt from `rng`.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn new(
        kind: MediaKind,
        key: &MediaKey,
        file_length: u64,
        limits: &Limits,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, Error> {
        let layout = Layout::checked(file_length, limits.max_file_len)?;
        let header = FileCipher::header(rng);
        Ok(Self {
            cipher: FileCipher::new(kind, key, &header)?,
            layout,
            header: Some(header),
            next: 0,
            taken: 0,
            pending: Zeroizing::new(Vec::with_capacity(layout.plain_len(0).max(layout.plain_len(1)))),
            hashes: None,
        })
    }

    /// Makes both hashes on the way. The tags need none; hashing takes longer than encrypting.
    #[must_use]
    pub fn with_hashes(mut self) -> Self {
        self.hashes = Some((Sha256::new(), Sha256::new()));
        self
    }

    /// Encrypts the next `plaintext`, appending whole segments to `out`: at most its length and one segment with its tag
    /// more, and 16 bytes for each further one.
    ///
    /// # Errors
    /// [`Error::FileLength`] past the stated length; nothing is consumed then.
    pub fn update(&mut self, mut plaintext: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let taken = self.taken.saturating_add(plaintext.len() as u64);
        if taken > self.layout.file_length {
            return Err(Error::FileLength { stated: self.layout.file_length, actual: taken });
        }
        self.taken = taken;
        self.start(out);
        while !plaintext.is_empty() && !self.layout.is_last(self.next) {
            let missing = self.layout.plain_len(self.next) - self.pending.len();
            let Some((now, later)) = plaintext.split_at_checked(missing) else { break };
            self.seal(now, out)?;
            plaintext = later;
        }
        self.pending.extend_from_slice(plaintext);
        Ok(())
    }

    /// Appends the last segment to `out`.
    ///
    /// # Errors
    /// [`Error::FileLength`] if there was less plaintext than stated.
    pub fn finish(mut self, out: &mut BytesMut) -> Result<Encrypted, Error> {
        let file_length = self.layout.file_length;
        if self.taken != file_length {
            return Err(Error::FileLength { stated: file_length, actual: self.taken });
        }
        self.start(out);
        self.seal(&[], out)?;
        let (plain, sealed) = self.hashes.map(|(plain, sealed)| (plain.finalize(), sealed.finalize())).unzip();
        Ok(Encrypted {
            file_length,
            encrypted_length: encrypted_length(file_length),
            file_sha256: plain.map(Into::into),
            file_enc_sha256: sealed.map(Into::into),
        })
    }

    fn start(&mut self, out: &mut BytesMut) {
        let Some(header) = self.header.take() else { return };
        out.put_slice(&header);
        if let Some((_, hash)) = &mut self.hashes {
            hash.update(header);
        }
    }

    /// Seals what is pending and `rest` as the next segment.
    fn seal(&mut self, rest: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let start = out.len();
        out.reserve(self.pending.len() + rest.len() + TAG_LEN);
        out.put_slice(&self.pending);
        out.put_slice(rest);
        self.pending.clear();
        let segment = out.split_at_mut(start).1;
        if let Some((hash, _)) = &mut self.hashes {
            hash.update(&*segment);
        }
        let tag = self.cipher.seal(self.next, self.layout.is_last(self.next), segment)?;
        out.put_slice(&tag);
        if let Some((_, hash)) = &mut self.hashes {
            hash.update(out.split_at(start).1);
        }
        self.next += 1;
        Ok(())
    }
}

/// Encrypts a file that is in memory.
///
/// # Errors
/// [`Error::TooLarge`] past [`MAX_FILE_LEN`](crate::limits::MAX_FILE_LEN).
pub fn encrypt(
    kind: MediaKind,
    key: &MediaKey,
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<(Bytes, Encrypted), Error> {
    let mut out = BytesMut::new();
    let mut encryptor = Encryptor::new(kind, key, plaintext.len() as u64, &Limits::default(), rng)?.with_hashes();
    encryptor.update(plaintext, &mut out)?;
    let encrypted = encryptor.finish(&mut out)?;
    Ok((out.freeze(), encrypted))
}
