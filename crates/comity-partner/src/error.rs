//! What can keep the server from starting or going on.

use comity_core::ErrorKind;

/// An error of the server itself; what is wrong with a request is told by [`Problem`](crate::Problem).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong, or a file or socket failed; the text says what.
    #[error(transparent)]
    Server(#[from] comity_server::Error),
    /// A key or token could not be made or read.
    #[error("{what}: {source}")]
    Identity {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: comity_identity::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] comity_core::StoreError),
    /// A client for outgoing HTTP could not be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    HttpClient(String),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(source) => source.kind(),
            Self::Identity { source, .. } => source.kind(),
            Self::Store(source) => source.kind(),
            Self::HttpClient(_) => ErrorKind::Bug,
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
