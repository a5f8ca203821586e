//! What can keep a server from starting.

use comity_core::ErrorKind;

/// An error of the server itself; what is wrong with a request is told by [`Problem`](crate::Problem).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong; the text says what, and how to set it right. It never holds a secret.
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
}

impl Error {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::ApiMisuse,
            Self::Io { .. } => ErrorKind::Transport,
        }
    }

    /// For `map_err` on I/O: `what` was attempted.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
