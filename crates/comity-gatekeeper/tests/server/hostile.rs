//! Clients that mean harm: frames that are no stanzas, stanzas that make no sense, and two integrators whose users have the
//! same number (PROTOCOL §2, §6, §7). Each gets an answer or an end; nobody else notices.

use crate::client::{Client, body};
use crate::partner::Partner;
use crate::world::{User, World};
use comity_noise::Pattern;
use comity_proto::handshake::ClientPayload;
use comity_xmpp::{EncodeOptions, Node, encode};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::io::Write as _;

/// What a frame's body becomes when it is sent as if compressed.
fn deflated(body: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(vec![2], flate2::Compression::best());
    body.for_each(|part| zlib.write_all(&part).unwrap());
    zlib.finish().unwrap()
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |depth: usize| [&[0][..], &[0xf8, 2, 8].repeat(depth)[..], &[0xf8, 1, 8]].concat();
    vec![
        ("empty", vec![]),
        ("no list", vec![0, 8]),
        ("list cut short", vec![0, 0xf9, 0xff, 0xff, 8]),
        ("length cut short", vec![0, 0xf8, 2, 8, 0xfe, 0x7f, 0xff, 0xff, 0xff]),
        ("deep", nested(100)),
        ("very deep", nested(100_000)),
        ("more nodes than there may be", {
            let leaves = [&[0xf8, 2, 8, 0xf9, 0x90, 0][..], &[0xf8, 1, 8].repeat(0x9000)].concat();
            [&[0, 0xf8, 2, 8, 0xf8, 2][..], &leaves.repeat(2)].concat()
        }),
        ("many leaves of leaves", [&[0][..], &[0xf8, 2, 8, 0xf9, 0x40, 0].repeat(40), &[8; 200_000]].concat()),
        ("not deflated", [&[2][..], &[0xff; 100]].concat()),
        ("bomb", deflated(std::iter::repeat_n(vec![0; 1 << 20], 64))),
        (
            "bomb of a stanza",
            deflated([vec![0xf8, 2, 8, 0xfe, 1, 0, 0, 0]].into_iter().chain(vec![vec![0; 1 << 20]; 16])),
        ),
        ("rest behind a stanza", vec![0, 0xf8, 1, 8, 8]),
        ("text that is not UTF-8", vec![0, 0xf8, 1, 0xfc, 2, 0xff, 0xff]),
        ("as large as a frame may be", vec![0xff; 4 << 20]),
        ("larger", vec![0; (4 << 20) + 1]),
    ]
}

#[tokio::test]
async fn a_frame_that_is_no_stanza_ends_its_connection_and_no_other() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    let mallory = world.enlist("mallory@partner.test").await;
    for (what, frame) in frames() {
        let mut client = world.log_in(&mallory).await;
        client.raw(&frame).await;
        let end = tokio::time::timeout(std::time::Duration::from_secs(10), async {
            let mut last = None;
            while let Some(node) = client.next().await {
                last = Some(node);
            }
            last
        });
        let last = end.await.unwrap_or_else(|_| panic!("{what}: the connection goes on"));
        assert!(last.is_none_or(|node| node.tag() == "stream:error"), "{what}");
    }
    // Who was there is there, and the server takes the same user again.
    a.deliver(&bob.jid, "AFTER", b"x").await;
    b.wait("the message", |n| n.tag() == "message").await;
    world.log_in(&mallory).await.ping().await;
    assert_ne!(alice.jid, mallory.jid);
}

