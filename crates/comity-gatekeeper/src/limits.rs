//! Every bound of the gatekeeper that is not a value of the [`Profile`](comity_core::Profile). Checked before anything is allocated for what it bounds.

use std::time::Duration;

// Store.

/// Threads that read the database.
pub const READER_THREADS: usize = 2;
/// Writes (and reads) that wait for the store; more wait at their connections.
pub const WRITE_QUEUE: usize = 1024;
/// Most writes of one transaction.
pub const MAX_GROUP_COMMIT: usize = 512;

// Accounts.

/// How often a new key begins to sign the bearer tokens of calls to partners (PROTOCOL §3).
pub const BEARER_ROTATE: Duration = Duration::from_secs(90 * 86_400);
/// How often it is looked whether that is due.
pub const ROTATE_LOOK: Duration = Duration::from_secs(60);
/// How often what has expired is removed.
pub const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Random user numbers tried for a new user before giving up.
pub const NUMBER_CANDIDATES: usize = 8;
/// Longest configuration file, in bytes.
pub const MAX_CONFIG_LEN: u64 = 1 << 20;
/// Longest display name, in bytes.
pub const MAX_DISPLAY_NAME: usize = 128;
/// Longest request body of the admin interface, in bytes.
pub const MAX_ADMIN_BODY: usize = 4 * 1024;

/// How long a request of `comity-gatekeeper native` to the running gatekeeper may take.
pub const ADMIN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer to it, in bytes.
pub const MAX_ADMIN_ANSWER: usize = 16 * 1024;

// Mailbox.

/// Most stanzas that wait for one account.
pub const MAX_MAILBOX_STANZAS: u64 = 10_000;
/// Most bytes that wait for one account.
pub const MAX_MAILBOX_BYTES: u64 = 64 << 20;
/// Most that a client may add to the window by pulling batches.
pub const MAX_DELIVERY_WINDOW: u32 = 4096;
/// Stanzas read from the mailbox at once.
pub const DELIVERY_PAGE: u32 = 64;
/// Bytes read from the mailbox at once, about.
pub const DELIVERY_PAGE_BYTES: usize = 256 * 1024;

// Keys (PROTOCOL §8).

/// Most keys of one upload.
pub const MAX_UPLOAD_KEYS: usize = 812;
/// Most one-time keys of one kind kept for an account.
pub const MAX_STORED_ONE_TIME_KEYS: u32 = 4096;
/// Pairs remembered for that; beyond it nobody gets one-time keys from an account not seen today.
pub const MAX_PAIRS: usize = 100_000;
/// Longest post-quantum public key, in bytes (Kyber-1024 has 1568, with its type byte 1569).
pub const MAX_PQ_KEY: usize = 2048;

// Alias view (PROTOCOL §2).

/// Most partner users of one stanza that are named by their aliases; whom it names beyond that, it names as it is.
pub const MAX_ALIASES: usize = 1024;

// Consent (PROTOCOL §13).

/// Most users of one look-up.
pub const MAX_LOOKUP_USERS: usize = 256;
/// Most devices asked for in one usync.
pub const MAX_USYNC_USERS: usize = 256;
/// Most entries of a blocklist.
pub const MAX_BLOCKLIST: u32 = 10_000;
/// Reports kept.
pub const MAX_REPORTS: i64 = 10_000;
/// Most messages of one report.
pub const MAX_REPORT_MESSAGES: usize = 210;
/// Most ids of one receipt.
pub const MAX_RECEIPT_IDS: usize = 256;
/// Longest id of a stanza that is queued or answered, in bytes.
pub const MAX_STANZA_ID: usize = 128;
/// Longest stanza that is queued, in bytes.
pub const MAX_QUEUED_STANZA: usize = 1 << 20;

// Connections.

/// Connections at once, all phases.
pub const MAX_CONNECTIONS: usize = 50_000;
/// How long the answer to a WebSocket's upgrade may take to be written.
pub const UPGRADE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a write to a client may take.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Stanzas of one connection that wait for their commit; further ones wait in the socket.
pub const MAX_PENDING: usize = 64;
/// Live-only stanzas (typing, low-water) that wait at a connection; more are dropped.
pub const MAX_LIVE: usize = 32;
/// Stanzas that a client may send at once, and per second in the long run.
pub const STANZA_BURST: u32 = 1000;
/// See [`STANZA_BURST`].
pub const STANZAS_PER_SECOND: u32 = 500;
/// Stanzas of an integrator's users together, at once and per second in the long run, unless configured otherwise.
pub const STANZAS_PER_INTEGRATOR_AND_SECOND: u32 = 10_000;

/// How long shutdown waits for connections to end.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

// HTTP.

/// Largest body of an enlistment.
pub const MAX_ENLIST_BODY: usize = 16 * 1024;
/// Enlistments from one address, at once and per minute in the long run, unless configured otherwise.
pub const ENLIST_PER_MINUTE: u32 = 120;
/// A request other than a media transfer must be answered within this, its body included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Enlistments of one integrator's users, at once and per minute in the long run, unless configured otherwise.
pub const ENLIST_PER_INTEGRATOR_AND_MINUTE: u32 = 600;
/// Enlistments of one user, at once and per hour in the long run, unless configured otherwise.
pub const ENLIST_PER_USER_AND_HOUR: u32 = 20;
/// Addresses, and users, remembered for that. Beyond it, those whose bucket is full again are forgotten, and a new one is
/// refused as long as there is none such.
pub const MAX_BUCKETS: usize = 100_000;
/// Unbound tokens of one integrator remembered until they expire; beyond it no further one is taken (PROTOCOL §3).
pub const MAX_USED_TOKENS: u32 = 100_000;
/// Networks of a location policy.
pub const MAX_NETWORKS: usize = 200_000;
/// Longest file of networks, in bytes.
pub const MAX_NETWORKS_FILE: u64 = 16 << 20;
/// Relayed downloads of one integrator at once.
pub const MEDIA_PER_INTEGRATOR: usize = 64;
/// Uploads at once.
pub const MEDIA_UPLOADS: usize = 64;
/// How long an upload's authorisation lasts.
pub const MEDIA_AUTH_TTL: Duration = Duration::from_secs(6 * 3600);
/// How long uploaded media are kept.
pub const MEDIA_KEEP: Duration = Duration::from_secs(30 * 86_400);
/// A partner's answer to anything but media is due after this.
pub const PARTNER_TIMEOUT: Duration = Duration::from_secs(10);
/// Integrators of a configuration.
pub const MAX_INTEGRATORS: usize = 999;

// Push (PROTOCOL §11).

/// Accounts with an outstanding wake-up.
pub const MAX_WAKES: usize = 100_000;
/// Push calls at once.
pub const PUSH_CALLS: usize = 64;

// Frames after the log-in.

/// Largest frame of a client that has logged in: the largest key upload, with room.
pub const MAX_CLIENT_FRAME: usize = 4 << 20;
/// Sealed bytes that are written to a socket at once, about.
pub const WRITE_CHUNK: usize = 64 * 1024;
