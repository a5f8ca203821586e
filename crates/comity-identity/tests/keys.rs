//! Keys, key sets and the cache: what is taken, what is refused, when a fetch is due.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use comity_core::Timestamp;
use comity_identity::limits::{JWKS_MAX_AGE, JWKS_MIN_GAP, JWKS_REFRESH, MAX_ISSUERS};
use comity_identity::{Algorithm, Error, JWKS_CACHE_CONTROL, Jwks, JwksCache, SigningKey, TokenVerifier, jwks_url};
use common::{AUDIENCE, Forge, ORIGIN, b64, claims, header, now, sign, thumbprint, with};
use core::time::Duration;
use serde_json::{Value, json};

#[test]
fn signing_keys_are_stored_and_loaded() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let key = SigningKey::generate(algorithm).unwrap();
        let der = key.to_pkcs8().unwrap();
        let loaded = SigningKey::from_pkcs8(der.expose()).unwrap();
        assert_eq!(loaded.public().kid(), key.public().kid());
        assert_eq!(loaded.public().algorithm(), algorithm);
        assert_eq!(key.public().kid().len(), 43);
        let shown = format!("{key:?} {der:?}");
        assert!(!shown.contains(key.public().kid()) && shown.len() < 100, "{shown}");
        for cut in [0, 1, 20, der.expose().len() - 1] {
            assert_eq!(SigningKey::from_pkcs8(&der.expose()[..cut]).unwrap_err(), Error::BadSigningKey);
        }
    }
    assert_eq!(SigningKey::from_pkcs8(&[0x30; 100_000]).unwrap_err(), Error::BadSigningKey);
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn published(key: &SigningKey) -> Value {
    let json = Jwks::new([key.public()]).unwrap().to_json();
    serde_json::from_str::<Value>(&json).unwrap()["keys"][0].clone()
}

