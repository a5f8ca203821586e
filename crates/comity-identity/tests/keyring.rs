//! Key rings: what is published when, what signs, what is stored; a year of rotation in which no token is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use comity_core::Timestamp;
use comity_identity::limits::{JWKS_REFRESH, KEY_RETIRED_FOR, KEY_STAGED_FOR, MAX_JWKS_KEYS, MAX_KEYRING_LEN};
use comity_identity::{
    Algorithm, BearerIssuer, BearerVerifier, Error, JWKS_CACHE_CONTROL, JwksCache, KeyRing, KeyState, SigningKey,
    TokenIssuer, TokenVerifier, WHATSAPP, jwks_url,
};
use common::{AUDIENCE, ORIGIN, now, rng, thumbprint};
use core::time::Duration;

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDsa).unwrap()
}

fn at(secs: u64) -> Timestamp {
    now().after(Duration::from_secs(secs))
}

fn published(ring: &KeyRing, when: Timestamp) -> Vec<String> {
    ring.jwks(when).keys().iter().map(|key| key.kid().to_owned()).collect()
}

fn current(ring: &KeyRing) -> String {
    ring.current().public().kid().to_owned()
}

#[test]
fn a_key_is_published_before_and_after_it_signs() {
    let (a, b) = (key(), key());
    let kids = [a.public().kid().to_owned(), b.public().kid().to_owned()];
    let mut ring = KeyRing::new(a, now());
    assert!(matches!(ring.promote(now()), Err(Error::Misuse(_))), "none is staged");
    ring.stage(b, at(10)).unwrap();
    assert_eq!((published(&ring, at(10)), current(&ring)), (kids.to_vec(), kids[0].clone()));
    assert!(matches!(ring.stage(key(), at(11)), Err(Error::Misuse(_))), "one is staged already");

    let known = 10 + KEY_STAGED_FOR.as_secs();
    assert!(KEY_STAGED_FOR > JWKS_REFRESH);
    assert!(matches!(ring.promote(at(known - 1)), Err(Error::Misuse(_))));
    assert_eq!(current(&ring), kids[0]);
    ring.promote(at(known)).unwrap();
    assert_eq!(current(&ring), kids[1]);

    let until = at(known).after(KEY_RETIRED_FOR);
    assert_eq!(ring.keys().last(), Some((kids[0].as_str(), KeyState::Retired { until })));
    assert_eq!(published(&ring, at(known)), [kids[1].clone(), kids[0].clone()]);
    let just_before = Timestamp::from_millis(until.as_millis() - 1);
    assert_eq!(published(&ring, just_before).len(), 2);
    assert_eq!(published(&ring, until), kids[1..]);
}

#[test]
fn a_revoked_key_is_gone_at_once() {
    let (a, b, c) = (key(), key(), key());
    let kids = [&a, &b, &c].map(|key| key.public().kid().to_owned());
    let mut ring = KeyRing::new(a, now());
    assert!(matches!(ring.revoke(&kids[0], now()), Err(Error::Misuse(_))), "there must be one that signs");
    assert!(matches!(ring.revoke("unknown", now()), Err(Error::Misuse(_))));
    assert_eq!(published(&ring, now()), kids[..1]);
    // The current one: the staged key takes its place, however young.
    ring.stage(b, at(1)).unwrap();
    ring.revoke(&kids[0], at(2)).unwrap();
    assert_eq!((published(&ring, at(2)), current(&ring)), (kids[1..2].to_vec(), kids[1].clone()));
    // A staged one, and a retired one.
    ring.stage(c, at(3)).unwrap();
    ring.promote(at(3).after(KEY_STAGED_FOR)).unwrap();
    assert_eq!(published(&ring, at(1000)).len(), 2);
    ring.revoke(&kids[1], at(1000)).unwrap();
    let d = key();
    let kid = d.public().kid().to_owned();
    ring.stage(d, at(1001)).unwrap();
    ring.revoke(&kid, at(1002)).unwrap();
    assert_eq!(published(&ring, at(1002)), kids[2..]);
}

