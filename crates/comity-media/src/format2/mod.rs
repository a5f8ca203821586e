//! Format 2: segments of AES-256-GCM, each authentic on its own (PROTOCOL §10).
//!
//! Tink's *AES-GCM-HKDF streaming AEAD*: a header (its length, a salt, a nonce prefix), then segments that each end with a
//! tag. Number and "this is the last one" are in a segment's nonce, kind and version in the key derivation, so that no
//! segment opens in another place, file or kind, and a file that ends early does not open to its end. Segments have
//! [`SMALL_SEGMENT_LEN`] bytes, header and tag included, in files of more than [`LARGE_FILE_LEN`] bytes
//! [`LARGE_SEGMENT_LEN`].
//!
//! What a [`Decryptor`] gives out is authentic and in its place; that it is the whole file is told by a [`Verified`].
//!
//! ```
//! # use comity_media::{MediaKey, MediaKind, format2};
//! # fn main() -> Result<(), comity_media::Error> {
//! # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
//! let key = MediaKey::generate(&mut rng);
//! let (file, encrypted) = format2::encrypt(MediaKind::Image, &key, b"a picture", &mut rng)?;
//! let plain = format2::decrypt(MediaKind::Image, &key, encrypted.expected(), &file)?;
//! assert_eq!(&plain[..], b"a picture");
//! # Ok(())
//! # }
//! ```

mod decrypt;
mod encrypt;
mod segments;

pub use decrypt::{Decryptor, Expected, Verified, decrypt};
pub use encrypt::{Encrypted, Encryptor, encrypt};
pub use segments::SegmentReader;

use crate::{Error, MediaKey, MediaKind};
use aes_gcm::aead::KeyInit as _;
use aes_gcm::{AeadInOut as _, Aes256Gcm};
use comity_core::CryptoRng;
use core::ops::Range;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of the header: its own length, a salt of 32, a nonce prefix of 7.
pub const HEADER_LEN: usize = 1 + SALT_LEN + PREFIX_LEN;
/// Bytes of a segment in the encrypted file.
pub const SMALL_SEGMENT_LEN: u64 = 64 << 10;
/// Bytes of a segment in the encrypted form of a large file.
pub const LARGE_SEGMENT_LEN: u64 = 1 << 20;
/// Files with more plaintext than this have large segments.
pub const LARGE_FILE_LEN: u64 = 64 << 20;
/// Largest plaintext the format takes: a segment's number has 32 bits.
pub const MAX_FORMAT_LEN: u64 = (LARGE_SEGMENT_LEN - TAG_LEN as u64) * u32::MAX as u64;

/// The version in the key derivation.
const VERSION: u8 = 2;
const SALT_LEN: usize = 32;
const PREFIX_LEN: usize = 7;
const TAG_LEN: usize = 16;

/// The length of the encrypted form of `file_length` bytes.
pub const fn encrypted_length(file_length: u64) -> u64 {
    let tags = Layout::of(file_length).segments.saturating_mul(TAG_LEN as u64);
    file_length.saturating_add(HEADER_LEN as u64).saturating_add(tags)
}

/// How a file of some length is cut.
#[derive(Clone, Copy)]
struct Layout {
    file_length: u64,
    /// Plaintext bytes of every segment but the first, which has the header too, and the last.
    step: u64,
    segments: u64,
}

impl Layout {
    const fn of(file_length: u64) -> Self {
        let len = if file_length > LARGE_FILE_LEN { LARGE_SEGMENT_LEN } else { SMALL_SEGMENT_LEN };
        let step = len - TAG_LEN as u64;
        Self { file_length, step, segments: file_length.saturating_add(HEADER_LEN as u64).div_ceil(step) }
    }

    fn checked(file_length: u64, max: u64) -> Result<Self, Error> {
        let max = max.min(MAX_FORMAT_LEN);
        if file_length > max { Err(Error::TooLarge { max }) } else { Ok(Self::of(file_length)) }
    }

    /// The plaintext of segment `n`. The header counts as the first bytes of the first segment.
    const fn plain_range(&self, n: u64) -> Range<u64> {
        let start = n.saturating_mul(self.step).saturating_sub(HEADER_LEN as u64);
        let end = n.saturating_add(1).saturating_mul(self.step).saturating_sub(HEADER_LEN as u64);
        start..if end < self.file_length { end } else { self.file_length }
    }

    const fn is_last(&self, n: u64) -> bool {
        n + 1 >= self.segments
    }

    /// Bytes of plaintext in segment `n`; never more than [`LARGE_SEGMENT_LEN`].
    fn plain_len(&self, n: u64) -> usize {
        let Range { start, end } = self.plain_range(n);
        usize::try_from(end.saturating_sub(start)).unwrap_or_default()
    }
}

/// The cipher of one file: what its key, kind and header make.
struct FileCipher {
    aead: Aes256Gcm,
    prefix: [u8; PREFIX_LEN],
}

impl FileCipher {
    fn new(kind: MediaKind, key: &MediaKey, header: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let ([length], rest) = header.split_first_chunk::<1>().ok_or(Error::Header)?;
        let (salt, prefix) = rest.split_first_chunk::<SALT_LEN>().ok_or(Error::Header)?;
        if usize::from(*length) != HEADER_LEN {
            return Err(Error::Header);
        }
        let mut file_key = Zeroizing::new([0; 32]);
        let info = [kind.mms_type().as_bytes(), &[VERSION]];
        let done = hkdf::Hkdf::<Sha256>::new(Some(salt), key.expose()).expand_multi_info(&info, file_key.as_mut());
        debug_assert!(done.is_ok(), "32 bytes are within HKDF's 8,160");
        let prefix = prefix.try_into().map_err(|_| Error::Header)?;
        Ok(Self { aead: Aes256Gcm::new((&*file_key).into()), prefix })
    }

    /// A fresh salt and prefix.
    fn header(rng: &mut dyn CryptoRng) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        rng.fill_bytes(&mut header);
        let [length, ..] = &mut header;
        *length = HEADER_LEN as u8;
        header
    }

    fn nonce(&self, n: u64, last: bool) -> Result<[u8; 12], Error> {
        let number = u32::try_from(n).map_err(|_| Error::Segment)?.to_be_bytes();
        let mut nonce = [0; 12];
        let bytes = self.prefix.iter().chain(&number).copied().chain([u8::from(last)]);
        nonce.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        Ok(nonce)
    }

    /// Encrypts a segment in place and gives its tag.
    fn seal(&self, n: u64, last: bool, segment: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        let nonce = self.nonce(n, last)?.into();
        let tag = self.aead.encrypt_inout_detached(&nonce, &[], segment.into());
        tag.map(Into::into).map_err(|_| Error::Segment)
    }

    /// Decrypts a segment in place if its tag is right, and else leaves it as it is.
    fn open(&self, n: u64, last: bool, segment: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Error> {
        let nonce = self.nonce(n, last)?.into();
        self.aead.decrypt_inout_detached(&nonce, &[], segment.into(), tag.into()).map_err(|_| Error::Mac)
    }
}
