//! What can go wrong in starting and running the gatekeeper. Faults of a peer are answered on the wire, not here.

use comity_core::{ErrorKind, StoreError};

/// Why the gatekeeper could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not usable.
    #[error("configuration: {0}")]
    Config(String),
    /// A socket or file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A key file in the data directory is damaged.
    #[error("key file {0} is damaged")]
    KeyFile(&'static str),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A cryptographic operation that cannot fail did.
    #[error("{0}")]
    Internal(&'static str),
}

impl Error {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::ApiMisuse,
            Self::Io { .. } => ErrorKind::Transport,
            Self::KeyFile(_) => ErrorKind::StateCorrupt,
            Self::Store(e) => e.kind(),
            Self::Internal(_) => ErrorKind::Bug,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl From<comity_server::Error> for Error {
    fn from(error: comity_server::Error) -> Self {
        match error {
            comity_server::Error::Config(what) => Self::Config(what),
            comity_server::Error::Io { what, source } => Self::Io { what, source },
            other => Self::Config(other.to_string()),
        }
    }
}
