//! Messages, calls and media-retry notifications from a client: stored for the recipient, then acknowledged (PROTOCOL §7,
//! §10, §13, §15).

use super::stanza::{account_of, ack, nack, peer, queue_id};
use super::{Done, Reply, Session, failed};
use crate::IntegratorStatus;
use crate::metrics::{MESSAGES, count};
use crate::store::{Class, Mail, Outcome};
use comity_core::Jid;
use comity_xmpp::Node;
use std::sync::Arc;

/// Attributes that the server sets or keeps to itself.
const OURS: &[&str] = &["to", "from", "t", "participant", "offline", "notify", "phash", "recipient"];

pub(super) async fn handle(session: &Session, node: Node) -> Reply {
    let Some(id) = queue_id(&node) else {
        tracing::debug!("message without usable id ignored");
        return Done::nothing().into();
    };
    let Some(to) = peer(&node) else { return nack(&node, 488).into() };
    let class = match node.tag() {
        "call" => Class::Call,
        "notification" => Class::Notification,
        _ => Class::Message,
    };
    let (now, profile) = (session.site.clock.now(), &session.site.profile);
    let accepted = ack(&node, now.as_secs());
    let template = nack(&node, 0);
    let refused = move |error: u16| Done::answer(template.with_attr("error", error));
    let Some(delivered) = deliverable(session, node, class, &to, now.as_secs()) else {
        return refused(487).into();
    };
    if session.site.partners.status_of(&to) == Some(IntegratorStatus::Removed) {
        return refused(profile.nack_unknown).into();
    }
    let kind = match delivered.child("enc").and_then(|enc| enc.attr_str("count")) {
        Some(count) => count.chars().take(4).collect(),
        None => String::new(),
    };
    let Some(stanza) = session.site.frame(&delivered) else { return refused(profile.nack_full).into() };
    let sender = session.user.account.clone();
    let mail = Mail { to: to.clone(), class, sender: sender.clone(), id, kind, stanza };
    let stored = session.site.store.send(&session.user, mail, now).await;
    let site = Arc::clone(&session.site);
    Reply::Later(Box::pin(async move {
        let outcome = stored.await;
        count(MESSAGES, "outcome", outcome.as_ref().map_or("failed", |outcome| outcome.as_str()));
        match outcome {
            Ok(Outcome::Stored { wakeable }) => {
                if !site.hub.nudge(&to) && wakeable {
                    site.push.wake(&to);
                }
                Done::answer(accepted)
            }
            Ok(Outcome::Dropped) => Done::answer(accepted),
            Ok(Outcome::NotOptedIn) => refused(site.profile.nack_not_opted_in),
            Ok(Outcome::Unknown) => refused(site.profile.nack_unknown),
            Ok(Outcome::Full) => refused(site.profile.nack_full),
            Err(error) => failed(&sender, &error),
        }
    }))
}

/// The stanza as the recipient gets it; `None` if it has nothing for the recipient.
fn deliverable(session: &Session, node: Node, class: Class, to: &Jid, t: u64) -> Option<Node> {
    let message = class == Class::Message;
    let mut out = Node::new(node.tag());
    for attr in node.attrs().iter().filter(|attr| !OURS.contains(&&*attr.name)) {
        out.set_attr(attr.name.clone(), attr.value.clone());
    }
    out.set_attr("from", &session.user.account);
    out.set_attr("t", t);
    if message && !session.user.display_name.is_empty() {
        out.set_attr("notify", session.user.display_name.as_str());
    }
    let mut any = !message && !node.children().is_empty();
    for child in node.children() {
        if child.tag() == "participants" {
            // Each recipient gets its own `<enc>`, bare. One-to-one, only `to` is a recipient here: the others are
            // devices that this server does not have.
            let own = child
                .children_named("to")
                .find(|p| p.attr_jid("jid").and_then(|j| account_of(&j)).as_ref() == Some(to));
            for enc in own.into_iter().flat_map(|p| p.children_named("enc")) {
                any = true;
                out.push_child(enc.clone());
            }
        } else {
            any |= child.tag() == "enc";
            out.push_child(child.clone());
        }
    }
    any.then_some(out)
}
