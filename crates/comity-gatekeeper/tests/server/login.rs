//! Log-in (PROTOCOL §5).

use crate::client::Client;
use crate::partner::now;
use crate::world::{World, rng};
use comity_noise::{Pattern, StaticKey};
use comity_proto::handshake::InteropData;
use comity_xmpp::Node;
use std::time::Duration;

async fn refused(world: &World, user: &crate::world::User, payload: &comity_proto::handshake::ClientPayload) -> String {
    let (mut client, first) = world.try_log_in(user, payload).await;
    assert_eq!(first.tag(), "failure");
    assert!(first.attr("location").is_some());
    assert!(client.next().await.is_none(), "the server closes");
    first.attr_str("reason").unwrap().into_owned()
}

#[tokio::test]
async fn xx_then_ik_and_ik_takes_effect_with_the_first_frame() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let mut first = world.log_in(&alice).await;
    assert_eq!(first.pattern, Pattern::Xx);
    let (address, root) = (world.server().chat_addr(), world.server().root());
    let payload = world.payload(&alice);
    let resume = Some(first.server);

    let (mut second, success) = Client::connect(address, root, &alice.noise, &payload, resume, now()).await;
    assert_eq!((second.pattern, success.tag()), (Pattern::Ik, "success"));
    first.ping().await; // not replaced by a login that may be a replay
    second.ping().await;
    let end = first.wait_tag("stream:error").await;
    assert_eq!(end.child("conflict").unwrap().attr_str("type").unwrap(), "replaced");
    assert!(first.next().await.is_none());
    second.ping().await;
}

#[tokio::test]
async fn a_stale_server_key_falls_back() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let mut stale = world.log_in(&alice).await.server;
    stale.key = StaticKey::generate(&mut rng()).public();
    let (address, root) = (world.server().chat_addr(), world.server().root());
    let payload = world.payload(&alice);
    let (mut client, success) = Client::connect(address, root, &alice.noise, &payload, Some(stale), now()).await;
    assert_eq!((client.pattern, success.tag()), (Pattern::XxFallback, "success"));
    client.ping().await;
}

#[tokio::test]
async fn refusals() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let mallory = world.enlist("mallory@partner.test").await;
    let bob = world.native("4915112345678", "Bob").await;
    let good = world.payload(&alice);
    let token = |token: String| {
        let data = InteropData { token: Some(token.into()), ..good.interop_data.clone().unwrap() };
        comity_proto::handshake::ClientPayload { interop_data: Some(data), ..good.clone() }
    };
    let key = |user: &crate::world::User| *user.noise.public().as_bytes();

    // Another Noise key, with a token bound to it, and without.
    let mut thief = alice.clone();
    thief.noise = StaticKey::generate(&mut rng());
    assert_eq!(refused(&world, &thief, &good).await, "401");
    assert_eq!(refused(&world, &thief, &world.payload(&thief)).await, "401");
    // Another user's token for this account, and a stolen one.
    assert_eq!(
        refused(&world, &mallory, &token(world.partner.token("mallory@partner.test", &key(&mallory)))).await,
        "401"
    );
    assert_eq!(refused(&world, &mallory, &good).await, "401");
    // Expired.
    let old = comity_core::Timestamp::from_secs(now().as_secs() - 3600);
    assert_eq!(refused(&world, &alice, &token(world.partner.token_at(&alice.name, &key(&alice), old))).await, "401");
    // Not enlisted.
    let mut nobody = good.clone();
    nobody.interop_data.as_mut().unwrap().account_id = Some(1);
    assert_eq!(refused(&world, &alice, &nobody).await, "415");
    // Version, product.
    let mut version = good.clone();
    version.user_agent = None;
    assert_eq!(refused(&world, &alice, &version).await, "405");
    let mut product = good.clone();
    product.product = Some(3);
    assert_eq!(refused(&world, &alice, &product).await, "501");
    // A native user with another key, and an unknown one.
    let mut other = bob.clone();
    other.noise = StaticKey::generate(&mut rng());
    assert_eq!(refused(&world, &other, &world.payload(&other)).await, "401");
    let mut unknown = world.payload(&bob);
    unknown.username = Some(4_915_100_000_000);
    assert_eq!(refused(&world, &bob, &unknown).await, "401");
    // Nothing of that harmed the account.
    world.log_in(&alice).await.ping().await;
    world.log_in(&bob).await.ping().await;
}

