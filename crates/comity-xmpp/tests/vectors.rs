//! Independent truth: another implementation's frames and the specification's own example.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods)]

mod common;

use bytes::{Bytes, BytesMut};
use comity_core::ErrorKind;

use comity_xmpp::{
    Content, EncodeOptions, Error, Limited, Limits, Malformed, Node, NodeRef, Value, body, decode, decode_bytes,
    encode, trace,
};
use common::{from_json, vectors};

fn encoded(node: &Node) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(node, &mut out, &EncodeOptions::default()).unwrap();
    out.to_vec()
}

/// Frames that no encoder of ours writes: empty content given, AD_JID of device 0, forms longer than need be, compressed.
const NOT_CANONICAL: [&str; 8] = [
    "message_pkmsg",
    "bin_0",
    "list_empty",
    "list16_small",
    "binary32_small",
    "flate",
    "interop_jid_no_server_last",
    "jid_pair_interop",
];

#[test]
fn foreign_stanzas() {
    let limits = Limits::default().with_max_depth(400);
    for (name, frame, json) in vectors("stanzas") {
        let frame = frame.unwrap();
        let node = decode(&frame, &limits).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(node == from_json(&json["decoded"]), "{name}: {node:?}");

        let again = encoded(&node);
        assert!(decode(&again, &limits).unwrap() == node, "{name}");
        // The borrowed tree and the shared one are the same.
        let plain = body(&frame, &limits).unwrap();
        assert!(NodeRef::parse(&plain, &limits).unwrap().to_node() == node, "{name}");
        assert!(decode_bytes(&Bytes::from(frame.clone()), &limits).unwrap() == node, "{name}");
        let mut seen = 0;
        trace(&plain, &limits, &mut |piece| {
            assert_eq!(piece.at, seen);
            seen += piece.bytes.len();
        })
        .unwrap();
        assert_eq!(seen, plain.len());

        let canonical = again == frame;
        let made_by_hand = json.get("input").is_none();
        assert_eq!(canonical, !made_by_hand && !NOT_CANONICAL.contains(&name.as_str()), "{name}: {again:02x?}");
        // And from the tree that the foreign encoder was given.
        if canonical {
            assert!(encoded(&sorted(&from_json(&json["input"]))) == encoded(&sorted(&node)), "{name} from its input");
        }
    }
}

/// The same tree with attributes in order: JSON objects keep none.
fn sorted(node: &Node) -> Node {
    let (tag, mut attrs, content) = node.clone().into_parts();
    attrs.sort_by(|a, b| a.name.as_str().cmp(&b.name));
    let content = match content {
        Content::Nodes(nodes) => Content::Nodes(nodes.iter().map(sorted).collect()),
        other => other,
    };
    attrs.into_iter().fold(Node::new(tag), |node, attr| node.with_attr(attr.name, attr.value)).with_content(content)
}