#[test]
fn a_ring_is_bounded_and_holds_no_key_twice() {
    let a = key();
    let again = SigningKey::from_pkcs8(a.to_pkcs8().unwrap().expose()).unwrap();
    let mut ring = KeyRing::new(a, now());
    assert!(matches!(ring.stage(again, now()), Err(Error::Misuse(_))));
    let mut when = now();
    for _ in 1..MAX_JWKS_KEYS {
        // Retired keys are kept here although their time is over: nobody advances the ring.
        ring.stage(key(), when).unwrap();
        when = when.after(KEY_STAGED_FOR);
        ring.promote(when).unwrap();
    }
    assert!(matches!(ring.stage(key(), when), Err(Error::Misuse(_))));
    assert_eq!(ring.keys().count(), MAX_JWKS_KEYS);
    assert_eq!(KeyRing::from_bytes(ring.to_bytes().unwrap().expose()).unwrap().keys().count(), MAX_JWKS_KEYS);
    let step = ring.advance(Duration::from_secs(86_400), when.after(KEY_RETIRED_FOR));
    assert!(step.changed && !step.wants_key);
    assert_eq!(ring.keys().count(), 1);
}

#[test]
fn rings_are_stored_and_loaded() {
    let mut ring = KeyRing::new(SigningKey::generate(Algorithm::Rs256).unwrap(), now());
    ring.stage(SigningKey::generate(Algorithm::Es256).unwrap(), at(5)).unwrap();
    ring.promote(at(2000)).unwrap();
    ring.stage(key(), at(2001)).unwrap();
    let bytes = ring.to_bytes().unwrap();
    let loaded = KeyRing::from_bytes(bytes.expose()).unwrap();
    assert_eq!(loaded.keys().collect::<Vec<_>>(), ring.keys().collect::<Vec<_>>());
    assert_eq!(loaded.to_bytes().unwrap(), bytes);
    let text = core::str::from_utf8(bytes.expose()).unwrap();
    // What a log may show of it is not the keys.
    let shown = format!("{ring:?} {bytes:?}");
    for secret in text.lines().skip(1).map(|line| line.split(' ').nth(2).unwrap()) {
        assert!(secret.len() > 60 && !shown.contains(secret));
    }

    // A bare PKCS#8 document is a ring of one old key.
    let single = key();
    let old = KeyRing::from_bytes(single.to_pkcs8().unwrap().expose()).unwrap();
    assert_eq!(current(&old), single.public().kid());
    assert!(old.clone().advance(Duration::from_secs(86_400), now()).wants_key);

    let lines: Vec<&str> = text.lines().collect();
    let made_of = |picked: &[usize]| picked.iter().map(|n| lines[*n]).collect::<Vec<_>>().join("\n");
    for (what, bad) in [
        ("empty", String::new()),
        ("header alone", lines[0].into()),
        ("another version", text.replacen("keyring 1", "keyring 2", 1)),
        ("no current", made_of(&[0, 2, 3])),
        ("a key twice", made_of(&[0, 1, 2, 2])),
        ("two current", text.replacen("staged", "current", 1)),
        ("two staged", text.replacen("retired", "staged", 1)),
        ("an unknown state", text.replacen("staged", "waiting", 1)),
        ("no time", text.replacen("current ", "current x", 1)),
        ("a word more", text.trim_end().to_owned() + " more"),
        ("cut", text[..text.len() - 10].to_owned()),
        ("too long", "x".repeat(MAX_KEYRING_LEN + 1)),
    ] {
        assert_eq!(KeyRing::from_bytes(bad.as_bytes()).unwrap_err(), Error::BadSigningKey, "{what}");
    }
    let line = lines[1].replacen("current", "retired", 1);
    let many: Vec<String> = (0..MAX_JWKS_KEYS + 1).map(|_| line.clone()).collect();
    assert!(KeyRing::from_bytes(format!("{text}{}", many.join("\n")).as_bytes()).is_err());
}

