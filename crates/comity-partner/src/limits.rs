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

/// Most users with a waiting client.
pub const MAX_WAKE_USERS: usize = 100_000;

/// Default size cap of one media file as it is hosted: 2 GiB of plaintext, and 64 KiB for what encryption adds.
pub const DEFAULT_MAX_MEDIA_LEN: u64 = (2 << 30) + (64 << 10);

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

/// Bytes of a file that go to an object store in one request; what is in memory of each upload to it.
pub const BUCKET_PART: u64 = 8 << 20;

/// Largest file in an object store: S3 takes 10,000 parts.
pub const MAX_BUCKET_FILE: u64 = 10_000 * BUCKET_PART;

/// Uploads to an object store at once; further ones wait.
pub const BUCKET_UPLOADS: usize = 4;

/// How long connecting to an object store may take.
pub const BUCKET_CONNECT: Duration = Duration::from_secs(5);

/// How long an object store may take to answer one request, and pause within an answer.
pub const BUCKET_IDLE: Duration = Duration::from_secs(60);

/// How often a request to an object store is made again.
pub const BUCKET_RETRIES: usize = 3;

/// How long after its first try a request to an object store is made again at most.
pub const BUCKET_RETRY_TIME: Duration = Duration::from_secs(60);

/// How long one fetch of the gatekeeper's key set may take.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(10);

/// Most users in the static table.
pub const MAX_STATIC_USERS: usize = 10_000;

/// Most users who are to be woken at once, kept durably.
pub const MAX_PENDING_WAKES: u64 = 1_000_000;

/// How long a user stays to be woken: as long as a mailbox keeps a message (PROTOCOL §12).
pub const WAKE_KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most users with a Web Push subscription.
pub const MAX_SUBSCRIPTIONS: u64 = 1_000_000;

/// Operations that may wait for the store.
pub const STORE_QUEUE: usize = 1024;

/// Most operations in one commit of the store.
pub const MAX_GROUP_COMMIT: usize = 128;

/// Failed authentications of one address (IPv6: one /64).
pub const AUTH_TRIES_PER_ADDRESS: crate::Tries = crate::Tries { burst: 100, every: Duration::from_secs(1) };

/// Failed authentications of one claimed user.
pub const AUTH_TRIES_PER_USER: crate::Tries = crate::Tries { burst: 10, every: Duration::from_secs(6) };

/// Places in each table that counts failed authentications; 8 bytes each.
pub const AUTH_SLOTS: usize = 1 << 17;

/// How long a call to the partner's own back end may take: the gatekeeper waits 10 s for the whole push (PROTOCOL §11).
pub const BACKEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls to the partner's own back end at once; further ones wait, within [`BACKEND_TIMEOUT`].
pub const BACKEND_CALLS: usize = 64;

/// Largest answer of the partner's own back end that is read, in bytes.
pub const MAX_BACKEND_ANSWER: usize = 4096;

/// Longest answer of the OpenID provider (discovery document, key set), in bytes.
pub const MAX_OIDC_ANSWER: usize = 256 * 1024;

/// Most keys of an OpenID provider.
pub const MAX_OIDC_KEYS: usize = 64;

/// How long one fetch from the OpenID provider may take.
pub const OIDC_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the OpenID provider's keys are fetched when all goes well.
pub const OIDC_REFRESH: Duration = Duration::from_secs(10 * 60);

/// Shortest time between two fetches of the OpenID provider's keys because of unknown `kid`s.
pub const OIDC_MIN_GAP: Duration = Duration::from_secs(60);

/// Shortest time between two tries while the OpenID provider cannot be reached.
pub const OIDC_RETRY: Duration = Duration::from_secs(5);

/// How long the last good keys of the OpenID provider are used while fetches fail.
pub const OIDC_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// How far the clocks of the OpenID provider and this server may be apart.
pub const OIDC_LEEWAY: Duration = Duration::from_secs(60);

/// Largest body of `PUT /v1/push/subscription`, in bytes.
pub const MAX_SUBSCRIPTION_BODY: usize = 4096;

/// Longest address of a push resource, in bytes.
pub const MAX_ENDPOINT_LEN: usize = 2048;

/// How long a Web Push request may take.
pub const WEBPUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Web Push requests at once.
pub const WEBPUSH_CALLS: usize = 64;

/// How long a wake-up that is being sent is left alone.
pub const WEBPUSH_LEASE: Duration = Duration::from_secs(60);

/// How long a push service keeps a wake-up for a device that is away.
pub const WEBPUSH_TTL: Duration = Duration::from_secs(24 * 3600);

/// First wait after a push service failed; each next one is twice as long.
pub const WEBPUSH_FIRST_RETRY: Duration = Duration::from_secs(5);

/// Longest wait after a push service failed, whatever it asks for.
pub const WEBPUSH_MAX_RETRY: Duration = Duration::from_secs(3600);

/// Tries of one wake-up at a push service: they span most of a day.
pub const WEBPUSH_TRIES: u32 = 24;

/// Life of the token that a Web Push request carries (RFC 8292 allows 24 hours).
pub const VAPID_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How often a running server looks whether an operator changed the signing keys.
pub const KEYS_POLL: Duration = Duration::from_secs(5);

/// Default number of days after which the signing key is changed.
pub const DEFAULT_ROTATE_KEYS_DAYS: u32 = 90;

/// Default number of media files of one user.
pub const DEFAULT_USER_MAX_FILES: u64 = 10_000;

/// Default size of all media files of one user together: 4 GiB.
pub const DEFAULT_USER_MAX_BYTES: u64 = 4 << 30;

/// Most files that come in parts at once, of all users.
pub const MAX_OPEN_UPLOADS: u64 = 100_000;

/// Default time after which a file that comes in parts, and is not whole, is given up.
pub const DEFAULT_UPLOAD_EXPIRY_HOURS: u32 = 24;

/// Bytes of a file that comes in parts after which it is made durable, so that a crash costs no more.
pub const UPLOAD_CHECKPOINT: u64 = 8 << 20;

/// How long a request for a file that comes in parts waits for the one before it to save what it has.
pub const UPLOAD_TAKE_OVER: Duration = Duration::from_secs(10);
