//! Bounds on media (PROTOCOL §10).

/// Largest plaintext file, in bytes, unless [`Limits`] says otherwise: 2 GiB. Encrypted, in either format, it has less than
/// 64 KiB more, and servers take that by default.
pub const MAX_FILE_LEN: u64 = 2 << 30;

/// Bytes handled in one go: small enough that every pass over a piece finds it in the nearest cache.
pub(crate) const PIECE_LEN: usize = 16 << 10;

/// What an encryptor or decryptor accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest plaintext, in bytes. Default [`MAX_FILE_LEN`].
    pub max_file_len: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_file_len: MAX_FILE_LEN }
    }
}

impl Limits {
    /// The defaults with another largest file.
    #[must_use]
    pub const fn with_max_file_len(mut self, max_file_len: u64) -> Self {
        self.max_file_len = max_file_len;
        self
    }
}

/// Longest answer to an upload that is read, in bytes.
pub const MAX_UPLOAD_ANSWER_LEN: usize = 16 << 10;

/// Longest file name given to a received file, in bytes.
pub const MAX_FILE_NAME_LEN: usize = 180;

/// Most numbered variants of a name tried before giving up: `a (1).pdf` to `a (9999).pdf`.
pub const MAX_NAME_VARIANTS: u32 = 9_999;

/// Longest wait before a transfer that broke off is tried again.
pub const MAX_RETRY_WAIT: core::time::Duration = core::time::Duration::from_secs(30);

/// Longest image whose pixels are decoded for a thumbnail, in bytes: 32 MiB.
pub const MAX_IMAGE_LEN: u64 = 32 << 20;

/// Bytes of a longer image that are searched for its dimensions.
pub const MAX_IMAGE_HEADER_LEN: u64 = 1 << 20;

/// Longest edge of an image, in pixels: what JPEG can say.
pub const MAX_IMAGE_EDGE: u32 = 65_535;

/// Most pixels decoded for a thumbnail.
pub const MAX_IMAGE_PIXELS: u64 = 50_000_000;

/// Most memory for the pixels of one image, in bytes.
pub const MAX_IMAGE_ALLOC: u64 = 4 * MAX_IMAGE_PIXELS;

/// Longer edge of a thumbnail, in pixels.
pub const THUMBNAIL_EDGE: u32 = 100;

/// JPEG quality of a thumbnail, 1 to 100.
pub const THUMBNAIL_QUALITY: u8 = 60;

/// Longest thumbnail made, in bytes.
pub const MAX_THUMBNAIL_LEN: usize = 32 << 10;
