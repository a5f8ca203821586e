//! Broken typed stanzas: each error says where and by which clause; each bound is kept just under and just over.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use comity_xmpp::stanza::*;
use comity_xmpp::{Limits, Node, StanzaError, limits, xml};
use common::{bundle, jid, key_nodes, n, skey};

fn from_xml(text: &str) -> Node {
    xml::parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Broken stanzas, and what is said of each.
#[test]
fn errors_of_stanzas() {
    let message = "message id='1' type='text'";
    for (text, error) in [
        ("<message type='text'/>", "message@id: missing (PROTOCOL §7)"),
        ("<message id='1'/>", "message@type: missing (PROTOCOL §7)"),
        ("<message id='' type='text'/>", "message@id: not an id (PROTOCOL §7)"),
        ("<message id='1' type='text' to='x@y'/>", "message@to: not a JID of its kind (PROTOCOL §7)"),
        ("<message id='1' type='text' t='-1'/>", "message@t: not a number of its range (PROTOCOL §7)"),
        (
            "<message id='1' type='text' t='18446744073709551616'/>",
            "message@t: not a number of its range (PROTOCOL §7)",
        ),
        ("<M><enc type='msg'/></message>", "message/enc[0]@v: missing (PROTOCOL §7)"),
        ("<M><enc v='two' type='msg'/></message>", "message/enc[0]@v: not a number of its range (PROTOCOL §7)"),
        ("<M><enc v='+2' type='msg'/></message>", "message/enc[0]@v: not a number of its range (PROTOCOL §7)"),
        ("<M><enc v='2' type='msg'/><enc v='2'/></message>", "message/enc[1]@type: missing (PROTOCOL §7)"),
        ("<M><enc v='2' type='msg'><x/></enc></message>", "message/enc[0]: bytes of a wrong length (PROTOCOL §7)"),
        (
            "<M><enc v='2' type='msg' count='x'/></message>",
            "message/enc[0]@count: not a number of its range (PROTOCOL §7)",
        ),
        ("<M><participants><to/></participants></message>", "message/participants/to[0]@jid: missing (PROTOCOL §7)"),
        (
            "<M><participants><to jid='5@lid'/><to jid='5@lid'><enc v='2'/></to></participants></message>",
            "message/participants/to[1]/enc[0]@type: missing (PROTOCOL §7)",
        ),
        ("<receipt/>", "receipt@id: missing (PROTOCOL §7)"),
        (
            "<receipt id='1'><list><item id='1'/><item/></list></receipt>",
            "receipt/list/item[1]@id: missing (PROTOCOL §7)",
        ),
        ("<receipt id='1'><participants/></receipt>", "receipt/participants[0]@key: missing (PROTOCOL §7)"),
        (
            "<receipt id='1'><participants key='1'><user jid='5@lid' t='1'/><user jid='5@lid'/></participants></receipt>",
            "receipt/participants[0]/user[1]@t: missing (PROTOCOL §7)",
        ),
        ("<receipt id='1' type='retry'/>", "receipt/registration: missing (PROTOCOL §7)"),
        (
            "<receipt id='1' type='retry'><registration>abc</registration></receipt>",
            "receipt/registration: bytes of a wrong length (PROTOCOL §7)",
        ),
        ("<R></receipt>", "receipt/retry: missing (PROTOCOL §7)"),
        ("<R><retry id='1' t='1' v='1'/></receipt>", "receipt/retry@count: missing (PROTOCOL §7)"),
        (
            "<R><retry id='1' t='1' v='1' count='0'/></receipt>",
            "receipt/retry@count: not a number of its range (PROTOCOL §7)",
        ),
        ("<R><retry count='1' id='1' v='1'/></receipt>", "receipt/retry@t: missing (PROTOCOL §7)"),
        ("<R><keys/></receipt>", "receipt/keys/type: missing (PROTOCOL §7)"),
        ("<R><keys><type>a</type></keys></receipt>", "receipt/keys/type: an unknown value (PROTOCOL §7)"),
        ("<receipt id='1' type='server-error'/>", "receipt: missing (PROTOCOL §7)"),
        ("<receipt id='1' type='server-error'><error code='404'/></receipt>", "receipt/rmr: missing (PROTOCOL §7)"),
        (
            "<receipt id='1' type='server-error'><encrypt><enc_p/><enc_iv>1</enc_iv></encrypt></receipt>",
            "receipt/encrypt/enc_iv: bytes of a wrong length (PROTOCOL §7)",
        ),
        ("<ack id='1'/>", "ack@class: missing (PROTOCOL §7)"),
        ("<ack class='message'/>", "ack@id: missing (PROTOCOL §7)"),
        ("<ack class='message' id='1' error='65536'/>", "ack@error: not a number of its range (PROTOCOL §7)"),
        ("<iq type='get'/>", "iq@id: missing (PROTOCOL §7)"),
        ("<iq id='1'/>", "iq@type: missing (PROTOCOL §7)"),
        ("<iq id='1' type='put'/>", "iq@type: an unknown value (PROTOCOL §7)"),
        ("<ib><offline/></ib>", "ib/offline@count: missing (PROTOCOL §7)"),
        ("<ib><offline_batch count='x'/></ib>", "ib/offline_batch@count: not a number of its range (PROTOCOL §7)"),
        ("<ib><offline_preview/></ib>", "ib/offline_preview@count: missing (PROTOCOL §7)"),
        ("<chatstate from='5@lid'/>", "chatstate: missing (PROTOCOL §7)"),
        ("<presence from='?'/>", "presence@from: not a JID of its kind (PROTOCOL §7)"),
        ("<notification id='1'/>", "notification@type: missing (PROTOCOL §7)"),
        ("<notification type='encrypt'/>", "notification@id: missing (PROTOCOL §7)"),
        ("<call><offer/></call>", "call@id: missing (PROTOCOL §15)"),
        ("<call id='1'><ring/></call>", "call: missing (PROTOCOL §15)"),
        ("<call id='1'><offer/></call>", "call/offer@call-id: missing (PROTOCOL §15)"),
        ("<call id='1'><accept call-id='1'/></call>", "call/accept@call-creator: missing (PROTOCOL §15)"),
        ("<success/>", "success@t: missing (PROTOCOL §5.5)"),
        ("<failure location='x'/>", "failure@reason: missing (PROTOCOL §5.5)"),
        ("<failure reason='401'/>", "failure@location: missing (PROTOCOL §5.5)"),
        ("<failure reason='x' location='x'/>", "failure@reason: not a number of its range (PROTOCOL §5.5)"),
        (
            "<failure reason='402' location='x' expire='soon'/>",
            "failure@expire: not a number of its range (PROTOCOL §5.5)",
        ),
    ] {
        let retry = "receipt id='1' type='retry'><registration>abcd</registration";
        let node = from_xml(&text.replace("<M>", &format!("<{message}>")).replace("<R>", &format!("<{retry}>")));
        assert_eq!(Stanza::parse(&node).unwrap_err().to_string(), error, "{text}");
    }
    let error = n("stream:error").with_child(n("conflict"));
    let text = Stanza::parse(&error).unwrap_err().to_string();
    assert_eq!(text, "stream:error/conflict@type: missing (PROTOCOL §5.5)");
    // Another's tag may be anything, and is not repeated.
    assert_eq!(Message::parse(&n("x\u{1b}[2J")).unwrap_err().to_string(), "message: another stanza (PROTOCOL §7)");
}

/// Broken requests, and what is said of each.
#[test]
fn errors_of_requests() {
    let key = |id: u32| {
        let id = n("id").with_bytes(id.to_be_bytes()[1..].to_vec());
        n("key").with_child(id).with_child(n("value").with_bytes(vec![1; 32]))
    };
    let upload = |key: Node| bundle(n("iq")).with_child(n("list").with_child(key)).with_child(skey("skey"));
    let (get, set) = ("get", "set");
    for (xmlns, kind, content, error) in [
        (
            "encrypt",
            set,
            from_xml("<iq><registration/></iq>"),
            "iq/registration: bytes of a wrong length (PROTOCOL §8)",
        ),
        ("encrypt", set, bundle(n("iq")).with_child(n("list").with_child(key(1))), "iq/skey: missing (PROTOCOL §8)"),
        ("encrypt", set, upload(key(0)), "iq/list/key[0]/id: not a number of its range (PROTOCOL §8)"),
        ("encrypt", set, upload(key(0xFF_FFFF)), "iq/list/key[0]/id: not a number of its range (PROTOCOL §8)"),
        (
            "encrypt",
            set,
            upload(n("key").with_child(n("id").with_bytes("four"))),
            "iq/list/key[0]/id: bytes of a wrong length (PROTOCOL §8)",
        ),
        ("encrypt", set, upload(n("key")), "iq/list/key[0]/id: missing (PROTOCOL §8)"),
        ("encrypt", set, from_xml("<iq><rotate/></iq>"), "iq/rotate/skey: missing (PROTOCOL §8)"),
        (
            "encrypt",
            set,
            from_xml("<iq><rotate><skey><id>abc</id><value>x</value></skey></rotate></iq>"),
            "iq/rotate/skey/value: bytes of a wrong length (PROTOCOL §8)",
        ),
        ("encrypt", get, from_xml("<iq><key><user/></key></iq>"), "iq/key/user[0]@jid: missing (PROTOCOL §8)"),
        ("w:interop", get, from_xml("<iq><integrator/></iq>"), "iq/integrator@fetch: missing (PROTOCOL §13)"),
        (
            "w:interop",
            get,
            from_xml("<iq><integrator fetch='one'/></iq>"),
            "iq/integrator@fetch: an unknown value (PROTOCOL §13)",
        ),
        (
            "w:interop",
            set,
            from_xml("<iq><opt_in_integrators/></iq>"),
            "iq/opt_in_integrators/integrator_list: missing (PROTOCOL §13)",
        ),
        (
            "w:interop",
            set,
            from_xml(
                "<iq><opt_in_integrators><integrator_list><integrator id='0'/></integrator_list></opt_in_integrators></iq>",
            ),
            "iq/opt_in_integrators/integrator_list/integrator[0]@id: not a number of its range (PROTOCOL §13)",
        ),
        (
            "w:interop",
            set,
            from_xml("<iq><reachability_settings enabled='1'/></iq>"),
            "iq/reachability_settings@enabled: an unknown value (PROTOCOL §13)",
        ),
        (
            "w:interop",
            set,
            from_xml("<iq><reachability_settings enabled='true'><integrator id='1000'/></reachability_settings></iq>"),
            "iq/reachability_settings/integrator[0]@id: not a number of its range (PROTOCOL §13)",
        ),
        ("w:interop", get, from_xml("<iq><users/></iq>"), "iq/users: too few (PROTOCOL §13)"),
        (
            "w:interop",
            get,
            from_xml("<iq><users><user integrator_id='1'/></users></iq>"),
            "iq/users/user[0]@external_id: missing (PROTOCOL §13)",
        ),
        ("w:interop", set, from_xml("<iq><ping/></iq>"), "iq/ping@display_name: missing (PROTOCOL §13)"),
        ("w:interop", set, from_xml("<iq><blocklist/></iq>"), "iq/blocklist/item: missing (PROTOCOL §13)"),
        ("blocklist", set, from_xml("<iq><item jid='5@lid'/></iq>"), "iq/item@action: missing (PROTOCOL §13)"),
        (
            "blocklist",
            set,
            from_xml("<iq><item action='mute' jid='5@lid'/></iq>"),
            "iq/item@action: an unknown value (PROTOCOL §13)",
        ),
        ("spam", set, from_xml("<iq><spam_list jid='5@lid'/></iq>"), "iq/spam_list@spam_flow: missing (PROTOCOL §13)"),
        (
            "spam",
            set,
            from_xml("<iq><spam_list jid='5@lid' spam_flow='x'><message id='1' from='5@lid' t='1'/></spam_list></iq>"),
            "iq/spam_list/message[0]/raw: missing (PROTOCOL §13)",
        ),
        (
            "usync",
            get,
            from_xml("<iq><usync sid='1' mode='query' context='message'><query/></usync></iq>"),
            "iq/usync/query/devices: missing (PROTOCOL §13)",
        ),
        ("w:m", set, from_xml("<iq><x/></iq>"), ""),
        ("w:g2", set, from_xml("<iq><create/></iq>"), "iq/create@subject: missing (PROTOCOL §14)"),
        (
            "w:g2",
            set,
            from_xml("<iq><leave><group id='5@lid'/></leave></iq>"),
            "iq/leave/group[0]@id: not a JID of its kind (PROTOCOL §14)",
        ),
        (
            "w:g2",
            set,
            from_xml("<iq><subject><x/></subject></iq>"),
            "iq/subject: bytes of a wrong length (PROTOCOL §14)",
        ),
        (
            "w:g2",
            set,
            from_xml("<iq><add><participant/></add></iq>"),
            "iq/add/participant[0]@jid: missing (PROTOCOL §14)",
        ),
        ("w:g2", set, from_xml("<iq><promote/></iq>"), "iq: missing (PROTOCOL §14)"),
        ("w:g2", get, from_xml("<iq><query/></iq>"), "iq/query@request: missing (PROTOCOL §14)"),
        ("passive", set, from_xml("<iq/>"), "iq/active: missing (PROTOCOL §5.5)"),
    ] {
        let iq = content.with_attr("id", "1").with_attr("type", kind).with_attr("xmlns", xmlns);
        let found = AnyRequest::parse(&Iq::parse(&iq).unwrap());
        match error {
            "" => assert_eq!(found, Ok(None)),
            _ => assert_eq!(found.unwrap_err().to_string(), error),
        }
    }
}

/// Broken answers and notices, and what is said of each.
#[test]
fn errors_of_answers() {
    fn said<P: Payload + core::fmt::Debug>(xml: &str, error: &str) {
        let iq = Iq::parse(&from_xml(&format!("<iq id='1' type='result'>{xml}</iq>"))).unwrap();
        assert_eq!(iq.payload::<P>().unwrap_err().to_string(), error);
    }
    said::<KeyCount>("<count/>", "iq/count@value: missing (PROTOCOL §8)");
    said::<KeyFetchResult>("<list><user/></list>", "iq/list/user[0]@jid: missing (PROTOCOL §8)");
    said::<KeyFetchResult>("<list><user jid='5@lid'/></list>", "iq/list/user[0]/registration: missing (PROTOCOL §8)");
    said::<KeyFetchResult>(
        "<list><user jid='5@lid'><error text='x'/></user></list>",
        "iq/list/user[0]/error@code: missing (PROTOCOL §8)",
    );
    said::<KeyDigest>("", "iq/digest: missing (PROTOCOL §8)");
    said::<IdentityChanged>("<count value='1'/>", "iq/identity: missing (PROTOCOL §8)");
    said::<MediaConn>(
        "<media_conn auth='x' auth_ttl='1' ttl='never'/>",
        "iq/media_conn@ttl: not a number of its range (PROTOCOL §10)",
    );
    said::<MediaConn>(
        "<media_conn auth='x' auth_ttl='1' ttl='1' max_buckets='1'><host/></media_conn>",
        "iq/media_conn/host[0]@hostname: missing (PROTOCOL §10)",
    );
    said::<MediaRetry>(
        "<error code='2'/><rmr jid='5@lid' from_me='yes'/>",
        "iq/rmr@from_me: an unknown value (PROTOCOL §10)",
    );
    said::<Integrators>(
        "<integrator_list><integrator id='1' name='x' icon='x'/></integrator_list>",
        "iq/integrator_list/integrator[0]@status: missing (PROTOCOL §13)",
    );
    said::<UsersResult>("<users><user external_id='x'/></users>", "iq/users/user[0]@jid: missing (PROTOCOL §13)");
    said::<InteropPingNotice>("<ping display_name='x'/>", "iq/ping/integrator: missing (PROTOCOL §13)");
    said::<Blocklist>("<list><item/></list>", "iq/list/item[0]@jid: missing (PROTOCOL §13)");
    said::<DevicesResult>(
        "<usync><list><user jid='5@lid'><devices/></user></list></usync>",
        "iq/usync/list/user[0]/devices/device-list: missing (PROTOCOL §13)",
    );
    said::<DevicesResult>(
        "<usync><list><user jid='5@lid'><devices><device-list><device id='65536'/></device-list></devices></user></list></usync>",
        "iq/usync/list/user[0]/devices/device-list/device[0]@id: not a number of its range (PROTOCOL §13)",
    );
    for id in ["", "x", "123456789012345678901"] {
        said::<GroupInfo>(
            &format!("<group id='{id}' creator='5@lid' creation='1' subject='s'/>"),
            "iq/group@id: not an id (PROTOCOL §14)",
        );
    }
}

/// Each bound just kept, and just not.
#[test]
fn limits_just_under_and_over() {
    fn bound<T: core::fmt::Debug>(
        max: usize,
        path: &str,
        item: &Node,
        around: impl Fn(Vec<Node>) -> Node,
        parse: impl Fn(&Node) -> Result<T, StanzaError>,
    ) {
        let of = |count: usize| parse(&around(vec![item.clone(); count]));
        of(max).unwrap_or_else(|e| panic!("{e}"));
        let error = of(max + 1).unwrap_err();
        assert_eq!((error.problem, error.path.as_str()), (Problem::TooMany, path));
    }
    fn listed(tags: &[&str], last: impl Fn(Node) -> Node) -> impl Fn(Vec<Node>) -> Node {
        let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        move |items| {
            let (inner, outer) = tags.split_last().unwrap();
            let list = last(n(inner).with_children(items));
            outer.iter().rev().fold(list, |node, tag| n(tag).with_child(node))
        }
    }
    fn read<P: Payload>(node: &Node) -> Result<P, StanzaError> {
        Iq::parse(&n("iq").with_attr("id", "1").with_attr("type", "get").with_child(node.clone()))?.payload()
    }
    let message = n("message").with_attr("id", "1").with_attr("type", "text");
    let enc = n("enc").with_attr("v", "2").with_attr("type", "msg");
    let to = n("to").with_attr("jid", jid("5@lid"));
    bound(limits::MAX_MESSAGE_ENCS, "message/enc", &enc, |encs| message.clone().with_children(encs), Message::parse);
    let one = |encs| message.clone().with_child(n("participants").with_child(to.clone().with_children(encs)));
    bound(limits::MAX_MESSAGE_ENCS, "message/participants/to[0]/enc", &enc, one, Message::parse);
    let many = |to| message.clone().with_child(n("participants").with_children(to));
    bound(limits::MAX_LIST_ITEMS, "message/participants/to", &to, many, Message::parse);

    let receipt = n("receipt").with_attr("id", "1");
    let more = |items| receipt.clone().with_child(n("list").with_children(items));
    let item = n("item").with_attr("id", "2");
    bound(limits::MAX_RECEIPT_IDS - 1, "receipt/list/item", &item, more, Receipt::parse);
    let readers = n("participants").with_attr("key", "1");
    let all = |readers| receipt.clone().with_children(readers);
    bound(limits::MAX_RECEIPT_IDS, "receipt/participants", &readers, all, Receipt::parse);

    let upload = |keys| {
        let iq = n("iq").with_attr("id", "1").with_attr("type", "set");
        bundle(iq).with_child(n("list").with_children(keys)).with_child(skey("skey"))
    };
    let key = n("key").with_children(key_nodes([0, 0, 1], 1));
    bound(limits::MAX_PRE_KEYS, "iq/list/key", &key, upload, |iq| Iq::parse(iq)?.payload::<KeyUpload>());

    let user = n("user").with_attr("jid", jid("5@lid")).with_attr("external_id", "x");
    let same = |node| node;
    let users = listed(&["users"], same);
    bound(limits::MAX_LOOKUP_USERS, "iq/users/user", &user, &users, read::<UsersQuery>);
    bound(limits::MAX_LOOKUP_USERS, "iq/users/user", &user, users, read::<UsersResult>);
    bound(limits::MAX_FETCH_USERS, "iq/key/user", &user, listed(&["key"], same), read::<KeyFetch>);
    let refused = user.clone().with_child(n("error").with_attr("code", "500"));
    let result = listed(&["list"], same);
    bound(limits::MAX_FETCH_USERS, "iq/list/user", &refused, result, read::<KeyFetchResult>);
    let integrator = n("integrator").with_attr("id", "1");
    let path = "iq/opt_in_integrators/integrator_list/integrator";
    let opt_in = listed(&["opt_in_integrators", "integrator_list"], same);
    bound(limits::MAX_INTEGRATORS, path, &integrator, opt_in, read::<OptIn>);
    let settings = listed(&["reachability_settings"], |node| node.with_attr("enabled", "true"));
    bound(limits::MAX_INTEGRATORS, "iq/reachability_settings/integrator", &integrator, settings, read::<Reachability>);
    let reported = n("message").with_attr("id", "1").with_attr("from", jid("5@lid")).with_attr("t", "1");
    let reported = reported.with_child(n("raw").with_attr("v", "2").with_bytes("x"));
    let spam = listed(&["spam_list"], |node| node.with_attr("jid", jid("5@lid")).with_attr("spam_flow", "chat"));
    bound(limits::MAX_SPAM_MESSAGES, "iq/spam_list/message", &reported, spam, read::<SpamReport>);
    let item = n("item").with_attr("jid", jid("5@lid"));
    bound(limits::MAX_LIST_ITEMS, "iq/list/item", &item, listed(&["list"], same), read::<Blocklist>);

    for (id, valid) in [(0, false), (1, true), (0xFF_FFFE, true), (0xFF_FFFF, false)] {
        let [_, id @ ..] = u32::to_be_bytes(id);
        let node = upload(vec![n("key").with_children(key_nodes(id, 1))]);
        assert_eq!(Iq::parse(&node).unwrap().payload::<KeyUpload>().is_ok(), valid);
    }
    for len in [1, limits::MAX_GROUP_ID_LEN] {
        let group = ["creator='5@lid'", "creation='1'", "subject='s'"].join(" ");
        read::<GroupInfo>(&from_xml(&format!("<group id='{}' {group}/>", "9".repeat(len)))).unwrap();
    }
}

#[test]
fn errors_name_the_path() {
    let enc = n("enc").with_attr("v", "two").with_attr("type", "msg");
    let message = n("message").with_attr("id", "1").with_attr("type", "text").with_child(enc);
    let error = Message::parse(&message).unwrap_err();
    assert_eq!(error, StanzaError { path: "message/enc[0]@v".into(), problem: Problem::Number, clause: "§7" });
    assert_eq!(error.to_string(), "message/enc[0]@v: not a number of its range (PROTOCOL §7)");

    let list = n("list").with_child(n("item").with_attr("id", "1")).with_child(n("item"));
    let receipt = n("receipt").with_attr("id", "1").with_child(list);
    assert_eq!(Receipt::parse(&receipt).unwrap_err().path, "receipt/list/item[1]@id");
    assert_eq!(Message::parse(&receipt).unwrap_err().problem, Problem::Unexpected);
}
