//! Messages, receipts and the mailbox (PROTOCOL §7, §12).

use crate::client::body;
use crate::partner::now;
use crate::world::World;
use comity_xmpp::Node;
use std::time::Duration;

#[tokio::test]
async fn both_ways_with_receipts() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    a.deliver(&bob.jid, "AA01", b"ciphertext").await;
    let message = b.wait_tag("message").await;
    assert_eq!(body(&message), b"ciphertext");
    assert_eq!(message.attr_str("from").unwrap(), alice.jid);
    assert_eq!(message.attr_str("notify").unwrap(), "alice@partner.test");
    assert_eq!(message.attr_str("type").unwrap(), "text");
    assert!(message.attr("t").is_some() && message.attr("to").is_none() && message.attr("offline").is_none());

    b.receipt(&message, None).await;
    let ack = b.acked("receipt", "AA01").await;
    assert!(ack.attr("type").is_none());
    let delivered = a.wait_tag("receipt").await;
    assert_eq!(delivered.attr_str("from").unwrap(), bob.jid);
    assert!(delivered.attr("type").is_none() && delivered.attr("t").is_some());
    a.ack(&delivered).await;
    b.receipt(&message, Some("read")).await;
    assert_eq!(b.acked("receipt", "AA01").await.attr_str("type").unwrap(), "read");
    let read = a.wait_tag("receipt").await;
    assert_eq!(read.attr_str("type").unwrap(), "read");
    a.ack(&read).await;

    b.deliver(&alice.jid, "BB01", b"answer").await;
    let message = a.wait_tag("message").await;
    assert_eq!((body(&message), message.attr_str("notify").unwrap().as_ref()), (&b"answer"[..], "Bob"));
    a.receipt(&message, None).await;
    a.acked("receipt", "BB01").await;
    let receipt = b.wait_tag("receipt").await;
    b.ack(&receipt).await;

    // All was answered: nothing waits for either.
    a.close().await;
    b.close().await;
    for user in [&alice, &bob] {
        assert!(world.online(user).await.drain_offline().await.is_empty());
    }
}

#[tokio::test]
async fn typing_is_live_only() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    let composing = Node::new("chatstate")
        .with_attr("to", bob.jid.as_str())
        .with_child(Node::new("composing").with_attr("media", "audio"));
    a.send(&composing).await;
    let state = b.wait_tag("chatstate").await;
    assert_eq!(state.attr_str("from").unwrap(), alice.jid);
    assert_eq!(state.child("composing").unwrap().attr_str("media").unwrap(), "audio");
    b.close().await;
    a.send(&composing).await;
    a.ping().await;
    let mut b = world.online(&bob).await;
    assert!(b.drain_offline().await.is_empty());
    b.assert_none("chatstate").await;
}

#[tokio::test]
async fn the_mailbox_survives_a_restart_and_empties_by_answers_alone() {
    let mut world = World::start().await;
    let ((alice, mut a), (bob, b)) = world.pair().await;
    b.close().await;
    for n in 0..5 {
        a.deliver(&bob.jid, &format!("AA{n}"), format!("body {n}").as_bytes()).await;
    }
    world.down().await;
    world.up().await;

    let mut b = world.online(&bob).await;
    let queued = b.drain_offline().await;
    let bodies: Vec<_> = queued.iter().map(|m| String::from_utf8(body(m).to_vec()).unwrap()).collect();
    assert_eq!(bodies, ["body 0", "body 1", "body 2", "body 3", "body 4"]);
    assert!(queued.iter().all(|m| m.attr_str("from").unwrap() == alice.jid && m.attr("t").is_some()));
    // A delivery receipt, a retry receipt, an ack and a nack each remove one; a read receipt does not.
    b.receipt(&queued[0], None).await;
    b.receipt(&queued[1], Some("retry")).await;
    b.ack(&queued[2]).await;
    b.send(
        &Node::new("ack")
            .with_attr("class", "message")
            .with_attr("id", "AA3")
            .with_attr("to", alice.jid.as_str())
            .with_attr("error", "491"),
    )
    .await;
    b.receipt(&queued[4], Some("read")).await;
    b.acked("receipt", "AA4").await;
    b.close().await;

    let left = world.online(&bob).await.drain_offline().await;
    assert_eq!(left.len(), 1);
    assert_eq!(body(&left[0]), b"body 4");
    let mut receipts = world.online(&alice).await.drain_offline().await;
    receipts.sort_by_key(|r| r.attr_str("id").unwrap().into_owned());
    let kinds: Vec<_> =
        receipts.iter().map(|r| (r.tag(), r.attr_str("type").unwrap_or_default().into_owned())).collect();
    assert_eq!(kinds, [("receipt", String::new()), ("receipt", "retry".into()), ("receipt", "read".into())]);
}

