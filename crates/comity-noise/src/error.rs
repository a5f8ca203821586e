//! What can go wrong on the transport, and whose fault it is.

use crate::cert::CertificateError;
use comity_core::ErrorKind;

/// An error of the Noise transport. Every one of them ends the connection it occurred on, save those of kind
/// [`ErrorKind::ApiMisuse`] and [`Error::PlaintextTooLong`], which changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client's first bytes are neither the prologue nor an edge-routing preamble (PROTOCOL §5.1).
    #[error("the connection does not begin with the prologue")]
    Prologue,
    /// A declared frame length is above what is allowed at this point.
    #[error("a frame of {len} bytes is above the limit of {limit}")]
    FrameTooLong {
        /// The declared length.
        len: usize,
        /// The limit in force.
        limit: usize,
    },
    /// A declared edge-routing length is above [`crate::limits::MAX_EDGE_ROUTING`].
    #[error("an edge-routing value of {len} bytes is too long")]
    EdgeRoutingTooLong {
        /// The declared length.
        len: usize,
    },
    /// The caller's plaintext or payload does not fit one message.
    #[error("a plaintext of {len} bytes is above the limit of {limit}")]
    PlaintextTooLong {
        /// Its length.
        len: usize,
        /// The limit in force.
        limit: usize,
    },
    /// A handshake message lacks a part, or a part has the wrong length.
    #[error("malformed handshake message: {0}")]
    Malformed(&'static str),
    /// A handshake message did not authenticate.
    #[error("a handshake message did not authenticate")]
    Handshake,
    /// A public key of the peer is a low-order point.
    #[error("the peer's public key is a low-order point")]
    LowOrderPoint,
    /// The server's certificate chain does not hold.
    #[error("the server's certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The server proved another static key than the one it was pinned to.
    #[error("the server's static key is not the pinned one")]
    UnexpectedServerKey,
    /// A text or byte string is not a key.
    #[error("not a 32-byte key")]
    Key,
    /// A signature did not verify.
    #[error("the signature does not verify")]
    Signature,
    /// A transport message did not open; the receiving direction is closed.
    #[error("a transport message did not authenticate")]
    Forged,
    /// The receiving direction was closed by an earlier failure.
    #[error("the receiving direction is closed")]
    Closed,
    /// The direction's counter is used up; a new handshake is needed.
    #[error("the message counter is used up")]
    CounterExhausted,
    /// The caller used the API in a way its documentation rules out.
    #[error("misuse: {0}")]
    Misuse(&'static str),
    /// A fault of this crate or of the library under it.
    #[error("internal fault: {0}")]
    Bug(&'static str),
    /// Sealed bytes pile up unwritten.
    #[cfg(feature = "tokio")]
    #[error("more than {limit} bytes wait to be written")]
    WriteQueueFull {
        /// The limit in force.
        limit: usize,
    },
    /// The stream failed.
    #[cfg(feature = "tokio")]
    #[error("the stream failed: {0}")]
    Io(#[from] std::io::Error),
    /// The stream ended inside a handshake or a frame.
    #[cfg(feature = "tokio")]
    #[error("the stream ended too early")]
    UnexpectedEnd,
    /// A WebSocket did not begin with an upgrade as it should.
    #[cfg(feature = "websocket")]
    #[error("no WebSocket upgrade: {0}")]
    Upgrade(&'static str),
    /// The handshake took too long.
    #[cfg(feature = "tokio")]
    #[error("the handshake took too long")]
    HandshakeDeadline,
    /// The peer was silent too long.
    #[cfg(feature = "tokio")]
    #[error("the peer was silent too long")]
    IdleDeadline,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Prologue => ErrorKind::PeerIncompatible,
            Self::Malformed(_) | Self::LowOrderPoint => ErrorKind::PeerMisbehaved,
            Self::FrameTooLong { .. }
            | Self::EdgeRoutingTooLong { .. }
            | Self::PlaintextTooLong { .. }
            | Self::CounterExhausted => ErrorKind::LimitExceeded,
            Self::Handshake | Self::UnexpectedServerKey | Self::Signature | Self::Forged => ErrorKind::Untrusted,
            Self::Certificate(e) => e.kind(),
            Self::Key | Self::Closed | Self::Misuse(_) => ErrorKind::ApiMisuse,
            Self::Bug(_) => ErrorKind::Bug,
            #[cfg(feature = "websocket")]
            Self::Upgrade(_) => ErrorKind::PeerIncompatible,
            #[cfg(feature = "tokio")]
            Self::WriteQueueFull { .. } => ErrorKind::LimitExceeded,
            #[cfg(feature = "tokio")]
            Self::Io(_) | Self::UnexpectedEnd | Self::HandshakeDeadline | Self::IdleDeadline => ErrorKind::Transport,
        }
    }
}

/// The library's errors, told in this crate's terms; not a `From`, which would make the library part of the API.
pub(crate) fn handshake(e: snow::Error) -> Error {
    match e {
        snow::Error::Decrypt => Error::Handshake,
        snow::Error::Dh => Error::LowOrderPoint,
        snow::Error::Input => Error::Malformed("length"),
        _ => Error::Bug("handshake state"),
    }
}