/// Stanzas of the words of the protocol in any order.
fn stanza(words: Vec<String>) -> impl Strategy<Value = Node> {
    const TAGS: &[&str] = &[
        "iq",
        "message",
        "receipt",
        "ack",
        "presence",
        "chatstate",
        "notification",
        "ib",
        "call",
        "query",
        "list",
        "item",
        "key",
        "user",
        "users",
        "enc",
        "participants",
        "to",
        "skey",
        "pqkey",
        "identity",
        "registration",
        "type",
        "id",
        "value",
        "signature",
        "count",
        "digest",
        "rotate",
        "offline_batch",
        "active",
        "passive",
        "integrator",
        "integrator_list",
        "opt_in_integrators",
        "reachability_settings",
        "delete_account",
        "ping",
        "clean",
        "media_conn",
        "report",
        "usync",
        "devices",
        "retry",
        "keys",
        "composing",
        "paused",
        "offer",
        "rmr",
        "error",
    ];
    const NAMES: &[&str] = &[
        "type",
        "xmlns",
        "to",
        "from",
        "id",
        "class",
        "participant",
        "jid",
        "count",
        "t",
        "v",
        "e",
        "external_id",
        "integrator_id",
        "action",
        "dhash",
        "enabled",
        "recipient",
        "error",
        "mode",
        "context",
        "offline",
        "error-code",
    ];
    const VALUES: &[&str] = &[
        "get",
        "set",
        "result",
        "error",
        "encrypt",
        "passive",
        "w:interop",
        "w:p",
        "w:m",
        "blocklist",
        "usync",
        "urn:xmpp:ping",
        "privacy",
        "message",
        "receipt",
        "notification",
        "read",
        "retry",
        "inactive",
        "text",
        "media",
        "msg",
        "pkmsg",
        "skmsg",
        "2",
        "0",
        "-1",
        "65536",
        "4294967296",
        "99999999999999999999",
        "true",
        "",
        "block",
        "unblock",
        "all",
        "query",
        "delta",
        "s.whatsapp.net",
        "@interop",
        "12-1@interop",
        "12-0@interop",
        "1@g.us",
        "x@lid",
        "4915112345678:99@s.whatsapp.net",
    ];
    let value = prop_oneof![4 => prop::sample::select(VALUES).prop_map(str::to_owned),
        2 => prop::sample::select(words), 1 => "\\PC{0,200}"];
    let attrs = prop::collection::btree_map(prop::sample::select(NAMES), value, 0..6);
    let bytes = prop::collection::vec(any::<u8>(), 0..80);
    let leaf = (prop::sample::select(TAGS), attrs.clone(), prop::option::of(bytes)).prop_map(|(tag, attrs, bytes)| {
        let node = attrs.into_iter().fold(Node::new(tag), |node, (name, value)| node.with_attr(name, value));
        match bytes {
            Some(bytes) => node.with_bytes(bytes),
            None => node,
        }
    });
    leaf.prop_recursive(4, 24, 6, move |inner| {
        (prop::sample::select(TAGS), attrs.clone(), prop::collection::vec(inner, 0..6)).prop_map(
            |(tag, attrs, children)| {
                let node = attrs.into_iter().fold(Node::new(tag), |node, (name, value)| node.with_attr(name, value));
                node.with_children(children)
            },
        )
    })
}

#[tokio::test]
async fn stanzas_that_make_no_sense_are_answered_without_a_fault_of_the_server() {
    let world = World::start().await;
    let ((_, mut a), (bob, mut b)) = world.pair().await;
    let mallory = world.enlist("mallory@partner.test").await;
    let words = vec![bob.jid.clone(), mallory.jid.clone(), "alice@partner.test".to_owned()];
    let (mut runner, strategy) = (TestRunner::deterministic(), stanza(words));
    let mut client = world.online(&mallory).await;
    for n in 0..3000 {
        let node = strategy.new_tree(&mut runner).unwrap().current();
        let mut out = bytes::BytesMut::new();
        if encode(&node, &mut out, &EncodeOptions::default()).is_err() {
            continue; // no client could write it
        }
        client.raw(&out).await;
        if n % 25 > 0 {
            continue;
        }
        // The server is still there, and nothing was a fault of its own.
        client.send(&Node::new("iq").with_attr("type", "get").with_attr("xmlns", "w:p").with_attr("id", "ALIVE")).await;
        loop {
            let node = client.next().await.expect("none of these ends a stream");
            let code =
                |node: &Node| node.attr_str("code").or_else(|| node.attr_str("error")).map(|code| code.into_owned());
            let error = node.child("error").and_then(&code).or_else(|| code(&node));
            assert!(!matches!(error.as_deref(), Some("500" | "503")) || node.tag() == "iq", "{node:?}");
            if node.attr_str("id").as_deref() == Some("ALIVE") {
                break;
            }
        }
    }
    a.deliver(&bob.jid, "AFTER", b"x").await;
    b.wait("the message", |n| n.attr_str("id").as_deref() == Some("AFTER")).await;
}

