//! The public interface as an integrator uses it: what compiles, which kind each error is, and what `Debug` keeps to itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use comity_core::{ErrorKind, IntegratorId, Jid, MessageId, Timestamp};
use comity_xmpp::stanza::*;
use comity_xmpp::xml::XmlStream;
use comity_xmpp::*;

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn id(text: &str) -> MessageId {
    text.parse().unwrap()
}

#[test]
fn values_go_between_threads() {
    fn shared<T: Send + Sync + Unpin + 'static>() {}
    fn value<T: Clone + PartialEq + Eq + core::fmt::Debug + Send + Sync + Unpin + 'static>() {}
    fn error<T: std::error::Error + Clone + PartialEq + Send + Sync + 'static>() {}
    fn borrowed<T: Copy + Send + Sync>() {}
    value::<Node>();
    value::<Attr>();
    value::<Content>();
    value::<Text>();
    value::<Value>();
    value::<Limits>();
    value::<Stanza>();
    value::<AnyRequest>();
    value::<Rest>();
    value::<Message>();
    value::<Receipt>();
    value::<KeyUpload>();
    value::<KeyFetchResult>();
    value::<MediaConn>();
    shared::<EncodeOptions>();
    shared::<XmlStream>();
    shared::<Fields>();
    error::<Error>();
    error::<StanzaError>();
    error::<Malformed>();
    error::<XmlFault>();
    error::<Limited>();
    error::<Problem>();
    borrowed::<NodeRef<'_>>();
    borrowed::<ContentRef<'_>>();
    borrowed::<TextRef<'_>>();
    borrowed::<ValueRef<'_>>();
    borrowed::<JidRef<'_>>();
}

/// A server's side: a frame comes, is read in place, then as a stanza; the answer goes out.
#[test]
fn a_server_answers() {
    let (limits, options) = (Limits::default(), EncodeOptions::default());
    let mut frame = BytesMut::new();
    let query = UsersQuery::from(vec![UserQuery::native("+4915112345678")]);
    encode(&Iq::request("7", query).into_node(), &mut frame, &options).unwrap();

    let plain = body(&frame, &limits).unwrap();
    let node = NodeRef::parse(&plain, &limits).unwrap();
    assert!(node.tag() == *"iq");

    let Stanza::Iq(iq) = Stanza::from_node(decode(&frame, &limits).unwrap()).unwrap() else { unreachable!() };
    let Some(AnyRequest::UsersQuery(asked)) = AnyRequest::parse(&iq).unwrap() else { unreachable!() };
    let found = |user: UserQuery| UserEntry {
        external_id: user.external_id,
        integrator: user.integrator,
        found: Err(Reported::new(404)),
        rest: user.rest,
    };
    let users = asked.users.into_iter().map(found).collect();
    let answer = iq.result(UsersResult { users, ..UsersResult::default() });
    assert_eq!((answer.kind, answer.from.as_ref(), &*answer.id), (IqType::Result, iq.to.as_ref(), "7"));

    let mut out = BytesMut::new();
    encode(&answer.into_node(), &mut out, &options).unwrap();
    let back = Iq::from_node(decode_bytes(&Bytes::from(out), &limits).unwrap()).unwrap();
    assert_eq!(back.into_payload::<UsersResult>().unwrap().users[0].found, Err(Reported::new(404)));
}

/// An integrator's own payload, read and built with the same tools.
#[test]
fn a_payload_of_ones_own() {
    #[derive(Debug, PartialEq)]
    struct Colour {
        name: Text,
        shades: Vec<u16>,
        rest: Rest,
    }
    impl Payload for Colour {
        const CLAUSE: &'static str = "mine";
        fn read(fields: &mut Fields) -> Result<Self, StanzaError> {
            fields.req_child("colour", |f| {
                Ok(Self { name: f.req("name")?, shades: f.list("list", "shade", 3, |f| f.req("n"))?, rest: f.rest() })
            })
        }
        fn write(self) -> Vec<Node> {
            let shades = self.shades.into_iter().map(|n| Node::new("shade").with_attr("n", n));
            let list = Node::new("list").with_children(shades);
            vec![self.rest.onto(Node::new("colour").with_attr("name", self.name).with_child(list))]
        }
    }
    impl Request for Colour {
        const XMLNS: &'static str = "x:colour";
        const TYPE: IqType = IqType::Set;
        const CHILD: &'static str = "colour";
    }
    let colour = Colour { name: "red".into(), shades: vec![1, 2], rest: Rest::default() };
    assert!(colour.rest.is_empty());
    let iq = Iq::request("1", colour);
    assert!(iq.is::<Colour>() && !iq.is::<Ping>());
    assert_eq!(AnyRequest::parse(&iq), Ok(None));
    assert_eq!(iq.payload::<Colour>().unwrap().write(), iq.children);
    let error = iq.result(Reachability { enabled: true, integrators: vec![], rest: Rest::default() });
    let error = error.payload::<Colour>().unwrap_err();
    assert_eq!(error.to_string(), "iq/colour: missing (PROTOCOL mine)");
}

