//! What can go wrong in starting and running the gatekeeper. Faults of a peer are answered on the wire, not here.

use comity_core::{ErrorKind, StoreError};

/// Why the gatekeeper could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not usable, or a socket or file failed.
    #[error(transparent)]
    Server(#[from] comity_server::Error),
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
            Self::Server(e) => e.kind(),
            Self::KeyFile(_) => ErrorKind::StateCorrupt,
            Self::Store(e) => e.kind(),
            Self::Internal(_) => ErrorKind::Bug,
        }
    }

    pub(crate) fn config(what: impl Into<String>) -> Self {
        comity_server::Error::Config(what.into()).into()
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let io = comity_server::Error::io(what);
        move |source| io(source).into()
    }
}
