//! Notifications that the server makes itself (PROTOCOL §7, §8, §13).

use super::stanza::server;
use crate::rng;
use crate::site::Site;
use crate::store::Notice;
use comity_core::{Jid, StoreError, Timestamp};
use comity_xmpp::Node;

/// A fresh id for a stanza of the server's own.
pub(super) fn fresh_id() -> String {
    comity_core::MessageId::random(&mut rng::os_rng()).as_str().to_owned()
}

pub(super) fn notification(kind: &str, from: &Jid, id: &str, now: Timestamp) -> Node {
    Node::new("notification")
        .with_attr("type", kind)
        .with_attr("from", from)
        .with_attr("id", id)
        .with_attr("t", now.as_secs())
}

/// `<notification type="encrypt" from id t><identity/></notification>`: this account's identity key is another now, or
/// the account is gone; sessions with it are to be archived.
pub(crate) fn identity_changed(site: &Site, account: &Jid, now: Timestamp) -> Result<Notice, StoreError> {
    let id = fresh_id();
    let node = notification("encrypt", account, &id, now).with_child(Node::new("identity"));
    let stanza =
        site.frame(&node).ok_or_else(|| StoreError::Corrupt("a notification that cannot be encoded".into()))?;
    Ok(Notice { id, stanza })
}

/// Tells an account, if it is there, that its one-time keys run low.
pub(super) fn low_water(site: &Site, account: &Jid, left: u32) {
    let node = notification("encrypt", &server(), &fresh_id(), site.clock.now())
        .with_child(Node::new("count").with_attr("value", left));
    if let Some(frame) = site.frame(&node) {
        site.hub.live(account, frame.into());
    }
}
