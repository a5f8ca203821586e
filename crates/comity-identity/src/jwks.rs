//! JWK sets: published by whoever signs, parsed under limits by whoever verifies (PROTOCOL §3; RFC 7517 §5).

use crate::key::{Algorithm, Material, PublicKey};
use crate::limits::{MAX_JWKS_KEYS, MAX_JWKS_LEN, MAX_KID_LEN, MAX_RSA_BITS, MIN_RSA_BITS};
use crate::object::Object;
use crate::{Error, b64};
use core::fmt;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::json;

/// A set of public keys, each with a `kid` of its own.
#[derive(Clone, Debug, Default)]
pub struct Jwks {
    keys: Vec<PublicKey>,
}

impl Jwks {
    /// A set of these keys: the current one, and those staged or going out of use.
    ///
    /// # Errors
    /// [`Error::BadJwks`] if there are more than [`MAX_JWKS_KEYS`] or two have one `kid`.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Result<Self, Error> {
        let mut set = Self::default();
        keys.into_iter().try_for_each(|key| set.push(key.clone()))?;
        Ok(set)
    }

    /// Parses a published set.
    ///
    /// A key that is not for this protocol (another `kty`, curve, `alg` or `use`; no `alg`, since the algorithm is pinned
    /// by the key) is passed over, as RFC 7517 §5 has it. A key that is for it but wrong spoils the set: no `kid` or one
    /// that occurs twice, an RSA modulus below [`MIN_RSA_BITS`], a point of the wrong size, a private part.
    ///
    /// # Errors
    /// [`Error::BadJwks`], saying what is wrong; also over [`MAX_JWKS_LEN`] or [`MAX_JWKS_KEYS`].
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() > MAX_JWKS_LEN {
            return Err(Error::BadJwks("too large"));
        }
        let Object::<RawSet>(raw) =
            serde_json::from_slice(json).map_err(|_| Error::BadJwks("not a JWK set, or too many keys"))?;
        let mut set = Self::default();
        for jwk in raw.keys {
            if let Some(key) = jwk.understand()? {
                set.push(key)?;
            }
        }
        Ok(set)
    }

    /// A set of keys that are known to be few and of different `kid`s.
    pub(crate) const fn of_distinct(keys: Vec<PublicKey>) -> Self {
        Self { keys }
    }

    /// The set as JSON, to be served as `application/json` with [`JWKS_CACHE_CONTROL`](crate::JWKS_CACHE_CONTROL).
    pub fn to_json(&self) -> String {
        json!({"keys": self.keys.iter().map(PublicKey::jwk).collect::<Vec<_>>()}).to_string()
    }

    /// The key with this `kid`.
    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.kid() == kid)
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    fn push(&mut self, key: PublicKey) -> Result<(), Error> {
        if self.keys.len() >= MAX_JWKS_KEYS {
            return Err(Error::BadJwks("too many keys"));
        }
        if self.get(key.kid()).is_some() {
            return Err(Error::BadJwks("a kid occurs twice"));
        }
        self.keys.push(key);
        Ok(())
    }
}

#[derive(Deserialize)]
struct RawSet {
    #[serde(deserialize_with = "bounded")]
    keys: Vec<RawJwk>,
}

#[derive(Deserialize)]
struct RawJwk {
    kty: String,
    alg: Option<String>,
    r#use: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    // Private parts: of RSA, EC and OKP keys alike, of RSA keys, of symmetric ones.
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

/// Stops at [`MAX_JWKS_KEYS`], before the rest is parsed.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RawJwk>, D::Error> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<RawJwk>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_JWKS_KEYS} keys")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some(key) = seq.next_element::<Object<RawJwk>>()? {
                if keys.len() >= MAX_JWKS_KEYS {
                    return Err(serde::de::Error::custom("too many keys"));
                }
                keys.push(key.0);
            }
            Ok(keys)
        }
    }
    deserializer.deserialize_seq(Keys)
}

impl RawJwk {
    /// `None`: a key for something else.
    fn understand(self) -> Result<Option<PublicKey>, Error> {
        let Some(algorithm) = self.alg.as_deref().and_then(Algorithm::parse) else { return Ok(None) };
        if self.r#use.as_deref().is_some_and(|u| u != "sig") {
            return Ok(None);
        }
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        if private.into_iter().any(Option::is_some) {
            return Err(Error::BadJwks("a private key is published"));
        }
        let material = match (algorithm, self.kty.as_str(), self.crv.as_deref()) {
            (Algorithm::Rs256, "RSA", _) => rsa(self.n.as_deref(), self.e.as_deref())?,
            (Algorithm::Es256, "EC", Some("P-256")) => {
                Material::P256 { x: coordinate(self.x.as_deref())?, y: coordinate(self.y.as_deref())? }
            }
            (Algorithm::EdDsa, "OKP", Some("Ed25519")) => Material::Ed25519 { x: coordinate(self.x.as_deref())? },
            (Algorithm::EdDsa, "OKP", _) => return Ok(None), // Ed448
            _ => return Err(Error::BadJwks("alg and kty do not belong together")),
        };
        match self.kid {
            Some(kid) if !kid.is_empty() && kid.len() <= MAX_KID_LEN => Ok(Some(PublicKey::new(kid, material))),
            _ => Err(Error::BadJwks("a key without a kid, or with too long a one")),
        }
    }
}

fn rsa(n: Option<&str>, e: Option<&str>) -> Result<Material, Error> {
    let (Some(n), Some(e)) = (n.and_then(b64::decode), e.and_then(b64::decode)) else {
        return Err(Error::BadJwks("an RSA key without a base64url n and e"));
    };
    // RFC 7518 §6.3.1.1 rules a leading zero octet out.
    let Some((&first, &last)) = n.first().zip(n.last()).filter(|(first, _)| **first != 0) else {
        return Err(Error::BadJwks("an RSA modulus that is empty or begins with zero"));
    };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(Error::BadJwks("an RSA modulus of a size that is not accepted"));
    }
    let odd_exponent = e.len() <= 4 && e.first().is_some_and(|b| *b != 0) && e.last().is_some_and(|b| b & 1 == 1);
    if last & 1 == 0 || !odd_exponent || e == [1] {
        return Err(Error::BadJwks("not an RSA public key"));
    }
    Ok(Material::Rsa { n, e })
}

fn coordinate(text: Option<&str>) -> Result<[u8; 32], Error> {
    text.and_then(b64::decode)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Error::BadJwks("a curve point's part that is not 32 bytes in base64url"))
}
