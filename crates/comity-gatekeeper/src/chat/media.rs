//! Where media are uploaded, and with what authorisation (PROTOCOL §10).

use super::stanza::iq_result;
use super::{Answer, Done, Fault, Session};
use crate::limits::MEDIA_AUTH_TTL;
use comity_xmpp::Node;

/// `<iq xmlns="w:m" type="set"><media_conn/></iq>`.
pub(super) fn connection(session: &Session, node: &Node) -> Answer {
    node.child("media_conn").ok_or(Fault::Code(400))?;
    let site = &session.site;
    let auth = site.media_auth.issue(site.clock.now()).ok_or(Fault::Code(500))?;
    let host = site.public_http.split_once("://").map_or(site.public_http.as_str(), |(_, host)| host);
    let ttl = MEDIA_AUTH_TTL.as_secs();
    let connection = Node::new("media_conn")
        .with_attr("auth", auth)
        .with_attr("auth_ttl", ttl)
        .with_attr("ttl", ttl)
        .with_attr("max_buckets", 12u32)
        .with_child(Node::new("host").with_attr("hostname", host));
    Ok(Done::answer(iq_result(node).with_child(connection)))
}
