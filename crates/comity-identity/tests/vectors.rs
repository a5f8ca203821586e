//! Known answers: RFC texts, and tokens of three other JOSE libraries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use comity_core::Timestamp;
use comity_identity::{Error, Jwks, JwksCache, TokenVerifier, jkt, jwks_url};
use common::{AUDIENCE, NOW, ORIGIN, now};
use serde_json::Value;

/// Bob's public key of RFC 7748 §6.1; the thumbprint is that of jwcrypto 1.6.1 and jose 6.2.17.
const PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
const JKT: &str = "giQqigT_IKcuzHl0FVJ3k5ts3_TWNAxvsC08UZsfcM8";

#[test]
fn thumbprint_of_a_noise_key() {
    let bytes: Vec<u8> = (0..64).step_by(2).map(|i| u8::from_str_radix(&PUBLIC[i..i + 2], 16).unwrap()).collect();
    assert_eq!(jkt(&bytes.try_into().unwrap()), JKT);
}

#[test]
fn tokens_of_other_libraries() {
    let rows: Vec<Value> = serde_json::from_str(include_str!("data/jose-libraries/tokens.json")).unwrap();
    assert_eq!(rows.len(), 9);
    for row in rows {
        let (by, token) = (&row["by"], row["token"].as_str().unwrap());
        let keys = Jwks::parse(row["jwks"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(keys.keys()[0].algorithm().as_str(), row["alg"].as_str().unwrap());
        let mut cache = JwksCache::new();
        cache.add_issuer(ORIGIN, &jwks_url(ORIGIN)).unwrap();
        cache.put(ORIGIN, keys, now()).unwrap();
        let mut verify = |audience: &str, token: &str, jkt: &str, secs: u64| {
            TokenVerifier::new(audience).verify(&mut cache, token, jkt, Timestamp::from_secs(secs))
        };
        let verified = verify(AUDIENCE, token, JKT, NOW).unwrap_or_else(|e| panic!("{by}: {e}"));
        assert_eq!(verified.user_visible_id.as_str(), "alice@partner.example");
        assert_eq!((verified.issuer.as_str(), verified.jti.as_deref()), (ORIGIN, Some("foreign")));
        assert_eq!(verified.expires_at, Timestamp::from_secs(NOW + 600));
        assert_eq!(verify("another", token, JKT, NOW).unwrap_err(), Error::WrongAudience);
        assert_eq!(verify(AUDIENCE, token, &jkt(&[1; 32]), NOW).unwrap_err(), Error::WrongKeyBinding);
        assert_eq!(verify(AUDIENCE, token, JKT, NOW + 660).unwrap_err(), Error::Expired);
        assert_eq!(verify(AUDIENCE, token, JKT, NOW - 61).unwrap_err(), Error::NotYetValid);
        // Each byte of the token counts.
        for at in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(verify(AUDIENCE, core::str::from_utf8(&changed).unwrap(), JKT, NOW).is_err(), "{by}, byte {at}");
        }
    }
}
