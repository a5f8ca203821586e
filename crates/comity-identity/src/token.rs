//! Ownership tokens: this device may use this user-visible id now (PROTOCOL §3).

use crate::jws::{UnverifiedToken, sign};
use crate::limits::{CLOCK_LEEWAY, MAX_CLOCK_LEEWAY, MAX_JTI_LEN, MAX_ORIGIN_LEN, TOKEN_LIFETIME};
use crate::object::Object;
use crate::{Algorithm, Error, JwksCache, KeyRing, PublicKey, b64};
use comity_core::{CryptoRng, Profile, Timestamp, UserVisibleId};
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Serialize)]
struct Issued<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: &'a str,
    cnf: Confirmation<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct Confirmation<T> {
    jkt: T,
}

/// Signs ownership tokens in the name of one integrator for one gatekeeper.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    origin: String,
    audience: String,
    lifetime: Duration,
    keys: KeyRing,
}

impl TokenIssuer {
    /// `origin` becomes `iss`, `audience` (the gatekeeper's audience string) `aud`; `keys` is a ring, or a single key.
    ///
    /// # Errors
    /// [`Error::Misuse`] if either is empty or longer than [`MAX_ORIGIN_LEN`].
    pub fn new(origin: &str, audience: &str, keys: impl Into<KeyRing>) -> Result<Self, Error> {
        if [origin, audience].iter().any(|text| text.is_empty() || text.len() > MAX_ORIGIN_LEN) {
            return Err(Error::Misuse("an origin or audience of a length out of range"));
        }
        Ok(Self { origin: origin.into(), audience: audience.into(), lifetime: TOKEN_LIFETIME, keys: keys.into() })
    }

    /// The same issuer with the life of a profile's tokens.
    #[must_use]
    pub fn with_profile(self, profile: &Profile) -> Self {
        Self { lifetime: profile.token_lifetime, ..self }
    }

    /// The same issuer with another ring, once that is stored.
    #[must_use]
    pub fn with_keys(&self, keys: KeyRing) -> Self {
        Self { keys, ..self.clone() }
    }

    /// Its keys; `keys().jwks(now)` is the published set.
    pub const fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// A token for the user `sub`, bound to the Noise key whose thumbprint is `jkt` (see [`jkt`](crate::jkt)), valid from
    /// `now` for [`lifetime`](Self::lifetime).
    ///
    /// # Errors
    /// [`Error::Misuse`] if `jkt` is no SHA-256 thumbprint, [`Error::Crypto`] if the library fails.
    pub fn issue(
        &self,
        sub: &UserVisibleId,
        jkt: &str,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<String, Error> {
        if b64::decode(jkt).is_none_or(|bytes| bytes.len() != 32) {
            return Err(Error::Misuse("jkt is not a SHA-256 thumbprint in base64url"));
        }
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let iat = now.as_secs();
        let claims = Issued {
            iss: &self.origin,
            aud: &self.audience,
            sub: sub.as_str(),
            iat,
            nbf: iat,
            exp: iat.saturating_add(self.lifetime.as_secs()),
            jti: &b64::encode(&id),
            cnf: Confirmation { jkt },
        };
        sign(self.keys.current(), &claims)
    }

    /// How long a token is good: [`TOKEN_LIFETIME`] unless a profile says otherwise.
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The `iss` of its tokens.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The public half of the key that signs.
    pub fn public(&self) -> &PublicKey {
        self.keys.current().public()
    }
}

/// What a verified ownership token says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OwnershipToken {
    /// The integrator's origin: `iss`.
    pub issuer: String,
    /// The user: `sub`.
    pub user_visible_id: UserVisibleId,
    /// `iat`, whole seconds.
    pub issued_at: Timestamp,
    /// `exp`, whole seconds.
    pub expires_at: Timestamp,
    /// `jti`, if there is one.
    pub jti: Option<String>,
    /// There is one if the token is bound to no key, which [`Dangerous::allow_unbound_tokens`] alone lets pass: then the
    /// token is good for one time, and it is the caller who remembers.
    pub single_use: Option<SingleUse>,
}

/// The one use of an unbound token: **it is admitted only if it can be remembered, durably, and was not remembered before**.
/// Who stores it does so in one transaction with what the token admits, and forgets it at `until`, not earlier: the token
/// verifies no more from then on.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct SingleUse {
    /// The integrator's origin: another one's `jti` is another.
    pub issuer: String,
    /// The token's id, at most [`MAX_JTI_LEN`] bytes.
    pub jti: String,
    /// `exp` and the leeway.
    pub until: Timestamp,
}

impl fmt::Debug for SingleUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleUse").field("until", &self.until).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "aud is compared by the JOSE library; its shape is checked here")]
struct Claims {
    iss: String,
    aud: One,
    sub: String,
    iat: u64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
    exp: u64,
    #[serde(default, deserialize_with = "present")]
    jti: Option<String>,
    #[serde(default, deserialize_with = "present")]
    cnf: Option<Object<Confirmation<Option<String>>>>,
}

/// A claim that is there has a value: `null` is none.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// `aud` as a text, or as a list of one: a token for several audiences is a token for someone else, too.
#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "see the claims that hold it")]
pub(crate) enum One {
    Text(String),
    List([String; 1]),
}

/// Verifies ownership tokens that are meant for one gatekeeper.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    audience: String,
    allow_unbound: bool,
    lifetime: Duration,
    leeway: Duration,
    es256: bool,
    eddsa: bool,
}

