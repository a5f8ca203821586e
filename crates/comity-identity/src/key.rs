//! Signing keys and their public halves (PROTOCOL §3; RFC 7517, RFC 7518, RFC 8037).

use crate::limits::{MAX_PKCS8_LEN, MAX_RSA_BITS, MIN_RSA_BITS};
use crate::{Error, b64};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use comity_core::Secret;
use core::fmt;
use jsonwebtoken::DecodingKey;
use serde_json::{Value, json};

/// A signature algorithm. There is no other: `none` and the HMAC family have no value of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: what every gatekeeper takes.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The `alg` text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn parse(alg: &str) -> Option<Self> {
        [Self::Rs256, Self::Es256, Self::EdDsa].into_iter().find(|a| a.as_str() == alg)
    }

    pub(crate) const fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// The key's numbers, as a JWK has them, decoded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256 { x: [u8; 32], y: [u8; 32] },
    Ed25519 { x: [u8; 32] },
}

/// A public key of a JWK set: its `kid`, its one algorithm, and the key itself.
#[derive(Clone)]
pub struct PublicKey {
    kid: String,
    algorithm: Algorithm,
    material: Material,
    decoding: DecodingKey,
}

impl PublicKey {
    pub(crate) fn new(kid: String, material: Material) -> Self {
        let (algorithm, decoding) = match &material {
            Material::Rsa { n, e } => (Algorithm::Rs256, DecodingKey::from_rsa_raw_components(n, e)),
            Material::P256 { x, y } => {
                let point = [&[4][..], x, y].concat(); // uncompressed
                (Algorithm::Es256, DecodingKey::from_ec_der(&point))
            }
            Material::Ed25519 { x } => (Algorithm::EdDsa, DecodingKey::from_ed_der(x)),
        };
        Self { kid, algorithm, material, decoding }
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The only algorithm the key is used with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// The JWK as published: `{kid, kty, alg, use:"sig", …}`.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.material {
            Material::Rsa { n, e } => json!({"kty": "RSA", "n": b64::encode(n), "e": b64::encode(e)}),
            Material::P256 { x, y } => {
                json!({"kty": "EC", "crv": "P-256", "x": b64::encode(x), "y": b64::encode(y)})
            }
            Material::Ed25519 { x } => json!({"kty": "OKP", "crv": "Ed25519", "x": b64::encode(x)}),
        };
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".into(), self.kid.as_str().into());
            members.insert("alg".into(), self.algorithm.as_str().into());
            members.insert("use".into(), "sig".into());
        }
        jwk
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Material {
    /// RFC 7638: the required members in lexical order, without white space.
    fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::Rsa { n, e } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64::encode(e), b64::encode(n))
            }
            Self::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, b64::encode(x), b64::encode(y))
            }
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64::encode(x)),
        };
        b64::sha256(canonical.as_bytes())
    }
}

/// RFC 7638 thumbprint of a client's Noise static key as an OKP/X25519 JWK: the `cnf.jkt` of its tokens (PROTOCOL §3).
///
/// 43 characters of base64url without padding.
pub fn jkt(noise_public: &[u8; 32]) -> String {
    let canonical = format!(r#"{{"crv":"X25519","kty":"OKP","x":"{}"}}"#, b64::encode(noise_public));
    b64::sha256(canonical.as_bytes())
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key that signs tokens. The library zeroizes it on drop; `Debug` shows its algorithm alone.
///
/// Its `kid` is the RFC 7638 thumbprint of the public half, so that a key has the same id wherever it is loaded.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

impl SigningKey {
    /// A fresh key (RSA: 2048 bits, which takes some tenths of a second), from the cryptographic library's own generator.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        let pair = match algorithm {
            Algorithm::Rs256 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Crypto)?),
            Algorithm::Es256 => {
                Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| Error::Crypto)?)
            }
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().map_err(|_| Error::Crypto)?),
        };
        Self::from_pair(pair)
    }

    /// Loads a PKCS#8 document in DER: RSA of 2048 to 8192 bits, P-256 or Ed25519.
    ///
    /// # Errors
    /// [`Error::BadSigningKey`] for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        if der.len() > MAX_PKCS8_LEN {
            return Err(Error::BadSigningKey);
        }
        let pair = if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            Pair::Ed25519(pair)
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            Pair::P256(pair)
        } else {
            let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| Error::BadSigningKey)?;
            if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&(pair.public_modulus_len() * 8)) {
                return Err(Error::BadSigningKey);
            }
            Pair::Rsa(pair)
        };
        Self::from_pair(pair)
    }

    /// The key as a PKCS#8 document in DER.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the library fails.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, Error> {
        let der = match &self.pair {
            Pair::Rsa(pair) => pair.as_der().map(|der| der.as_ref().to_vec()),
            Pair::P256(pair) => pair.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
        };
        der.map(Secret::new).map_err(|_| Error::Crypto)
    }

    /// The public half, for a [`Jwks`](crate::Jwks).
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    fn from_pair(pair: Pair) -> Result<Self, Error> {
        let material = match &pair {
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                Material::Rsa { n, e }
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref().strip_prefix(&[4]).and_then(|xy| xy.split_first_chunk::<32>());
                let (x, y) = point.ok_or(Error::Crypto)?;
                Material::P256 { x: *x, y: y.try_into().map_err(|_| Error::Crypto)? }
            }
            Pair::Ed25519(pair) => {
                Material::Ed25519 { x: pair.public_key().as_ref().try_into().map_err(|_| Error::Crypto)? }
            }
        };
        let public = PublicKey::new(material.thumbprint(), material);
        Ok(Self { pair, public })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let rng = SystemRandom::new(); // part of the signatures below, unused by them
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).map_err(|_| Error::Crypto)?;
                Ok(signature)
            }
            Pair::P256(pair) => pair.sign(&rng, message).map(|s| s.as_ref().to_vec()).map_err(|_| Error::Crypto),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()).map_err(|_| Error::Crypto),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.public.algorithm).finish_non_exhaustive()
    }
}
