//! Ownership tokens at enlistment and log-in: bound ones for their key's holder, unbound ones for one time (PROTOCOL §3).

use crate::client::Client;
use crate::partner::now;
use crate::world::{User, World, rng};
use comity_noise::StaticKey;
use serde_json::{Value, json};
use std::time::Duration;

const LAX: &str = "allow_unbound_tokens = true\n";

async fn enlist_with(world: &World, user: &User, token: &str) -> Value {
    world.post_form(&user.identity.form(user.noise.public().as_bytes(), token.into())).await
}

/// The first stanza's tag, and the reason if it is a refusal.
async fn log_in_with(world: &World, user: &User, token: &str) -> String {
    let mut payload = world.payload(user);
    payload.interop_data.as_mut().unwrap().token = Some(token.to_owned().into());
    let (mut client, first) = world.try_log_in(user, &payload).await;
    match first.attr_str("reason") {
        Some(reason) => reason.into_owned(),
        None => {
            client.ping().await;
            first.tag().into()
        }
    }
}

fn bad_token() -> Value {
    json!({ "reason": "bad_token", "status": "fail" })
}

#[tokio::test]
async fn unbound_tokens_are_refused_unless_configured() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let token = || world.partner.forge(&alice.name, json!({}));
    assert_eq!(enlist_with(&world, &alice, &token()).await, bad_token());
    assert_eq!(log_in_with(&world, &alice, &token()).await, "401");
    assert_eq!(world.query("SELECT * FROM used_token"), [""; 0]);
}

#[tokio::test]
async fn an_unbound_token_is_good_for_one_time_before_and_after_a_restart() {
    let mut world = World::start_with("", LAX).await;
    let mut alice = world.stranger("alice@partner.test");
    let token = world.partner.forge(&alice.name, json!({}));
    let enlisted = enlist_with(&world, &alice, &token).await;
    assert_eq!(enlisted["status"], "ok");
    alice.jid = enlisted["login"].as_str().unwrap().to_owned();
    let mut thief = alice.clone();
    thief.noise = StaticKey::generate(&mut rng());

    let login = world.partner.forge(&alice.name, json!({}));
    assert_eq!(log_in_with(&world, &alice, &login).await, "success");
    for again in 0..2 {
        let before = world.settled().await;
        for used in [&token, &login] {
            assert_eq!(enlist_with(&world, &alice, used).await, bad_token(), "{again}");
            assert_eq!(enlist_with(&world, &thief, used).await, bad_token(), "{again}");
            assert_eq!(log_in_with(&world, &alice, used).await, "401", "{again}");
            assert_eq!(log_in_with(&world, &thief, used).await, "401", "{again}");
        }
        assert_eq!(world.settled().await, before, "a refused token changes nothing");
        world.down().await;
        world.up().await;
    }
    // A fresh one is good: as are bound ones, time and again.
    assert_eq!(log_in_with(&world, &alice, &world.partner.forge(&alice.name, json!({}))).await, "success");
    let bound = world.partner.token(&alice.name, alice.noise.public().as_bytes());
    for _ in 0..3 {
        assert_eq!(log_in_with(&world, &alice, &bound).await, "success");
        assert_eq!(enlist_with(&world, &alice, &bound).await["login"], alice.jid.as_str());
        assert_eq!(enlist_with(&world, &thief, &bound).await["reason"], "id_mismatch");
    }
    // Without a jti it cannot be remembered.
    let nameless = world.partner.forge(&alice.name, json!({"jti": null}));
    assert_eq!(enlist_with(&world, &alice, &nameless).await, bad_token());
    assert_eq!(log_in_with(&world, &alice, &nameless).await, "401");
    // What has expired is forgotten; it is refused for its age then.
    assert_eq!(world.query("SELECT count(*) FROM used_token"), ["Integer(3)"]);
    world.down().await;
    world.clock.advance(Duration::from_secs(661));
    world.up().await; // sweeps at start
    for _ in 0..100 {
        if world.query("SELECT * FROM used_token").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.query("SELECT * FROM used_token"), [""; 0]);
    assert_eq!(world.query("SELECT * FROM used_tokens"), [""; 0]);
    assert_eq!(enlist_with(&world, &alice, &token).await["reason"], "token_expired");
}

/// However many present one token at once, one of them is let in.
#[tokio::test]
async fn an_unbound_token_presented_by_many_at_once_admits_one() {
    let world = World::start_with("", LAX).await;
    let token = world.partner.forge("alice@partner.test", json!({}));
    let users: Vec<User> = (0..16).map(|_| world.stranger("alice@partner.test")).collect();
    let answers = futures_util::future::join_all(users.iter().map(|user| enlist_with(&world, user, &token))).await;
    let ok = answers.iter().filter(|answer| answer["status"] == "ok").count();
    let refused = answers.iter().filter(|answer| **answer == bad_token()).count();
    assert_eq!((ok, refused), (1, 15), "{answers:?}");
}

#[tokio::test]
async fn a_token_of_another_integrator_does_not_open_an_account() {
    let other = crate::partner::Partner::start().await;
    let second = format!(
        "[[integrator]]\nid = 13\nname = \"Other\"\norigin = \"{0}\"\nmedia_base_url = \"{0}/media\"\n",
        other.origin
    );
    let world = World::start_with("", &second).await;
    let alice = world.enlist("alice@partner.test").await;
    let theirs = other.token(&alice.name, alice.noise.public().as_bytes());
    // The same user-visible id is another user there.
    let (local, _) = alice.jid.split_once('@').unwrap();
    let enlisted = enlist_with(&world, &alice, &theirs).await;
    assert!(enlisted["login"].as_str().unwrap().starts_with("13-"), "{enlisted}");
    assert!(local.starts_with("12-"));
    // Integrator and number make the account: theirs has not got this number.
    assert_eq!(log_in_with(&world, &alice, &theirs).await, "415");
    let ours = world.partner.token(&alice.name, alice.noise.public().as_bytes());
    assert_eq!(log_in_with(&world, &alice, &ours).await, "success");
}

/// A log-in resumed with an unbound token uses it up when the client has proved to be there, and not before.
#[tokio::test]
async fn an_unbound_token_in_a_resumed_log_in() {
    let world = World::start_with("", LAX).await;
    let alice = world.enlist("alice@partner.test").await;
    let known = world.log_in(&alice).await.server;
    let mut payload = world.payload(&alice);
    let token = world.partner.forge(&alice.name, json!({}));
    payload.interop_data.as_mut().unwrap().token = Some(token.into());
    let (address, root) = (world.server().chat_addr(), world.server().root());
    let connect = || Client::connect(address, root, &alice.noise, &payload, Some(known), now());
    let (mut client, first) = connect().await;
    assert_eq!((client.pattern, first.tag()), (comity_noise::Pattern::Ik, "success"));
    assert_eq!(world.query("SELECT * FROM used_token"), [""; 0]);
    // A second one before the first has spoken: whoever speaks first has it.
    let (mut late, first) = connect().await;
    assert_eq!(first.tag(), "success");
    client.ping().await;
    assert_eq!(world.query("SELECT count(*) FROM used_token"), ["Integer(1)"]);
    late.send(&comity_xmpp::Node::new("presence")).await;
    assert_eq!(late.next().await.unwrap().attr_str("reason").unwrap(), "401");
    client.ping().await;
    let (_, first) = connect().await;
    assert_eq!(first.attr_str("reason").unwrap(), "401");
}
