//! The vectors under tests/data, and the JSON form of a tree.
#![allow(dead_code, reason = "each test binary uses a part")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_core::{Jid, Server};
use comity_xmpp::{Content, Node};
use serde_json::Value as Json;
use std::path::PathBuf;

pub(crate) fn dir(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/baileys").join(name)
}

/// Name, bytes (if there is a .hex) and description of each vector.
pub(crate) fn vectors(set: &str) -> Vec<(String, Option<Vec<u8>>, Json)> {
    let mut all: Vec<_> = std::fs::read_dir(dir(set))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            // `nest_300` nests deeper than the reader's own default.
            let text = std::fs::read_to_string(&path).unwrap();
            let mut reader = serde_json::Deserializer::from_str(&text);
            reader.disable_recursion_limit();
            let json = serde::Deserialize::deserialize(&mut reader).unwrap();
            let hex = std::fs::read_to_string(path.with_extension("hex")).ok();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), hex.map(|h| unhex(h.trim())), json)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn from_json(json: &Json) -> Node {
    let mut node = Node::new(json["tag"].as_str().unwrap());
    for (name, value) in json["attrs"].as_object().unwrap() {
        match value.as_str().unwrap() {
            // That package's text of a bare server.
            "@s.whatsapp.net" => node.set_attr(name.as_str(), Server::Whatsapp),
            text => node.set_attr(name.as_str(), text),
        }
    }
    match json.get("content") {
        None | Some(Json::Null) => node,
        Some(Json::String(text)) => node.with_content(Content::Text(text.as_str().into())),
        Some(Json::Array(children)) => node.with_children(children.iter().map(from_json)),
        Some(other) => node.with_bytes(STANDARD.decode(other["b64"].as_str().unwrap()).unwrap()),
    }
}

pub(crate) fn n(tag: &str) -> Node {
    Node::new(tag)
}

pub(crate) fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

pub(crate) fn key_nodes(id: [u8; 3], fill: u8) -> [Node; 2] {
    [n("id").with_bytes(id.to_vec()), n("value").with_bytes(vec![fill; 32])]
}

pub(crate) fn skey(tag: &str) -> Node {
    n(tag).with_children(key_nodes([0, 1, 2], 7)).with_child(n("signature").with_bytes(vec![8; 64]))
}

pub(crate) fn bundle(node: Node) -> Node {
    node.with_child(n("registration").with_bytes(vec![0, 0, 0x12, 0x34]))
        .with_child(n("type").with_bytes(vec![5]))
        .with_child(n("identity").with_bytes(vec![9; 32]))
}
