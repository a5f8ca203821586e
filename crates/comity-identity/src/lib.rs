//! Ownership tokens of the interop protocol: issue, verify, and the key sets between (PROTOCOL §3).
//!
//! A partner's server signs with a [`TokenIssuer`] and publishes the [`Jwks`] of its [`KeyRing`], which rotates and revokes
//! keys; the gatekeeper verifies with a
//! [`TokenVerifier`] over a [`JwksCache`], which says when a key set is to be fetched and leaves the fetch to its owner.
//! In the other direction the gatekeeper's calls carry the tokens of a [`BearerIssuer`], and a [`BearerVerifier`] checks
//! them.
//!
//! Time and randomness are arguments; nothing here opens a socket or a file. (Key generation draws from the
//! cryptographic library's own generator.)
//!
//! # RFC 8725, *JSON Web Token Best Current Practices*
//! - §3.1, §3.2: the algorithm is the key's own, of three asymmetric ones; `none` and HMAC have no representation.
//! - §3.3, §3.4: all checks are made, or the token is refused; key sizes and points are checked by this crate and aws-lc.
//! - §3.5: RSA of 2048 bits and up, P-256 or Ed25519 only.
//! - §3.7: UTF-8 only; repeated members are refused.
//! - §3.8, §3.9: keys are looked up among those of the `iss` alone; `sub` is checked; `aud` is required and must be ours
//!   alone.
//! - §3.10: `kid` is compared, never interpreted; a header with `jku`, `jwk`, `x5u`, `x5c` or `crit` is refused.
//! - §3.11, §3.12: `typ`, where given, is `JWT`; ownership tokens and bearer tokens differ in issuer, audience and
//!   required claims, so neither passes for the other.
//!
//! # Example
//! ```
//! use comity_core::Timestamp;
//! use comity_identity::{Algorithm, Jwks, JwksCache, SigningKey, TokenIssuer, TokenVerifier, jkt, jwks_url};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
//! let now = Timestamp::from_secs(1_764_000_000);
//! let noise_public = [7; 32];
//!
//! // The partner's server.
//! let origin = "https://partner.example";
//! let issuer = TokenIssuer::new(origin, "comity-sandbox", SigningKey::generate(Algorithm::Rs256)?)?;
//! let token = issuer.issue(&"alice@partner.example".parse()?, &jkt(&noise_public), now, &mut rng)?;
//! let published = Jwks::new([issuer.public()])?.to_json();
//!
//! // The gatekeeper.
//! let mut cache = JwksCache::new();
//! cache.add_issuer(origin, &jwks_url(origin))?;
//! while let Some(fetch) = cache.poll(now) {
//!     cache.fetched(&fetch.issuer, published.as_bytes(), now)?; // after a GET of fetch.url
//! }
//! let verified = TokenVerifier::new("comity-sandbox").verify(&mut cache, &token, &jkt(&noise_public), now)?;
//! assert_eq!(verified.user_visible_id.as_str(), "alice@partner.example");
//! # Ok(())
//! # }
//! ```

mod b64;
mod bearer;
mod cache;
mod error;
mod jwks;
mod jws;
mod key;
mod keyring;
pub mod limits;
mod object;
mod token;

pub use bearer::{BearerIssuer, BearerVerifier, WHATSAPP};
pub use cache::{Fetch, JWKS_CACHE_CONTROL, JwksCache, jwks_url};
pub use error::Error;
pub use jwks::Jwks;
pub use jws::UnverifiedToken;
pub use key::{Algorithm, PublicKey, SigningKey, jkt};
pub use keyring::{Advance, KeyRing, KeyState};
pub use token::{Dangerous, OwnershipToken, SingleUse, TokenIssuer, TokenVerifier};
