//! Whose fault an error is: the one question every caller asks first.

/// The kind of an error, the same set in every Comity crate.
///
/// Each crate's `Error` answers `kind()`; policy (retry, disconnect, tell the user, page an operator) hangs on this value
/// and never on an error's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The peer broke the protocol: malformed bytes, a stanza out of order, a bad length.
    PeerMisbehaved,
    /// The peer speaks a version, cipher or form that we do not.
    PeerIncompatible,
    /// A signature, tag, certificate, token or identity did not verify.
    Untrusted,
    /// A named limit was reached.
    LimitExceeded,
    /// The caller used the API in a way its documentation rules out.
    ApiMisuse,
    /// A stored record does not parse or contradicts another.
    StateCorrupt,
    /// A commit lost against a concurrent one; run the operation again.
    Conflict,
    /// The other end, or the way to it, failed: I/O, time-out, HTTP status.
    Transport,
    /// A fault of ours.
    Bug,
}
