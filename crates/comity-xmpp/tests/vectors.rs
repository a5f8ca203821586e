//! Independent truth: another implementation's frames and the specification's own example.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods)]

mod common;

use bytes::BytesMut;

use comity_xmpp::{Content, EncodeOptions, Limits, Node, decode, encode};
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
