//! Typed stanzas: what the protocol shows parses, builds the same again, and keeps what nobody knows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use comity_core::{IntegratorId, MessageId, Timestamp};
use comity_xmpp::stanza::*;
use comity_xmpp::{Content, Limits, Node, StanzaError, decode};
use common::{bundle, jid, key_nodes, n, skey};

fn id(text: &str) -> MessageId {
    text.parse().unwrap()
}

/// Parses, builds, and compares; then again with something unknown in every place.
fn round(node: Node) -> Stanza {
    let stanza = Stanza::parse(&node).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(stanza.clone().into_node(), node);
    survives(&node, &|node| Stanza::parse(node).map(Stanza::into_node));
    stanza
}

/// The same for what stands in an IQ. Unknown nodes beside a payload stay in the IQ.
fn payload<P: Payload + PartialEq + core::fmt::Debug>(child: Node) -> P {
    payload_of(n("iq").with_child(child))
}

fn payload_of<P: Payload + PartialEq + core::fmt::Debug>(iq: Node) -> P {
    let iq = iq.with_attr("id", "1").with_attr("type", "result");
    let Stanza::Iq(parsed) = round(iq.clone()) else { panic!("{iq:?}") };
    let payload: P = parsed.payload().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(payload.write(), parsed.children);
    survives(&iq, &|iq| {
        let mut iq = Iq::parse(iq)?;
        let known = |node: &Node| node.tag() != "x-new";
        let beside: Vec<_> = iq.children.iter().filter(|node| !known(node)).cloned().collect();
        iq.children.retain(known);
        iq.children = iq.payload::<P>()?.write();
        iq.children.extend(beside);
        Ok(iq.into_node())
    });
    parsed.payload().unwrap()
}

/// The same for a payload that is its name alone: a question without a parameter, or a notice. Its type has no room for
/// anything, and whoever answers it has none to give back; the IQ keeps all of it.
fn bare_payload<P: Payload + PartialEq + core::fmt::Debug>(child: Node) -> P {
    let iq = n("iq").with_attr("id", "1").with_attr("type", "result").with_child(child);
    let Stanza::Iq(parsed) = round(iq) else { panic!() };
    assert_eq!(parsed.payload::<P>().unwrap().write(), parsed.children);
    parsed.payload().unwrap()
}

/// Puts an unknown attribute and an unknown child (as the last one, as the first one) at each element in turn and at all of
/// them together: what `rebuild` parses and builds is the same. An element that holds bytes holds no children.
fn survives(node: &Node, rebuild: &dyn Fn(&Node) -> Result<Node, StanzaError>) {
    let attr = |node: Node| node.with_attr("x-new", jid("9@lid"));
    let child = || n("x-new").with_attr("a", "1").with_child(n("b").with_bytes("c"));
    let last = |node: Node| if node.bytes().is_none() { node.with_child(child()) } else { node };
    let first = |node: Node| {
        let (tag, attrs, content) = node.into_parts();
        let content = match content {
            Content::Nodes(nodes) => Content::Nodes([vec![child()], nodes].concat()),
            Content::Empty => Content::Nodes(vec![child()]),
            bytes => bytes,
        };
        attrs.into_iter().fold(Node::new(tag), |node, a| node.with_attr(a.name, a.value)).with_content(content)
    };
    let edits: [&dyn Fn(Node) -> Node; 3] = [&attr, &last, &|node| attr(last(node))];
    for edit in edits {
        for place in (0..count(node)).map(Some).chain([None]) {
            let edited = edit_at(node, place, edit, &mut 0);
            let built = rebuild(&edited).unwrap_or_else(|e| panic!("{e}: {edited:?}"));
            assert_eq!(built, edited);
        }
    }
    // The order among children of one tag is kept; of different tags it has no meaning.
    for place in 0..count(node) {
        let edited = edit_at(node, Some(place), &first, &mut 0);
        assert_eq!(by_tag(&rebuild(&edited).unwrap()), by_tag(&edited));
    }
}

fn count(node: &Node) -> usize {
    1 + node.children().iter().map(count).sum::<usize>()
}

