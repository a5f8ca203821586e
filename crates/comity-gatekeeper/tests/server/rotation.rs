//! Keys that change while users log in, and keys that are taken back (PROTOCOL §3), over real sockets and a moved clock.

use crate::client::Client;
use crate::partner::now;
use crate::world::{User, World};
use comity_core::Timestamp;
use comity_identity::{Algorithm, BearerVerifier, Jwks, JwksCache, KeyRing, SigningKey, WHATSAPP};
use comity_noise::PublicKey;
use comity_proto::handshake::ClientPayload;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

fn payload(world: &World, user: &User, at: Timestamp) -> ClientPayload {
    let mut payload = world.payload(user);
    let token = world.partner.token_at(&user.name, user.noise.public().as_bytes(), at);
    payload.interop_data.as_mut().unwrap().token = Some(token.into());
    payload
}

async fn log_in(address: SocketAddr, root: PublicKey, user: &User, payload: &ClientPayload, at: Timestamp) -> String {
    let (_, first) = Client::connect(address, root, &user.noise, payload, None, at).await;
    first.attr_str("reason").map_or_else(|| first.tag().to_owned(), |reason| reason.into_owned())
}

/// Five hours of the partner's clock in which its key changes every hour and at any time eight log-ins are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_log_ins_while_keys_rotate_and_none_fails() {
    let mut world = World::start().await;
    let (address, root) = (world.server().chat_addr(), world.server().root());
    let mut users = Vec::new();
    for n in 0..8 {
        users.push(world.enlist(&format!("user{n}@partner.test")).await);
    }
    let (mut ahead, mut kids, mut log_ins) = (Duration::ZERO, BTreeSet::new(), 0);
    let mut old_tokens: Vec<(Timestamp, ClientPayload)> = Vec::new();
    while log_ins < 1000 {
        let at = now().after(ahead);
        let mut keys = world.partner.issuer.keys().clone();
        if keys.advance(HOUR, at).wants_key {
            keys.stage(SigningKey::generate(Algorithm::Es256).unwrap(), at).unwrap();
        }
        world.partner.publish(keys, at);
        kids.insert(world.partner.issuer.public().kid().to_owned());
        // Fresh tokens of seven users, and one that was signed nine minutes ago, maybe with the key before.
        let mut payloads: Vec<ClientPayload> = users.iter().map(|user| payload(&world, user, at)).collect();
        old_tokens.push((at, payloads[0].clone()));
        old_tokens.retain(|(issued, _)| at.since(*issued) <= Duration::from_secs(580));
        payloads[0] = old_tokens[0].1.clone();
        let attempts = users.iter().zip(&payloads).map(|(user, payload)| log_in(address, root, user, payload, at));
        for outcome in futures_util::future::join_all(attempts).await {
            assert_eq!(outcome, "success", "after {log_ins}");
            log_ins += 1;
        }
        // Time for what goes on behind: the fetch that is due happens while the next are logging in.
        let step = Duration::from_secs(150);
        ahead += step;
        world.clock.advance(step);
    }
    assert!(kids.len() >= 5, "{kids:?}");
}

/// From the moment at which a key is no longer published, no more than a minute passes until its tokens are refused, and
/// those of its successor are taken all the time.
#[tokio::test]
async fn a_revoked_key_is_refused_within_a_minute() {
    let mut world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let mallory = world.enlist("mallory@partner.test").await;
    let (address, root) = (world.server().chat_addr(), world.server().root());
    let stolen = payload(&world, &mallory, now());
    assert_eq!(log_in(address, root, &mallory, &stolen, now()).await, "success");

    let mut keys = world.partner.issuer.keys().clone();
    let bad = keys.current().public().kid().to_owned();
    keys.stage(SigningKey::generate(Algorithm::Es256).unwrap(), now()).unwrap();
    keys.revoke(&bad, now()).unwrap();
    world.partner.publish(keys, now());
    let published = Instant::now();
    assert_eq!(log_in(address, root, &mallory, &stolen, now()).await, "success", "the set is not fetched yet");

    let ahead = Duration::from_secs(45);
    world.clock.advance(ahead);
    let mut refused = false;
    while published.elapsed() + ahead < Duration::from_secs(60) && !refused {
        refused = log_in(address, root, &mallory, &stolen, now().after(ahead)).await == "401";
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused);
    let fresh = payload(&world, &alice, now().after(ahead));
    assert_eq!(log_in(address, root, &alice, &fresh, now().after(ahead)).await, "success");
}

/// Tokens with `kid`s that nobody has make the gatekeeper fetch no oftener than it would.
#[tokio::test]
async fn tokens_with_unknown_kids_cause_few_fetches() {
    use base64::Engine as _;
    let world = World::start_with("enlist_per_minute = 100000\n", "").await;
    let alice = world.enlist("alice@partner.test").await;
    let before = world.partner.fetches();
    let good = world.partner.token(&alice.name, alice.noise.public().as_bytes());
    let (_, rest) = good.split_once('.').unwrap();
    let began = Instant::now();
    for minute in 1..=3_u32 {
        for n in 0..100 {
            let header = serde_json::json!({"alg": "ES256", "kid": format!("{minute}-{n}"), "typ": "JWT"}).to_string();
            let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
            let form = alice.identity.form(alice.noise.public().as_bytes(), format!("{header}.{rest}"));
            assert_eq!(world.post_form(&form).await["reason"], "bad_token");
        }
        let fetches = world.partner.fetches() - before;
        let minutes = minute + u32::try_from(began.elapsed().as_secs() / 60).unwrap();
        assert!(fetches <= 2 * minutes, "{fetches} in {minutes} minutes");
        world.clock.advance(Duration::from_secs(60));
    }
    assert!(world.partner.fetches() > before);
}

