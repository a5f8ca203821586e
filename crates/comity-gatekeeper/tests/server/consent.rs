//! Opt-in, look-up, ping, blocking, deletion, reports (PROTOCOL §12, §13).

use crate::world::World;
use comity_xmpp::Node;

fn user(external_id: &str, integrator: Option<u16>) -> Node {
    Node::new("users")
        .with_child(Node::new("user").with_attr("external_id", external_id).with_opt_attr("integrator_id", integrator))
}

fn found(answer: &Node) -> Option<String> {
    let user = answer.child("users").unwrap().child("user").unwrap();
    if user.attr("jid").is_none() {
        let error = user.child("error").unwrap();
        assert_eq!(
            (error.attr_str("code").unwrap().as_ref(), error.attr_str("text").unwrap().as_ref()),
            ("404", "item-not-found")
        );
    }
    Some(user.attr_str("jid")?.into_owned())
}

#[tokio::test]
async fn nothing_reaches_who_has_not_opted_in() {
    let world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let bob = world.native("4915112345678", "Bob").await;
    let mut a = world.online(&alice).await;
    let mut b = world.online(&bob).await;
    b.ok("set", "encrypt", bob.identity.upload(1..5)).await;
    for to in [bob.jid.as_str(), "4915100000000@s.whatsapp.net"] {
        a.message(to, "AA01", b"x").await;
        assert_eq!(a.acked("message", "AA01").await.attr_str("error").unwrap(), "475");
        let fetch = Node::new("key").with_child(Node::new("user").with_attr("jid", to));
        let list = a.ok("get", "encrypt", vec![fetch]).await;
        let error = list.child("list").unwrap().children()[0].child("error").unwrap();
        assert_eq!(error.attr_str("code").unwrap(), "500");
    }
    for number in ["+4915112345678", "+4915100000000", "no number"] {
        assert_eq!(found(&a.ok("get", "w:interop", vec![user(number, None)]).await), None);
    }
    b.opt_in(&[12]).await;
    assert_eq!(found(&a.ok("get", "w:interop", vec![user("+4915112345678", None)]).await), Some(bob.jid.clone()));
    a.deliver(&bob.jid, "AA02", b"x").await;
    // The whole list: empty is out.
    b.opt_in(&[]).await;
    a.message(&bob.jid, "AA03", b"x").await;
    assert_eq!(a.acked("message", "AA03").await.attr_str("error").unwrap(), "475");
}

#[tokio::test]
async fn integrators_and_look_up_of_partner_users() {
    let world = World::start().await;
    let ((alice, mut a), (_, mut b)) = world.pair().await;
    let list = b.ok("get", "w:interop", vec![Node::new("integrator").with_attr("fetch", "all")]).await;
    let integrator = &list.child("integrator_list").unwrap().children()[0];
    for (name, value) in
        [("id", "12"), ("name", "Partner"), ("status", "active"), ("opted_in", "true"), ("identifier_type", "email")]
    {
        assert_eq!(integrator.attr_str(name).unwrap(), value);
    }
    assert_eq!(integrator.child("features").unwrap().attr_str("group_messaging").unwrap(), "false");
    let asked = |id: &str| vec![user(id, Some(12))];
    assert_eq!(found(&b.ok("get", "w:interop", asked("alice@partner.test")).await), Some(alice.jid.clone()));
    assert_eq!(found(&b.ok("get", "w:interop", asked("nobody@partner.test")).await), None);
    assert_eq!(b.fails("get", "w:interop", vec![user("alice@partner.test", None)]).await, 400);
    // What belongs to the other side is refused.
    let opt_in = Node::new("opt_in_integrators").with_child(Node::new("integrator_list"));
    assert_eq!(a.fails("set", "w:interop", vec![opt_in]).await, 403);
    assert_eq!(b.fails("set", "w:interop", vec![Node::new("delete_account")]).await, 403);
    // usync: a partner user has device 0 alone.
    let usync = Node::new("usync")
        .with_attr("sid", "1")
        .with_child(Node::new("query").with_child(Node::new("devices").with_attr("version", "2")))
        .with_child(Node::new("list").with_child(Node::new("user").with_attr("jid", alice.jid.as_str())));
    let answer = b.ok("get", "usync", vec![usync]).await;
    let devices = answer.child("usync").unwrap().child("list").unwrap().children()[0].child("devices").unwrap();
    let devices = devices.child("device-list").unwrap().children();
    assert_eq!((devices.len(), devices[0].attr_str("id").unwrap().as_ref()), (1, "0"));
}

