//! Tokens of an OpenID provider: a few that count, and many that must not.

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const ISSUER: &str = "https://id.partner.example";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

struct Provider {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl Provider {
    fn new() -> Self {
        Self {
            ed: Ed25519KeyPair::generate().unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    fn jwks(&self) -> Value {
        let rsa = self.rsa.public_key();
        let (n, e) = (rsa.modulus(), rsa.exponent());
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "use": "sig", // without alg, as some providers have it
             "n": b64(n.big_endian_without_leading_zero()), "e": b64(e.big_endian_without_leading_zero())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "x": b64(&point[1..33]), "y": b64(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": b64(self.ed.public_key())},
            {"kty": "oct", "kid": "oct", "alg": "HS256", "k": b64("0123456789abcdef0123456789abcdef")},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": b64([0xff; 256]), "e": "AQAB"},
            {"kty": "RSA", "kid": "small", "alg": "RS256", "n": b64([0xff; 128]), "e": "AQAB"},
            {"kty": "AKP", "kid": "future", "alg": "ML-DSA-65", "pub": "AAAA"},
        ]})
    }

    fn keys(&self) -> Vec<Key> {
        parse_keys(self.jwks().to_string().as_bytes()).unwrap()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match header["alg"].as_str().unwrap_or_default() {
            "RS256" => {
                let mut signature = vec![0; 256];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
            "ES256" => self.ec.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            "HS256" => {
                // With the public key as the secret, as in the oldest of these attacks.
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.ed.public_key().as_ref());
                aws_lc_rs::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
            }
            "none" | "None" | "nOnE" => Vec::new(),
            _ => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
        };
        format!("{text}.{}", b64(signature))
    }
}

fn claims() -> Value {
    let now = NOW.as_secs();
    json!({"iss": ISSUER, "aud": "comity", "sub": "alice@partner.test", "iat": now, "exp": now + 300,
        "email": "alice@mail.test", "email_verified": true, "preferred_username": "alice"})
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

#[test]
fn what_counts() {
    let (provider, config) = (Provider::new(), OidcConfig::new(ISSUER, "comity"));
    let keys = provider.keys();
    assert_eq!(keys.iter().map(|key| key.kid.as_deref().unwrap()).collect::<Vec<_>>(), ["rsa", "ec", "ed"]);
    let user = |header: Value, claims: Value, config: &OidcConfig| {
        judge(&provider.sign(&header, &claims), &keys, config, NOW).map(|user| user.as_str().to_owned())
    };
    for (alg, kid) in [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        assert_eq!(user(json!({"alg": alg, "kid": kid}), claims(), &config).unwrap(), "alice@partner.test");
        assert_eq!(user(json!({"alg": alg}), claims(), &config).unwrap(), "alice@partner.test"); // no choice of keys
    }
    let header = || json!({"alg": "EdDSA", "kid": "ed", "typ": "at+jwt"});
    let several = with(claims(), "aud", json!(["other", "comity"]));
    assert!(user(header(), several, &config).is_ok());
    assert!(user(header(), with(claims(), "exp", json!(NOW.as_secs() as f64 + 0.5)), &config).is_ok());
    assert!(user(header(), with(claims(), "exp", json!(NOW.as_secs() - 59)), &config).is_ok()); // leeway
    let email = config.clone().with_claim("email");
    assert_eq!(user(header(), claims(), &email).unwrap(), "alice@mail.test");
    assert_eq!(user(header(), claims(), &config.with_claim("preferred_username")).unwrap(), "alice");
}

#[test]
fn what_does_not() {
    let (provider, config) = (Provider::new(), OidcConfig::new(ISSUER, "comity"));
    let (keys, now) = (provider.keys(), NOW.as_secs());
    let good = || json!({"alg": "EdDSA", "kid": "ed"});
    let signed = |header: Value, claims: Value| provider.sign(&header, &claims);
    let valid = signed(good(), claims());
    assert!(judge(&valid, &keys, &config, NOW).is_ok());
    let parts: Vec<_> = valid.split('.').collect();
    let tokens = [
        String::new(),
        "..".into(),
        "a.b.c".into(),
        valid.replacen('.', "", 1),
        format!("{valid}.x"),
        format!("{valid}x"),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], b64(with(claims(), "sub", json!("mallory")).to_string()), parts[2]),
        signed(json!({"alg": "none"}), claims()),
        signed(json!({"alg": "None", "kid": "ed"}), claims()),
        signed(json!({"alg": "nOnE", "kid": "ed"}), claims()),
        signed(json!({"alg": "HS256", "kid": "ed"}), claims()),
        signed(json!({"alg": "HS256", "kid": "oct"}), claims()),
        signed(json!({"alg": "RS256", "kid": "ed"}), claims()),
        signed(json!({"alg": "EdDSA", "kid": "rsa"}), claims()),
        signed(json!({"alg": "ES256", "kid": "ed"}), claims()),
        signed(json!({"alg": "RS256", "kid": "small"}), claims()),
        signed(json!({"alg": "RS256", "kid": "enc"}), claims()),
        signed(json!({"kid": "ed"}), claims()),
        signed(json!({"alg": 1, "kid": "ed"}), claims()),
        signed(json!({"alg": "EdDSA", "kid": "../../etc/passwd"}), claims()),
        signed(json!({"alg": "EdDSA", "kid": "' OR 1=1 --"}), claims()),
        signed(json!({"alg": "EdDSA", "kid": 7}), claims()),
        signed(with(good(), "crit", json!(["exp"])), claims()),
        signed(with(with(good(), "b64", json!(false)), "crit", json!(["b64"])), claims()),
        signed(with(good(), "zip", json!("DEF")), claims()),
        signed(with(good(), "enc", json!("A256GCM")), claims()),
        signed(good(), with(claims(), "iss", json!("https://id.other.example"))),
        signed(good(), with(claims(), "iss", json!(format!("{ISSUER}/")))),
        signed(good(), without(claims(), "iss")),
        signed(good(), with(claims(), "aud", json!("other"))),
        signed(good(), with(claims(), "aud", json!([]))),
        signed(good(), with(claims(), "aud", json!({"comity": true}))),
        signed(good(), without(claims(), "aud")),
        signed(good(), with(claims(), "exp", json!(now - 60))),
        signed(good(), with(claims(), "exp", json!(0))),
        signed(good(), with(claims(), "exp", json!(-1))),
        signed(good(), with(claims(), "exp", json!("9999999999"))),
        signed(good(), with(claims(), "exp", json!(1e300))),
        signed(good(), with(claims(), "exp", Value::Null)),
        signed(good(), without(claims(), "exp")),
        signed(good(), with(claims(), "nbf", json!(now + 61))),
        signed(good(), with(claims(), "nbf", json!("soon"))),
        signed(good(), with(claims(), "iat", json!(now + 61))),
        signed(good(), with(claims(), "sub", json!(""))),
        signed(good(), with(claims(), "sub", json!(17))),
        signed(good(), with(claims(), "sub", json!("x".repeat(1000)))),
        signed(good(), without(claims(), "sub")),
        signed(good(), json!([])),
    ];
    for (n, token) in tokens.iter().enumerate() {
        assert!(judge(token, &keys, &config, NOW).is_err(), "token number {n}");
    }
    // An address that the provider did not verify is anybody's.
    let email = config.with_claim("email");
    for verified in [json!(false), json!("true"), Value::Null] {
        let token = signed(good(), with(claims(), "email_verified", verified));
        assert!(judge(&token, &keys, &email, NOW).is_err());
    }
    assert!(judge(&signed(good(), without(claims(), "email_verified")), &keys, &email, NOW).is_err());
    // Another provider's key of the same name.
    assert!(judge(&Provider::new().sign(&good(), &claims()), &keys, &email, NOW).is_err());
}