/// Edits the element at that place in document order, or all of them.
fn edit_at(node: &Node, place: Option<usize>, edit: &dyn Fn(Node) -> Node, at: &mut usize) -> Node {
    let here = place.is_none_or(|place| place == *at);
    *at += 1;
    let node = rebuilt(node, |nodes| nodes.iter().map(|child| edit_at(child, place, edit, at)).collect());
    if here { edit(node) } else { node }
}

fn by_tag(node: &Node) -> Node {
    rebuilt(node, |nodes| {
        let mut nodes: Vec<_> = nodes.iter().map(by_tag).collect();
        nodes.sort_by(|a, b| a.tag().cmp(b.tag()));
        nodes
    })
}

fn rebuilt(node: &Node, children: impl FnOnce(&[Node]) -> Vec<Node>) -> Node {
    match node.content() {
        Content::Nodes(nodes) => node.clone().with_content(Content::Nodes(children(nodes))),
        _ => node.clone(),
    }
}

/// All of the wire data that is a stanza.
#[test]
fn wire_data() {
    let mut typed = 0;
    for (name, frame, _) in common::vectors("stanzas") {
        let node = decode(&frame.unwrap(), &Limits::default().with_max_depth(400)).unwrap();
        match Stanza::parse(&node) {
            Ok(Stanza::Unknown(_)) => {}
            // Samples of the codec alone, without what the protocol requires.
            Err(error) => assert_eq!(error.problem, Problem::Missing, "{name}: {error}"),
            Ok(_) if count(&node) > 100 => {}
            Ok(_) => {
                round(node);
                typed += 1;
            }
        }
    }
    assert!(typed >= 10, "{typed}");
}

#[test]
fn message() {
    let enc = n("enc").with_attr("v", "2").with_attr("type", "pkmsg").with_attr("mediatype", "image").with_bytes("x");
    let out = n("message")
        .with_attr("id", "3EB0C431C26A19167F01")
        .with_attr("to", jid("4915112345678@s.whatsapp.net"))
        .with_attr("type", "media")
        .with_child(enc.clone().with_attr("decrypt-fail", "hide").with_attr("count", "1").with_attr("future", "1"));
    let Stanza::Message(message) = round(out) else { panic!() };
    assert_eq!(message.kind, MessageType::Media);
    assert_eq!((message.enc[0].v, &message.enc[0].kind, message.enc[0].count), (2, &EncType::PreKey, Some(1)));
    assert!(message.enc[0].hide_failure);

    let group = n("message")
        .with_attr("id", "A1")
        .with_attr("from", jid("120363@g.us"))
        .with_attr("participant", jid("1-10853634039893@interop"))
        .with_attr("t", "1717171717")
        .with_attr("type", "text")
        .with_attr("notify", "joe")
        .with_attr("offline", "0")
        .with_child(n("participants").with_child(n("to").with_attr("jid", jid("5@lid")).with_child(enc.clone())))
        .with_child(enc);
    let Stanza::Message(message) = round(group) else { panic!() };
    assert_eq!(message.t, Some(Timestamp::from_secs(1_717_171_717)));
    assert_eq!(message.participants.len(), 1);
}

