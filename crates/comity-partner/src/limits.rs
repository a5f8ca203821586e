//! Bounds on what clients, the gatekeeper and the network may use up.

use core::time::Duration;

/// Largest body of `POST /v1/token`, in bytes.
pub const MAX_TOKEN_BODY: usize = 1024;

/// Largest body of `POST /push`, in bytes: a user-visible id of 256 bytes, each escaped, and the frame around it.
pub const MAX_PUSH_BODY: usize = 2048;

/// Longest `Authorization` header that is looked at, in bytes: a token of 4096 and its scheme.
pub const MAX_AUTHORIZATION_LEN: usize = 4096 + 16;

/// How long `GET /v1/wake` waits for a push.
pub const WAKE_WAIT: Duration = Duration::from_secs(25);

/// Most users with a pending wake-up or a waiting client.
pub const MAX_WAKE_USERS: usize = 100_000;

/// Default size cap of one media file: 2 GiB.
pub const DEFAULT_MAX_MEDIA_LEN: u64 = 2 << 30;

/// Default cap of all media together: 64 GiB.
pub const DEFAULT_MAX_MEDIA_TOTAL: u64 = 64 << 30;

/// Default time media is kept: as long as a mailbox keeps a message (PROTOCOL §12).
pub const DEFAULT_MEDIA_RETENTION_DAYS: u32 = 30;

/// How often media past its time is looked for.
pub const MEDIA_SWEEP: Duration = Duration::from_secs(3600);

/// Default number of uploads at once.
pub const DEFAULT_MAX_UPLOADS: usize = 16;

/// Default number of downloads at once.
pub const DEFAULT_MAX_DOWNLOADS: usize = 64;

/// How long an upload may pause.
pub const UPLOAD_IDLE: Duration = Duration::from_secs(30);

/// How long an upload may take altogether.
pub const UPLOAD_TOTAL: Duration = Duration::from_secs(3600);

/// Bytes written to or read from a file at once.
pub const FILE_CHUNK: usize = 128 * 1024;

/// How long one fetch of the gatekeeper's key set may take.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(10);

/// Most users in the static table.
pub const MAX_STATIC_USERS: usize = 10_000;
