//! Enlistment (PROTOCOL §4).

use crate::client::Identity;
use crate::partner::now;
use crate::world::World;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::{PartnerUser, Timestamp};

#[tokio::test]
async fn is_idempotent_and_gives_a_random_jid_of_the_tokens_integrator() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let parsed: PartnerUser = alice.jid.parse().unwrap();
    assert_eq!(parsed.integrator.get(), 12);
    // The very same form, and one with a fresh token, change nothing that is stored but when the user was seen.
    let stored = |world: &World| {
        [
            "SELECT account, integrator, visible_id, auth_key, display_name, status, created FROM user",
            "SELECT * FROM key_bundle",
            "SELECT * FROM one_time",
            "SELECT * FROM tombstone",
        ]
        .map(|sql| world.query(sql))
    };
    let form = world.form(&alice);
    assert_eq!(world.post_form(&form).await["status"], "ok");
    let before = stored(&world);
    let mut fresh = form.clone();
    fresh[7].1 = world.partner.token(&alice.name, alice.noise.public().as_bytes());
    for form in [form.clone(), form, fresh] {
        assert_eq!(world.post_form(&form).await, serde_json::json!({ "login": alice.jid, "status": "ok" }));
    }
    assert_eq!(stored(&world), before);
    let bob = world.enlist("bob@partner.test").await;
    assert_ne!(alice.jid, bob.jid);
}

#[tokio::test]
async fn every_fault_has_its_reason() {
    let world = World::start().await;
    let user = world.stranger("alice@partner.test");
    let good = world.form(&user);
    let with = |field: &str, value: &str| {
        let mut form = good.clone();
        form.iter_mut().find(|(name, _)| *name == field).unwrap().1 = value.into();
        form
    };
    let noise = user.noise.public();
    let key = noise.as_bytes();
    let zeros = "A".repeat(43);
    let old = world.partner.token_at(&user.name, key, Timestamp::from_secs(now().as_secs() - 3600));
    let other_key = world.partner.token(&user.name, &[9; 32]);
    let foreign = crate::partner::Partner::start().await.token(&user.name, key);
    let other_identity = Identity::generate().form(key, String::new());
    let signature = &other_identity.iter().find(|(name, _)| *name == "e_skey_sig").unwrap().1;
    let mut forged = world.partner.token(&user.name, key);
    forged.replace_range(forged.len() - 4.., "AAAA");
    for (form, reason) in [
        (with("authkey", "AAAA"), "bad_request"),
        (with("e_skey_id", "AAAAAA"), "bad_request"),
        (with("token", ""), "bad_request"),
        (with("token", &"x".repeat(5000)), "bad_request"),
        (good[1..].to_vec(), "bad_request"),
        (good[..8].to_vec(), "bad_request"),
        (Vec::new(), "bad_request"),
        (with("authkey", &format!("{}=", good[0].1)), "bad_request"),
        (with("authkey", &good[0].1.replace(|_| true, "+")), "bad_request"),
        (with("e_regid", "AAAA"), "bad_request"),
        (with("e_ident", &"A".repeat(44)), "bad_request"),
        (with("e_skey_sig", "AAAA"), "bad_request"),
        (with("v", ""), "bad_request"),
        ([good.clone(), good.clone()].concat(), "bad_request"),
        (with("v", "1.0.2"), "bad_version"),
        (with("authkey", &zeros), "bad_key"),
        (with("e_skey_val", &zeros), "bad_key"),
        (with("v", "9.9"), "bad_version"),
        (with("e_keytype", "Bg"), "bad_key"),
        (with("e_ident", &zeros), "bad_key"),
        (with("e_skey_sig", signature), "bad_signature"),
        (with("token", "a.b.c"), "bad_token"),
        (with("token", &forged), "bad_token"),
        (with("token", &old), "token_expired"),
        (with("token", &other_key), "id_mismatch"),
        (with("token", &foreign), "bad_integrator"),
    ] {
        let answer = world.post_form(&form).await;
        assert_eq!(answer, serde_json::json!({ "reason": reason, "status": "fail" }));
    }
    assert_eq!(world.post_form(&good).await["status"], "ok");
}