#[test]
fn receipts() {
    let plain = n("receipt").with_attr("id", "A1").with_attr("to", jid("5@lid"));
    let Stanza::Receipt(receipt) = round(plain.clone()) else { panic!() };
    assert!(receipt.is_delivered());
    assert_eq!(receipt, Receipt::delivered(id("A1"), jid("5@lid")));

    let list = n("list").with_children(["A2", "A3"].map(|i| n("item").with_attr("id", i)));
    let Stanza::Receipt(receipt) = round(plain.clone().with_attr("type", "read").with_child(list)) else { panic!() };
    assert_eq!(receipt.ids().count(), 3);
    assert_eq!(Some(receipt), Receipt::read_all([id("A1"), id("A2"), id("A3")], jid("5@lid")));

    let user = n("user").with_attr("jid", jid("7@lid")).with_attr("t", "5");
    let aggregated = n("participants").with_attr("key", "A1").with_child(user);
    let Stanza::Receipt(receipt) = round(plain.clone().with_child(aggregated)) else { panic!() };
    assert_eq!(receipt.readers[0].users, [(jid("7@lid"), Timestamp::from_secs(5))]);

    let keys = n("keys")
        .with_child(n("type").with_bytes(vec![5]))
        .with_child(n("identity").with_bytes(vec![9; 32]))
        .with_child(n("key").with_children(key_nodes([0, 0, 9], 1)))
        .with_child(skey("skey"))
        .with_child(skey("pqkey"));
    let retry = plain
        .clone()
        .with_attr("type", "retry")
        .with_child(
            n("retry")
                .with_attr("v", "1")
                .with_attr("count", "2")
                .with_attr("id", "A1")
                .with_attr("t", "5")
                .with_attr("error", "4"),
        )
        .with_child(n("registration").with_bytes(vec![0, 0, 0, 1]))
        .with_child(keys);
    let Stanza::Receipt(receipt) = round(retry) else { panic!() };
    let retry = receipt.retry.unwrap();
    assert_eq!((retry.count, retry.error, retry.registration), (2, Some(4), 1));
    assert_eq!(retry.keys.unwrap().key.id, 9);

    let encrypt = n("encrypt").with_child(n("enc_p").with_bytes("c")).with_child(n("enc_iv").with_bytes(vec![1; 12]));
    let rmr = n("rmr").with_attr("jid", jid("5@lid")).with_attr("from_me", "false");
    let gone = plain.with_attr("type", "server-error").with_child(encrypt).with_child(rmr);
    let Stanza::Receipt(receipt) = round(gone) else { panic!() };
    assert_eq!(receipt.media.unwrap().body.unwrap().iv, [1; 12]);
}

/// A wrapper that holds nothing known is not written, unless something unknown stands there.
#[test]
fn empty_wrappers() {
    let receipt = n("receipt").with_attr("id", "A1").with_attr("to", jid("5@lid"));
    assert_eq!(Receipt::parse(&receipt.clone().with_child(n("list"))).unwrap().into_node(), receipt);
    round(receipt.with_child(n("list").with_attr("x", "1")));
    round(
        n("message").with_attr("id", "A1").with_attr("type", "text").with_child(n("participants").with_child(n("x"))),
    );
}

/// A change by the caller wins over what was read, and unknown things never make up a known child.
#[test]
fn changed_between() {
    let item = |id: &str| n("item").with_attr("id", id);
    let list = n("list").with_child(item("A2")).with_child(item("A3").with_attr("x", "1"));
    let node = n("receipt").with_attr("id", "A1").with_attr("to", jid("5@lid")).with_child(list);
    let mut receipt = Receipt::parse(&node).unwrap();
    receipt.more.pop();
    let one = n("list").with_child(item("A2"));
    let built = n("receipt").with_attr("id", "A1").with_attr("to", jid("5@lid")).with_child(one);
    assert_eq!(receipt.into_node(), built);

    let hidden =
        n("enc").with_attr("v", "2").with_attr("type", "msg").with_attr("decrypt-fail", "other").with_bytes("x");
    let mut message =
        Message::parse(&n("message").with_attr("id", "A1").with_attr("type", "text").with_child(hidden)).unwrap();
    assert!(!message.enc[0].hide_failure);
    message.enc[0].hide_failure = true;
    assert_eq!(message.into_node().children()[0].attr_str("decrypt-fail").unwrap(), "hide");
}

/// Unknown things at each of very many children cost no more than the children do.
#[test]
fn many_rests() {
    let item = |i: usize| n("item").with_attr("jid", format!("{i}@lid")).with_attr("x", "1");
    let list = n("list").with_children((0..65_535).map(item));
    let iq = n("iq").with_attr("id", "1").with_attr("type", "result").with_child(list);
    let parsed = Iq::parse(&iq).unwrap();
    assert!(parsed.payload::<Blocklist>().unwrap().write() == parsed.children);
}

