//! The streaming sidecar: one truncated HMAC per overlapping window, which makes a film playable and seekable before
//! the whole of it has come (PROTOCOL §10).

use crate::encrypt::{ciphertext_length, encrypted_length};
use crate::key::{BLOCK_LEN, Derived, HmacSha256, MAC_LEN, tag};
use crate::{Error, Limits, MediaKey, MediaKind};
use bytes::{BufMut, Bytes, BytesMut};
use cbc::cipher::{Array, BlockModeDecrypt};
use core::ops::Range;
use hmac::Mac;
use subtle::ConstantTimeEq;

/// Plaintext bytes per segment.
pub const SEGMENT_LEN: u64 = 65_536;
const STEP: usize = SEGMENT_LEN as usize;
const WINDOW: usize = STEP + BLOCK_LEN;

pub(crate) struct SidecarWriter {
    fresh: HmacSha256,
    current: HmacSha256,
    next: HmacSha256,
    filled: usize,
    tags: BytesMut,
}

impl SidecarWriter {
    pub(crate) fn new(keys: &Derived) -> Self {
        let fresh = keys.mac();
        let mut writer = Self { current: fresh.clone(), next: fresh.clone(), fresh, filled: 0, tags: BytesMut::new() };
        writer.update(&keys.iv());
        writer
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let edge = if self.filled < STEP { STEP } else { WINDOW };
            let (now, later) = bytes.split_at(bytes.len().min(edge - self.filled));
            self.current.update(now);
            if edge == WINDOW {
                self.next.update(now);
            }
            self.filled += now.len();
            if self.filled == WINDOW {
                let next = core::mem::replace(&mut self.next, self.fresh.clone());
                self.tags.put_slice(&tag(core::mem::replace(&mut self.current, next)));
                self.filled = BLOCK_LEN;
            }
            bytes = later;
        }
    }

    pub(crate) fn finish(mut self) -> Bytes {
        if self.filled > BLOCK_LEN {
            self.tags.put_slice(&tag(self.current));
        }
        self.tags.freeze()
    }
}

/// Opens single segments of an encrypted file, each verified by its tag in the sidecar.
///
/// A tag has 80 bits and covers one segment; the whole file's hashes are still to be checked, by a
/// [`Decryptor`](crate::Decryptor), before the file is kept.
pub struct SegmentReader {
    keys: Derived,
    sidecar: Bytes,
    file_length: u64,
}

impl SegmentReader {
    /// A reader for the file of a message with this key, `streamingSidecar` and `fileLength`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past the limit, [`Error::SidecarLength`] unless there is one tag per segment.
    pub fn new(
        kind: MediaKind,
        key: &MediaKey,
        sidecar: Bytes,
        file_length: u64,
        limits: &Limits,
    ) -> Result<Self, Error> {
        if file_length > limits.max_file_len {
            return Err(Error::TooLarge { max: limits.max_file_len });
        }
        let reader = Self { keys: Derived::new(kind, key), sidecar, file_length };
        if reader.sidecar.len() as u64 != reader.segments().saturating_mul(MAC_LEN as u64) {
            return Err(Error::SidecarLength);
        }
        Ok(reader)
    }

    /// How many segments there are; the last one may hold no plaintext.
    pub const fn segments(&self) -> u64 {
        encrypted_length(self.file_length).div_ceil(SEGMENT_LEN)
    }

    /// The segment that holds the plaintext byte at `offset`.
    pub const fn segment_at(&self, offset: u64) -> u64 {
        offset / SEGMENT_LEN
    }

    /// The bytes of the encrypted file that segment `n` needs (`bytestart`, `byteend`, or an HTTP range).
    ///
    /// # Errors
    /// [`Error::Segment`] past the last one.
    pub fn encrypted_range(&self, n: u64) -> Result<Range<u64>, Error> {
        if n >= self.segments() {
            return Err(Error::Segment);
        }
        let start = n * SEGMENT_LEN;
        let end = (start + SEGMENT_LEN).min(encrypted_length(self.file_length));
        Ok(start.saturating_sub(BLOCK_LEN as u64)..end)
    }

    /// Verifies and decrypts segment `n` from exactly the bytes of [`encrypted_range`](Self::encrypted_range). Its
    /// plaintext starts at `n * SEGMENT_LEN`.
    ///
    /// # Errors
    /// [`Error::Segment`] for a wrong number or length, [`Error::Mac`], [`Error::Padding`].
    pub fn open(&self, n: u64, encrypted: &[u8]) -> Result<Bytes, Error> {
        let range = self.encrypted_range(n)?;
        if encrypted.len() as u64 != range.end - range.start {
            return Err(Error::Segment);
        }
        let at = usize::try_from(n).map_err(|_| Error::Segment)?;
        let expected = self.sidecar.chunks(MAC_LEN).nth(at).ok_or(Error::Segment)?;
        let mut mac = self.keys.mac();
        let (previous, body) = match n {
            0 => {
                mac.update(&self.keys.iv());
                (self.keys.iv(), encrypted)
            }
            _ => {
                let (previous, body) = encrypted.split_first_chunk().ok_or(Error::Segment)?;
                (*previous, body)
            }
        };
        mac.update(encrypted);
        if !bool::from(tag(mac).ct_eq(expected)) {
            return Err(Error::Mac);
        }

        let start = n * SEGMENT_LEN;
        let cipher_len = ciphertext_length(self.file_length).saturating_sub(start).min(body.len() as u64);
        let plain_len = self.file_length.saturating_sub(start).min(SEGMENT_LEN);
        let mut plain = BytesMut::from(body);
        plain.truncate(usize::try_from(cipher_len).map_err(|_| Error::Segment)?);
        self.keys.decryptor(previous).decrypt_blocks(Array::slice_as_chunks_mut(&mut plain).0);
        let plain_len = usize::try_from(plain_len).map_err(|_| Error::Segment)?;
        let padding = plain.split_off(plain_len.min(plain.len()));
        if padding.iter().any(|byte| usize::from(*byte) != BLOCK_LEN - plain_len % BLOCK_LEN) {
            return Err(Error::Padding);
        }
        Ok(plain.freeze())
    }
}
