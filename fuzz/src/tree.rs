//! Stanza trees out of a fuzzer's bytes: any tree at all, and trees that look like the protocol's stanzas.

use arbitrary::{Result, Unstructured};
use comity_core::{Jid, Server};
use comity_xmpp::limits::MAX_DEPTH;
use comity_xmpp::{Content, Limits, Node, Text, Value};

/// Any tree within the default limits: token, packed and raw texts, JIDs of every server, bytes, names that are no XML
/// names.
pub fn tree(u: &mut Unstructured<'_>) -> Result<Node> {
    node(u, 1)
}

fn node(u: &mut Unstructured<'_>, depth: usize) -> Result<Node> {
    let mut node = Node::new(name(u)?);
    for _ in 0..u.int_in_range(0..=10u8)? {
        let name = name(u)?;
        node.set_attr(name, value(u)?);
    }
    Ok(match u.int_in_range(0..=5u8)? {
        0 => node,
        1 => node.with_bytes(u.arbitrary::<Vec<u8>>()?),
        2 => node.with_bytes(text(u)?.as_str().to_owned()),
        3 => node.with_content(Content::Text(text(u)?)),
        _ if depth == MAX_DEPTH => node.with_content(Content::Nodes(Vec::new())),
        _ => {
            node = node.with_content(Content::Nodes(Vec::new()));
            for _ in 0..u.int_in_range(0..=3u8)? {
                node.push_child(self::node(u, depth + 1)?);
            }
            node
        }
    })
}

/// A text that is not empty: no name is.
fn name(u: &mut Unstructured<'_>) -> Result<Text> {
    Ok(Some(text(u)?).filter(|text| !text.is_empty()).unwrap_or_else(|| "x".into()))
}

#[rustfmt::skip]
const TRICKY: [&str; 24] = [
    "", " ", "xmlns", "xmlns:c", "c:x", "c:node", "c:attr", "name", "xml:lang", "stream:error", "stream:stream",
    "p:q", "0", "]]>", "a\r\n\tb", "\u{fffe}", "\0", "5:0@lid", "x.0:1@lid", "0-5@interop", "@s.whatsapp.net",
    "s.whatsapp.net", "g.us", "a@b@lid",
];

fn text(u: &mut Unstructured<'_>) -> Result<Text> {
    let chars = |u: &mut Unstructured<'_>, alphabet: &[u8]| -> Result<Text> {
        let len = u.int_in_range(0..=130u8)?;
        let chars = (0..len).map(|_| Ok(char::from(*u.choose(alphabet)?)));
        Ok(chars.collect::<Result<String>>()?.into())
    };
    match u.int_in_range(0..=7u8)? {
        0 => Ok(token(&[u.int_in_range(1..=235)?])),
        1 => Ok(token(&[u.int_in_range(236..=239)?, u.arbitrary()?])),
        2 => chars(u, b"0123456789-."),
        3 => chars(u, b"0123456789ABCDEF"),
        4 => Ok((*u.choose(&TRICKY)?).into()),
        5 => Ok(jid(u)?.to_string().into()),
        6 => chars(u, b"ab:@<>&\"'=/ \t\n\r\0\x7f]-_.01"),
        _ => Ok(u.arbitrary::<&str>()?.into()),
    }
}

/// The text that the decoder gives for a token.
fn token(form: &[u8]) -> Text {
    let frame = [&[0, 0xf8, 1][..], form].concat();
    comity_xmpp::decode(&frame, &Limits::default()).expect("every index has a token").into_parts().0
}

fn value(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(if u.arbitrary()? { Value::Jid(jid(u)?) } else { Value::Str(text(u)?) })
}

fn jid(u: &mut Unstructured<'_>) -> Result<Jid> {
    let user = match u.int_in_range(0..=3u8)? {
        0 => String::new(),
        1 => u.arbitrary::<u64>()?.to_string(),
        2 => format!("{}-{}", u.arbitrary::<u16>()?, u.arbitrary::<u8>()?),
        _ => u.arbitrary::<&str>()?.to_owned(),
    };
    let server = *u.choose(&Server::ALL)?;
    let device = match u.int_in_range(0..=2u8)? {
        0 => 0,
        1 => u16::from(u.arbitrary::<u8>()?),
        _ => u.arbitrary()?,
    };
    let jid = match (server, u.arbitrary::<u16>()?) {
        (Server::Interop, integrator @ 1..) => Jid::interop(integrator, &user, device),
        _ => Jid::new(&user, server).map(|jid| jid.with_device(device)),
    };
    Ok(jid.unwrap_or_else(|_| Jid::server_only(server).with_device(device)))
}

