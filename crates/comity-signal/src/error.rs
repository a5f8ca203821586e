//! The crate's one error.

use crate::keys::PublicKey;
use comity_core::ErrorKind;

/// Why an operation changed nothing.
///
/// No operation that fails returns a batch: the records stay as they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no session with the peer that could do this: fetch a bundle, or ask for a retry.
    #[error("no session with the peer")]
    NoSession,
    /// There is no account yet.
    #[error("there is no account")]
    NoAccount,
    /// There is no sender key for this group and sender.
    #[error("no sender key for the group and sender")]
    NoSenderKey,
    /// The peer's identity key is another than the pinned one, and the policy blocks until it is accepted.
    #[error("the peer's identity changed and is not accepted")]
    IdentityChanged {
        /// The key that the peer shows now.
        identity: PublicKey,
    },
    /// The session that opened the message belongs to another identity than the pinned one.
    #[error("the session belongs to an identity that is not the peer's")]
    UntrustedIdentity,
    /// A peer known to speak version `had` comes with version `got` under the same identity.
    #[error("downgrade from version {had} to {got} without an identity change")]
    Downgrade {
        /// The version spoken before.
        had: u8,
        /// The version now.
        got: u8,
    },
    /// The message was decrypted before.
    #[error("the message was decrypted before")]
    Duplicate,
    /// The message does not authenticate under any session.
    #[error("the message does not authenticate")]
    NotAuthentic,
    /// The message says, under its MAC, that it is from somebody else than the peer it came from.
    #[error("the message names another sender")]
    Misdirected,
    /// The message names a pre-key that does not exist (any more).
    #[error("the message names an unknown pre-key")]
    MissingPreKey,
    /// A signature does not verify.
    #[error("a signature does not verify")]
    BadSignature,
    /// A public key has low order: whoever uses it shares a secret with everyone.
    #[error("a public key has low order")]
    LowOrderKey,
    /// Bytes from outside do not parse.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// No suite speaks this message version.
    #[error("no suite for message version {0}")]
    UnsupportedVersion(u8),
    /// The padding is not n bytes of value n.
    #[error("bad padding")]
    BadPadding,
    /// A named limit was reached.
    #[error("limit reached: {0}")]
    LimitExceeded(&'static str),
    /// A stored record does not parse or contradicts another.
    #[error("stored record damaged: {0}")]
    Corrupt(&'static str),
    /// A record that the operation needs was not handed in.
    #[error("a needed record was not loaded")]
    NotLoaded,
    /// The call is not one the documentation allows.
    #[error("misuse: {0}")]
    Misuse(&'static str),
    /// The engine under a suite failed in a way it should not; its panics end here.
    #[error("engine fault: {0}")]
    Engine(&'static str),
}

impl Error {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSession | Self::NoSenderKey | Self::MissingPreKey | Self::UnsupportedVersion(_) => {
                ErrorKind::PeerIncompatible
            }
            Self::IdentityChanged { .. }
            | Self::UntrustedIdentity
            | Self::Downgrade { .. }
            | Self::NotAuthentic
            | Self::Misdirected
            | Self::BadSignature
            | Self::LowOrderKey => ErrorKind::Untrusted,
            Self::Duplicate | Self::Malformed(_) | Self::BadPadding => ErrorKind::PeerMisbehaved,
            Self::LimitExceeded(_) => ErrorKind::LimitExceeded,
            Self::Corrupt(_) => ErrorKind::StateCorrupt,
            Self::NoAccount | Self::NotLoaded | Self::Misuse(_) => ErrorKind::ApiMisuse,
            Self::Engine(_) => ErrorKind::Bug,
        }
    }

    /// The `error` attribute of the retry receipt that answers a message which failed so, if a retry can help
    /// (PROTOCOL §7: 1 no session, 3 key id, 4 message, 7 MAC).
    pub const fn retry_code(&self) -> Option<u8> {
        match self {
            // A peer who had no newer keys of ours when it began: ours in the receipt are what it needs.
            Self::NoSession | Self::NoSenderKey | Self::UntrustedIdentity | Self::Downgrade { .. } => Some(1),
            Self::MissingPreKey => Some(3),
            Self::Malformed(_) | Self::BadPadding | Self::UnsupportedVersion(_) | Self::LowOrderKey => Some(4),
            Self::NotAuthentic | Self::BadSignature => Some(7),
            _ => None,
        }
    }
}