#[test]
fn key_sets() {
    let forge = Forge::new();
    let (rsa, p256, ed) = (published(&forge.rsa), published(&forge.p256), published(&forge.ed));
    let all = Jwks::parse(&set(&[rsa.clone(), p256.clone(), ed.clone()])).unwrap();
    assert_eq!(all.keys().len(), 3);
    assert_eq!(
        all.to_json(),
        Jwks::new([forge.rsa.public(), forge.p256.public(), forge.ed.public()]).unwrap().to_json()
    );
    assert_eq!(rsa["e"], "AQAB");

    // Passed over: keys for something else.
    for change in [
        json!({"alg": null}),
        json!({"alg": "RS512"}),
        json!({"alg": "HS256", "kty": "oct", "k": "AAAA"}),
        json!({"alg": "none"}),
        json!({"use": "enc"}),
        json!({"alg": "RSA-OAEP", "use": "enc"}),
    ] {
        let parsed = Jwks::parse(&set(&[with(rsa.clone(), change.clone()), ed.clone()])).unwrap();
        assert_eq!(parsed.keys().len(), 1, "{change}");
    }
    assert_eq!(Jwks::parse(&set(&[with(ed.clone(), json!({"crv": "Ed448"}))])).unwrap().keys().len(), 0);
    assert_eq!(
        Jwks::parse(&set(&[with(ed.clone(), json!({"use": null, "x5t": "x", "key_ops": ["verify"]}))]))
            .unwrap()
            .keys()
            .len(),
        1
    );

    // Refused as a whole.
    let modulus = |bytes: usize, first: u8, last: u8| {
        let mut n = vec![0x5a; bytes];
        (n[0], n[bytes - 1]) = (first, last);
        with(rsa.clone(), json!({"n": b64(n)}))
    };
    for (what, bad) in [
        ("1024 bits", modulus(128, 0x80, 1)),
        ("2047 bits", modulus(256, 0x7f, 1)),
        ("8193 bits", modulus(1025, 1, 1)),
        ("leading zero", modulus(257, 0, 1)),
        ("even", modulus(256, 0x80, 2)),
        ("no modulus", with(rsa.clone(), json!({"n": null}))),
        ("empty modulus", with(rsa.clone(), json!({"n": ""}))),
        ("modulus not base64url", with(rsa.clone(), json!({"n": "+/+/"}))),
        ("1024 bits in 256 bytes", modulus(256, 0, 1)),
        ("n a number", with(rsa.clone(), json!({"n": 65537}))),
        ("n with padding", with(rsa.clone(), json!({"n": format!("{}=", rsa["n"].as_str().unwrap())}))),
        ("e a number", with(rsa.clone(), json!({"e": 65537}))),
        ("e of zeros", with(rsa.clone(), json!({"e": "AAAA"}))),
        ("e with a leading zero", with(rsa.clone(), json!({"e": "AAEAAQ"}))),
        ("alg a number", with(rsa.clone(), json!({"alg": 1}))),
        ("use a list", with(rsa.clone(), json!({"use": ["sig"]}))),
        ("kid a list", with(rsa.clone(), json!({"kid": ["k"]}))),
        ("x a number", with(p256.clone(), json!({"x": 1}))),
        ("an EC private key", with(p256.clone(), json!({"d": b64([1; 32])}))),
        ("an OKP private key", with(ed.clone(), json!({"d": b64([1; 32])}))),
        ("p", with(rsa.clone(), json!({"p": "AQAB"}))),
        ("q", with(rsa.clone(), json!({"q": "AQAB"}))),
        ("dp", with(rsa.clone(), json!({"dp": "AQAB"}))),
        ("dq", with(rsa.clone(), json!({"dq": "AQAB"}))),
        ("qi", with(rsa.clone(), json!({"qi": "AQAB"}))),
        ("oth", with(rsa.clone(), json!({"oth": []}))),
        ("k", with(rsa.clone(), json!({"k": "AQAB"}))),
        ("e = 1", with(rsa.clone(), json!({"e": "AQ"}))),
        ("e even", with(rsa.clone(), json!({"e": "Ag"}))),
        ("e empty", with(rsa.clone(), json!({"e": ""}))),
        ("e of 5 bytes", with(rsa.clone(), json!({"e": "AQAAAAE"}))),
        ("RS256 with an EC key", with(p256.clone(), json!({"alg": "RS256"}))),
        ("ES256 with an RSA key", with(rsa.clone(), json!({"alg": "ES256"}))),
        ("ES256 on P-384", with(p256.clone(), json!({"crv": "P-384"}))),
        ("no y", with(p256.clone(), json!({"y": null}))),
        ("x of 31 bytes", with(p256.clone(), json!({"x": b64([1; 31])}))),
        ("Ed25519 x of 33 bytes", with(ed.clone(), json!({"x": b64([1; 33])}))),
        ("a private key", with(rsa.clone(), json!({"d": "AQAB"}))),
        ("no kid", with(rsa.clone(), json!({"kid": null}))),
        ("kid empty", with(rsa.clone(), json!({"kid": ""}))),
        ("kid of 300 bytes", with(rsa.clone(), json!({"kid": "k".repeat(300)}))),
        ("kty a number", with(rsa.clone(), json!({"kty": 1}))),
        ("no kty", with(rsa.clone(), json!({"kty": null}))),
        ("kid twice", ed.clone()),
    ] {
        let parsed = Jwks::parse(&set(&[ed.clone(), bad]));
        assert!(matches!(parsed, Err(Error::BadJwks(_))), "{what}: {parsed:?}");
    }
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("no keys", b"{}".to_vec()),
        ("array", b"[]".to_vec()),
        ("keys by position", b"[[]]".to_vec()),
        ("a key by position", br#"{"keys":[["RSA",null,null,null,null,null,null,null,null,null]]}"#.to_vec()),
        ("keys an object", br#"{"keys":{}}"#.to_vec()),
        ("keys twice", br#"{"keys":[],"keys":[]}"#.to_vec()),
        ("more after it", br#"{"keys":[]}{}"#.to_vec()),
        ("not UTF-8", b"{\"keys\":[{\"kty\":\"\xff\"}]}".to_vec()),
        ("10 MiB", vec![b' '; 10 << 20]),
        ("33 keys", set(&vec![json!({"kty": "x"}); 33])),
        ("100,000 keys", format!(r#"{{"keys":[{}0]}}"#, "{},".repeat(100_000)).into_bytes()),
        ("nested deeply", [br#"{"keys":"#.to_vec(), vec![b'['; 60_000]].concat()),
    ] {
        assert!(matches!(Jwks::parse(&bytes), Err(Error::BadJwks(_))), "{what}");
    }
    assert_eq!(Jwks::parse(&set(&vec![json!({"kty": "x"}); 32])).unwrap().keys().len(), 0);
    let ours: Vec<SigningKey> = (0..33).map(|_| SigningKey::generate(Algorithm::EdDsa).unwrap()).collect();
    assert!(Jwks::new(ours[..32].iter().map(SigningKey::public)).unwrap().to_json().len() < 64 * 1024);
    assert!(Jwks::new(ours.iter().map(SigningKey::public)).is_err());
    assert!(Jwks::new([ours[0].public(), ours[0].public()]).is_err());
}

/// Points that are none, and low-order ones, are in sets that parse: the signature check must then fail, not the process.
#[test]
fn keys_that_are_no_points_verify_nothing() {
    let forge = Forge::new();
    for (key, change) in [
        (&forge.p256, json!({"x": b64([0xff; 32]), "y": b64([0xff; 32])})),
        (&forge.p256, json!({"x": b64([0; 32]), "y": b64([0; 32])})),
        (&forge.ed, json!({"x": b64([0xff; 32])})),
        (&forge.rsa, json!({"n": b64([0x81; 256])})),
    ] {
        let mut cache = JwksCache::new();
        cache.add_issuer(ORIGIN, &jwks_url(ORIGIN)).unwrap();
        cache.put(ORIGIN, Jwks::parse(&set(&[with(published(key), change)])).unwrap(), now()).unwrap();
        let token = sign(key, &header(key), &claims());
        let verdict = TokenVerifier::new(AUDIENCE).verify(&mut cache, &token, &thumbprint(), now());
        assert_eq!(verdict.unwrap_err(), Error::BadSignature);
    }
}

fn at(secs: u64) -> Timestamp {
    now().after(Duration::from_secs(secs))
}

fn good(cache: &mut JwksCache, key: &SigningKey, when: Timestamp) {
    let fetch = cache.poll(when).expect("a fetch is due");
    assert_eq!((fetch.issuer.as_str(), fetch.url), (ORIGIN, format!("{ORIGIN}/.well-known/oauth/openid/jwks")));
    cache.fetched(&fetch.issuer, &set(&[published(key)]), when).unwrap();
}

fn cache() -> JwksCache {
    let mut cache = JwksCache::new();
    cache.add_issuer(ORIGIN, &jwks_url(ORIGIN)).unwrap();
    cache
}

#[test]
fn a_fetch_is_due_every_ten_minutes() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let mut cache = cache();
    assert!(!cache.has_keys(ORIGIN, now()));
    good(&mut cache, &key, now());
    assert!(cache.has_keys(ORIGIN, now()));
    assert_eq!(cache.next_due(), Some(now().after(JWKS_REFRESH)));
    for secs in [0, 1, 59, 60, 61, 599] {
        cache.key(ORIGIN, key.public().kid(), at(secs)).unwrap();
        assert_eq!(cache.poll(at(secs)), None);
    }
    good(&mut cache, &key, at(600));
    assert_eq!(cache.poll(at(600)), None);
    // Adding it again changes nothing; another URL starts anew.
    cache.add_issuer(ORIGIN, &jwks_url(ORIGIN)).unwrap();
    assert!(cache.has_keys(ORIGIN, at(600)));
    cache.add_issuer(ORIGIN, "https://elsewhere.example/jwks").unwrap();
    assert_eq!(cache.poll(at(600)).unwrap().url, "https://elsewhere.example/jwks");
    cache.remove_issuer(ORIGIN);
    assert_eq!(cache.key(ORIGIN, "k", at(600)).unwrap_err(), Error::UnknownIssuer);
    assert_eq!(cache.fetched(ORIGIN, b"{\"keys\":[]}", at(601)).unwrap_err(), Error::UnknownIssuer);
    assert_eq!(cache.next_due(), None);
}

#[test]
fn a_new_key_is_found_at_once() {
    let (old, new) = (SigningKey::generate(Algorithm::EdDsa).unwrap(), SigningKey::generate(Algorithm::Es256).unwrap());
    let mut cache = cache();
    good(&mut cache, &old, now());
    let token = sign(&new, &header(&new), &with(claims(), json!({"exp": common::NOW + 300})));
    let verifier = TokenVerifier::new(AUDIENCE);
    let again = verifier.verify(&mut cache, &token, &thumbprint(), at(100)).unwrap_err();
    assert_eq!(again, Error::UnknownKey { refresh: true });
    let fetch = cache.poll(at(100)).unwrap();
    // While it is under way others wait for it, too, and no second one begins.
    assert_eq!(cache.key(ORIGIN, "x", at(101)).unwrap_err(), Error::UnknownKey { refresh: true });
    assert_eq!(cache.poll(at(101)), None);
    cache.fetched(&fetch.issuer, &set(&[published(&new)]), at(102)).unwrap();
    verifier.verify(&mut cache, &token, &thumbprint(), at(102)).unwrap();
    // The old one was taken out of the set: revoked.
    assert!(cache.key(ORIGIN, old.public().kid(), at(102)).is_err());
}

/// Whatever the publisher asks for: no minute, wherever it begins, has more than two fetches.
#[test]
fn random_kids_cause_few_fetches() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    for (cache_control, least) in [(None, 9), (Some(JWKS_CACHE_CONTROL), 14), (Some("no-store"), 14)] {
        let mut cache = cache();
        let mut fetches = Vec::new();
        for i in 0..100_000_u64 {
            let when = now().after(Duration::from_millis(i * 6)); // ten minutes' worth
            assert!(matches!(cache.key(ORIGIN, &format!("kid-{i}"), when), Err(Error::UnknownKey { .. })));
            while let Some(fetch) = cache.poll(when) {
                fetches.push(when);
                cache.fetched_with(&fetch.issuer, &set(&[published(&key)]), cache_control, when).unwrap();
            }
            cache.key(ORIGIN, key.public().kid(), when).unwrap();
        }
        for three in fetches.windows(3) {
            assert!(three[2].since(three[0]) >= Duration::from_secs(60), "{cache_control:?} {fetches:?}");
        }
        assert!(fetches.len() >= least, "{cache_control:?} {fetches:?}");
    }
}

#[test]
fn the_last_good_set_outlives_failures_for_a_day() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let mut cache = cache();
    good(&mut cache, &key, now());
    let day = JWKS_MAX_AGE.as_secs();
    let (mut tries, mut secs) = (0, 600);
    while secs < day + 600 {
        let fetch = cache.poll(at(secs)).unwrap();
        match tries % 3 {
            0 => cache.failed(&fetch.issuer),
            1 => assert!(cache.fetched(&fetch.issuer, b"<html>", at(secs)).is_err()),
            _ => {} // never answered
        }
        tries += 1;
        let next = cache.next_due().unwrap();
        assert!(next > at(secs) && next <= at(secs).after(JWKS_MIN_GAP));
        assert_eq!(cache.key(ORIGIN, key.public().kid(), at(secs)).is_ok(), secs <= day, "{secs}");
        secs = next.as_secs() - now().as_secs();
    }
    cache.failed(ORIGIN);
    assert!(!cache.has_keys(ORIGIN, at(secs)));
    assert_eq!(
        cache.key(ORIGIN, key.public().kid(), now().after(JWKS_MAX_AGE * 2)).unwrap_err(),
        Error::UnknownKey { refresh: true }
    );
    good(&mut cache, &key, at(secs + 60));
    cache.key(ORIGIN, key.public().kid(), at(secs + 60)).unwrap();
    assert_eq!(cache.next_due(), Some(at(secs + 60 + 600)));
}

#[test]
fn a_partner_that_starts_later_is_found_soon() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let mut cache = cache();
    assert!(cache.poll(now()).is_some());
    cache.failed(ORIGIN);
    assert_eq!(cache.key(ORIGIN, key.public().kid(), now()).unwrap_err(), Error::NoKeys);
    let waits: Vec<u64> = (0..8)
        .map(|_| {
            let due = cache.next_due().unwrap();
            assert_eq!(cache.poll(Timestamp::from_millis(due.as_millis() - 1)), None);
            assert!(cache.poll(due).is_some());
            cache.failed(ORIGIN);
            cache.next_due().unwrap().since(due).as_secs()
        })
        .collect();
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn a_clock_set_back_holds_nothing_up() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let mut cache = cache();
    good(&mut cache, &key, at(1_000_000));
    good(&mut cache, &key, now());
    assert_eq!(cache.next_due(), Some(now().after(JWKS_REFRESH)));
}

#[test]
fn issuers_are_bounded() {
    let mut cache = JwksCache::new();
    for i in 0..MAX_ISSUERS {
        cache.add_issuer(&format!("https://{i}.example"), "u").unwrap();
    }
    assert!(matches!(cache.add_issuer("https://one-more.example", "u"), Err(Error::Misuse(_))));
    cache.add_issuer("https://7.example", "v").unwrap();
    assert!(matches!(cache.add_issuer(&"x".repeat(1000), "u"), Err(Error::Misuse(_))));
}
