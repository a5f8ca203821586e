//! What can keep the server from starting or going on.

use comity_core::ErrorKind;

/// An error of the server itself; what is wrong with a request is told by [`Problem`](crate::Problem).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong; the text says what, and how to set it right.
    #[error("configuration: {0}")]
    Config(String),
    /// A file or socket failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path or address.
        what: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The listener, its certificate or a file of the configuration.
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
            Self::Config(_) => ErrorKind::ApiMisuse,
            Self::Io { .. } => ErrorKind::Transport,
            Self::Server(source) => source.kind(),
            Self::Identity { source, .. } => source.kind(),
            Self::Store(source) => source.kind(),
            Self::HttpClient(_) => ErrorKind::Bug,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
