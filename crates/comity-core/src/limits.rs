//! Bounds of this crate's values.

/// Longest user-visible id, in bytes: an e-mail address has at most 254.
pub const MAX_USER_VISIBLE_ID_LEN: usize = 256;

/// Longest message id, in bytes. Ids are opaque; the known clients draw 16 to 32 characters.
pub const MAX_MESSAGE_ID_LEN: usize = 128;

/// Longest user part of a JID's text, in bytes.
pub const MAX_JID_USER_LEN: usize = 256;