/// Choices that give up a guarantee of [`TokenVerifier`].
#[derive(Clone, Debug)]
pub struct Dangerous(TokenVerifier);

impl Dangerous {
    /// Takes tokens without `cnf`, for partners that cannot add it (PROTOCOL §3, `--allow-unbound-tokens`). Whoever steals
    /// one before it is used can use it with another key. It must have a `jti`, and the caller must honour
    /// [`OwnershipToken::single_use`]. A `cnf` that is there must still fit.
    pub fn allow_unbound_tokens(mut self) -> TokenVerifier {
        self.0.allow_unbound = true;
        self.0
    }
}

impl TokenVerifier {
    /// `audience` is the gatekeeper's audience string.
    pub fn new(audience: &str) -> Self {
        Self {
            audience: audience.into(),
            allow_unbound: false,
            lifetime: TOKEN_LIFETIME,
            leeway: CLOCK_LEEWAY,
            es256: true,
            eddsa: true,
        }
    }

    /// The same verifier with a profile's longest life, leeway (at most [`MAX_CLOCK_LEEWAY`]) and algorithms.
    #[must_use]
    pub fn with_profile(self, profile: &Profile) -> Self {
        Self {
            lifetime: profile.token_lifetime,
            leeway: profile.clock_leeway.min(MAX_CLOCK_LEEWAY),
            es256: profile.token_es256,
            eddsa: profile.token_eddsa,
            ..self
        }
    }

    /// Choices that give up a guarantee.
    pub fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }

    /// Verifies `token` as presented by the holder of the Noise key whose thumbprint is `jkt`.
    ///
    /// The token may be presented any number of times until it expires, by that holder alone; for unbound ones see
    /// [`OwnershipToken::single_use`]. On
    /// [`Error::UnknownKey`]` { refresh: true }` run the fetch that [`JwksCache::poll`] gives, and verify once more.
    ///
    /// # Errors
    /// [`Error::Expired`] for a token that was good once; any other error is a token that never was, or cannot be judged
    /// ([`Error::NoKeys`], [`Error::UnknownKey`]).
    pub fn verify(
        &self,
        cache: &mut JwksCache,
        token: &str,
        jkt: &str,
        now: Timestamp,
    ) -> Result<OwnershipToken, Error> {
        let unverified = UnverifiedToken::parse(token)?;
        let key = cache.key(unverified.issuer(), unverified.kid(), now)?;
        self.verify_with(unverified, &key, jkt, now)
    }

    /// As [`verify`](Self::verify), with a key that was looked up among those of [`UnverifiedToken::issuer`] before: so
    /// that a lock on the cache need not be held during the signature's verification.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        &self,
        unverified: UnverifiedToken<'_>,
        key: &PublicKey,
        jkt: &str,
        now: Timestamp,
    ) -> Result<OwnershipToken, Error> {
        let taken = match key.algorithm() {
            Algorithm::Rs256 => true,
            Algorithm::Es256 => self.es256,
            Algorithm::EdDsa => self.eddsa,
        };
        if !taken {
            return Err(Error::UnknownKey { refresh: false });
        }
        let claims: Claims = unverified.verify(key, &self.audience)?;
        check_times(claims.iat, claims.nbf, claims.exp, self.lifetime, self.leeway, now)?;
        if claims.jti.as_ref().is_some_and(|jti| jti.len() > MAX_JTI_LEN) {
            return Err(Error::Malformed("the jti is too long"));
        }
        let single_use = match claims.cnf.map(|cnf| cnf.0.jkt) {
            Some(Some(bound)) if bound == jkt => None,
            Some(Some(_)) => return Err(Error::WrongKeyBinding),
            Some(None) => return Err(Error::Unbound), // bound to something, but not to a key that is known here
            None if !self.allow_unbound => return Err(Error::Unbound),
            None => match claims.jti.clone().filter(|jti| !jti.is_empty()) {
                Some(jti) => {
                    let until = Timestamp::from_secs(claims.exp).after(self.leeway);
                    Some(SingleUse { issuer: claims.iss.clone(), jti, until })
                }
                None => return Err(Error::Malformed("an unbound token without jti")),
            },
        };
        Ok(OwnershipToken {
            issuer: claims.iss,
            user_visible_id: claims.sub.parse().map_err(|_| Error::BadSubject)?,
            issued_at: Timestamp::from_secs(claims.iat),
            expires_at: Timestamp::from_secs(claims.exp),
            jti: claims.jti,
            single_use,
        })
    }
}

/// Times are whole seconds. `iat ≤ now`, `nbf ≤ now < exp`, each with leeway, and `iat < exp ≤ iat + lifetime` without.
pub(crate) fn check_times(
    iat: u64,
    nbf: Option<u64>,
    exp: u64,
    lifetime: Duration,
    leeway: Duration,
    now: Timestamp,
) -> Result<(), Error> {
    let (now, leeway) = (now.as_secs(), leeway.as_secs());
    if exp <= iat || exp - iat > lifetime.as_secs() {
        return Err(Error::BadLifetime);
    }
    if iat.max(nbf.unwrap_or(0)) > now.saturating_add(leeway) {
        return Err(Error::NotYetValid);
    }
    if now >= exp.saturating_add(leeway) { Err(Error::Expired) } else { Ok(()) }
}
