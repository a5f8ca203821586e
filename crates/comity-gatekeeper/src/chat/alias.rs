//! The alias view (PROTOCOL §2): a native client that knows no interop JIDs sees each partner user as `{15 digits}@lid`, in
//! every attribute of every stanza, and names it so.

use crate::limits::MAX_ALIASES;
use crate::store::Storage;
use comity_core::{Jid, Server, StoreError};
use comity_xmpp::{Content, Node};
use std::collections::{HashMap, HashSet};

/// The stanza as such a client gets it.
pub(crate) async fn outward(store: &dyn Storage, node: Node) -> Result<Node, StoreError> {
    let accounts = named(&node, Server::Interop);
    if accounts.is_empty() { Ok(node) } else { Ok(renamed(node, &store.aliases(accounts).await?)) }
}

/// The stanza as such a client meant it. What is nobody's alias stays, and is nobody's account.
pub(crate) async fn inward(store: &dyn Storage, node: Node) -> Result<Node, StoreError> {
    let aliases = named(&node, Server::Lid);
    if aliases.is_empty() { Ok(node) } else { Ok(renamed(node, &store.aliased(aliases).await?)) }
}

/// The users of that server that a stanza names: partner users and their aliases have no device but 0.
fn named(node: &Node, server: Server) -> Vec<Jid> {
    fn collect(node: &Node, server: Server, found: &mut HashSet<Jid>) {
        for attr in node.attrs() {
            let jid = attr.value.to_jid().filter(|jid| jid.server() == server && jid.device() == 0);
            if found.len() < MAX_ALIASES {
                found.extend(jid.map(|jid| jid.account()));
            }
        }
        node.children().iter().for_each(|child| collect(child, server, found));
    }
    let mut found = HashSet::new();
    collect(node, server, &mut found);
    found.into_iter().collect()
}

fn renamed(node: Node, names: &HashMap<Jid, Jid>) -> Node {
    let (tag, attrs, content) = node.into_parts();
    let mut out = Node::new(tag);
    for attr in attrs {
        let name = attr.value.to_jid().filter(|jid| jid.device() == 0).and_then(|jid| names.get(&jid.account()));
        out.set_attr(attr.name, name.map_or(attr.value, Into::into));
    }
    match content {
        Content::Nodes(children) => out.with_children(children.into_iter().map(|child| renamed(child, names))),
        content => out.with_content(content),
    }
}
