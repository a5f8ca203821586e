//! What can go wrong with a media file.

use comity_core::ErrorKind;

/// An error of media encryption, decryption, transfer or thumbnails. Variants from [`Url`](Self::Url) on come from I/O
/// only.
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
    /// A file of format 2 that does not begin with the format's header.
    #[error("not the header of media format 2")]
    Header,
    /// A file to encrypt that is shorter or longer than was stated: it changed while it was read.
    #[error("file has {actual} bytes, not the {stated} stated")]
    FileLength {
        /// Bytes stated.
        stated: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// A program that is declared as something else.
    #[error("a program that is declared as something else")]
    Disguised,
    /// No image that is understood, or a damaged one.
    #[error("no image that is understood, or a damaged one")]
    Image,
    /// An address that is not http(s), or a direct path that leads off the media host.
    #[error("not an address on the media host")]
    Url,
    /// The media host could not be reached.
    #[error("media host cannot be reached")]
    Connect,
    /// The connection broke while bytes were moving.
    #[error("connection to the media host broke")]
    Interrupted,
    /// No byte moved for the idle time-out.
    #[error("media host stalled")]
    Stalled,
    /// The host no longer has the file (404, 410): ask the sender for it again.
    #[error("media is gone (HTTP {status})")]
    Gone {
        /// The HTTP status.
        status: u16,
    },
    /// The host refuses us (401, 403), or the link has expired.
    #[error("media host refuses (HTTP {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// Another HTTP status than success; redirects are among them, they are never followed.
    #[error("media host answers HTTP {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The host's answer to an upload makes no sense.
    #[error("media host's answer makes no sense")]
    Response,
    /// A file operation failed.
    #[error("cannot {what}: {kind}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
    /// The transfer was dropped, or the runtime is shutting down.
    #[error("transfer cancelled")]
    Cancelled,
}

/// What to do about a failed download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Try later: it may pass by itself, and a resumable download goes on where it broke off.
    Retry,
    /// Ask the sender for the file again (PROTOCOL §10, media retry).
    AskSender,
    /// Give up: another try would end the same way.
    GiveUp,
}

impl Error {
    /// What to do about a download that failed so.
    ///
    /// | what went wrong | error | remedy |
    /// |---|---|---|
    /// | gone (404, 410) | [`Gone`](Self::Gone) | ask the sender |
    /// | refused or expired link (401, 403) | [`Refused`](Self::Refused) | ask the sender |
    /// | host out of reach, connection broken, slow host | [`Connect`](Self::Connect), [`Interrupted`](Self::Interrupted), [`Stalled`](Self::Stalled) | retry |
    /// | busy or failing host (408, 409, 423, 429, 500, 502 to 504) | [`Status`](Self::Status) | retry |
    /// | any other status, redirects among them | [`Status`](Self::Status) | give up |
    /// | shorter or longer than stated, wrong hash or MAC | [`Truncated`](Self::Truncated), [`Overlong`](Self::Overlong), [`EncHash`](Self::EncHash), [`Mac`](Self::Mac), [`Padding`](Self::Padding), [`Hash`](Self::Hash) | give up |
    /// | too large | [`TooLarge`](Self::TooLarge) | give up |
    /// | a program that is called something else | [`Disguised`](Self::Disguised) | give up |
    /// | disk failed, cancelled | [`Io`](Self::Io), [`Cancelled`](Self::Cancelled) | retry |
    ///
    /// `Transfers::download_resumable` tries again by itself, with growing waits, after those of the network and the
    /// host, before it gives the error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Gone { .. } | Self::Refused { .. } => Remedy::AskSender,
            Self::Io { .. } | Self::Cancelled => Remedy::Retry,
            passing if passing.is_passing() => Remedy::Retry,
            _ => Remedy::GiveUp,
        }
    }

    /// Whether the network or the host failed in a way that may pass within seconds.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Connect | Self::Interrupted | Self::Stalled => true,
            Self::Status { status } => matches!(status, 408 | 409 | 423 | 429 | 500 | 502..=504),
            _ => false,
        }
    }

    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::LimitExceeded,
            Self::Truncated { .. }
            | Self::Overlong { .. }
            | Self::Connect
            | Self::Interrupted
            | Self::Stalled
            | Self::Gone { .. }
            | Self::Refused { .. }
            | Self::Status { .. }
            | Self::Io { .. }
            | Self::Cancelled => ErrorKind::Transport,
            Self::EncHash | Self::Mac | Self::Padding | Self::Hash => ErrorKind::Untrusted,
            Self::KeyLength
            | Self::SidecarLength
            | Self::Url
            | Self::Response
            | Self::Header
            | Self::Disguised
            | Self::Image => ErrorKind::PeerMisbehaved,
            Self::Segment | Self::FileLength { .. } => ErrorKind::ApiMisuse,
        }
    }
}