/// A set that breaks a rule is not taken, nor one from elsewhere: the last good one stays in use.
#[tokio::test]
async fn a_hostile_key_set_is_not_taken() {
    let world = World::start_with("enlist_per_minute = 1000\n", "limits = { enlist_per_user_and_hour = 1000 }\n").await;
    let alice = world.enlist("alice@partner.test").await;
    let good = world.partner.state.jwks.lock().unwrap().clone();
    let key: serde_json::Value = serde_json::from_str(&good).unwrap();
    let key = &key["keys"][0];
    let with = |member: &str, value: &str| {
        let mut changed = key.clone();
        changed[member] = value.into();
        serde_json::json!({ "keys": [changed] }).to_string()
    };
    let other = Jwks::new([SigningKey::generate(Algorithm::Es256).unwrap().public()]).unwrap().to_json();
    let small = serde_json::json!({"keys": [{"kty": "RSA", "alg": "RS256", "kid": "s", "n": "gAAB", "e": "AQAB"}]});
    let mut ahead = Duration::ZERO;
    for (what, set) in [
        ("10 MiB", format!("{}{}", " ".repeat(10 << 20), other)),
        ("100,000 keys", format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 100_000].join(","))),
        ("a small modulus", small.to_string()),
        ("a kid twice", serde_json::json!({ "keys": [key, key] }).to_string()),
        ("a private part", with("d", "AAAA")),
        ("a wrong type", with("kid", "").replace("\"\"", "7")),
        ("nothing", String::new()),
        ("a page", "<html>".into()),
    ] {
        let (fetches, step) = (world.partner.fetches(), Duration::from_secs(60));
        *world.partner.state.jwks.lock().unwrap() = set;
        ahead += step;
        world.clock.advance(step);
        for _ in 0..500 {
            if world.partner.fetches() > fetches {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(world.partner.fetches() > fetches, "{what}: fetched");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let token = world.partner.token_at(&alice.name, alice.noise.public().as_bytes(), now().after(ahead));
        let form = alice.identity.form(alice.noise.public().as_bytes(), token);
        assert_eq!(world.post_form(&form).await["status"], "ok", "{what}");
    }
}

/// The gatekeeper's own keys: a partner that fetches its set as often as it should knows every key before it signs.
#[tokio::test]
async fn the_gatekeepers_bearer_keys_rotate() {
    let mut world = World::start().await;
    let bearer = async |world: &World| {
        world.partner.state.media_bearers.lock().unwrap().clear();
        let url = format!("{}/interop/whatsapp/download/12/{}/", world.url(), "x".repeat(16));
        assert_eq!(world.http.get(url).send().await.unwrap().status(), 404);
        world.partner.state.media_bearers.lock().unwrap().pop().unwrap()
    };
    let set = async |world: &World| {
        let answer = world.http.get(format!("{}/.well-known/jwks", world.url())).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "public, max-age=40");
        Jwks::parse(&answer.bytes().await.unwrap()).unwrap()
    };
    let mut ahead = Duration::ZERO;
    let (mut signed_by, mut known) = (BTreeSet::new(), set(&world).await);
    assert_eq!(known.keys().len(), 1);
    for step in [0, 89 * 86_400, 86_400 - 600, 600, 600, 600, 3_600, 3_600] {
        let step = Duration::from_secs(step);
        ahead += step;
        world.clock.advance(step);
        let verify = |known: &Jwks, token: &str| {
            let mut cache = JwksCache::new();
            cache.add_issuer(WHATSAPP, "as fetched").unwrap();
            cache.put(WHATSAPP, known.clone(), now().after(ahead)).unwrap();
            BearerVerifier::new(WHATSAPP, &world.partner.origin).verify(&mut cache, token, now().after(ahead))
        };
        // At the moment the clock has moved, with the set as it was before; and with what follows from it.
        let mut tokens = Vec::new();
        for _ in 0..2 {
            tokens.push(bearer(&world).await);
            tokio::time::sleep(Duration::from_millis(700)).await; // an RSA key is made
        }
        for token in &tokens {
            verify(&known, token).unwrap_or_else(|error| panic!("{error} after {ahead:?}"));
            signed_by.insert(token.split('.').next().unwrap().to_owned());
        }
        known = set(&world).await;
    }
    assert_eq!(signed_by.len(), 2, "one change in ninety days");
    assert_eq!(known.keys().len(), 1, "the old one is forgotten");
    let kid = known.keys()[0].kid().to_owned();
    // The ring is stored: it survives a restart.
    world.down().await;
    world.up().await;
    assert_eq!(set(&world).await.keys()[0].kid(), kid);
    let stored = std::fs::read(world.dir.path().join("bearer.keys")).unwrap();
    assert_eq!(KeyRing::from_bytes(&stored).unwrap().current().public().kid(), kid);
}
