//! The integrators' registry: what a status means, how much is taken of whom, who is blocked (PROTOCOL §4, §13, §18).

use crate::world::{ADMIN, User, World};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn login(world: &World, user: &User) -> String {
    let (_, first) = world.try_log_in(user, &world.payload(user)).await;
    first.attr_str("reason").map_or_else(|| first.tag().to_owned(), |reason| reason.into_owned())
}

fn fail(reason: &str) -> Value {
    json!({ "reason": reason, "status": "fail" })
}

/// What native users are told of integrator 12.
async fn told(world: &World, native: &User) -> String {
    let mut client = world.log_in(native).await;
    let asked = comity_xmpp::Node::new("integrator").with_attr("fetch", "all");
    let answer = client.ok("get", "w:interop", vec![asked]).await;
    answer.child("integrator_list").unwrap().children()[0].attr_str("status").unwrap().into_owned()
}

#[tokio::test]
async fn a_status_counts_for_enlistment_log_in_delivery_and_media() {
    let mut world = World::start().await;
    let ((alice, a), (bob, mut b)) = world.pair().await;
    let carol = world.stranger("carol@partner.test");
    drop(a);
    b.deliver(&alice.jid, "AA01", b"before").await;
    let media =
        |world: &World| world.http.get(format!("{}/interop/whatsapp/download/12/{}/", world.url(), "x".repeat(16)));

    world.restart_with("", "status = \"onboarding\"\n").await;
    assert_eq!(told(&world, &bob).await, "onboarding");
    assert_eq!(login(&world, &alice).await, "success");
    assert_eq!(world.post_form(&world.form(&alice)).await["login"], alice.jid.as_str());

    world.restart_with("", "status = \"suspended\"\n").await;
    world.partner.state.pushes.lock().unwrap().clear();
    assert_eq!(told(&world, &bob).await, "onboarding");
    assert_eq!(login(&world, &alice).await, "503");
    assert_eq!(world.post_form(&world.form(&alice)).await, fail("blocked"));
    assert_eq!(world.post_form(&world.form(&carol)).await, fail("blocked"));
    let mut b = world.online(&bob).await;
    b.deliver(&alice.jid, "AA02", b"kept").await;
    assert_eq!(media(&world).send().await.unwrap().status(), 503);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(world.partner.state.pushes.lock().unwrap().is_empty(), "no push");

    world.restart_with("", "status = \"removed\"\n").await;
    assert_eq!(told(&world, &bob).await, "removed");
    assert_eq!(login(&world, &alice).await, "403");
    assert_eq!(world.post_form(&world.form(&alice)).await, fail("bad_integrator"));
    let mut b = world.online(&bob).await;
    b.message(&alice.jid, "AA03", b"for nobody").await;
    assert_eq!(b.acked("message", "AA03").await.attr_str("error").unwrap(), "404");
    assert_eq!(media(&world).send().await.unwrap().status(), 404);

    // Back again: what was kept is delivered.
    world.restart_with("", "").await;
    let mut a = world.online(&alice).await;
    let ids: Vec<_> = a.drain_offline().await.iter().map(|m| m.attr_str("id").unwrap().into_owned()).collect();
    assert_eq!(ids, ["AA01", "AA02"]);
}

fn limited(answer: &Value) -> u64 {
    assert_eq!((&answer["reason"], &answer["status"]), (&json!("rate_limited"), &json!("fail")), "{answer}");
    assert_eq!(answer.as_object().unwrap().len(), 3);
    answer["retry_after"].as_u64().unwrap()
}

#[tokio::test]
async fn one_user_cannot_enlist_without_end_and_stops_nobody_else() {
    let world = World::start_with("", "limits = { enlist_per_user_and_hour = 3 }\n").await;
    let alice = world.enlist("alice@partner.test").await;
    let form = world.form(&alice);
    for _ in 0..2 {
        assert_eq!(world.post_form(&form).await["status"], "ok");
    }
    let wait = limited(&world.post_form(&form).await);
    assert!((1100..=1200).contains(&wait), "{wait}");
    // A new key makes no new user, a token that is refused counts for nobody, and others are not concerned.
    let again = world.stranger("alice@partner.test");
    limited(&world.post_form(&world.form(&again)).await);
    let bob = world.enlist("bob@partner.test").await;
    for _ in 0..5 {
        let mut forged = world.form(&bob);
        forged.iter_mut().find(|(name, _)| *name == "token").unwrap().1.push_str("AAAA");
        assert_eq!(world.post_form(&forged).await["reason"], "bad_token");
    }
    assert_eq!(world.post_form(&world.form(&bob)).await["status"], "ok");
    world.clock.advance(Duration::from_secs(wait + 1));
    let at = crate::partner::now().after(Duration::from_secs(wait + 1));
    let token = world.partner.token_at(&alice.name, alice.noise.public().as_bytes(), at);
    let later = alice.identity.form(alice.noise.public().as_bytes(), token);
    assert_eq!(world.post_form(&later).await["login"], alice.jid.as_str());
}

#[tokio::test]
async fn one_integrators_users_are_limited_together() {
    let other = crate::partner::Partner::start().await;
    let settings = format!(
        "limits = {{ enlist_per_minute = 3 }}\n[[integrator]]\nid = 13\nname = \"Other\"\norigin = \"{0}\"\nmedia_base_url = \"{0}\"\n",
        other.origin
    );
    let world = World::start_with("", &settings).await;
    for n in 0..3 {
        world.enlist(&format!("user{n}@partner.test")).await;
    }
    let next = world.stranger("next@partner.test");
    let wait = limited(&world.post_form(&world.form(&next)).await);
    assert!((15..=20).contains(&wait), "{wait}");
    let theirs = other.token(&next.name, next.noise.public().as_bytes());
    let form = next.identity.form(next.noise.public().as_bytes(), theirs);
    assert_eq!(world.post_form(&form).await["status"], "ok");
    world.clock.advance(Duration::from_secs(wait));
    assert_eq!(world.post_form(&world.form(&next)).await["status"], "ok");
}

