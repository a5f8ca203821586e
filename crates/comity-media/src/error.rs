//! What can go wrong with a media file.

use comity_core::ErrorKind;

/// An error of media encryption or decryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A media key that is not 32 bytes.
    #[error("a media key has 32 bytes")]
    KeyLength,
    /// A file longer than the limit allows.
    #[error("file larger than {max} bytes")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The encrypted file ended before the length its message states.
    #[error("encrypted file ends after {actual} of {expected} bytes")]
    Truncated {
        /// Bytes that the stated length makes.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// The encrypted file goes on after the length its message states.
    #[error("encrypted file is longer than its {expected} bytes")]
    Overlong {
        /// Bytes that the stated length makes.
        expected: u64,
    },
    /// The SHA-256 of the encrypted file is not the message's `fileEncSHA256`.
    #[error("encrypted file has another hash than its message states")]
    EncHash,
    /// The MAC of the file, or of a segment, does not verify.
    #[error("media MAC does not verify")]
    Mac,
    /// The padding contradicts the stated length.
    #[error("padding contradicts the stated length")]
    Padding,
    /// The SHA-256 of the plaintext is not the message's `fileSHA256`.
    #[error("decrypted file has another hash than its message states")]
    Hash,
    /// The sidecar has not one tag per segment.
    #[error("sidecar does not fit the file's length")]
    SidecarLength,
    /// A segment number or length that the file does not have.
    #[error("no such segment")]
    Segment,
}

impl Error {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::LimitExceeded,
            Self::Truncated { .. } | Self::Overlong { .. } => ErrorKind::Transport,
            Self::EncHash | Self::Mac | Self::Padding | Self::Hash => ErrorKind::Untrusted,
            Self::KeyLength | Self::SidecarLength => ErrorKind::PeerMisbehaved,
            Self::Segment => ErrorKind::ApiMisuse,
        }
    }
}