#[test]
fn acks() {
    let message = n("message").with_attr("id", "A1").with_attr("to", jid("5@lid")).with_attr("type", "text");
    let ack = Ack::by_server(&message, Timestamp::from_secs(7)).unwrap();
    assert_eq!(
        ack.clone().into_node(),
        n("ack")
            .with_attr("class", "message")
            .with_attr("id", "A1")
            .with_attr("from", jid("5@lid"))
            .with_attr("t", "7")
    );
    round(ack.with_error(nack::CHAT_CAP).into_node());

    let receipt = n("receipt").with_attr("id", "A1").with_attr("from", jid("5@lid")).with_attr("type", "read");
    let ack = Ack::of(&receipt).unwrap();
    assert_eq!(
        ack.into_node(),
        n("ack")
            .with_attr("class", "receipt")
            .with_attr("id", "A1")
            .with_attr("to", jid("5@lid"))
            .with_attr("type", "read")
    );
}

#[test]
fn session() {
    round(n("success").with_attr("t", "1717171717").with_attr("lid", "x"));
    round(n("failure").with_attr("reason", "402").with_attr("location", "here").with_attr("expire", "60"));
    let conflict =
        n("stream:error").with_attr("code", "401").with_child(n("conflict").with_attr("type", "device_removed"));
    assert_eq!(round(conflict), Stanza::StreamError(StreamError::device_removed()));
    round(n("stream:error").with_child(n("xml-not-well-formed")));
    round(n("ib").with_child(n("offline").with_attr("count", "3")));
    round(n("ib").with_child(n("offline_batch").with_attr("count", "100")));
    let counts = ["count", "message", "receipt", "notification", "call"];
    round(n("ib").with_child(counts.iter().fold(n("offline_preview"), |node, c| node.with_attr(*c, "1"))));
    round(n("ib").with_child(n("dirty").with_attr("type", "groups")));
    round(n("presence").with_attr("type", "available").with_attr("name", "joe"));
    round(n("chatstate").with_attr("to", jid("5@lid")).with_child(n("composing").with_attr("media", "audio")));
    round(n("chatstate").with_attr("from", jid("5@lid")).with_child(n("paused")));
    assert_eq!(Stanza::parse(&n("xmlstreamend")).unwrap(), Stanza::StreamEnd);
    let offer = n("offer").with_attr("call-id", "C").with_attr("call-creator", jid("5@lid")).with_child(n("audio"));
    let Stanza::Call(call) = round(n("call").with_attr("id", "1").with_attr("to", jid("6@lid")).with_child(offer))
    else {
        panic!()
    };
    assert_eq!(call.action, CallAction::Offer);
}

#[test]
fn pings() {
    let ping = Iq::request("1", Ping);
    assert_eq!(ping.to, Some(jid("s.whatsapp.net")));
    assert_eq!(AnyRequest::parse(&ping).unwrap(), Some(AnyRequest::Ping(Ping)));
    let pong = Ping::pong(&ping, Timestamp::from_secs(9)).into_node();
    assert_eq!(
        pong,
        n("iq")
            .with_attr("type", "result")
            .with_attr("id", "1")
            .with_attr("from", jid("s.whatsapp.net"))
            .with_attr("t", "9")
    );
    let bare = n("iq").with_attr("type", "get").with_attr("xmlns", "w:p").with_attr("id", "2");
    assert!(Iq::parse(&bare).unwrap().is::<Ping>());

    let server = ServerPing::iq("3");
    assert_eq!(
        ServerPing::pong(&server).into_node(),
        n("iq").with_attr("type", "result").with_attr("id", "3").with_attr("to", jid("s.whatsapp.net"))
    );
    let active = Iq::request("4", Delivery::Active).into_node();
    assert_eq!(
        active,
        n("iq")
            .with_attr("xmlns", "passive")
            .with_attr("type", "set")
            .with_attr("to", jid("s.whatsapp.net"))
            .with_attr("id", "4")
            .with_child(n("active"))
    );
}

#[test]
fn iq_errors() {
    let request = Iq::request("1", KeyCountQuery);
    let refused = request.refuse(404).into_node();
    let error = n("error").with_attr("code", "404").with_attr("text", "item-not-found");
    assert_eq!(
        refused,
        n("iq")
            .with_attr("type", "error")
            .with_attr("id", "1")
            .with_attr("from", jid("s.whatsapp.net"))
            .with_child(error)
    );
    assert_eq!(Iq::parse(&refused).unwrap().error(), Some(Reported::new(404)));
    assert_eq!(request.error(), None);
}