#[test]
fn errors_say_whose_fault_it_is() {
    let limits = Limits::default();
    let error = decode(&[0, 0xf8, 0], &limits).unwrap_err();
    assert!(matches!(error, Error::Binary { what: Malformed::EmptyNode, .. }));
    assert_eq!(error.kind(), ErrorKind::PeerMisbehaved);
    let error = xml::parse(b"<a></b>", &limits).unwrap_err();
    assert!(matches!(error, Error::Xml { what: XmlFault::Mismatch, .. }));
    assert_eq!(error.kind(), ErrorKind::PeerMisbehaved);
    let error = xml::parse(b"<a><b/></a>", &limits.with_max_depth(1)).unwrap_err();
    assert_eq!(error, Error::Limit { what: Limited::Depth, max: 1 });
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let error = Error::from(Success::parse(&Node::new("success")).unwrap_err());
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::PeerMisbehaved, "success@t: missing (PROTOCOL §5.5)".into())
    );
}

/// New errors and words may come: a match that names all of today's still needs an arm for them.
#[test]
fn room_for_more() {
    #[deny(unreachable_patterns)]
    fn of_error(error: &Error) -> &'static str {
        match error {
            Error::Binary { .. } => "binary",
            Error::Xml { .. } => "xml",
            Error::Limit { .. } => "limit",
            Error::Stanza(_) => "stanza",
            _ => "later",
        }
    }
    #[deny(unreachable_patterns)]
    fn of_word(word: &MessageType) -> &str {
        match word {
            MessageType::Text => "text",
            MessageType::Media => "media",
            MessageType::Reaction => "reaction",
            MessageType::Other(other) => other,
            _ => "later",
        }
    }
    assert_eq!(of_error(&Error::Limit { what: Limited::Depth, max: 1 }), "limit");
    assert_eq!(of_word(&Text::from("poll").into()), "poll");
}

/// What a log may hold: shapes, ids and codes; no content, no name, no user.
#[test]
fn debug_keeps_people_out() {
    const HIDDEN: [&str; 5] = ["4915112345678", "Alice", "s3cret", "115, 51, 99", "q@example"];
    let user = jid("4915112345678@s.whatsapp.net");
    let enc = Enc::new(EncType::Session, "s3cret");
    let mut rest = Rest::default();
    rest.attrs.push(Attr { name: "unknown".into(), value: "Alice".into() });
    rest.content = Content::Bytes("s3cret".into());
    let mut message = Message::new(id("A1"), user.clone(), MessageType::Text, enc);
    message.notify = Some("Alice".into());
    message.participants.push(Participant { jid: user.clone(), enc: vec![], rest: Rest::default() });
    let one = IntegratorId::new(1).unwrap();
    let entry = UserEntry {
        external_id: "+4915112345678".into(),
        integrator: Some(one),
        found: Ok(FoundUser { jid: user.clone(), normalized_external_id: Some("4915112345678".into()) }),
        rest: Rest::default(),
    };
    let ping = InteropPing { display_name: "Alice".into(), rest: Rest::default() };
    let group = GroupCreate { subject: "Alice".into(), participants: vec![user.clone()], rest: Rest::default() };
    let reported = ReportedMessage {
        id: id("A1"),
        from: user.clone(),
        t: Timestamp::from_secs(1),
        raw: "s3cret".into(),
        rest: Rest::default(),
    };
    let text = Node::new("m").with_attr("to", "4915112345678@s.whatsapp.net").with_attr("mail", "q@example.org");
    let shown = [
        format!("{message:?} {:?}", message.clone().into_node()),
        format!("{:?}", Stanza::Message(message)),
        format!("{:?} {entry:?}", UsersQuery::from(vec![UserQuery::partner("q@example.org", one)])),
        format!("{ping:?} {:?}", Iq::request("1", ping.clone())),
        format!("{group:?} {:?}", GroupChange::from(GroupAction::Subject("Alice".into()))),
        format!("{:?}", GroupMember { display_name: Some("Alice".into()), ..GroupMember::new(user.clone()) }),
        format!("{reported:?} {:?}", Presence { name: Some("Alice".into()), ..Presence::default() }),
        format!("{:?} {:?}", Receipt::delivered(id("A1"), user.clone()), Chatstate::new(user, Typing::Paused)),
        format!("{rest:?} {:?}", Ack::of(&text.clone().with_attr("id", "1"))),
        format!("{text:?} {:?}", text.clone().with_bytes("s3cret")),
    ];
    for shown in shown {
        assert!(HIDDEN.iter().all(|hidden| !shown.contains(hidden)), "{shown}");
    }
    let error = Message::parse(&Node::new("message").with_attr("id", "1").with_attr("to", "4915112345678@x"));
    let error = format!("{error:?}");
    assert!(!error.contains("4915112345678"), "{error}");
}
