//! Blocking, in both users' forms (PROTOCOL §13).

use super::stanza::{account_of, iq_result};
use super::{Answer, Done, Fault, Session};
use crate::store::Blocklist;
use comity_core::Jid;
use comity_xmpp::Node;

/// `xmlns="blocklist"`: get the list, or set one item and get the list that results.
pub(super) async fn handle(session: &Session, node: &Node, set: bool) -> Answer {
    let store = &session.site.store;
    let account = session.user.account.clone();
    let blocklist = if set {
        let (peer, block) = item(node.child("item").ok_or(Fault::Code(400))?)?;
        store.set_block(account, peer, block).await?.ok_or(Fault::Code(406))?
    } else {
        store.blocklist(account).await?
    };
    Ok(Done::answer(iq_result(node).with_child(list(&blocklist))))
}

/// `<iq type="set" xmlns="w:interop"><blocklist><item action jid/></blocklist></iq>`.
pub(super) async fn set_all(session: &Session, node: &Node, blocklist: &Node) -> Answer {
    let items = blocklist.children_named("item").map(item).collect::<Result<Vec<_>, _>>()?;
    if items.is_empty() {
        return Err(Fault::Code(400));
    }
    for (peer, block) in items {
        let set = session.site.store.set_block(session.user.account.clone(), peer, block).await?;
        set.ok_or(Fault::Code(406))?;
    }
    Ok(Done::answer(iq_result(node)))
}

fn item(item: &Node) -> Result<(Jid, bool), Fault> {
    let peer = item.attr_jid("jid").and_then(|jid| account_of(&jid)).ok_or(Fault::Code(400))?;
    match item.attr_str("action").as_deref() {
        Some("block") => Ok((peer, true)),
        Some("unblock") => Ok((peer, false)),
        _ => Err(Fault::Code(400)),
    }
}

fn list(blocklist: &Blocklist) -> Node {
    Node::new("list")
        .with_attr("dhash", blocklist.version)
        .with_children(blocklist.peers.iter().map(|peer| Node::new("item").with_attr("jid", peer)))
}
