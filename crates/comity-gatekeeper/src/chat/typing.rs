//! Typing: passed on to who is there, never queued (PROTOCOL §7).

use super::stanza::peer;
use super::{Done, Session};
use comity_xmpp::Node;

pub(super) async fn handle(session: &Session, node: Node) -> Done {
    let Some(to) = peer(&node) else { return Done::nothing() };
    if !session.site.hub.is_active(&to) {
        return Done::nothing();
    }
    let shown = session.site.store.may_see(session.user.account.clone(), to.clone()).await;
    let state = node.children().iter().find(|child| matches!(child.tag(), "composing" | "paused"));
    if let (Ok(true), Some(state)) = (shown, state) {
        let out = Node::new("chatstate")
            .with_attr("from", &session.user.account)
            .with_attr("t", session.site.clock.now().as_secs())
            .with_child(state.clone());
        if let Some(frame) = session.site.frame(&out) {
            session.site.hub.live(&to, frame.into());
        }
    }
    Done::nothing()
}
