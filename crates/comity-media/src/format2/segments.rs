//! Format 2, seeking: single segments by the range of the encrypted file they stand in.

use super::{FileCipher, HEADER_LEN, Layout, TAG_LEN};
use crate::{Error, Limits, MediaKey, MediaKind};
use bytes::{Bytes, BytesMut};
use core::ops::Range;

/// Opens single segments of an encrypted file in any order, each authentic and in its place.
pub struct SegmentReader {
    cipher: FileCipher,
    layout: Layout,
}

impl SegmentReader {
    /// A reader for the file that begins with `header` and of whose plaintext the message says that it has `file_length`
    /// bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past the limit, [`Error::Header`].
    pub fn new(
        kind: MediaKind,
        key: &MediaKey,
        header: &[u8; HEADER_LEN],
        file_length: u64,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let layout = Layout::checked(file_length, limits.max_file_len)?;
        Ok(Self { cipher: FileCipher::new(kind, key, header)?, layout })
    }

    /// How many segments there are; at least one.
    pub const fn segments(&self) -> u64 {
        self.layout.segments
    }

    /// The segment that holds the plaintext byte at `offset`.
    pub const fn segment_at(&self, offset: u64) -> u64 {
        offset.saturating_add(HEADER_LEN as u64) / self.layout.step
    }

    /// The plaintext that segment `n` holds.
    ///
    /// # Errors
    /// [`Error::Segment`] past the last one.
    pub const fn plain_range(&self, n: u64) -> Result<Range<u64>, Error> {
        if n < self.layout.segments { Ok(self.layout.plain_range(n)) } else { Err(Error::Segment) }
    }

    /// The bytes of the encrypted file that segment `n` needs.
    ///
    /// # Errors
    /// [`Error::Segment`] past the last one.
    pub fn encrypted_range(&self, n: u64) -> Result<Range<u64>, Error> {
        let Range { start, end } = self.plain_range(n)?;
        let before = HEADER_LEN as u64 + n * TAG_LEN as u64;
        Ok(start + before..end + before + TAG_LEN as u64)
    }

    /// Verifies and decrypts segment `n` from exactly the bytes of [`encrypted_range`](Self::encrypted_range).
    ///
    /// # Errors
    /// [`Error::Segment`] for a wrong number or length, [`Error::Mac`].
    pub fn open(&self, n: u64, encrypted: &[u8]) -> Result<Bytes, Error> {
        let Range { start, end } = self.encrypted_range(n)?;
        if encrypted.len() as u64 != end - start {
            return Err(Error::Segment);
        }
        let (text, tag) = encrypted.split_last_chunk::<TAG_LEN>().ok_or(Error::Segment)?;
        let mut plain = BytesMut::from(text);
        self.cipher.open(n, self.layout.is_last(n), &mut plain, tag)?;
        Ok(plain.freeze())
    }
}