#[test]
fn published_example() {
    let mut frame =
        vec![0, 248, 12, 19, 17, 250, 255, 134, 20, 21, 85, 81, 0, 31, 3, 6, 250, 255, 134, 20, 21, 85, 81, 0, 15, 3];
    frame.extend(b"\x08\xfc\x06123456");
    frame.extend([4, 56, 24, 252, 3, b'j', b'o', b'e', 248, 1, 248, 2, 237, 117, 252, 21]);
    frame.extend(b"Body text of message.");
    let xml = "<message to='14155551001@s.whatsapp.net' from='14155551000@s.whatsapp.net' id='123456' type='text' \
               notify='joe'><body>Body text of message.</body></message>";
    let node = decode(&frame, &Limits::default()).unwrap();
    let from_xml = comity_xmpp::xml::parse(xml.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(from_xml, node);

    // It shows the id as a raw string; a writer packs it. All else is as published.
    let packed = encoded(&from_xml);
    assert_eq!(encoded(&node), packed);
    let raw_id = frame.windows(8).position(|w| w == b"\xfc\x06123456").unwrap();
    frame.splice(raw_id..raw_id + 8, [255, 3, 0x12, 0x34, 0x56]);
    assert_eq!(packed, frame);
}

#[test]
fn malformed() {
    for (name, frame, _) in vectors("malformed") {
        let frame = frame.unwrap_or_else(|| match name.as_str() {
            // Lists of one node each, never ending in a tag.
            "deep_100000" => [&[0][..], &[0xf8, 2, 8, 0xf8, 1].repeat(100_000)].concat(),
            "jid_recursion_200000" => [&[0, 0xf8, 3, 0x13, 0x11][..], &[0xfa; 200_000]].concat(),
            other => panic!("{other} has no bytes"),
        });
        if name == "token_out_of_dict" {
            // The last token of the last dictionary: it exists.
            assert_eq!(decode(&frame, &Limits::default()).unwrap().tag(), "1961");
            continue;
        }
        let error = decode(&frame, &Limits::default()).unwrap_err();
        let expected = match name.as_str() {
            "ad_jid_bad_domain" => Some(Malformed::Domain(7)),
            "dup_attr" => Some(Malformed::DuplicateAttribute),
            "invalid_utf8" => Some(Malformed::Utf8),
            "nibble_inner_terminator" => Some(Malformed::Nibble),
            "zlib_garbage" => Some(Malformed::Zlib),
            "jid_recursion_200000" => Some(Malformed::UnexpectedJid),
            "deep_100000" | "zip_bomb" => None,
            _ => Some(Malformed::Truncated),
        };
        match (expected, &error) {
            (Some(what), Error::Binary { what: found, .. }) => assert_eq!(*found, what, "{name}"),
            (None, Error::Limit { .. }) => assert_eq!(error.kind(), ErrorKind::LimitExceeded),
            other => panic!("{name}: {other:?}"),
        }
        if frame[0] == 0 {
            assert_eq!(NodeRef::parse(&frame[1..], &Limits::default()).unwrap_err(), error, "{name}");
        }
        // However far the limits are raised, the stack holds.
        let raised = Limits { max_depth: usize::MAX, max_nodes: usize::MAX, ..Limits::DEFAULT };
        assert!(decode(&frame, &raised).is_err(), "{name}");
    }
}

fn fault(body: &[u8]) -> Malformed {
    match decode(&[&[0], body].concat(), &Limits::default()) {
        Err(Error::Binary { what, .. }) => what,
        other => panic!("{body:02x?}: {other:?}"),
    }
}

#[test]
fn faults() {
    assert_eq!(fault(&[]), Malformed::Truncated);
    assert_eq!(fault(&[0xf8, 0]), Malformed::EmptyNode);
    assert_eq!(fault(&[0]), Malformed::EmptyNode);
    assert_eq!(fault(&[0xf8, 1, 0]), Malformed::EmptyName);
    assert_eq!(fault(&[0xf8, 1, 0xfc, 0]), Malformed::EmptyName);
    assert_eq!(fault(&[0xf8, 1, 19, 19]), Malformed::Trailing);
    assert_eq!(fault(&[0xf7, 1, 19]), Malformed::NotAList(0xf7));
    for tag in 240..=244 {
        assert_eq!(fault(&[0xf8, 1, tag]), Malformed::NotAString(tag));
        assert_eq!(fault(&[0xf8, 3, 19, 8, tag]), Malformed::NotAString(tag));
        assert_eq!(fault(&[0xf8, 2, 19, tag]), Malformed::NotAString(tag));
    }
    assert_eq!(fault(&[0xf8, 1, 0xfa, 0, 3]), Malformed::UnexpectedJid);
    assert_eq!(fault(&[0xf8, 3, 19, 17, 0xfa, 0, 0]), Malformed::NoServer);
    assert_eq!(fault(&[0xf8, 3, 19, 17, 0xfa, 0xfa, 0, 3, 3]), Malformed::UnexpectedJid);
    assert_eq!(fault(&[0xf8, 3, 19, 17, 0xf6, 8, 0, 1, 3]), Malformed::FbServer);
    assert_eq!(fault(&[0xf8, 1, 0xff, 0x80]), Malformed::Nibble);
    assert_eq!(fault(&[0xf8, 1, 0xff, 0x81, 0x12]), Malformed::Nibble);
    assert_eq!(fault(&[0xf8, 1, 0xff, 0x01, 0xc1]), Malformed::Nibble);
    assert_eq!(fault(&[0xf8, 1, 0xfb, 0x81, 0xab]), Malformed::Nibble);
    // The same name, once as a token and once spelled out, or in two packings.
    assert_eq!(fault(&[0xf8, 5, 19, 8, 8, 0xfc, 2, b'i', b'd', 8]), Malformed::DuplicateAttribute);
    assert_eq!(fault(&[0xf8, 5, 19, 0xff, 2, 0x55, 0x55, 8, 0xfb, 2, 0x55, 0x55, 8]), Malformed::DuplicateAttribute);
    assert_eq!(decode(&[4, 0xf8, 1, 19], &Limits::default()), Err(Error::Binary { at: 0, what: Malformed::Flags(4) }));
    assert_eq!(decode(&[], &Limits::default()), Err(Error::Binary { at: 0, what: Malformed::Truncated }));
}

/// Many attributes: the wide table notices a repetition too.
#[test]
fn many_attributes() {
    let frame = |names: &mut dyn Iterator<Item = u8>| {
        let body: Vec<u8> = names.flat_map(|n| [n, 8]).collect();
        let size = u16::try_from(1 + body.len()).unwrap().to_be_bytes();
        [&[0, 0xf9, size[0], size[1], 19][..], &body].concat()
    };
    assert_eq!(decode(&frame(&mut (1..=200)), &Limits::default()).unwrap().attrs().len(), 200);
    let twice = frame(&mut (1..=200).chain([77]));
    assert!(matches!(
        decode(&twice, &Limits::default()),
        Err(Error::Binary { what: Malformed::DuplicateAttribute, .. })
    ));
}

fn limited(result: Result<Node, Error>) -> Limited {
    match result {
        Err(Error::Limit { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_just_under_and_over() {
    let nested = |depth: usize| encoded(&(1..depth).fold(Node::new("a"), |node, _| Node::new("a").with_child(node)));
    let limits = Limits::default();
    decode(&nested(32), &limits).unwrap();
    assert_eq!(limited(decode(&nested(33), &limits)), Limited::Depth);
    let raised = limits.with_max_depth(usize::MAX);
    decode(&nested(1024), &raised).unwrap();
    let deeper = [&[0][..], &[0xf8, 2, 8, 0xf8, 1].repeat(1024), &[0xf8, 1, 8]].concat();
    assert_eq!(limited(decode(&deeper, &raised)), Limited::Depth);

    let wide = |nodes: usize| {
        let leaves = |n| Node::new("list").with_children(core::iter::repeat_n(Node::new("item"), n));
        encoded(&Node::new("iq").with_child(leaves(nodes / 2)).with_child(leaves(nodes - nodes / 2)))
    };
    decode(&wide(65_536 - 3), &limits).unwrap();
    assert_eq!(limited(decode(&wide(65_536 - 2), &limits)), Limited::Nodes);

    let attrs = |n: usize| (0..n).fold(Node::new("a"), |node, i| node.with_attr(format!("k{i}"), "v"));
    assert_eq!(decode(&encoded(&attrs(256)), &limits).unwrap().attrs().len(), 256);
    let mut out = BytesMut::from(&b"before"[..]);
    let error = encode(&attrs(257), &mut out, &EncodeOptions::default());
    assert_eq!((limited(error.map(|()| attrs(0))), &out[..]), (Limited::Attributes, &b"before"[..]));
    let body: Vec<u8> = (0..=255).flat_map(|i| [0xec, i, 8]).chain([8, 8]).collect();
    let over = [&[0, 0xf9, 2, 3, 19][..], &body].concat();
    assert_eq!(limited(decode(&over, &limits)), Limited::Attributes);

    let frame = encoded(&Node::new("a").with_bytes(vec![1; 100]));
    let exact = Limits { max_frame_len: frame.len(), ..limits };
    decode(&frame, &exact).unwrap();
    assert_eq!(limited(decode(&frame, &Limits { max_frame_len: frame.len() - 1, ..limits })), Limited::Frame);
    let node = |len| Node::new("a").with_bytes(vec![1; len]);
    let overhead = encoded(&node(1 << 20)).len() - (1 << 20);
    let longest = (1 << 24) - 1 - overhead;
    assert_eq!(encoded(&node(longest)).len(), (1 << 24) - 1);
    let error = encode(&node(longest + 1), &mut out, &EncodeOptions::default());
    assert_eq!((limited(error.map(|()| attrs(0))), &out[..]), (Limited::Frame, &b"before"[..]));
}

#[test]
fn compressed() {
    let options = EncodeOptions { compress: true, ..EncodeOptions::default() };
    let compress = |node: &Node| {
        let mut out = BytesMut::new();
        encode(node, &mut out, &options).unwrap();
        out.to_vec()
    };
    // Below 1 KiB, or where it does not help, the frame is plain.
    let text = |len: usize| Node::new("a").with_bytes(b"abcd".repeat(len / 4));
    assert_eq!(compress(&text(1000))[0], 0);
    let node = text(4000);
    let frame = compress(&node);
    assert!(frame[0] == 2 && frame.len() < 100);
    assert_eq!(decode(&frame, &Limits::default()).unwrap(), node);
    let noise: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let noise = Node::new("a").with_bytes(noise);
    assert_eq!(decode(&compress(&noise), &Limits::default()).unwrap(), noise);

    // Caps: the output, the ratio, and nothing after the end.
    let inflated = encoded(&node).len() - 1;
    decode(&frame, &Limits { max_inflated_len: inflated, ..Limits::DEFAULT }).unwrap();
    let tight = Limits { max_inflated_len: inflated - 1, ..Limits::DEFAULT };
    assert_eq!(limited(decode(&frame, &tight)), Limited::Inflated);
    let long = compress(&text(1 << 20));
    assert_eq!(limited(decode(&long, &Limits::default())), Limited::Ratio);
    decode(&long, &Limits { max_inflate_ratio: 1100, ..Limits::DEFAULT }).unwrap();
    let trailing = [&frame[..], &[0]].concat();
    assert!(matches!(decode(&trailing, &Limits::default()), Err(Error::Binary { what: Malformed::Trailing, .. })));
    for len in 1..frame.len() {
        assert!(decode(&frame[..len], &Limits::default()).is_err());
    }
}

#[test]
fn jid_forms() {
    let wire = |value: Value| encoded(&Node::new("message").with_attr("to", value))[5..].to_vec();
    let of = |text: &str| wire(Value::from(text));
    let jid = |text: &str| wire(Value::Jid(text.parse().unwrap()));
    for (text, bytes) in [
        ("15551234567@s.whatsapp.net", &b"\xfa\xff\x86\x15\x55\x12\x34\x56\x7f\x03"[..]),
        ("49151:9@s.whatsapp.net", b"\xf7\x00\x09\xff\x83\x49\x15\x1f"),
        ("49151:9@lid", b"\xf7\x01\x09\xff\x83\x49\x15\x1f"),
        ("49151:99@hosted", b"\xf7\x80\x63\xff\x83\x49\x15\x1f"),
        ("49151:99@hosted.lid", b"\xf7\x81\x63\xff\x83\x49\x15\x1f"),
        ("49151@g.us", b"\xfa\xff\x83\x49\x15\x1f\x1c"),
        ("49151:300@msgr", b"\xf6\xff\x83\x49\x15\x1f\x01\x2c\xcc"),
        ("1-49151@interop", b"\xf5\xff\x83\x49\x15\x1f\x00\x00\x00\x01\xfc\x07interop"),
        ("999-49151:7@interop", b"\xf5\xff\x83\x49\x15\x1f\x00\x07\x03\xe7\xfc\x07interop"),
        ("1-x@interop", b"\xfa\xfc\x031-x\xfc\x07interop"),
        ("1-2-3.5@interop", b"\xfa\xff\x84\x1a\x2a\x3b\x5f\xfc\x07interop"),
        ("49151:300@lid", b"\xfc\x0d49151:300@lid"),
    ] {
        assert_eq!(jid(text), bytes, "{text}");
        assert_eq!(of(text), bytes, "{text} as text");
        let frame = encoded(&Node::new("message").with_attr("to", text));
        assert_eq!(decode(&frame, &Limits::default()).unwrap().attr_jid("to").unwrap().to_string(), text);
    }
    assert_eq!(jid("s.whatsapp.net"), [0xfa, 0, 3]);
    // Text that only resembles a JID stays what it is.
    for text in ["5.0:1@lid", "x@example.org", "@lid", "a@b@lid"] {
        let node = Node::new("message").with_attr("to", text);
        let again = decode(&encoded(&node), &Limits::default()).unwrap();
        assert_eq!(again.attr_str("to").unwrap(), text);
    }
    // The official web encoder's form.
    let mut out = BytesMut::new();
    let options = EncodeOptions { interop_server: false, ..EncodeOptions::default() };
    let node = Node::new("message").with_attr("to", "1-5@interop").with_attr("id", "1");
    encode(&node, &mut out, &options).unwrap();
    assert!(!out.windows(7).any(|w| w == b"interop"));
    assert_eq!(decode(&out, &Limits::default()).unwrap(), node);
}

/// The checked-in token table is what the data says.
#[test]
fn token_table_is_generated() {
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(common::dir("tokens.json")).unwrap()).unwrap();
    let single = json["single"].as_array().unwrap().iter();
    let double = json["double"].as_array().unwrap().iter().flat_map(|table| table.as_array().unwrap());
    let mut table = String::new();
    for token in single.chain(double) {
        table.push_str(&format!("    {:?},\n", token.as_str().unwrap()));
    }
    let source = include_str!("../src/binary/token_table.rs");
    let body = source.split_once("= [\n").unwrap().1.strip_suffix("];\n").unwrap();
    assert!(body == table);
}

/// Each token is written in its own bytes and read back.
#[test]
fn every_token() {
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(common::dir("tokens.json")).unwrap()).unwrap();
    let check = |bytes: &[u8], token: &str| {
        assert_eq!(encoded(&Node::new(token)), [&[0, 0xf8, 1], bytes].concat(), "{token}");
        assert_eq!(decode(&[&[0, 0xf8, 1], bytes].concat(), &Limits::default()).unwrap().tag(), token);
    };
    for (i, token) in (0u8..).zip(json["single"].as_array().unwrap()).skip(1) {
        check(&[i], token.as_str().unwrap());
    }
    for (d, table) in (236u8..).zip(json["double"].as_array().unwrap()) {
        for (i, token) in (0u8..=255).zip(table.as_array().unwrap()) {
            check(&[d, i], token.as_str().unwrap());
        }
    }
}