#[tokio::test]
async fn a_receipt_with_a_list_answers_all_of_it() {
    let world = World::start().await;
    let ((alice, mut a), (bob, b)) = world.pair().await;
    b.close().await;
    for n in 0..4 {
        a.deliver(&bob.jid, &format!("AA{n}"), b"x").await;
    }
    let mut b = world.online(&bob).await;
    assert_eq!(b.drain_offline().await.len(), 4);
    let item = |id: &str| Node::new("item").with_attr("id", id);
    let list = Node::new("list").with_children([item("AA1"), item("AA3")]);
    b.send(&Node::new("receipt").with_attr("id", "AA0").with_attr("to", alice.jid.as_str()).with_child(list)).await;
    b.acked("receipt", "AA0").await;
    assert_eq!(a.wait_tag("receipt").await.child("list").unwrap().children().len(), 2);
    b.close().await;
    let left = world.online(&bob).await.drain_offline().await;
    assert_eq!(left[0].attr_str("id").unwrap(), "AA2");
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn sending_twice_stores_once_and_is_acknowledged_twice() {
    let world = World::start().await;
    let ((_, mut a), (bob, b)) = world.pair().await;
    b.close().await;
    a.deliver(&bob.jid, "AA01", b"one").await;
    a.deliver(&bob.jid, "AA01", b"one").await;
    // A re-encryption under the same id is another stanza.
    let enc =
        Node::new("enc").with_attr("v", "2").with_attr("type", "pkmsg").with_attr("count", "1").with_bytes(&b"two"[..]);
    a.send(
        &Node::new("message")
            .with_attr("id", "AA01")
            .with_attr("to", bob.jid.as_str())
            .with_attr("type", "text")
            .with_child(enc),
    )
    .await;
    a.acked("message", "AA01").await;
    let queued = world.online(&bob).await.drain_offline().await;
    assert_eq!(queued.iter().map(body).collect::<Vec<_>>(), [b"one", b"two"]);
}

#[tokio::test]
async fn participants_get_their_own_enc_bare() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    let to = |jid: &str, body: &'static [u8]| {
        let enc = Node::new("enc").with_attr("v", "2").with_attr("type", "pkmsg").with_bytes(body);
        Node::new("to").with_attr("jid", jid).with_child(enc)
    };
    let participants =
        Node::new("participants").with_children([to(&alice.jid, b"own device"), to(&bob.jid, b"for bob")]);
    let message = Node::new("message")
        .with_attr("id", "AA01")
        .with_attr("to", bob.jid.as_str())
        .with_attr("type", "text")
        .with_attr("phash", "2:abcdefgh")
        .with_child(participants);
    a.send(&message).await;
    a.acked("message", "AA01").await;
    let got = b.wait_tag("message").await;
    assert_eq!((body(&got), got.children().len()), (&b"for bob"[..], 1));
    assert!(got.attr("phash").is_none());
}

#[tokio::test]
async fn more_than_a_window_advances_by_answers_or_by_pulling() {
    let world = World::start().await;
    let ((_, mut a), (bob, b)) = world.pair().await;
    b.close().await;
    for n in 0..300 {
        a.message(&bob.jid, &format!("AA{n}"), b"x").await;
    }
    a.acked("message", "AA299").await;

    let mut b = world.online(&bob).await;
    let count = |b: &crate::client::Client| b.backlog.iter().filter(|n| n.tag() == "message").count();
    while count(&b) < 256 {
        let node = b.next().await.unwrap();
        b.backlog.push(node);
    }
    b.assert_none("offline").await;
    assert_eq!(count(&b), 256);
    b.send(&Node::new("ib").with_child(Node::new("offline_batch").with_attr("count", 20u32))).await;
    while count(&b) < 276 {
        let node = b.next().await.unwrap();
        b.backlog.push(node);
    }
    let oldest = b.wait_tag("message").await;
    assert_eq!(oldest.attr_str("id").unwrap(), "AA0");
    b.ping().await;
    assert_eq!(count(&b), 275);
    let answered: Vec<Node> = b.backlog.iter().filter(|n| n.tag() == "message").take(24).cloned().collect();
    for message in &answered {
        b.receipt(message, None).await;
    }
    let rest = b.drain_offline().await;
    assert_eq!(rest.last().unwrap().attr_str("id").unwrap(), "AA299");
}

