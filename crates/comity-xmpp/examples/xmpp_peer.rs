//! Our side of the comparison with foreign codecs: JSON lines in, JSON lines out.
//!
//! `{"hex"}` is decoded to `{"node"}`, `{"node"}` encoded to `{"hex"}`; a failure is `{"error"}`. A node is
//! `{"tag","attrs","content"}`, its content a list of nodes, `{"hex"}`, or null.
#![allow(clippy::print_stdout, reason = "a program")]

use bytes::BytesMut;
use comity_core::Jid;
use comity_xmpp::{Content, EncodeOptions, Limits, Node, Value as Attr, decode, encode};
use serde_json::{Map, Value, json};
use std::io::BufRead;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    for line in std::io::stdin().lock().lines() {
        let answer =
            answer(&serde_json::from_str(&line?)?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        println!("{answer}");
    }
    Ok(())
}

fn answer(request: &Value) -> Result<Value, Failure> {
    if let Some(hex) = request.get("hex").and_then(Value::as_str) {
        let node = decode(&from_hex(hex)?, &Limits::default())?;
        return Ok(json!({ "node": to_json(&node) }));
    }
    let mut out = BytesMut::new();
    let node = from_json(request.get("node").ok_or("neither hex nor node")?)?;
    encode(&node, &mut out, &EncodeOptions::default())?;
    Ok(json!({ "hex": to_hex(&out) }))
}

fn to_json(node: &Node) -> Value {
    let attrs: Map<_, _> = node.attrs().iter().map(|a| (a.name.to_string(), json!(a.value.to_string()))).collect();
    let content = match node.content() {
        Content::Empty => Value::Null,
        Content::Nodes(nodes) => nodes.iter().map(to_json).collect(),
        Content::Bytes(bytes) => json!({ "hex": to_hex(bytes) }),
        Content::Text(text) => json!({ "hex": to_hex(text.as_bytes()) }),
    };
    json!({ "tag": node.tag(), "attrs": attrs, "content": content })
}

fn from_json(json: &Value) -> Result<Node, Failure> {
    let tag = json.get("tag").and_then(Value::as_str).ok_or("no tag")?;
    let mut node = Node::new(tag);
    for (name, value) in json.get("attrs").and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().ok_or("an attribute that is no text")?;
        let jid = text.contains('@').then(|| text.parse::<Jid>().ok()).flatten();
        node.set_attr(name.as_str(), jid.map_or_else(|| Attr::from(text), Attr::from));
    }
    Ok(match json.get("content") {
        None | Some(Value::Null) => node,
        Some(Value::Array(nodes)) => node.with_children(nodes.iter().map(from_json).collect::<Result<Vec<_>, _>>()?),
        Some(bytes) => node.with_bytes(from_hex(bytes.get("hex").and_then(Value::as_str).ok_or("no hex")?)?),
    })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(hex: &str) -> Result<Vec<u8>, Failure> {
    let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or("not hexadecimal")?;
    let pair = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    };
    Ok(digits.chunks(2).map(pair).collect::<Option<_>>().ok_or("not hexadecimal")?)
}
