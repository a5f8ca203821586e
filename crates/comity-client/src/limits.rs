//! The client's bounds.

use std::time::Duration;

/// Opening a TCP connection takes at most this long.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP call other than a transfer takes at most this long.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(15);

/// A peer that takes nothing for this long is gone.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer of an HTTP call other than a transfer, in bytes.
pub const MAX_HTTP_ANSWER: usize = 64 * 1024;

/// Bytes read from the socket at a time.
pub const READ_BUFFER: usize = 16 * 1024;

/// Frames that wait to be written.
pub const WRITE_QUEUE: usize = 1024;

/// Events that wait for the application. When fewer than [`EVENT_RESERVE`] places are left, nothing more is read from
/// the server until the application has caught up.
pub const EVENT_QUEUE: usize = 4096;

/// See [`EVENT_QUEUE`].
pub const EVENT_RESERVE: usize = 1024;

/// Commands that wait for the engine.
pub const COMMAND_QUEUE: usize = 256;

/// Requests for files of ours that wait for their answers; one more waits for the next start.
pub const MEDIA_REQUESTS: usize = 256;

/// A request that could not be answered, as no host takes the file, is tried again after this; the wait doubles up to
/// [`MEDIA_ANSWER_MAX`].
pub const MEDIA_ANSWER_MIN: Duration = Duration::from_secs(2);

/// See [`MEDIA_ANSWER_MIN`].
pub const MEDIA_ANSWER_MAX: Duration = Duration::from_secs(300);

/// Store operations taken together: batches among them share one commit.
pub const STORE_GROUP: usize = 256;