/// What is over the limit waits, in its own socket; it is neither refused nor lost, and the other integrators' go on.
#[tokio::test]
async fn one_integrators_stanzas_are_limited_together() {
    let mut world = World::start().await;
    let (_, (bob, _)) = world.pair().await;
    world.restart_with("", "limits = { stanzas_per_second = 20 }\n").await;
    let bob_client = &mut world.online(&bob).await;
    let mut clients = Vec::new();
    for name in ["alice@partner.test", "carol@partner.test"] {
        clients.push(world.log_in(&world.enlist(name).await).await);
    }
    let start = Instant::now();
    for n in 0..40 {
        for client in &mut clients {
            client.message(&bob.jid, &format!("M{n}"), b"x").await;
        }
        bob_client.ping().await;
    }
    for client in &mut clients {
        client.acked("message", "M39").await;
    }
    // 80 stanzas, 20 of them at once: three seconds, of which less than one may be gone by the clock's rounding.
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn one_address_is_limited_whatever_it_sends() {
    let world = World::start_with("enlist_per_minute = 5\n", "").await;
    for _ in 0..5 {
        assert_eq!(world.post_form(&[("authkey", "x".into())]).await, fail("bad_request"));
    }
    let alice = world.stranger("alice@partner.test");
    let wait = limited(&world.post_form(&world.form(&alice)).await);
    assert!((10..=12).contains(&wait), "{wait}");
    world.clock.advance(Duration::from_secs(wait));
    assert_eq!(world.post_form(&world.form(&alice)).await["status"], "ok");
}

#[tokio::test]
async fn behind_a_proxy_the_address_it_names_counts() {
    let world = World::start_with("enlist_per_minute = 2\nforwarded_for = true\n", "").await;
    let post = async |forwarded: Option<&str>| {
        let mut request = world.http.post(format!("{}/3p/interop_reg", world.url())).form(&[("authkey", "x")]);
        if let Some(forwarded) = forwarded {
            request = request.header("x-forwarded-for", forwarded);
        }
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["reason"].as_str().unwrap().to_owned()
    };
    for (forwarded, reason) in [
        (Some("198.51.100.1, 203.0.113.9"), "bad_request"),
        (Some("198.51.100.2, 203.0.113.9"), "bad_request"),
        (Some("198.51.100.3, 203.0.113.9"), "rate_limited"),
        (Some("203.0.113.10"), "bad_request"),
        (None, "bad_request"),
        (Some("nonsense"), "bad_request"),
        (None, "rate_limited"),
    ] {
        assert_eq!(post(forwarded).await, reason, "{forwarded:?}");
    }
}

#[tokio::test]
async fn networks_decide_where_users_may_be() {
    let mut world = World::start_with("", "[location]\nallow = [\"127.0.0.0/8\"]\ndeny_others = true\n").await;
    let alice = world.enlist("alice@partner.test").await;
    assert_eq!(login(&world, &alice).await, "success");
    world.restart_with("", "[location]\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.1/32\"]\n").await;
    assert_eq!(world.post_form(&world.form(&alice)).await, fail("location"));
    assert_eq!(login(&world, &alice).await, "403");
    world.restart_with("", "[location]\nallow = [\"10.0.0.0/8\"]\n").await; // unknown is let in
    assert_eq!(login(&world, &alice).await, "success");
    // Native users are not judged.
    world.restart_with("", "[location]\ndeny_others = true\n").await;
    let bob = world.native("4915112345678", "Bob").await;
    world.log_in(&bob).await;
}

#[tokio::test]
async fn a_blocked_user_neither_enlists_nor_logs_in() {
    let world = World::start().await;
    let ((alice, mut a), (_, mut b)) = world.pair().await;
    let block = async |jid: &str, blocked: bool, token: &str| {
        let body = json!({ "jid": jid, "blocked": blocked });
        let url = format!("{}/admin/block", world.url());
        world.http.post(url).bearer_auth(token).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(block(&alice.jid, true, "guessed").await, 401);
    assert_eq!(block("12-1@interop", true, ADMIN).await, 404);
    assert_eq!(block("4915112345678@s.whatsapp.net", true, ADMIN).await, 400);
    a.ping().await;
    for _ in 0..2 {
        assert_eq!(block(&alice.jid, true, ADMIN).await, 200);
    }
    assert_eq!(a.wait_tag("stream:error").await.attr_str("code").unwrap(), "401");
    assert_eq!(login(&world, &alice).await, "403");
    let before = world.settled().await;
    let mut rekeyed = alice.clone();
    rekeyed.noise = comity_noise::StaticKey::generate(&mut crate::world::rng());
    for user in [&alice, &rekeyed] {
        assert_eq!(world.post_form(&world.form(user)).await, fail("blocked"));
    }
    assert_eq!(world.settled().await, before);
    b.message(&alice.jid, "BB01", b"x").await;
    assert_eq!(b.acked("message", "BB01").await.attr_str("error").unwrap(), "404");
    // Let in again: by enlisting, under the same id.
    assert_eq!(block(&alice.jid, false, ADMIN).await, 200);
    assert_eq!(login(&world, &alice).await, "415");
    assert_eq!(world.post_form(&world.form(&alice)).await["login"], alice.jid.as_str());
    assert_eq!(login(&world, &alice).await, "success");
}
