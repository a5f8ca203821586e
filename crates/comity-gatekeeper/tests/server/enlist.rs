//! Enlistment (PROTOCOL §4).

use crate::client::Identity;
use crate::partner::now;
use crate::world::World;
use comity_core::{PartnerUser, Timestamp};

#[tokio::test]
async fn is_idempotent_and_gives_a_random_jid_of_the_tokens_integrator() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let parsed: PartnerUser = alice.jid.parse().unwrap();
    assert_eq!(parsed.integrator.get(), 12);
    let again = world.post_form(&world.form(&alice)).await;
    assert_eq!(again["login"], alice.jid.as_str());
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
