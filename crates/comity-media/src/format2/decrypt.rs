//! Format 2, reading: a segment's plaintext comes out when its tag is verified, and not before.

use super::{FileCipher, HEADER_LEN, Layout, TAG_LEN, encrypted_length};
use crate::{Error, Limits, MediaKey, MediaKind};
use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the message says about the file. The tags vouch for every byte and the length: hashes are checked where given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `fileLength`
    pub file_length: u64,
    /// `fileSHA256`
    pub file_sha256: Option<[u8; 32]>,
    /// `fileEncSHA256`
    pub file_enc_sha256: Option<[u8; 32]>,
}

impl Expected {
    /// A file of this length, without hashes.
    pub const fn of_length(file_length: u64) -> Self {
        Self { file_length, file_sha256: None, file_enc_sha256: None }
    }
}

/// Proof that a whole file was what its message said: every tag, the length and the hashes that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the file may be kept only with this"]
pub struct Verified {
    file_length: u64,
}

impl Verified {
    /// Length of the plaintext in bytes.
    pub const fn file_length(&self) -> u64 {
        self.file_length
    }
}

/// Decrypts one file, chunk by chunk. Holds no more than one segment as it came: 64 KiB, or 1 MiB in a large file.
pub struct Decryptor {
    state: State,
    key: MediaKey,
    kind: MediaKind,
    layout: Layout,
    expected: Expected,
    received: u64,
    pending: Vec<u8>,
    plain_hash: Option<Sha256>,
    enc_hash: Option<Sha256>,
}

enum State {
    Header,
    Segment(Box<FileCipher>, u64),
    /// The last segment has opened.
    Done,
}

impl Decryptor {
    /// Starts on a file of `kind`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the message states a length past the limit.
    pub fn new(kind: MediaKind, key: &MediaKey, expected: Expected, limits: &Limits) -> Result<Self, Error> {
        Ok(Self {
            state: State::Header,
            key: key.clone(),
            kind,
            layout: Layout::checked(expected.file_length, limits.max_file_len)?,
            expected,
            received: 0,
            pending: Vec::new(),
            plain_hash: expected.file_sha256.map(|_| Sha256::new()),
            enc_hash: expected.file_enc_sha256.map(|_| Sha256::new()),
        })
    }

    /// How long the encrypted file has to be.
    pub const fn encrypted_length(&self) -> u64 {
        encrypted_length(self.expected.file_length)
    }

    /// Takes the next bytes of the encrypted file, appending what they complete to `out`: the plaintext of whole
    /// segments, each authentic and in its place, at most one segment more than there are bytes.
    ///
    /// # Errors
    /// [`Error::Overlong`] past the stated length, [`Error::Header`], [`Error::Mac`]: give up then, nothing more will
    /// come out.
    pub fn update(&mut self, mut encrypted: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let received = self.received.saturating_add(encrypted.len() as u64);
        if received > self.encrypted_length() {
            return Err(Error::Overlong { expected: self.encrypted_length() });
        }
        self.received = received;
        if let Some(hash) = &mut self.enc_hash {
            hash.update(encrypted);
        }
        loop {
            let needed = match &self.state {
                State::Header => HEADER_LEN,
                State::Segment(_, n) => self.layout.plain_len(*n) + TAG_LEN,
                State::Done => return if encrypted.is_empty() { Ok(()) } else { Err(Error::Mac) },
            };
            let Some((now, later)) = encrypted.split_at_checked(needed.saturating_sub(self.pending.len())) else {
                self.pending.extend_from_slice(encrypted);
                return Ok(());
            };
            encrypted = later;
            match &mut self.state {
                State::Header => {
                    self.pending.extend_from_slice(now);
                    let header = self.pending.as_slice().try_into().map_err(|_| Error::Header)?;
                    let cipher = FileCipher::new(self.kind, &self.key, header)?;
                    self.state = State::Segment(Box::new(cipher), 0);
                }
                State::Segment(cipher, n) => {
                    let start = out.len();
                    out.reserve(needed);
                    out.put_slice(&self.pending);
                    out.put_slice(now);
                    let last = self.layout.is_last(*n);
                    if let Err(error) = open(cipher, *n, last, out, start) {
                        out.truncate(start);
                        self.state = State::Done;
                        self.received = u64::MAX; // whatever follows is too much
                        return Err(error);
                    }
                    if let Some(hash) = &mut self.plain_hash {
                        hash.update(out.split_at(start).1);
                    }
                    *n += 1;
                    if last {
                        self.state = State::Done;
                    }
                }
                State::Done => return Err(Error::Mac),
            }
            self.pending.clear();
        }
    }

    /// Says whether that was all of the file.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Mac`] after a segment that did not open, [`Error::EncHash`], [`Error::Hash`]: delete
    /// what was written.
    pub fn finish(self) -> Result<Verified, Error> {
        let expected = self.encrypted_length();
        if self.received > expected {
            return Err(Error::Mac);
        }
        if !matches!(self.state, State::Done) {
            return Err(Error::Truncated { expected, actual: self.received });
        }
        let differs = |hash: Option<Sha256>, stated: Option<[u8; 32]>| match (hash, stated) {
            (Some(hash), Some(stated)) => !bool::from(hash.finalize().as_slice().ct_eq(&stated)),
            _ => false,
        };
        if differs(self.enc_hash, self.expected.file_enc_sha256) {
            return Err(Error::EncHash);
        }
        if differs(self.plain_hash, self.expected.file_sha256) {
            return Err(Error::Hash);
        }
        Ok(Verified { file_length: self.expected.file_length })
    }
}

/// Opens the segment that stands in `out` from `start` on, and takes its tag off.
fn open(cipher: &FileCipher, n: u64, last: bool, out: &mut BytesMut, start: usize) -> Result<(), Error> {
    let (segment, tag) = out.split_at_mut(start).1.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Mac)?;
    cipher.open(n, last, segment, tag)?;
    out.truncate(out.len() - TAG_LEN);
    Ok(())
}

/// Decrypts a file that is in memory.
///
/// # Errors
/// As [`Decryptor`].
pub fn decrypt(kind: MediaKind, key: &MediaKey, expected: Expected, encrypted: &[u8]) -> Result<Bytes, Error> {
    let mut decryptor = Decryptor::new(kind, key, expected, &Limits::default())?;
    let mut out = BytesMut::new();
    decryptor.update(encrypted, &mut out)?;
    let _whole: Verified = decryptor.finish()?;
    Ok(out.freeze())
}
