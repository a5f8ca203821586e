//! What can go wrong in the engine.

use comity_core::{ErrorKind, StoreError};

/// An error of the engine. Texts carry no ids, keys or content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command needs an account that is enlisted or registered.
    #[error("not enlisted")]
    NotEnlisted,
    /// The command needs a connection that is logged in.
    #[error("not connected")]
    NotConnected,
    /// The connection ended before the answer came. Whether the server acted on the request is unknown.
    #[error("the connection ended before the answer")]
    ConnectionLost,
    /// The server answered a request with an error.
    #[error("the server refused the request: {code} {text}")]
    Refused {
        /// The code, as HTTP's.
        code: u16,
        /// The text that belongs to the code.
        text: String,
    },
    /// The server's answer does not have the form the request asks for.
    #[error("the server's answer is malformed: {0}")]
    BadAnswer(&'static str),
    /// No answer within [`crate::limits::IQ_TIMEOUT`].
    #[error("no answer in time")]
    TimedOut,
    /// The gatekeeper refused enlistment.
    #[error("enlistment refused: {reason}{}", retry_after.map(|s| format!(", retry after {s} s")).unwrap_or_default())]
    Enlistment {
        /// The reason, from the protocol's closed list.
        reason: String,
        /// Seconds to wait, with `rate_limited`.
        retry_after: Option<u64>,
    },
    /// The ownership token could not be fetched.
    #[error("the partner server gave no ownership token: {0}")]
    Token(String),
    /// The handshake, a certificate or a frame did not verify.
    #[error("secure channel: {0}")]
    Channel(String),
    /// A Signal operation failed.
    #[error("session: {0}")]
    Session(String),
    /// The peer's identity key is another than before, and the policy blocks it until it is accepted.
    #[error("the peer's identity changed and is not accepted")]
    IdentityChanged {
        /// The key that the peer shows now.
        identity: [u8; 32],
    },
    /// The peer has no keys on the server, or is unknown there.
    #[error("the recipient is unknown or has published no keys")]
    UnknownRecipient,
    /// The content is not one that this protocol can carry, or breaks a limit.
    #[error("content: {0}")]
    Content(&'static str),
    /// Too much is waiting already.
    #[error("too many {0} waiting")]
    Full(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored record does not parse.
    #[error("stored {0} does not parse")]
    Corrupt(&'static str),
}

impl Error {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotEnlisted | Self::NotConnected | Self::Content(_) => ErrorKind::ApiMisuse,
            Self::ConnectionLost | Self::TimedOut | Self::Token(_) => ErrorKind::Transport,
            Self::Refused { .. } | Self::Enlistment { .. } | Self::UnknownRecipient => ErrorKind::PeerIncompatible,
            Self::BadAnswer(_) => ErrorKind::PeerMisbehaved,
            Self::Channel(_) | Self::Session(_) | Self::IdentityChanged { .. } => ErrorKind::Untrusted,
            Self::Full(_) => ErrorKind::LimitExceeded,
            Self::Store(e) => e.kind(),
            Self::Corrupt(_) => ErrorKind::StateCorrupt,
        }
    }
}
