//! What can go wrong in the client.

use comity_core::ErrorKind;

/// An error of the client. Texts carry no ids, keys or content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] comity_engine::Error),
    /// A transfer failed.
    #[error(transparent)]
    Media(#[from] comity_media::Error),
    /// The client has stopped: its last handle or its task is gone.
    #[error("the client has stopped")]
    Stopped,
    /// The account's role has no such thing.
    #[error("not for this role: {0}")]
    Role(&'static str),
    /// The configuration does not make sense.
    #[error("configuration: {0}")]
    Config(&'static str),
    /// An HTTP call failed.
    #[error("{what}: {cause}")]
    Http {
        /// Which call.
        what: &'static str,
        /// Status or cause, without address or credentials.
        cause: String,
    },
    /// The server's answer is of another kind than the command's.
    #[error("unexpected answer")]
    UnexpectedReply,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(e) => e.kind(),
            Self::Media(e) => e.kind(),
            Self::Stopped | Self::Role(_) | Self::Config(_) => ErrorKind::ApiMisuse,
            Self::Http { .. } => ErrorKind::Transport,
            Self::UnexpectedReply => ErrorKind::Bug,
        }
    }
}