/// The stanzas' tags, first those that stand at the top.
#[rustfmt::skip]
const TAGS: &[&str] = &[
    "message", "receipt", "ack", "iq", "ib", "notification", "presence", "chatstate", "call", "success", "failure",
    "stream:error", "xmlstreamend", "error", "enc", "participants", "to", "list", "item", "user", "retry",
    "registration", "keys", "type", "identity", "key", "skey", "pqkey", "pqlist", "pqlast", "id", "value",
    "signature", "count", "digest", "hash", "rotate", "rmr", "encrypt", "enc_p", "enc_iv", "composing", "paused",
    "offer", "accept", "terminate", "offline", "offline_batch", "offline_preview", "dirty", "conflict", "integrator",
    "integrator_list", "features", "opt_in_integrators", "reachability_settings", "users", "ping", "delete_account",
    "blocklist", "spam_list", "raw", "media_conn", "host", "usync", "query", "devices", "device-list", "device",
    "create", "group", "participant", "add", "remove", "leave", "subject", "active", "passive", "x-new",
];

#[rustfmt::skip]
const NAMES: &[&str] = &[
    "id", "type", "to", "from", "participant", "t", "class", "error", "phash", "notify", "offline", "edit", "v",
    "mediatype", "decrypt-fail", "count", "jid", "key", "xmlns", "code", "text", "reason", "location", "expire",
    "lid", "media", "name", "icon", "status", "identifier_type", "opted_in", "group_messaging", "fetch", "enabled",
    "external_id", "normalized_external_id", "integrator_id", "display_name", "dhash", "matched", "action",
    "spam_flow", "auth", "auth_ttl", "ttl", "max_buckets", "hostname", "sid", "mode", "context", "version", "from_me",
    "call-id", "call-creator", "creator", "creation", "subject", "request", "value", "message", "receipt", "x-new",
];

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "1", "0", "2", "7", "007", "65536", "4294967296", "text", "media", "reaction", "pkmsg", "msg", "skmsg", "read",
    "played", "retry", "server-error", "inactive", "get", "set", "result", "error", "encrypt", "w:interop", "w:gp2",
    "w:g2", "w:m", "w:p", "usync", "spam", "blocklist", "mediaretry", "hide", "true", "false", "block", "unblock",
    "active", "email", "identity", "admin", "all", "query", "message", "receipt", "device_removed", "audio", "5@lid",
    "1-5@interop", "4915112345678:2@s.whatsapp.net", "120363@g.us", "s.whatsapp.net", "3EB0C431C26A19167F01", "",
];

/// A tree of the words of the protocol's stanzas; `depth` 1 is the root.
pub fn stanza(u: &mut Unstructured<'_>, depth: usize) -> Result<Node> {
    let mut node = Node::new(*u.choose(if depth == 1 { &TAGS[..13] } else { TAGS })?);
    for _ in 0..u.int_in_range(0..=7u8)? {
        let name = *u.choose(NAMES)?;
        match u.int_in_range(0..=9u8)? {
            0 => node.set_attr(name, value(u)?),
            _ => node.set_attr(name, *u.choose(WORDS)?),
        }
    }
    Ok(match u.int_in_range(0..=5u8)? {
        0 => node,
        1 => node.with_bytes(u.arbitrary::<Vec<u8>>()?),
        // The lengths that the protocol's fields have.
        2 => node.with_bytes(vec![5; *u.choose(&[0, 1, 3, 4, 12, 20, 32, 64])?]),
        _ if depth >= 6 => node,
        _ => {
            for _ in 0..u.int_in_range(0..=5u8)? {
                node.push_child(stanza(u, depth + 1)?);
            }
            node
        }
    })
}