#[tokio::test]
async fn thirty_days_away_need_a_new_enlistment() {
    let mut world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    world.down().await;
    world.clock.advance(Duration::from_secs(31 * 86_400));
    world.up().await; // sweeps at start
    let at = comity_core::Timestamp::from_secs(now().as_secs() + 31 * 86_400);
    let token = world.partner.token_at(&alice.name, alice.noise.public().as_bytes(), at);
    let mut payload = world.payload(&alice);
    payload.interop_data.as_mut().unwrap().token = Some(token.clone().into());
    let mut reason = String::new();
    for _ in 0..100 {
        let (_, first) =
            Client::connect(world.server().chat_addr(), world.server().root(), &alice.noise, &payload, None, at).await;
        reason = first.attr_str("reason").unwrap_or_default().into_owned();
        if reason == "415" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(reason, "415");
    let answer = world.post_form(&alice.identity.form(alice.noise.public().as_bytes(), token)).await;
    assert_eq!(answer["login"], alice.jid.as_str());
}

/// The same without a sweep between: the clock alone counts.
#[tokio::test]
async fn the_thirtieth_day_is_the_last() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let log_in = async |at: comity_core::Timestamp| {
        let mut payload = world.payload(&alice);
        let token = world.partner.token_at(&alice.name, alice.noise.public().as_bytes(), at);
        payload.interop_data.as_mut().unwrap().token = Some(token.into());
        let server = world.server();
        let (client, first) =
            Client::connect(server.chat_addr(), server.root(), &alice.noise, &payload, None, at).await;
        client.close().await;
        world.settled().await; // when it left is recorded, before the clock moves
        first.attr_str("reason").map_or_else(|| first.tag().to_owned(), |reason| reason.into_owned())
    };
    world.clock.advance(days(30) - Duration::from_secs(60));
    let last = now().after(days(30) - Duration::from_secs(60));
    assert_eq!(log_in(last).await, "success");
    world.clock.advance(days(30) + Duration::from_secs(60));
    let gone = last.after(days(30) + Duration::from_secs(60));
    for _ in 0..2 {
        assert_eq!(log_in(gone).await, "415");
    }
    let token = world.partner.token_at(&alice.name, alice.noise.public().as_bytes(), gone);
    let form = alice.identity.form(alice.noise.public().as_bytes(), token);
    assert_eq!(world.post_form(&form).await["login"], alice.jid.as_str());
    assert_eq!(log_in(gone).await, "success");
}

#[tokio::test]
async fn what_is_unknown_is_answered_and_never_ends_the_connection() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let mut client = world.log_in(&alice).await;
    assert_eq!(client.fails("get", "w:profile:picture", vec![Node::new("picture")]).await, 501);
    assert_eq!(client.fails("set", "w:g2", vec![Node::new("create")]).await, 501);
    assert_eq!(client.fails("strange", "w:p", vec![]).await, 400);
    client.send(&Node::new("wonder").with_attr("id", "W1").with_attr("to", "s.whatsapp.net")).await;
    let nack = client.acked("wonder", "W1").await;
    assert_eq!(nack.attr_str("error").unwrap(), "488");
    client.send(&Node::new("message").with_attr("id", "M1").with_attr("to", "1-1@interop")).await;
    assert_eq!(client.acked("message", "M1").await.attr_str("error").unwrap(), "487");
    client.send(&Node::new("presence").with_attr("type", "available")).await;
    client.ping().await;
}

#[tokio::test]
async fn a_frame_that_is_no_stanza_ends_it() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let mut client = world.log_in(&alice).await;
    client.raw(&[0, 240, 1]).await;
    let end = client.wait_tag("stream:error").await;
    assert!(end.child("xml-not-well-formed").is_some());
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn the_location_hook_is_asked_at_enlistment_and_log_in() {
    use comity_gatekeeper::{Config, Gatekeeper, Location, Options};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut world = World::start().await;
    world.down().await;
    let outside = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&outside);
    let policy: comity_gatekeeper::LocationPolicy =
        Arc::new(move |_| if asked.load(Ordering::Relaxed) { Location::Denied } else { Location::Allowed });
    let config = Config::from_toml(&crate::world::config(&world.partner, world.dir.path())).unwrap();
    let options = Options { location_policy: Some(policy), ..Options::default() };
    let again = config.clone();
    world.server = Some(Gatekeeper::start(config, options).await.unwrap());
    // One gatekeeper per data directory.
    assert!(Gatekeeper::start(again, Options::default()).await.is_err());
    let alice = world.enlist("alice@partner.test").await;
    world.log_in(&alice).await;
    outside.store(true, Ordering::Relaxed);
    assert_eq!(refused(&world, &alice, &world.payload(&alice)).await, "403");
    let carol = world.stranger("carol@partner.test");
    assert_eq!(world.post_form(&world.form(&carol)).await["reason"], "location");
}
