//! The gatekeeper's bearer tokens: who is calling a partner (PROTOCOL §3, §11).

use crate::jws::{UnverifiedToken, sign};
use crate::limits::{BEARER_LIFETIME, CLOCK_LEEWAY};
use crate::token::{One, check_times, present};
use crate::{Error, JwksCache, KeyRing, PublicKey};
use comity_core::Timestamp;
use serde::{Deserialize, Serialize};

/// The issuer of WhatsApp's bearer tokens.
pub const WHATSAPP: &str = "WHATSAPP";

/// Signs the gatekeeper's bearer tokens.
#[derive(Clone, Debug)]
pub struct BearerIssuer {
    issuer: String,
    keys: KeyRing,
}

impl BearerIssuer {
    /// `issuer` is [`WHATSAPP`] for WhatsApp and for a sandbox that stands in for it; `keys` a ring, or a single key.
    pub fn new(issuer: &str, keys: impl Into<KeyRing>) -> Self {
        Self { issuer: issuer.into(), keys: keys.into() }
    }

    /// The same issuer with another ring, once that is stored.
    #[must_use]
    pub fn with_keys(&self, keys: KeyRing) -> Self {
        Self { issuer: self.issuer.clone(), keys }
    }

    /// Its keys; `keys().jwks(now)` is the set at the gatekeeper's `/.well-known/jwks`.
    pub const fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// A token for calls to the partner at `origin`, valid from `now` for [`BEARER_LIFETIME`]. Its claims are exactly
    /// `iss`, `aud`, `iat`, `exp`.
    ///
    /// # Errors
    /// [`Error::TokenTooLong`] for an absurd origin, [`Error::Crypto`] if the library fails.
    pub fn issue(&self, origin: &str, now: Timestamp) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            aud: &'a str,
            iat: u64,
            exp: u64,
        }
        let iat = now.as_secs();
        let exp = iat.saturating_add(BEARER_LIFETIME.as_secs());
        sign(self.keys.current(), &Claims { iss: &self.issuer, aud: origin, iat, exp })
    }

    /// The public half of the key that signs.
    pub fn public(&self) -> &PublicKey {
        self.keys.current().public()
    }
}

/// Verifies that a call comes from the gatekeeper and is meant for this partner.
#[derive(Clone, Debug)]
pub struct BearerVerifier {
    issuer: String,
    origin: String,
}

impl BearerVerifier {
    /// `issuer` is the gatekeeper's ([`WHATSAPP`]), `origin` the partner's own.
    pub fn new(issuer: &str, origin: &str) -> Self {
        Self { issuer: issuer.into(), origin: origin.into() }
    }

    /// Verifies a bearer token with the keys of its issuer. Claims that a gatekeeper may add one day are passed over.
    ///
    /// # Errors
    /// As [`TokenVerifier::verify`](crate::TokenVerifier::verify).
    pub fn verify(&self, cache: &mut JwksCache, token: &str, now: Timestamp) -> Result<(), Error> {
        let unverified = UnverifiedToken::parse(token)?;
        if unverified.issuer() != self.issuer {
            return Err(Error::WrongIssuer);
        }
        let key = cache.key(&self.issuer, unverified.kid(), now)?;
        self.verify_with(unverified, &key, now)
    }

    /// As [`verify`](Self::verify), with a key that was looked up among the gatekeeper's before.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(&self, unverified: UnverifiedToken<'_>, key: &PublicKey, now: Timestamp) -> Result<(), Error> {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "iss and aud are compared by the JOSE library; their shape is checked here")]
        struct Claims {
            iss: String,
            aud: One,
            iat: u64,
            #[serde(default, deserialize_with = "present")]
            nbf: Option<u64>,
            exp: u64,
        }
        if unverified.issuer() != self.issuer {
            return Err(Error::WrongIssuer);
        }
        let claims: Claims = unverified.verify(key, &self.origin)?;
        check_times(claims.iat, claims.nbf, claims.exp, BEARER_LIFETIME, CLOCK_LEEWAY, now)
    }
}
