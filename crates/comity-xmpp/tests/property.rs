//! Properties over generated trees and bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bytes::BytesMut;
use comity_core::{Jid, Server};
use comity_xmpp::stanza::Stanza;
use comity_xmpp::xml::{XmlEvent, XmlStream};
use comity_xmpp::{Content, EncodeOptions, Limits, Node, NodeRef, Value, body, decode, encode, xml};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z:._-]{1,12}",
        2 => "[0-9.-]{1,130}",
        2 => "[0-9A-F]{1,130}",
        1 => prop::sample::select(vec!["message", "enc", "xmlns", "stream:error", "c:x", "xml:lang", "0", "s.whatsapp.net"])
            .prop_map(String::from),
        1 => "\\PC{1,20}",
        1 => "[\\x00-\\x7f]{1,9}",
        1 => "[0-9]{1,4}(\\.[0-9])?(:[0-9]{1,5})?@(lid|interop|s\\.whatsapp\\.net|g\\.us|msgr|other)",
    ]
}

fn jid() -> impl Strategy<Value = Jid> {
    let user = prop_oneof!["[0-9]{1,15}", "[a-z0-9._-]{0,20}"];
    (user, 0..Server::ALL.len(), prop_oneof![Just(0), 0..300u16, any::<u16>()], 1..=999u16).prop_map(
        |(user, server, device, integrator)| {
            let server = Server::ALL[server];
            if server == Server::Interop {
                Jid::interop(integrator, &user, device).unwrap()
            } else {
                Jid::new(&user, server).unwrap().with_device(device)
            }
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![text().prop_map(Value::from), Just(Value::from("")), jid().prop_map(Value::Jid)]
}

fn node() -> impl Strategy<Value = Node> {
    let content = prop_oneof![
        Just(Content::Empty),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|b| Content::Bytes(b.into())),
        text().prop_map(|t| Content::Text(t.into())),
        text().prop_map(|t| Content::Bytes(t.into())),
    ];
    let leaf = (text(), prop::collection::vec((text(), value()), 0..5), content).prop_map(|(tag, attrs, content)| {
        attrs.into_iter().fold(Node::new(tag), |node, (name, value)| node.with_attr(name, value)).with_content(content)
    });
    leaf.prop_recursive(4, 24, 5, |inner| {
        (text(), prop::collection::vec((text(), value()), 0..12), prop::collection::vec(inner, 0..5)).prop_map(
            |(tag, attrs, children)| {
                attrs
                    .into_iter()
                    .fold(Node::new(tag), |node, (name, value)| node.with_attr(name, value))
                    .with_children(children)
            },
        )
    })
}

fn encoded(node: &Node) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(node, &mut out, &EncodeOptions::default()).unwrap();
    out.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tree → binary → tree → XML → tree → binary.
    #[test]
    fn round_trip(node in node()) {
        let limits = Limits::default();
        let frame = encoded(&node);
        let again = decode(&frame, &limits).unwrap();
        prop_assert_eq!(&again, &node);
        prop_assert_eq!(encoded(&again), frame.clone());
        prop_assert_eq!(&NodeRef::parse(&frame[1..], &limits).unwrap().to_node(), &node);

        let text = xml::to_string(&node).unwrap();
        let parsed = xml::parse(text.as_bytes(), &limits);
        prop_assert_eq!(parsed.as_ref(), Ok(&node), "{}", text);
        prop_assert_eq!(&decode(&encoded(&parsed.unwrap()), &limits).unwrap(), &node);
    }

    /// The framer gives the same stanzas however the bytes are cut.
    #[test]
    fn any_split(nodes in prop::collection::vec(node(), 1..4), cuts in prop::collection::vec(1..30usize, 1..200)) {
        let header = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='x'>";
        let mut text = header.to_owned();
        for node in &nodes {
            xml::write(node, &mut text).unwrap();
        }
        let mut stream = XmlStream::new(Limits::default());
        let (mut seen, mut rest) = (Vec::new(), text.as_bytes());
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (mut piece, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            while let Some(event) = stream.next(&mut piece).unwrap() {
                if let XmlEvent::Stanza(node) = event {
                    seen.push(node);
                }
            }
        }
        prop_assert_eq!(seen, nodes);
    }

    /// Whatever a mutated frame is, both decoders agree, and what was read can be written and read again.
    #[test]
    fn mutated(node in node(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut frame = encoded(&node);
        let at = at.index(frame.len());
        frame[at] = byte;
        if cut {
            frame.truncate(at);
        }
        agree(&frame)?;
    }

    #[test]
    fn noise(frame in prop::collection::vec(prop_oneof![any::<u8>(), 240..=255u8, 0..20u8], 0..200)) {
        agree(&frame)?;
    }

    #[test]
    fn xml_noise(text in "[<>/a-c'\"=& ;:#x0-9!?\\[\\]-]{0,60}") {
        if let Ok(node) = xml::parse(text.as_bytes(), &Limits::default()) {
            let again = xml::to_string(&node).unwrap();
            prop_assert_eq!(xml::parse(again.as_bytes(), &Limits::default()), Ok(node));
        }
    }
}

fn agree(frame: &[u8]) -> Result<(), TestCaseError> {
    let limits = Limits::default();
    let owned = decode(frame, &limits);
    if let Ok(body) = body(frame, &limits) {
        prop_assert_eq!(NodeRef::parse(&body, &limits).map(|node| node.to_node()), owned.clone());
    }
    if let Ok(node) = owned {
        prop_assert_eq!(&decode(&encoded(&node), &limits).unwrap(), &node);
        if let Ok(stanza) = Stanza::parse(&node) {
            let again = Stanza::parse(&stanza.clone().into_node());
            prop_assert_eq!(again, Ok(stanza));
        }
    }
    Ok(())
}