/// Every token issued in a year of monthly rotation verifies until it expires, at a gatekeeper that fetches when it is due
/// and never because of an unknown `kid`; and the ring never grows.
#[test]
fn a_year_of_rotation_refuses_no_token() {
    let every = Duration::from_secs(30 * 86_400);
    let mut issuer = TokenIssuer::new(ORIGIN, AUDIENCE, KeyRing::new(key(), now())).unwrap();
    let verifier = TokenVerifier::new(AUDIENCE);
    let mut cache = JwksCache::new();
    cache.add_issuer(ORIGIN, &jwks_url(ORIGIN)).unwrap();
    let sub = "alice@partner.example".parse().unwrap();
    let (mut when, mut kids, mut issued) = (now(), vec![current(issuer.keys())], Vec::new());
    while when < at(365 * 86_400) {
        let mut ring = issuer.keys().clone();
        let step = ring.advance(every, when);
        if step.wants_key {
            ring.stage(key(), when).unwrap();
        }
        // What is due is said beforehand: nothing changes before it.
        let due = issuer.keys().next_due(every);
        assert_eq!(step.changed || step.wants_key, when >= due, "{when} {due}");
        issuer = issuer.with_keys(KeyRing::from_bytes(ring.to_bytes().unwrap().expose()).unwrap());
        if *kids.last().unwrap() != current(&ring) {
            kids.push(current(&ring));
        }
        assert!(ring.keys().count() <= 3);
        if let Some(fetch) = cache.poll(when) {
            cache.fetched(&fetch.issuer, ring.jwks(when).to_json().as_bytes(), when).unwrap();
        }
        issued.push((when, issuer.issue(&sub, &thumbprint(), when, &mut rng()).unwrap()));
        issued.retain(|(at, _)| when.since(*at) < Duration::from_secs(659));
        for (_, token) in &issued {
            verifier.verify(&mut cache, token, &thumbprint(), when).unwrap();
        }
        // Where nothing is due time goes in larger steps.
        let quiet = due.since(when) > Duration::from_secs(7200);
        when = when.after(Duration::from_secs(if quiet { 3600 } else { 60 }));
    }
    assert_eq!(kids.len(), 13);
}

#[test]
fn bearer_keys_rotate_alike() {
    let issuer = BearerIssuer::new(WHATSAPP, KeyRing::new(key(), now()));
    let mut cache = JwksCache::new();
    cache.add_issuer(WHATSAPP, "https://gatekeeper.example/.well-known/jwks").unwrap();
    let mut ring = issuer.keys().clone();
    ring.stage(key(), now()).unwrap();
    let set = ring.jwks(now()).to_json();
    cache.poll(now()).unwrap();
    cache.fetched(WHATSAPP, set.as_bytes(), now()).unwrap();
    let old = issuer.issue(ORIGIN, now()).unwrap();
    ring.promote(at(720)).unwrap();
    let new = issuer.with_keys(ring).issue(ORIGIN, at(720)).unwrap();
    for token in [old, new] {
        BearerVerifier::new(WHATSAPP, ORIGIN).verify(&mut cache, &token, at(720)).unwrap();
    }
}

/// A key that is no longer published is refused within a minute when the set is published as it should be, ten seconds of
/// fetching included; and however little the publisher allows, no minute has more than two fetches.
#[test]
fn a_revoked_key_is_refused_within_a_minute() {
    for (cache_control, wait) in [
        (Some(JWKS_CACHE_CONTROL), 40),
        (Some("no-cache"), 40),
        (Some("max-age=0, must-revalidate"), 40),
        (Some("Max-Age=\"45\""), 45),
        (Some("public, max-age=86400"), 600),
        (Some("max-age=-1"), 600),
        (Some("immutable"), 600),
        (None, 600),
    ] {
        let mut ring = KeyRing::new(key(), now());
        let kid = current(&ring);
        ring.stage(key(), now()).unwrap();
        let mut cache = JwksCache::new();
        cache.add_issuer(ORIGIN, &jwks_url(ORIGIN)).unwrap();
        let fetch = |cache: &mut JwksCache, ring: &KeyRing, when: Timestamp| {
            let fetch = cache.poll(when).unwrap();
            cache.fetched_with(&fetch.issuer, ring.jwks(when).to_json().as_bytes(), cache_control, when).unwrap();
        };
        fetch(&mut cache, &ring, now());
        ring.revoke(&kid, at(1)).unwrap();
        assert_eq!(cache.next_due(), Some(at(wait)), "{cache_control:?}");
        for i in 0..wait {
            cache.key(ORIGIN, &kid, at(i)).unwrap();
            // Unknown ones ask in vain.
            let asked = cache.key(ORIGIN, "unknown", at(i)).unwrap_err();
            assert_eq!(asked, Error::UnknownKey { refresh: i >= 60 }, "{cache_control:?} {i}");
            if i < 60 {
                assert_eq!(cache.poll(at(i)), None, "{cache_control:?} {i}");
            }
        }
        fetch(&mut cache, &ring, at(wait));
        assert_eq!(cache.key(ORIGIN, &kid, at(wait)).unwrap_err(), Error::UnknownKey { refresh: false });
        cache.key(ORIGIN, ring.current().public().kid(), at(wait)).unwrap();
    }
}
