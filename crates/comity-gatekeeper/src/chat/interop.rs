//! `w:interop`: integrators, opt-in, reachability, look-ups, pings, deletion; and reports (PROTOCOL §12, §13).

use super::stanza::{account_of, error, iq_result, peer};
use super::{Answer, Done, Fault, Session, Then, blocklist, notice};
use crate::http::phone_account;
use crate::hub::Ending;
use crate::limits::{MAX_DISPLAY_NAME, MAX_INTEGRATORS, MAX_LOOKUP_USERS, MAX_REPORT_MESSAGES};
use crate::partners::Partner;
use crate::store::{Class, Kind, Lookup, Mail};
use comity_core::IntegratorId;
use comity_xmpp::Node;

pub(super) async fn handle(session: &Session, node: &Node, set: bool) -> Answer {
    let child = node.children().first().ok_or(Fault::Code(400))?;
    match (child.tag(), set) {
        ("integrator", false) => integrators(session, node).await,
        ("users", false) => look_up(session, node, child).await,
        ("reachability_settings", false) => reachability(session, node).await,
        ("reachability_settings", true) => set_reachability(session, node, child).await,
        ("opt_in_integrators", true) => opt_in(session, node, child).await,
        ("ping", true) => ping(session, node, child).await,
        ("blocklist", true) => blocklist::set_all(session, node, child).await,
        ("delete_account", true) => delete(session, node).await,
        _ => Err(Fault::Code(400)),
    }
}

fn native(session: &Session) -> Result<(), Fault> {
    if session.user.kind == Kind::Native { Ok(()) } else { Err(Fault::Code(403)) }
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn describe(partner: &Partner, opted_in: bool) -> Node {
    let config = &partner.config;
    let mut node = Node::new("integrator")
        .with_attr("id", partner.id.get())
        .with_attr("name", config.name.as_str())
        .with_attr("icon", config.icon.as_str())
        .with_attr("status", config.status.as_str())
        .with_attr("identifier_type", config.identifier_type.as_str());
    if opted_in {
        node.set_attr("opted_in", "true");
    }
    node.with_child(Node::new("features").with_attr("group_messaging", flag(config.group_messaging)))
}

async fn integrators(session: &Session, node: &Node) -> Answer {
    let opted = session.site.store.opt_ins(session.user.account.clone()).await?;
    let all = session.site.partners.all();
    let list = Node::new("integrator_list")
        .with_children(all.iter().map(|partner| describe(partner, opted.contains(&partner.id.get()))));
    Ok(Done::answer(iq_result(node).with_child(list)))
}

/// The ids of `<integrator id/>` children, each of a known integrator.
fn integrator_ids(session: &Session, list: &Node) -> Result<Vec<IntegratorId>, Fault> {
    if list.children().len() > MAX_INTEGRATORS {
        return Err(Fault::Code(400));
    }
    list.children_named("integrator")
        .map(|integrator| {
            let id: IntegratorId = integrator.attr_str("id").and_then(|id| id.parse().ok()).ok_or(Fault::Code(400))?;
            session.site.partners.get(id.get()).map(|partner| partner.id).ok_or(Fault::Code(404))
        })
        .collect()
}

async fn opt_in(session: &Session, node: &Node, child: &Node) -> Answer {
    native(session)?;
    let list = child.child("integrator_list").unwrap_or(child);
    let ids = integrator_ids(session, list)?;
    session.site.store.set_opt_ins(session.user.account.clone(), ids).await?;
    Ok(Done::answer(iq_result(node)))
}

async fn reachability(session: &Session, node: &Node) -> Answer {
    native(session)?;
    let (enabled, except) = session.site.store.reachability(session.user.account.clone()).await?;
    let settings = Node::new("reachability_settings")
        .with_attr("enabled", flag(enabled))
        .with_children(except.into_iter().map(|id| Node::new("integrator").with_attr("id", id)));
    Ok(Done::answer(iq_result(node).with_child(settings)))
}

async fn set_reachability(session: &Session, node: &Node, child: &Node) -> Answer {
    native(session)?;
    let enabled = match child.attr_str("enabled").as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => return Err(Fault::Code(400)),
    };
    let only = integrator_ids(session, child)?;
    session.site.store.set_reachability(session.user.account.clone(), enabled, only).await?;
    Ok(Done::answer(iq_result(node)))
}

