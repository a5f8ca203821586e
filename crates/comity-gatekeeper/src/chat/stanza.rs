//! Building blocks of the server's stanzas (PROTOCOL §7).

use crate::limits::MAX_STANZA_ID;
use comity_core::{Jid, PartnerUser, Server};
use comity_xmpp::stanza::error_text;
use comity_xmpp::{Node, Value};

/// The server itself, as `from` and `to` name it.
pub(super) fn server() -> Jid {
    Jid::server_only(Server::Whatsapp)
}

/// The stanza's id, if it is fit to be stored and answered.
pub(super) fn queue_id(node: &Node) -> Option<String> {
    let id = node.attr_str("id")?;
    let fit = !id.is_empty() && id.len() <= MAX_STANZA_ID && id.bytes().all(|b| b.is_ascii_graphic());
    fit.then(|| id.into_owned())
}

/// The account that a stanza is for: a partner or native user, canonical.
pub(super) fn peer(node: &Node) -> Option<Jid> {
    account_of(&node.attr_jid("to")?)
}

/// The account of a partner or native user's JID.
pub(super) fn account_of(jid: &Jid) -> Option<Jid> {
    match jid.server() {
        Server::Interop => PartnerUser::try_from(jid).ok().map(PartnerUser::jid),
        Server::Whatsapp if !jid.user().is_empty() => Some(jid.account()),
        _ => None,
    }
}

fn whom(node: &Node) -> Value {
    node.attr("to").cloned().unwrap_or_else(|| Server::Whatsapp.into())
}

/// `<ack class id from t/>` for a stanza of the client.
pub(super) fn ack(node: &Node, t: u64) -> Node {
    Node::new("ack")
        .with_attr("class", node.tag())
        .with_opt_attr("id", node.attr("id").cloned())
        .with_attr("from", whom(node))
        .with_attr("t", t)
}

/// `<ack class id from error/>`: refused, and why.
pub(super) fn nack(node: &Node, error: u16) -> Node {
    Node::new("ack")
        .with_attr("class", node.tag())
        .with_opt_attr("id", node.attr("id").cloned())
        .with_attr("from", whom(node))
        .with_attr("error", error)
}

/// `<iq type="result" id from/>`.
pub(super) fn iq_result(node: &Node) -> Node {
    Node::new("iq")
        .with_attr("type", "result")
        .with_opt_attr("id", node.attr("id").cloned())
        .with_attr("from", whom(node))
}

/// `<iq type="error" id from><error code text/></iq>`.
pub(super) fn iq_error(node: &Node, code: u16) -> Node {
    Node::new("iq")
        .with_attr("type", "error")
        .with_opt_attr("id", node.attr("id").cloned())
        .with_attr("from", whom(node))
        .with_child(error(code))
}

/// `<error code text/>`, the text fixed by the code.
pub(super) fn error(code: u16) -> Node {
    Node::new("error").with_attr("code", code).with_attr("text", error_text(code))
}
