//! Who sends a Web Push message: RFC 8292, a token signed with ES256, in `Authorization: vapid t=…, k=…`.

use crate::limits::VAPID_LIFETIME;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::{Secret, Timestamp};
use serde_json::json;

/// The key that signs; a device subscribes for it, so it must stay the same.
pub(crate) struct VapidKey {
    pair: EcdsaKeyPair,
    public: String,
}

impl VapidKey {
    /// A new key's PKCS#8 document.
    pub(crate) fn generate() -> Result<Secret<Vec<u8>>, Unspecified> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        Ok(Secret::new(document.as_ref().to_vec()))
    }

    pub(crate) fn from_pkcs8(document: &Secret<Vec<u8>>) -> Result<Self, Unspecified> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.expose()).map_err(|_| Unspecified)?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }

    /// The public key, uncompressed, in base64url: what a device subscribes with (`applicationServerKey`).
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// The `Authorization` of a request to the push service at `origin`.
    pub(crate) fn authorization(&self, origin: &str, subject: &str, now: Timestamp) -> Result<String, Unspecified> {
        let claims = json!({"aud": origin, "exp": now.after(VAPID_LIFETIME).as_secs(), "sub": subject});
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "ES256"})), encode(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("vapid t={signed}.{}, k={}", URL_SAFE_NO_PAD.encode(signature), self.public))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::Value;

    #[test]
    fn the_token_verifies_with_the_key_beside_it() {
        let key = VapidKey::from_pkcs8(&VapidKey::generate().unwrap()).unwrap();
        let now = Timestamp::from_secs(1_764_000_000);
        let header = key.authorization("https://push.example", "mailto:ops@partner.example", now).unwrap();
        let (token, k) = header.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(k, key.public());
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.set_audience(&["https://push.example"]);
        let decoding = DecodingKey::from_ec_der(&URL_SAFE_NO_PAD.decode(k).unwrap());
        let claims = jsonwebtoken::decode::<Value>(token, &decoding, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "mailto:ops@partner.example");
        let life = claims["exp"].as_u64().unwrap() - now.as_secs();
        assert!(life <= 24 * 3600, "{life}"); // RFC 8292 §2
    }
}