async fn look_up(session: &Session, node: &Node, users: &Node) -> Answer {
    let asked: Vec<&Node> = users.children_named("user").collect();
    if asked.is_empty() || asked.len() > MAX_LOOKUP_USERS {
        return Err(Fault::Code(400));
    }
    let native = session.user.kind == Kind::Native;
    let mut wanted = Vec::with_capacity(asked.len());
    let mut normalized = Vec::with_capacity(asked.len());
    for user in &asked {
        let id = user.attr_str("external_id").ok_or(Fault::Code(400))?.into_owned();
        if native {
            let integrator: Option<IntegratorId> = user.attr_str("integrator_id").and_then(|id| id.parse().ok());
            wanted.push(Lookup::Partner(integrator.ok_or(Fault::Code(400))?, id.clone()));
            normalized.push(id);
        } else {
            let account = phone_account(&id);
            normalized.push(account.as_ref().map_or(id, |account| format!("+{}", account.user())));
            wanted.push(account.map_or(Lookup::Nobody, Lookup::Native));
        }
    }
    let found = session.site.store.look_up(session.user.account.clone(), wanted).await?;
    let answers = asked.iter().zip(normalized).zip(found).map(|((user, normalized), found)| {
        let mut answer = Node::new("user");
        match &found {
            Some(jid) => answer.set_attr("jid", jid),
            None => answer.push_child(error(404)),
        }
        for name in ["external_id", "integrator_id"] {
            answer = answer.with_opt_attr(name, user.attr(name).cloned());
        }
        if found.is_some() {
            answer.set_attr("normalized_external_id", normalized);
        }
        answer
    });
    Ok(Done::answer(iq_result(node).with_child(Node::new("users").with_children(answers))))
}

/// A partner's reachability ping. The answer is the same whatever becomes of it.
async fn ping(session: &Session, node: &Node, ping: &Node) -> Answer {
    let site = &session.site;
    let partner = session.user.integrator().and_then(|id| site.partners.get(id.get())).ok_or(Fault::Code(403))?;
    let to = peer(node).ok_or(Fault::Code(400))?;
    let name = ping.attr_str("display_name").ok_or(Fault::Code(400))?;
    if name.len() > MAX_DISPLAY_NAME || name.chars().any(char::is_control) {
        return Err(Fault::Code(400));
    }
    let (id, now, account) = (notice::fresh_id(), site.clock.now(), &session.user.account);
    let integrator =
        Node::new("integrator").with_attr("id", partner.id.get()).with_attr("name", partner.config.name.as_str());
    let stanza = notice::notification("w:interop", account, &id, now)
        .with_child(Node::new("ping").with_attr("display_name", &*name).with_child(integrator));
    let stanza = site.frame(&stanza).ok_or(Fault::Code(400))?;
    let mail =
        Mail { to: to.clone(), class: Class::Notification, sender: account.clone(), id, kind: String::new(), stanza };
    if site.store.ping(&session.user, mail, now).await? {
        site.hub.nudge(&to);
    }
    Ok(Done::answer(iq_result(node)))
}

async fn delete(session: &Session, node: &Node) -> Answer {
    let site = &session.site;
    if session.user.integrator().is_none() {
        return Err(Fault::Code(403));
    }
    let (account, now) = (session.user.account.clone(), site.clock.now());
    let notice = notice::identity_changed(site, &account, now)?;
    let told = site.store.delete_account(account.clone(), notice, now).await?;
    for contact in &told {
        site.hub.nudge(contact);
    }
    site.push.came(&account);
    site.hub.end(&account, Ending::DeviceRemoved);
    tracing::info!(account = %comity_core::Redacted(&account), "account deleted");
    Ok(Done { then: Then::End, ..Done::answer(iq_result(node)) })
}

/// `<iq xmlns="spam"><spam_list jid spam_flow>…`: filed for the operator; nobody can verify what it says.
pub(super) async fn report(session: &Session, node: &Node) -> Answer {
    let list = node.child("spam_list").ok_or(Fault::Code(400))?;
    let subject = list.attr_jid("jid").and_then(|jid| account_of(&jid)).ok_or(Fault::Code(400))?;
    let flow = list.attr_str("spam_flow").unwrap_or_default().into_owned();
    if list.children().len() > MAX_REPORT_MESSAGES || flow.len() > MAX_DISPLAY_NAME {
        return Err(Fault::Code(406));
    }
    let stanza = session.site.frame(list).ok_or(Fault::Code(406))?;
    let store = &session.site.store;
    store.report(session.user.account.clone(), subject, flow, stanza, session.site.clock.now()).await?;
    Ok(Done::answer(iq_result(node)))
}
