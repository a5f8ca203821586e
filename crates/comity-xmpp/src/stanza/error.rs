//! Why a tree is not the stanza it was read as.

use comity_core::ErrorKind;

/// A stanza that is well-formed but not what the protocol says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem} (PROTOCOL {clause})")]
pub struct StanzaError {
    /// Where: `message/enc[0]@v` is attribute `v` of the first `enc` in a `message`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
    /// The clause that says so, such as `§7`.
    pub clause: &'static str,
}

impl StanzaError {
    /// Whose fault it is: always the peer's.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::PeerMisbehaved
    }
}

/// What is wrong at a place of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A required attribute, child or content is missing.
    #[error("missing")]
    Missing,
    /// Another tag, type or namespace than this stanza's.
    #[error("another stanza")]
    Unexpected,
    /// Not a number of the range.
    #[error("not a number of its range")]
    Number,
    /// Not a JID, or not one of the kind.
    #[error("not a JID of its kind")]
    Jid,
    /// Not a valid id.
    #[error("not an id")]
    Id,
    /// Bytes of another length.
    #[error("bytes of a wrong length")]
    Length,
    /// Text that is not UTF-8.
    #[error("not text")]
    Text,
    /// A value outside its closed list.
    #[error("an unknown value")]
    Value,
    /// More children than the protocol allows.
    #[error("too many")]
    TooMany,
    /// Fewer children than the protocol requires.
    #[error("too few")]
    TooFew,
}
