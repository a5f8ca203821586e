//! Acks from a client: the stanza leaves the queue (PROTOCOL §7).

use super::stanza::{peer, queue_id, server};
use super::{Done, Reply, Session, failed};
use crate::store::Class;
use comity_xmpp::Node;

pub(super) async fn handle(session: &Session, node: &Node) -> Reply {
    let class = node.attr_str("class").and_then(|class| Class::parse(&class));
    let (Some(class), Some(id)) = (class, queue_id(node)) else { return Done::nothing().into() };
    if let Some(error) = node.attr_str("error") {
        tracing::debug!(?class, %error, "nack");
    }
    let kind = node.attr_str("type").filter(|_| class == Class::Receipt).map(|kind| kind.into_owned());
    let from = peer(node).unwrap_or_else(server);
    let stored = session.site.store.acked(&session.user.account, class, from, id, kind).await;
    let account = session.user.account.clone();
    Reply::Later(Box::pin(async move {
        match stored.await {
            Ok(answered) => Done { answered, ..Done::default() },
            Err(error) => failed(&account, &error),
        }
    }))
}