#[test]
fn keys() {
    let upload = bundle(n("iq").with_attr("id", "1").with_attr("type", "set").with_attr("xmlns", "encrypt"))
        .with_child(n("list").with_child(n("key").with_children(key_nodes([0, 0, 1], 1))))
        .with_child(skey("skey"))
        .with_child(n("pqlist").with_child(skey("pqkey")))
        .with_child(n("pqlast").with_child(skey("pqkey")));
    let iq = Iq::parse(&upload).unwrap();
    let upload: KeyUpload = payload_of(upload);
    assert_eq!((upload.registration, upload.keys.len(), upload.pq_keys.len()), (0x1234, 1, 1));
    assert_eq!(AnyRequest::parse(&iq).unwrap(), Some(AnyRequest::KeyUpload(upload.clone())));

    let user = |jid_: &str| n("user").with_attr("jid", jid(jid_));
    let fetch: KeyFetch = payload(n("key").with_child(user("5@lid").with_attr("reason", "identity")));
    assert_eq!(fetch.users[0].reason.as_deref(), Some("identity"));
    let with_key = bundle(user("5@lid"))
        .with_child(n("key").with_children(key_nodes([0, 0, 1], 1)))
        .with_child(skey("skey"))
        .with_child(skey("pqkey"));
    let error =
        user("6@lid").with_child(n("error").with_attr("code", "500").with_attr("text", "internal-server-error"));
    let fetched: KeyFetchResult = payload(n("list").with_child(with_key).with_child(error));
    assert_eq!(fetched.users[0].keys.as_ref().unwrap().skey.id, 0x0102);
    assert_eq!(fetched.users[1].keys.as_ref().unwrap_err().code, 500);

    let count: KeyCount = payload(n("count").with_attr("value", "9"));
    assert_eq!(count.value, 9);
    let digest = bundle(n("digest"))
        .with_child(skey("skey"))
        .with_child(n("list").with_child(n("id").with_bytes(vec![0, 0, 1])))
        .with_child(n("hash").with_bytes(vec![3; 20]));
    assert_eq!(payload::<KeyDigest>(digest).ids, [1]);
    payload::<KeyRotate>(n("rotate").with_child(skey("skey")).with_child(n("pqlast").with_child(skey("pqkey"))));

    let changed = Notification::new("1", jid("5@lid"), notice::ENCRYPT, Timestamp::from_secs(1), IdentityChanged);
    assert!(changed.has("identity") && changed.payload::<KeyCount>().is_err());
    round(changed.into_node());
}

#[test]
fn interop() {
    let one = IntegratorId::new(1).unwrap();
    let integrator = n("integrator").with_attr("id", "1");
    let full = ["name", "icon"]
        .iter()
        .fold(integrator.clone(), |node, a| node.with_attr(*a, "x"))
        .with_attr("status", "active")
        .with_attr("identifier_type", "pn")
        .with_attr("opted_in", "true")
        .with_child(n("features").with_attr("group_messaging", "true"));
    let list: Integrators = payload(n("integrator_list").with_child(full));
    assert!(list.list[0].opted_in && list.list[0].group_messaging);
    bare_payload::<IntegratorsQuery>(n("integrator").with_attr("fetch", "all"));
    let opt: OptIn = payload(n("opt_in_integrators").with_child(n("integrator_list").with_child(integrator.clone())));
    assert_eq!(opt.integrators, [one]);
    let out: OptIn = payload(n("opt_in_integrators").with_child(n("integrator_list")));
    assert!(out.integrators.is_empty());
    payload::<Reachability>(n("reachability_settings").with_attr("enabled", "true").with_child(integrator.clone()));
    let query: UsersQuery =
        payload(n("users").with_child(n("user").with_attr("external_id", "a@b").with_attr("integrator_id", "1")));
    assert_eq!(query.users, [UserQuery::partner("a@b", one)]);
    payload::<UsersQuery>(n("users").with_child(n("user").with_attr("external_id", "+4915")));
    let found = n("user")
        .with_attr("jid", jid("1-5@interop"))
        .with_attr("external_id", "A")
        .with_attr("normalized_external_id", "a")
        .with_attr("integrator_id", "1");
    let lost = n("user")
        .with_attr("external_id", "B")
        .with_attr("integrator_id", "1")
        .with_child(n("error").with_attr("code", "404").with_attr("text", "item-not-found"));
    let result: UsersResult = payload(n("users").with_child(found).with_child(lost));
    assert_eq!(result.users[1].found, Err(Reported::new(404)));
    payload::<InteropPing>(n("ping").with_attr("display_name", "Alice"));
    payload::<InteropPingNotice>(
        n("ping").with_attr("display_name", "Alice").with_child(integrator.with_attr("name", "P")),
    );
    bare_payload::<DeleteAccount>(n("delete_account"));
    bare_payload::<ReachabilityQuery>(n("reachability_settings"));
    bare_payload::<KeyCountQuery>(n("count"));
    bare_payload::<KeyDigestQuery>(n("digest"));
    bare_payload::<IdentityChanged>(n("identity"));
    bare_payload::<MediaConnQuery>(n("media_conn"));
    bare_payload::<Ping>(n("ping"));
    bare_payload::<Delivery>(n("passive"));
}

