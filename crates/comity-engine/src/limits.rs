//! The engine's bounds.

use core::time::Duration;

/// Longest text of one message, in bytes.
pub const MAX_TEXT_LEN: usize = 65_536;

/// Longest serialised content of one message, in bytes, before padding.
pub const MAX_CONTENT_LEN: usize = 256 * 1024;

/// How deep wrapper messages may nest.
pub const MAX_WRAPPERS: usize = 4;

/// An answer to an `iq` is awaited this long.
pub const IQ_TIMEOUT: Duration = Duration::from_secs(30);

/// A keep-alive is sent after this long without one (PROTOCOL §5.5: every 20 to 30 s).
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(25);

/// The connection is dead if nothing was received for this long: a keep-alive and the 10 s its answer may take, doubled.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(70);

/// Connect, handshake and login together take at most this long.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);

/// First wait before a reconnect; doubles up to [`RECONNECT_MAX`], with jitter.
pub const RECONNECT_MIN: Duration = Duration::from_millis(500);

/// Longest wait before a reconnect: a server that is away for a day is tried fewer than 200 times.
pub const RECONNECT_MAX: Duration = Duration::from_secs(900);

/// After a change of the network, something must be received within this, or the connection counts as dead.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Queued stanzas pulled from the server at once; the next ones when these are dealt with (PROTOCOL §7).
pub const OFFLINE_BATCH: u32 = 200;

/// How often what the server has of our keys is compared with what we have, beside once after each start.
pub const DIGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Messages that wait for the server's ack.
pub const MAX_OUTBOX: usize = 10_000;

/// Messages that wait for the application to confirm them. More are not taken from the server, which keeps them.
pub const MAX_INBOX: usize = 100_000;

/// A message's id, and what a retry would need of it, are kept this long: the mailbox keeps messages 30 days
/// (PROTOCOL §12), and one more covers clocks.
pub const MESSAGE_RETENTION: Duration = Duration::from_secs(31 * 24 * 3600);

/// Records past [`MESSAGE_RETENTION`] are looked for this often.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Records looked at in one step of that.
pub const SWEEP_PAGE: usize = 256;

/// Requests that wait for an answer.
pub const MAX_PENDING_IQS: usize = 256;

/// Jobs that wait for one peer.
pub const MAX_LANE_JOBS: usize = 10_000;

/// One-time pre-keys in one upload.
pub const PREKEY_BATCH: usize = 100;

/// Messages whose retry count, and peers whose rebuilt sessions, are remembered.
pub const MAX_TRACKED_RETRIES: usize = 1_000;

/// Peers whose messages wait, each until a connection after the one they came by, for their identity to be accepted.
pub const MAX_HELD: usize = 1_000;

/// A job that loses this many commits in a row to other processes fails.
pub const MAX_CONFLICTS: u32 = 16;

/// A rotation of the signed pre-key that did not come about is tried again after this.
pub const ROTATE_RETRY: Duration = Duration::from_secs(3600);

/// Messages in one report (PROTOCOL §13).
pub const MAX_REPORT_MESSAGES: usize = 210;

/// Ids in one aggregated receipt (PROTOCOL §7).
pub const MAX_RECEIPT_IDS: usize = 256;

/// Longest direct path, in bytes.
pub const MAX_DIRECT_PATH_LEN: usize = 2_048;

/// Longest file name, in bytes.
pub const MAX_FILE_NAME_LEN: usize = 255;

/// Longest text with which an application says where it has a file it sent, in bytes.
pub const MAX_SOURCE_LEN: usize = 4_096;

/// How often a message's file may be asked for again, and how many such requests are taken (PROTOCOL §10); both are
/// forgotten with the message after [`MESSAGE_RETENTION`].
pub const MAX_MEDIA_RETRIES: usize = 5;

/// A file that was asked for again, and not answered for, is not asked for once more within this: request and answer wait
/// on the server like messages, and are not lost.
pub const MEDIA_RETRY_INTERVAL: Duration = Duration::from_secs(3600);

/// Largest thumbnail, in bytes.
pub const MAX_THUMBNAIL_LEN: usize = 64 * 1024;

/// Longest waveform of a voice note, in bytes.
pub const MAX_WAVEFORM_LEN: usize = 1_024;