#[tokio::test]
async fn a_blocked_sender_sees_a_normal_ack() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    let item = |action: &str, jid: &str| Node::new("item").with_attr("action", action).with_attr("jid", jid);
    b.ok("set", "w:interop", vec![Node::new("blocklist").with_child(item("block", &alice.jid))]).await;
    a.deliver(&bob.jid, "AA01", b"x").await;
    assert_eq!(found(&a.ok("get", "w:interop", vec![user("+4915112345678", None)]).await), None);
    a.send(&Node::new("chatstate").with_attr("to", bob.jid.as_str()).with_child(Node::new("composing"))).await;
    a.ping().await;
    b.assert_none("message").await;
    b.assert_none("chatstate").await;
    b.ok("set", "w:interop", vec![Node::new("blocklist").with_child(item("unblock", &alice.jid))]).await;
    a.deliver(&bob.jid, "AA02", b"x").await;
    assert_eq!(b.wait_tag("message").await.attr_str("id").unwrap(), "AA02");

    // The partner's form.
    let list = a.ok("set", "blocklist", vec![item("block", &bob.jid)]).await;
    let list = list.child("list").unwrap();
    assert_eq!(list.children()[0].attr_str("jid").unwrap(), bob.jid);
    let version = list.attr_str("dhash").unwrap().into_owned();
    b.deliver(&alice.jid, "BB01", b"x").await;
    a.assert_none("message").await;
    let list = a.ok("set", "blocklist", vec![item("unblock", &bob.jid)]).await;
    assert_ne!(list.child("list").unwrap().attr_str("dhash").unwrap(), version);
    assert!(a.ok("get", "blocklist", vec![]).await.child("list").unwrap().children().is_empty());
}

#[tokio::test]
async fn a_ping_arrives_a_few_times_a_day_and_its_answer_tells_nothing() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    let ping = || vec![Node::new("ping").with_attr("display_name", "Alice")];
    for _ in 0..5 {
        let answer = a.iq("set", "w:interop", &bob.jid, ping()).await;
        assert_eq!(answer.attr_str("type").unwrap(), "result");
        assert_eq!(answer.attr_str("from").unwrap(), bob.jid);
    }
    let answer = a.iq("set", "w:interop", "4915100000000@s.whatsapp.net", ping()).await;
    assert_eq!(answer.attr_str("type").unwrap(), "result");
    for _ in 0..3 {
        let notice = b.wait_tag("notification").await;
        assert_eq!(notice.attr_str("type").unwrap(), "w:interop");
        assert_eq!(notice.attr_str("from").unwrap(), alice.jid);
        let ping = notice.child("ping").unwrap();
        assert_eq!(ping.attr_str("display_name").unwrap(), "Alice");
        let integrator = ping.child("integrator").unwrap();
        assert_eq!(
            (integrator.attr_str("id").unwrap().as_ref(), integrator.attr_str("name").unwrap().as_ref()),
            ("12", "Partner")
        );
        b.ack(&notice).await;
    }
    b.assert_none("notification").await;
    // Reachability off: nothing comes, the answer is the same.
    let settings = |enabled: &str| vec![Node::new("reachability_settings").with_attr("enabled", enabled)];
    let get = vec![Node::new("reachability_settings")];
    let answer = b.ok("get", "w:interop", get.clone()).await;
    assert_eq!(answer.child("reachability_settings").unwrap().attr_str("enabled").unwrap(), "true");
    b.ok("set", "w:interop", settings("false")).await;
    let answer = b.ok("get", "w:interop", get).await;
    assert_eq!(answer.child("reachability_settings").unwrap().attr_str("enabled").unwrap(), "false");
    let carol = world.enlist("carol@partner.test").await;
    world.online(&carol).await.iq("set", "w:interop", &bob.jid, ping()).await;
    b.assert_none("notification").await;
}

#[tokio::test]
async fn deletion_removes_everything_and_the_id_is_not_given_again() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    a.deliver(&bob.jid, "AA01", b"x").await;
    let message = b.wait_tag("message").await;
    b.receipt(&message, None).await;
    a.ok("set", "w:interop", vec![Node::new("delete_account")]).await;
    let notice = b.wait_tag("notification").await;
    assert_eq!(notice.attr_str("from").unwrap(), alice.jid);
    assert!(notice.child("identity").is_some());
    b.message(&alice.jid, "BB01", b"x").await;
    assert_eq!(b.acked("message", "BB01").await.attr_str("error").unwrap(), "404");
    let (_, first) = world.try_log_in(&alice, &world.payload(&alice)).await;
    assert_eq!(first.attr_str("reason").unwrap(), "415");
    let again = world.post_form(&world.form(&alice)).await;
    assert_eq!(again["status"], "ok");
    assert_ne!(again["login"], alice.jid.as_str());
}

#[tokio::test]
async fn reports_are_filed() {
    let world = World::start().await;
    let ((alice, _a), (_, mut b)) = world.pair().await;
    let message =
        Node::new("message").with_attr("from", alice.jid.as_str()).with_attr("id", "AA01").with_attr("t", "1");
    let list = Node::new("spam_list")
        .with_attr("jid", alice.jid.as_str())
        .with_attr("spam_flow", "contact")
        .with_child(message);
    b.ok("set", "spam", vec![list]).await;
    assert_eq!(b.fails("set", "spam", vec![Node::new("spam_list")]).await, 400);
}