#[test]
fn other_payloads() {
    let item = n("item").with_attr("jid", jid("5@lid"));
    let list: Blocklist = payload(n("list").with_attr("dhash", "x").with_child(item.clone()));
    assert_eq!(list.blocked, [jid("5@lid")]);
    payload::<Blocklist>(n("list").with_attr("matched", "true").with_attr("dhash", "x"));
    payload::<BlockChange>(item.clone().with_attr("action", "block").with_attr("dhash", "x"));
    payload::<NativeBlockChange>(n("blocklist").with_child(item.with_attr("action", "unblock")));
    let raw = n("raw").with_attr("v", "2").with_bytes("hello");
    let message = n("message").with_attr("id", "A").with_attr("from", jid("5@lid")).with_attr("t", "1").with_child(raw);
    let spam: SpamReport =
        payload(n("spam_list").with_attr("jid", jid("5@lid")).with_attr("spam_flow", "chat").with_child(message));
    assert!(!format!("{spam:?}").contains("hello"));
    let conn = n("media_conn")
        .with_attr("auth", "s3cret")
        .with_attr("auth_ttl", "1")
        .with_attr("ttl", "2")
        .with_attr("max_buckets", "3")
        .with_child(n("host").with_attr("hostname", "h"));
    let conn: MediaConn = payload(conn);
    assert!(!format!("{conn:?}").contains("s3cret"));
    let query = n("query").with_child(n("devices").with_attr("version", "2"));
    let users = n("list").with_child(n("user").with_attr("jid", jid("5@lid")));
    let usync = n("usync")
        .with_attr("sid", "1")
        .with_attr("mode", "query")
        .with_attr("context", "message")
        .with_attr("last", "true");
    payload::<DevicesQuery>(usync.with_child(query).with_child(users));
    let devices = n("devices").with_child(n("device-list").with_child(n("device").with_attr("id", "0")));
    payload::<DevicesResult>(
        n("usync").with_child(n("list").with_child(n("user").with_attr("jid", jid("5@lid")).with_child(devices))),
    );
    let member = n("participant").with_attr("jid", jid("5@lid")).with_attr("display_name", "x");
    payload::<GroupCreate>(
        n("create").with_attr("subject", "s").with_child(n("participant").with_attr("jid", jid("5@lid"))),
    );
    let group = n("group")
        .with_attr("id", "1")
        .with_attr("creator", jid("5@lid"))
        .with_attr("creation", "1")
        .with_attr("subject", "s")
        .with_child(member.clone().with_attr("type", "admin"));
    payload::<GroupInfo>(group.clone());
    for tag in ["add", "remove", "leave"] {
        payload::<GroupChange>(n(tag).with_child(member.clone().with_attr("type", "new-kind")));
    }
    payload::<GroupChange>(n("subject").with_bytes("new"));
    payload::<GroupChange>(n("create").with_child(group));
    payload::<GroupLeave>(n("leave").with_child(n("group").with_attr("id", jid("1@g.us"))));
    bare_payload::<GroupQuery>(n("query").with_attr("request", "interactive"));
}
