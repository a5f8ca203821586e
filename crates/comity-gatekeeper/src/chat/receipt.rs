//! Receipts from a client: what they answer leaves the mailbox, and they go to the sender (PROTOCOL §7).

use super::stanza::{ack, nack, peer, queue_id};
use super::{Done, Reply, Session, failed};
use crate::limits::MAX_RECEIPT_IDS;
use crate::store::{Class, Mail};
use comity_xmpp::Node;
use std::sync::Arc;

pub(super) async fn handle(session: &Session, node: Node) -> Reply {
    let Some(id) = queue_id(&node) else { return Done::nothing().into() };
    let Some(to) = peer(&node) else { return nack(&node, 488).into() };
    let now = session.site.clock.now();
    let kind = node.attr_str("type").map(|kind| kind.into_owned()).unwrap_or_default();
    let accepted = ack(&node, now.as_secs())
        .with_opt_attr("type", node.attr("type").cloned())
        .with_opt_attr("participant", node.attr("participant").cloned());
    let (delivered, forwarded) = match kind.as_str() {
        "" | "inactive" => (true, true),
        "retry" => (true, true),
        "read" | "played" | "server-error" => (false, true),
        _ => return accepted.into(), // concerns own linked devices
    };
    let listed: Vec<String> = node
        .child("list")
        .into_iter()
        .flat_map(|list| list.children_named("item"))
        .take(MAX_RECEIPT_IDS)
        .filter_map(queue_id)
        .collect();
    if listed.len() >= MAX_RECEIPT_IDS {
        return nack(&node, 487).into();
    }
    // Re-encryptions come under the same id, so retries of one message are told apart by their count.
    let distinct = match node.child("retry").and_then(|retry| retry.attr_str("count")) {
        Some(count) if kind == "retry" => format!("retry#{}", count.chars().take(4).collect::<String>()),
        _ => kind,
    };
    let mut out = node.clone();
    for attr in ["to", "from", "t", "offline"] {
        out.remove_attr(attr);
    }
    out.set_attr("from", &session.user.account);
    out.set_attr("t", now.as_secs());
    let site = &session.site;
    let Some(stanza) = site.frame(&out) else { return nack(&node, site.profile.nack_full).into() };
    let answered = if delivered { std::iter::once(id.clone()).chain(listed).collect() } else { Vec::new() };
    let sender = session.user.account.clone();
    let mail = Mail { to: to.clone(), class: Class::Receipt, sender: sender.clone(), id, kind: distinct, stanza };
    let forward = forwarded.then_some(mail);
    let stored = session.site.store.receipt(&session.user, to.clone(), answered, forward, now).await;
    let site = Arc::clone(&session.site);
    Reply::Later(Box::pin(async move {
        match stored.await {
            Ok((answered, queued)) => {
                if queued {
                    site.hub.nudge(&to);
                }
                Done { answered, ..Done::answer(accepted) }
            }
            Err(error) => failed(&sender, &error),
        }
    }))
}