#[tokio::test]
async fn a_rotated_key_set_is_fetched_for_the_first_token_signed_with_it() {
    let mut world = World::start().await;
    world.enlist("alice@partner.test").await;
    world.clock.advance(std::time::Duration::from_secs(61)); // one fetch a minute
    world.partner.rotate();
    let user = world.stranger("bob@partner.test");
    let at = Timestamp::from_secs(now().as_secs() + 61);
    let token = world.partner.token_at(&user.name, user.noise.public().as_bytes(), at);
    let form = user.identity.form(user.noise.public().as_bytes(), token);
    assert_eq!(world.post_form(&form).await["status"], "ok");
}

#[tokio::test]
async fn a_new_key_keeps_the_jid_ends_the_old_connection_and_tells_the_contacts() {
    let world = World::start().await;
    let ((mut alice, mut old), (bob, mut native)) = world.pair().await;
    old.deliver(&bob.jid, "AA01", b"hello").await;
    let message = native.wait_tag("message").await;
    native.receipt(&message, None).await;

    alice.noise = comity_noise::StaticKey::generate(&mut crate::world::rng());
    alice.identity = Identity::generate();
    let answer = world.post_form(&world.form(&alice)).await;
    assert_eq!(answer["login"], alice.jid.as_str());

    let notice = native.wait_tag("notification").await;
    assert_eq!(notice.attr_str("from").unwrap(), alice.jid);
    assert_eq!(notice.attr_str("type").unwrap(), "encrypt");
    assert!(notice.child("identity").is_some() && notice.attr("t").is_some());
    let end = old.wait_tag("stream:error").await;
    assert_eq!(end.attr_str("code").unwrap(), "401");
    assert_eq!(end.child("conflict").unwrap().attr_str("type").unwrap(), "device_removed");
    world.log_in(&alice).await;
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Signed pre-keys of two other Signal libraries are taken, with the Edwards sign in either state; not with another sign, key
/// or signature.
#[tokio::test]
async fn signatures_of_other_libraries_are_verified() {
    let world = World::start().await;
    let rows: Vec<Vec<&str>> = include_str!("../data/libsignal/prekeys.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(rows.len(), 20);
    for sign in ["0", "1"] {
        assert!(rows.iter().filter(|row| row[1] == sign).count() >= 10);
    }
    for (n, row) in rows.iter().enumerate() {
        let user = world.stranger(&format!("user{n}@partner.test"));
        let post = async |identity: &[u8], value: &[u8], signature: &[u8]| {
            let mut form = world.form(&user);
            for (name, bytes) in [("e_ident", identity), ("e_skey_val", value), ("e_skey_sig", signature)] {
                form.iter_mut().find(|(field, _)| *field == name).unwrap().1 = URL_SAFE_NO_PAD.encode(bytes);
            }
            world.post_form(&form).await
        };
        let (identity, value, signature) = (hex(row[2]), hex(row[3]), hex(row[4]));
        assert_eq!(signature[63] >> 7, row[1].parse::<u8>().unwrap());
        let mut flipped = signature.clone();
        flipped[63] ^= 0x80;
        let other = &rows[(n + 1) % rows.len()];
        for (what, identity, value, signature) in [
            ("other sign", &identity, &value, &flipped),
            ("other identity", &hex(other[2]), &value, &signature),
            ("other key", &identity, &hex(other[3]), &signature),
            ("other signature", &identity, &value, &hex(other[4])),
        ] {
            let answer = post(identity, value, signature).await;
            assert_eq!(answer["reason"], "bad_signature", "{what} of {n}");
        }
        assert_eq!(post(&identity, &value, &signature).await["status"], "ok", "{n} by {}", row[0]);
    }
}

/// Nothing but the form of §4, posted as a form, is one.
#[tokio::test]
async fn other_requests_are_refused() {
    let world = World::start().await;
    let alice = world.stranger("alice@partner.test");
    let form = world.form(&alice);
    let url = format!("{}/3p/interop_reg", world.url());
    let bad = serde_json::json!({ "reason": "bad_request", "status": "fail" });
    let json: serde_json::Map<_, _> = form.iter().map(|(name, value)| ((*name).into(), value.clone().into())).collect();
    for request in [
        world.http.post(&url),
        world.http.post(&url).json(&json),
        world.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(vec![0xff; 100]),
        world.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body("%"),
        world.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body("a=b&".repeat(2000)),
        world.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body("x".repeat(1 << 20)),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), bad);
    }
    assert_eq!(world.http.get(&url).send().await.unwrap().status(), 405);
    assert_eq!(world.query("SELECT * FROM user"), [""; 0]);
}
