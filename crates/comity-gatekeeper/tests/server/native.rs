//! Native users of any make: chat over WebSocket, the alias view, `comity-gatekeeper native add` (PROTOCOL §2, §5.1).

use crate::binary;
use crate::client::{Client, WebClient, body};
use crate::partner::now;
use crate::world::{ADMIN, User, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_xmpp::Node;
use serde_json::json;
use std::time::Duration;
use tokio::process::Command;

const PHONE: &str = "4915112345678";

async fn web(world: &World, user: &User) -> WebClient {
    let server = world.server();
    let (client, first) =
        WebClient::web(server.http_addr(), server.root(), &user.noise, &world.payload(user), now()).await;
    assert_eq!(first.tag(), "success", "{first:?}");
    client
}

#[tokio::test]
async fn over_a_websocket_all_is_as_over_tcp() {
    let mut world = World::start().await;
    let bob = world.native_with(PHONE, "Bob", json!({ "opt_in": [12] })).await;
    let alice = world.enlist("alice@partner.test").await;
    let mut b = web(&world, &bob).await;
    b.activate().await;
    let mut a = world.online(&alice).await;
    // More than one message of a WebSocket in either direction.
    let long: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    a.deliver(&bob.jid, "AA01", &long).await;
    let message = b.wait_tag("message").await;
    assert_eq!((body(&message), message.attr_str("from").unwrap().as_ref()), (&long[..], alice.jid.as_str()));
    b.receipt(&message, None).await;
    b.deliver(&alice.jid, "BB01", &long).await;
    assert_eq!(body(&a.wait_tag("message").await), &long[..]);
    assert_eq!(a.wait_tag("receipt").await.attr_str("id").unwrap(), "AA01");

    // The same rules: the newer connection of an account replaces the older one, whatever they come over.
    let mut newer = world.log_in(&bob).await;
    assert_eq!(b.wait_tag("stream:error").await.child("conflict").unwrap().attr_str("type").unwrap(), "replaced");
    assert!(b.next().await.is_none());
    let mut newest = web(&world, &bob).await;
    assert_eq!(newer.wait_tag("stream:error").await.child("conflict").unwrap().attr_str("type").unwrap(), "replaced");
    let mut stranger = bob.clone();
    stranger.noise = comity_noise::StaticKey::generate(&mut crate::world::rng());
    let (mut refused, first) = WebClient::web(
        world.server().http_addr(),
        world.server().root(),
        &stranger.noise,
        &world.payload(&stranger),
        now(),
    )
    .await;
    assert_eq!((first.tag(), first.attr_str("reason").unwrap().as_ref()), ("failure", "401"));
    assert!(refused.next().await.is_none());

    // The end waits for it, and tells it.
    world.down().await;
    assert_eq!(newest.wait_tag("stream:error").await.attr_str("code").unwrap(), "503");
    assert!(newest.next().await.is_none());
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused() {
    let world = World::start().await;
    let url = format!("{}/ws/chat", world.url());
    let plain = world.http.get(&url).send().await.unwrap();
    assert_eq!(plain.status(), 400);
    assert_eq!(plain.headers()["content-type"], "application/problem+json");
    assert_eq!(world.http.post(&url).send().await.unwrap().status(), 405);
    let upgrade = |version: &'static str| {
        world
            .http
            .get(&url)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", version)
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .send()
    };
    assert_eq!(upgrade("12").await.unwrap().status(), 400);
    let upgraded = upgrade("13").await.unwrap();
    assert_eq!(upgraded.status(), 101);
    assert_eq!(upgraded.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

fn user(external_id: &str) -> Vec<Node> {
    let user = Node::new("user").with_attr("external_id", external_id).with_attr("integrator_id", 12u32);
    vec![Node::new("users").with_child(user)]
}

async fn look_up(client: &mut Client, external_id: &str) -> String {
    let answer = client.ok("get", "w:interop", user(external_id)).await;
    answer.child("users").unwrap().children()[0].attr_str("jid").unwrap().into_owned()
}

#[tokio::test]
async fn a_client_of_the_alias_view_meets_no_interop_jid() {
    let mut world = World::start().await;
    let bob = world.native_with(PHONE, "Bob", json!({ "opt_in": [12], "alias_view": true })).await;
    let carol = world.native("4915112345679", "Carol").await;
    let alice = world.enlist("alice@partner.test").await;
    let mut b = world.online(&bob).await;
    b.drain_offline().await;
    let alias = look_up(&mut b, "alice@partner.test").await;
    let (number, server) = alias.split_once('@').unwrap();
    assert!(number.len() == 15 && number.bytes().all(|b| b.is_ascii_digit()) && server == "lid", "{alias}");
    assert!(!alice.jid.contains(number));
    let mut c = world.online(&carol).await;
    assert_eq!(look_up(&mut c, "alice@partner.test").await, alice.jid, "others see what is");

    // Devices and keys, by alias.
    let usync = Node::new("usync")
        .with_child(Node::new("query").with_child(Node::new("devices").with_attr("version", "2")))
        .with_child(Node::new("list").with_child(Node::new("user").with_attr("jid", alias.as_str())));
    let answer = b.ok("get", "usync", vec![usync]).await;
    let devices = &answer.child("usync").unwrap().child("list").unwrap().children()[0];
    assert_eq!(devices.attr_str("jid").unwrap(), alias);
    assert_eq!(devices.child("devices").unwrap().child("device-list").unwrap().children().len(), 1);
    let wanted = Node::new("key").with_child(Node::new("user").with_attr("jid", alias.as_str()));
    let keys = b.ok("get", "encrypt", vec![wanted]).await;
    let keys = &keys.child("list").unwrap().children()[0];
    assert_eq!(keys.attr_str("jid").unwrap(), alias);
    assert_eq!(keys.child("identity").unwrap().bytes().unwrap(), alice.identity.key.public().as_bytes());

    // Messages, bare and by recipient, receipts, typing.
    let mut a = world.online(&alice).await;
    a.drain_offline().await;
    b.deliver(&alias, "BB01", b"hello").await;
    let message = a.wait_tag("message").await;
    assert_eq!((message.attr_str("from").unwrap().as_ref(), body(&message)), (bob.jid.as_str(), &b"hello"[..]));
    a.receipt(&message, None).await;
    let receipt = b.wait_tag("receipt").await;
    assert_eq!(receipt.attr_str("from").unwrap(), alias);
    b.ack(&receipt).await;
    let enc = |body: &[u8]| Node::new("enc").with_attr("v", "2").with_attr("type", "msg").with_bytes(body.to_vec());
    let to = |jid: &str, body: &[u8]| Node::new("to").with_attr("jid", jid).with_child(enc(body));
    let fanned = Node::new("message")
        .with_attr("id", "BB02")
        .with_attr("to", alias.as_str())
        .with_child(Node::new("participants").with_children([to(&alias, b"for alice"), to(&bob.jid, b"for myself")]));
    b.send(&fanned).await;
    assert_eq!(b.acked("message", "BB02").await.attr_str("from").unwrap(), alias);
    assert_eq!(body(&a.wait_tag("message").await), b"for alice");
    a.send(&Node::new("chatstate").with_attr("to", bob.jid.as_str()).with_child(Node::new("composing"))).await;
    assert_eq!(b.wait_tag("chatstate").await.attr_str("from").unwrap(), alias);
    let list = b
        .ok("set", "blocklist", vec![Node::new("item").with_attr("action", "block").with_attr("jid", alias.as_str())])
        .await;
    assert_eq!(list.child("list").unwrap().children()[0].attr_str("jid").unwrap(), alias);
    assert_eq!(world.query("SELECT peer FROM block"), [format!("Text({:?})", alice.jid.as_bytes())]);
    b.ok("set", "blocklist", vec![Node::new("item").with_attr("action", "unblock").with_attr("jid", alias.as_str())])
        .await;

    // Nobody's alias is nobody; and naming nobody makes no aliases.
    b.message("123456789012345@lid", "BB03", b"?").await;
    assert_eq!(b.acked("message", "BB03").await.attr_str("error").unwrap(), "488");
    b.message("12-999@interop", "BB04", b"?").await;
    assert_eq!(b.acked("message", "BB04").await.attr_str("error").unwrap(), "404");
    assert_eq!(world.query("SELECT count(*) FROM alias"), ["Integer(1)"]);

    // Queued while it was away, and over a restart.
    b.close().await;
    a.deliver(&bob.jid, "AA01", b"later").await;
    world.down().await;
    world.up().await;
    let mut b = world.online(&bob).await;
    let queued = b.drain_offline().await;
    assert_eq!((queued.len(), queued[0].attr_str("from").unwrap().as_ref()), (1, alias.as_str()));
    assert_eq!(body(&queued[0]), b"later");
    b.receipt(&queued[0], None).await;
    b.acked("receipt", "AA01").await;

    // Even of who is gone.
    let mut a = world.online(&alice).await;
    a.ok("set", "w:interop", vec![Node::new("delete_account")]).await;
    let gone = b.wait("notice", |node| node.tag() == "notification" && node.child("identity").is_some()).await;
    assert_eq!(gone.attr_str("from").unwrap(), alias);
    // Registered without it, it sees what is from the next log-in on.
    let settings = json!({ "alias_view": false });
    let bob = world.native_with(PHONE, "Bob", settings).await;
    let ben = world.enlist("ben@partner.test").await;
    assert_eq!(look_up(&mut world.online(&bob).await, "ben@partner.test").await, ben.jid);
}

#[tokio::test]
async fn opt_ins_of_a_registration_are_the_whole_list_or_none_at_all() {
    let world = World::start().await;
    let opted = || world.query("SELECT integrator FROM opt_in");
    world.native_with(PHONE, "Bob", json!({ "opt_in": [12] })).await;
    assert_eq!(opted(), ["Integer(12)"]);
    world.native(PHONE, "Bob").await;
    assert_eq!(opted(), ["Integer(12)"]);
    let body = json!({ "phone_number": "4915112345670", "noise_key": "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "opt_in": [12, 13] });
    let answer = world.http.post(format!("{}/admin/native", world.url())).bearer_auth(ADMIN).json(&body).send().await;
    assert_eq!(answer.unwrap().status(), 400);
    assert_eq!(world.query("SELECT count(*) FROM user"), ["Integer(1)"]);
    world.native_with(PHONE, "Bob", json!({ "opt_in": [] })).await;
    assert!(opted().is_empty());
}

#[tokio::test]
async fn native_add_registers_with_the_running_server() {
    let world = binary::world().await;
    let server = binary::start(world.dir.path()).await;
    let bob = User { jid: format!("{PHONE}@s.whatsapp.net"), name: "Bob".into(), ..world.stranger("Bob") };
    let key = URL_SAFE_NO_PAD.encode(bob.noise.public().as_bytes());
    let add = async |phone: &str, more: &[&str], token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_comity-gatekeeper"));
        command.arg("--config").arg(world.dir.path().join("config.toml"));
        command.args(["native", "add", phone, &key]).args(more).env("COMITY_GATEKEEPER_ADMIN_TOKEN", token);
        let done = tokio::time::timeout(Duration::from_secs(30), command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (done.status.success(), text(&done.stdout), text(&done.stderr))
    };
    let url = ["--url", server.http.as_str()];
    let full = [&url[..], &["--name", "Bob", "--alias-view", "--opt-in", "12"]].concat();
    assert_eq!(add(PHONE, &full, ADMIN).await, (true, bob.jid.clone(), String::new()));
    binary::enlist(&world, &server, "alice@partner.test").await;
    let mut client = binary::online(&world, &server, &bob).await;
    assert!(look_up(&mut client, "alice@partner.test").await.ends_with("@lid"));
    client.close().await;

    for (phone, more, token, why) in [
        ("0815", &url[..], ADMIN, "400: phone_number"),
        (PHONE, &url[..], "wrong", "401"),
        (PHONE, &["--url", server.http.as_str(), "--opt-in", "13"], ADMIN, "400: opt_in"),
        (PHONE, &["--url", "http://127.0.0.1:1"], ADMIN, "does it run?"),
    ] {
        let (done, out, error) = add(phone, more, token).await;
        assert!(!done && out.is_empty() && error.contains(why), "{error}");
    }
}