#[tokio::test]
async fn mail_expires_after_thirty_days() {
    let mut world = World::start().await;
    let ((_, mut a), (bob, b)) = world.pair().await;
    b.close().await;
    a.deliver(&bob.jid, "AA01", b"old").await;
    a.close().await;
    world.down().await;
    world.clock.advance(Duration::from_secs(31 * 86_400));
    world.up().await;
    tokio::time::sleep(Duration::from_millis(300)).await; // the sweep at the start
    let at = comity_core::Timestamp::from_secs(now().as_secs() + 31 * 86_400);
    let server = world.server();
    let (mut b, _) =
        crate::client::Client::connect(server.chat_addr(), server.root(), &bob.noise, &world.payload(&bob), None, at)
            .await;
    b.activate().await;
    assert!(b.drain_offline().await.is_empty());
}

#[tokio::test]
async fn calls_and_media_retries_are_passed_on() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    let offer = Node::new("offer").with_attr("call-id", "C1").with_attr("call-creator", alice.jid.as_str());
    a.send(&Node::new("call").with_attr("id", "AA01").with_attr("to", bob.jid.as_str()).with_child(offer)).await;
    a.acked("call", "AA01").await;
    let call = b.wait_tag("call").await;
    assert_eq!((call.attr_str("from").unwrap().as_ref(), call.attr("t").is_some()), (alice.jid.as_str(), true));
    b.ack(&call).await;

    let encrypt = Node::new("encrypt").with_child(Node::new("enc_p").with_bytes(&b"x"[..]));
    let gone = Node::new("receipt")
        .with_attr("type", "server-error")
        .with_attr("id", "BB01")
        .with_attr("to", alice.jid.as_str());
    b.send(&gone.with_child(encrypt.clone())).await;
    assert_eq!(b.acked("receipt", "BB01").await.attr_str("type").unwrap(), "server-error");
    let receipt = a.wait_tag("receipt").await;
    assert!(receipt.child("encrypt").is_some());
    a.ack(&receipt).await;
    let retry = Node::new("notification")
        .with_attr("type", "mediaretry")
        .with_attr("id", "BB01")
        .with_attr("to", bob.jid.as_str());
    a.send(&retry.with_child(encrypt)).await;
    a.acked("notification", "BB01").await;
    let notice = b.wait_tag("notification").await;
    assert_eq!(notice.attr_str("from").unwrap(), alice.jid);
    b.ack(&notice).await;
    b.close().await;
    assert!(world.online(&bob).await.drain_offline().await.is_empty());
}

/// Request and answer wait for who is away, across a restart, until they are acknowledged; the same again is kept once.
#[tokio::test]
async fn a_file_asked_for_again_and_its_answer_wait_like_messages() {
    let mut world = World::start().await;
    let ((alice, a), (bob, mut b)) = world.pair().await;
    a.close().await;
    let children = |node: Node| {
        let encrypt = Node::new("encrypt").with_child(Node::new("enc_p").with_bytes(&b"sealed"[..]));
        let rmr = Node::new("rmr").with_attr("jid", alice.jid.as_str()).with_attr("from_me", "false");
        node.with_child(encrypt.with_child(Node::new("enc_iv").with_bytes(&[1; 12][..]))).with_child(rmr)
    };
    let gone = || {
        let receipt = Node::new("receipt").with_attr("type", "server-error").with_attr("id", "BB01");
        children(receipt.with_attr("to", alice.jid.as_str()))
    };
    for _ in 0..2 {
        b.send(&gone()).await;
        b.acked("receipt", "BB01").await;
    }
    b.close().await;
    world.down().await;
    world.up().await;
    for _ in 0..2 {
        // Not acknowledged, it comes again.
        let mut a = world.online(&alice).await;
        let queued = a.drain_offline().await;
        assert_eq!(queued.len(), 1);
        let from_bob = |name| queued[0].attr_str(name).unwrap().into_owned();
        assert_eq!((from_bob("from"), from_bob("type")), (bob.jid.to_string(), "server-error".to_owned()));
        assert_eq!(queued[0].child("encrypt"), gone().child("encrypt"));
        assert_eq!(queued[0].child("rmr").unwrap().attr_str("jid").unwrap(), alice.jid);
        a.close().await;
    }
    let mut a = world.online(&alice).await;
    let queued = a.drain_offline().await;
    a.ack(&queued[0]).await;
    let answer = Node::new("notification").with_attr("type", "mediaretry").with_attr("id", "BB01");
    a.send(&children(answer.with_attr("to", bob.jid.as_str()))).await;
    a.acked("notification", "BB01").await;
    a.close().await;
    world.down().await;
    world.up().await;
    assert!(world.online(&alice).await.drain_offline().await.is_empty());
    let mut b = world.online(&bob).await;
    let queued = b.drain_offline().await;
    assert_eq!((queued.len(), queued[0].attr_str("type").unwrap().as_ref()), (1, "mediaretry"));
    assert_eq!(queued[0].attr_str("from").unwrap(), alice.jid);
    b.ack(&queued[0]).await;
    b.close().await;
    assert!(world.online(&bob).await.drain_offline().await.is_empty());
}
