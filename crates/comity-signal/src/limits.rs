//! Bounds of this crate, each checked before anything is allocated or computed for it (PROTOCOL §7, §8).

use core::time::Duration;

/// Longest ciphertext of one `<enc>` taken in, in bytes.
pub const MAX_CIPHERTEXT_LEN: usize = 1 << 20;

/// Longest plaintext of one `<enc>` given out to be encrypted, in bytes, padding included.
pub const MAX_PLAINTEXT_LEN: usize = (1 << 20) - 4096;

/// Longest stored record read back, in bytes. A session with all archived states and skipped keys stays below it.
pub const MAX_RECORD_LEN: usize = 16 << 20;

/// Longest name of an address, in bytes.
pub const MAX_NAME_LEN: usize = 320;

/// Largest id of a one-time, signed or post-quantum pre-key; the id after it is 1.
pub const MAX_PRE_KEY_ID: u32 = 0x00FF_FFFE;

/// Most one-time pre-keys of one upload.
pub const MAX_PRE_KEYS_PER_UPLOAD: usize = 812;

/// Longest public value of a post-quantum pre-key, in bytes (ML-KEM-1024 with its type byte is 1,569).
pub const MAX_PQ_KEY_LEN: usize = 4096;

/// Stored one-time pre-keys of each sort kept by [`Account::prune`](crate::Account::prune), the newest: more than a server
/// and the messages under way from it can name.
pub const MAX_STORED_PRE_KEYS: usize = 4 * MAX_PRE_KEYS_PER_UPLOAD;

/// Signed pre-keys kept after they were replaced, so that first messages under way can still be read. Rotated every
/// [`SIGNED_PRE_KEY_AGE`], five fall into [`SIGNED_PRE_KEY_GRACE`]; the rest is for rotations out of turn.
pub const MAX_PREVIOUS_SIGNED_PRE_KEYS: usize = 8;

/// How long a replaced signed pre-key is kept: as long as a server keeps messages.
pub const SIGNED_PRE_KEY_GRACE: Duration = Duration::from_hours(30 * 24);

/// Age at which a signed pre-key is due for rotation.
pub const SIGNED_PRE_KEY_AGE: Duration = Duration::from_hours(7 * 24);

/// First messages without a one-time key remembered per signed pre-key, so that a repeated one is refused.
pub const MAX_REMEMBERED_BASE_KEYS: usize = 512;

/// Rounds of the safety number's hash.
pub const FINGERPRINT_ROUNDS: u32 = 5200;

/// Longest id that goes into a safety number, in bytes.
pub const MAX_FINGERPRINT_ID_LEN: usize = 320;

/// Longest group id, in bytes.
pub const MAX_GROUP_ID_LEN: usize = 320;

/// Retry receipts sent, and honoured, for one message.
pub const MAX_RETRIES_PER_MESSAGE: u32 = 5;

/// Session rebuilds a peer can cause within [`REBUILD_WINDOW`].
pub const MAX_REBUILDS_PER_PEER: u32 = 10;

/// The window of [`MAX_REBUILDS_PER_PEER`].
pub const REBUILD_WINDOW: Duration = Duration::from_hours(1);
