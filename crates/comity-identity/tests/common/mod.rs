//! A forge: tokens of any shape, signed with real keys.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::{CryptoRng, Timestamp};
use comity_identity::{Algorithm, Jwks, JwksCache, SigningKey, jkt, jwks_url};
use serde_json::{Value, json};

pub const ORIGIN: &str = "https://partner.example";
pub const OTHER: &str = "https://other.example";
pub const AUDIENCE: &str = "comity-sandbox";
pub const NOW: u64 = 1_764_000_000;

pub const fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

pub fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn thumbprint() -> String {
    jkt(&[7; 32])
}

pub struct Forge {
    pub rsa: SigningKey,
    pub p256: SigningKey,
    pub ed: SigningKey,
    /// Another integrator's key.
    pub other: SigningKey,
    /// In no set.
    pub stranger: SigningKey,
}

impl Forge {
    pub fn new() -> Self {
        let key = |algorithm| SigningKey::generate(algorithm).unwrap();
        Self {
            rsa: key(Algorithm::Rs256),
            p256: key(Algorithm::Es256),
            ed: key(Algorithm::EdDsa),
            other: key(Algorithm::Rs256),
            stranger: key(Algorithm::Rs256),
        }
    }

    pub fn cache(&self) -> JwksCache {
        let mut cache = JwksCache::new();
        for (origin, keys) in [
            (ORIGIN, vec![self.rsa.public(), self.p256.public(), self.ed.public()]),
            (OTHER, vec![self.other.public()]),
        ] {
            cache.add_issuer(origin, &jwks_url(origin)).unwrap();
            let json = Jwks::new(keys).unwrap().to_json();
            let fetch = cache.poll(now()).unwrap();
            cache.fetched(&fetch.issuer, json.as_bytes(), now()).unwrap();
        }
        cache
    }
}

pub fn header(key: &SigningKey) -> Value {
    json!({"alg": key.public().algorithm().as_str(), "kid": key.public().kid(), "typ": "JWT"})
}

pub fn claims() -> Value {
    json!({
        "iss": ORIGIN, "aud": AUDIENCE, "sub": "alice@partner.example", "iat": NOW, "nbf": NOW, "exp": NOW + 600,
        "jti": "0123456789abcdef", "cnf": {"jkt": thumbprint()},
    })
}

/// `base` with the members of `change`; a null removes one.
pub fn with(mut base: Value, change: Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        let members = base.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    base
}

/// A true signature over any text.
pub fn sign_raw(key: &SigningKey, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    sign_as(key, header, claims, &RSA_PKCS1_SHA256)
}

pub fn sign_as(
    key: &SigningKey,
    header: impl AsRef<[u8]>,
    claims: impl AsRef<[u8]>,
    rsa: &'static dyn RsaEncoding,
) -> String {
    let message = format!("{}.{}", b64(header), b64(claims));
    let der = key.to_pkcs8().unwrap();
    let rng = SystemRandom::new();
    let signature = match key.public().algorithm() {
        Algorithm::Rs256 => {
            let pair = RsaKeyPair::from_pkcs8(der.expose()).unwrap();
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(rsa, &rng, message.as_bytes(), &mut signature).unwrap();
            signature
        }
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose()).unwrap();
            pair.sign(&rng, message.as_bytes()).unwrap().as_ref().to_vec()
        }
        _ => Ed25519KeyPair::from_pkcs8(der.expose()).unwrap().sign(message.as_bytes()).as_ref().to_vec(),
    };
    format!("{message}.{}", b64(signature))
}

pub fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    sign_raw(key, header.to_string(), claims.to_string())
}

/// The public half of an RSA key as SPKI and as PKCS#1, in DER.
pub fn public_der(key: &SigningKey) -> [Vec<u8>; 2] {
    let pair = RsaKeyPair::from_pkcs8(key.to_pkcs8().unwrap().expose()).unwrap();
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    [spki.as_ref().to_vec(), pair.public_key().as_ref().to_vec()]
}
