//! Device look-ups of native clients: everybody has device 0 here (PROTOCOL §13).

use super::stanza::{account_of, iq_result};
use super::{Answer, Done, Fault, Session};
use crate::limits::MAX_USYNC_USERS;
use comity_xmpp::Node;

pub(super) async fn handle(session: &Session, node: &Node) -> Answer {
    let usync = node.child("usync").ok_or(Fault::Code(400))?;
    let users: Vec<&Node> = usync.child("list").into_iter().flat_map(|list| list.children_named("user")).collect();
    if users.len() > MAX_USYNC_USERS {
        return Err(Fault::Code(406));
    }
    let devices = usync.child("query").is_some_and(|query| query.child("devices").is_some());
    let mut list = Node::new("list");
    for user in users {
        let jid = user.attr_jid("jid").ok_or(Fault::Code(400))?;
        let mut answer = Node::new("user").with_attr("jid", jid.account());
        if devices {
            let mut device_list = Node::new("device-list");
            if let Some(account) = account_of(&jid)
                && session.site.store.may_see(session.user.account.clone(), account).await?
            {
                device_list.push_child(Node::new("device").with_attr("id", 0u32));
            }
            answer.push_child(Node::new("devices").with_child(device_list));
        }
        list.push_child(answer);
    }
    let mut answer = Node::new("usync");
    for name in ["sid", "mode", "context", "index", "last"] {
        answer = answer.with_opt_attr(name, usync.attr(name).cloned());
    }
    Ok(Done::answer(iq_result(node).with_child(answer.with_child(list))))
}