#[tokio::test]
async fn users_of_two_integrators_with_one_number_are_two() {
    let other = Partner::start().await;
    let second = format!(
        "[[integrator]]\nid = 13\nname = \"Other\"\norigin = \"{0}\"\nmedia_base_url = \"{0}/media\"\n",
        other.origin
    );
    let mut world = World::start_with("", &second).await;
    let alice = world.enlist("alice@partner.test").await;
    let mut eve = world.stranger("alice@partner.test");
    let token = |user: &User| other.token(&user.name, user.noise.public().as_bytes());
    let answer = world.post_form(&eve.identity.form(eve.noise.public().as_bytes(), token(&eve))).await;
    let drawn = answer["login"].as_str().unwrap().to_owned();
    // The same number, as chance might have it.
    let number = alice.jid.split_once('-').unwrap().1.to_owned();
    eve.jid = format!("13-{number}");
    world.down().await;
    let db = rusqlite::Connection::open(world.dir.path().join("gatekeeper.db")).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    for table in ["user", "key_bundle"] {
        db.execute(&format!("UPDATE {table} SET account = ?2 WHERE account = ?1"), [&drawn, &eve.jid]).unwrap();
    }
    drop(db);
    world.up().await;
    let payload = |user: &User, token: String| -> ClientPayload {
        let mut payload = world.payload(user);
        payload.interop_data.as_mut().unwrap().token = Some(token.into());
        payload
    };
    // Each logs in as itself; a token of the other integrator, or another's key, opens nothing.
    let (mut e, first) = world.try_log_in(&eve, &payload(&eve, token(&eve))).await;
    assert_eq!((first.tag(), e.pattern), ("success", Pattern::Xx));
    for (user, token) in
        [(&eve, world.partner.token(&eve.name, eve.noise.public().as_bytes())), (&alice, token(&alice))]
    {
        assert_eq!(world.try_log_in(user, &payload(user, token)).await.1.tag(), "failure");
    }
    e.activate().await;
    e.drain_offline().await;
    let mut a = world.online(&alice).await;
    a.drain_offline().await;
    let bob = world.native("4915112345678", "Bob").await;
    let mut b = world.online(&bob).await;
    b.drain_offline().await;
    b.opt_in(&[12]).await;
    b.ok("set", "encrypt", bob.identity.upload(1..9)).await;
    a.ok("set", "encrypt", alice.identity.upload(1..9)).await;
    e.ok("set", "encrypt", eve.identity.upload(1..9)).await;

    // Opt-in is for one integrator.
    a.deliver(&bob.jid, "FROMALICE", b"x").await;
    e.message(&bob.jid, "FROMEVE", b"x").await;
    assert_eq!(e.acked("message", "FROMEVE").await.attr_str("error").unwrap(), "475");
    let came = b.wait("a message", |n| n.tag() == "message").await;
    assert_eq!((came.attr_str("from").unwrap().as_ref(), body(&came)), (alice.jid.as_str(), &b"x"[..]));
    b.receipt(&came, None).await;
    // What is for one reaches that one, and its keys are its own.
    b.opt_in(&[12, 13]).await;
    for (user, client, id) in [(&alice, &mut a, "TOALICE"), (&eve, &mut e, "TOEVE")] {
        b.deliver(&user.jid, id, id.as_bytes()).await;
        let came = client.wait("a message", |n| n.tag() == "message").await;
        assert_eq!(body(&came), id.as_bytes());
        client.receipt(&came, None).await;
        let fetch = Node::new("key").with_child(Node::new("user").with_attr("jid", user.jid.as_str()));
        let list = b.ok("get", "encrypt", vec![fetch]).await;
        let found = &list.child("list").unwrap().children()[0];
        assert_eq!(found.child("identity").unwrap().bytes().unwrap(), user.identity.key.public().as_bytes());
    }
    // A block is of one of them. A blocked sender sees nothing of it.
    let item = Node::new("item").with_attr("action", "block").with_attr("jid", alice.jid.as_str());
    b.ok("set", "blocklist", vec![item]).await;
    a.deliver(&bob.jid, "BLOCKED", b"x").await;
    e.deliver(&bob.jid, "HEARD", b"x").await;
    let came = b.wait("a message", |n| n.tag() == "message").await;
    assert_eq!(came.attr_str("from").unwrap(), eve.jid);
    b.assert_none("message").await;
    for client in [&mut a, &mut e] {
        client.assert_none("message").await;
    }
    // One deletes its account: the other is still there.
    Client::ok(&mut e, "set", "w:interop", vec![Node::new("delete_account")]).await;
    b.deliver(&alice.jid, "STILL", b"x").await;
    b.message(&eve.jid, "GONE", b"x").await;
    assert!(b.acked("message", "GONE").await.attr("error").is_some());
}
