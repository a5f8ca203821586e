//! Bounds on everything that comes from outside (PROTOCOL §3).

use core::time::Duration;

/// Longest token accepted or issued, in bytes.
pub const MAX_TOKEN_LEN: usize = 4096;

/// Longest `kid`, in bytes.
pub const MAX_KID_LEN: usize = 256;

/// Longest `jti`, in bytes.
pub const MAX_JTI_LEN: usize = 128;

/// Longest issuer or audience string, in bytes.
pub const MAX_ORIGIN_LEN: usize = 512;

/// Largest JWK set, in bytes of JSON. A fetcher stops reading here.
pub const MAX_JWKS_LEN: usize = 64 * 1024;

/// Most keys in a JWK set, those not understood included.
pub const MAX_JWKS_KEYS: usize = 32;

/// Smallest RSA modulus, in bits.
pub const MIN_RSA_BITS: usize = 2048;

/// Largest RSA modulus, in bits: the cost of one verification grows with its square.
pub const MAX_RSA_BITS: usize = 8192;

/// Longest PKCS#8 document that is read as a signing key, in bytes.
pub const MAX_PKCS8_LEN: usize = 16 * 1024;

/// How far the two clocks may be apart where no profile says otherwise.
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(60);

/// How far they may be apart at most, whatever a profile says.
pub const MAX_CLOCK_LEEWAY: Duration = Duration::from_secs(300);

/// Longest life of an ownership token, and the life of those issued here, where no profile says otherwise.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(600);

/// Life of the gatekeeper's bearer tokens.
pub const BEARER_LIFETIME: Duration = Duration::from_secs(3600);

/// How often a key set is fetched when all goes well; a profile may say less.
pub const JWKS_REFRESH: Duration = Duration::from_secs(10 * 60);

/// Where no profile says otherwise: how often a key set is fetched at most, whatever its publisher asks for by `Cache-Control: max-age`: with a fetch of ten
/// seconds, a key that is no longer published is refused within a minute, and no minute has more than two fetches.
pub const JWKS_MIN_REFRESH: Duration = Duration::from_secs(40);

/// How soon a failed fetch is first tried again.
pub const JWKS_FIRST_RETRY: Duration = Duration::from_secs(1);

/// Where no profile says otherwise: shortest time between two fetches for one issuer because of unknown `kid`s; longest between two tries that fail.
pub const JWKS_MIN_GAP: Duration = Duration::from_secs(60);

/// Where no profile says otherwise: how long the last good key set is used while fetches fail.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Most issuers in one cache: one per integrator number.
pub const MAX_ISSUERS: usize = 999;

/// How long a signer publishes a key before it signs: until every verifier has fetched the set, and two minutes.
pub const KEY_STAGED_FOR: Duration = Duration::from_secs(JWKS_REFRESH.as_secs() + 120);

/// How long a signer publishes a key that signs no more: as long as any token lives, a verifier's leeway.
pub const KEY_RETIRED_FOR: Duration = Duration::from_secs(BEARER_LIFETIME.as_secs() + MAX_CLOCK_LEEWAY.as_secs());

/// Longest stored key ring, in bytes.
pub const MAX_KEYRING_LEN: usize = MAX_JWKS_KEYS * (MAX_PKCS8_LEN / 3 * 4 + 64);
