//! Bounds on what clients and files may use up, and the defaults of [`HttpLimits`](crate::HttpLimits).

use core::time::Duration;

/// Default number of connections at once.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// How long a request's head may take to arrive.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection on which no byte moved for so long is closed.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(60);

/// HTTP/2: most requests at once on one connection.
pub const MAX_STREAMS: u32 = 64;

/// HTTP/1: read buffer; HTTP/2: largest header list, in bytes.
pub const MAX_HEADERS: usize = 16 * 1024;

/// How long open requests may go on once the server is told to stop.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the certificate's files are looked at for a change.
pub const TLS_POLL: Duration = Duration::from_secs(30);

/// Largest file of a certificate chain or a private key, in bytes.
pub const MAX_PEM_LEN: u64 = 256 * 1024;

/// Most certificates in a chain.
pub const MAX_CHAIN: usize = 16;

/// How long a small request body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest configuration file, in bytes.
pub const MAX_CONFIG_LEN: u64 = 4 << 20;

/// Largest file of a secret, in bytes.
pub const MAX_SECRET_LEN: u64 = 16 * 1024;

/// How often the metrics' histograms are folded up; between, they keep every sample.
pub const METRICS_UPKEEP: Duration = Duration::from_secs(5);
