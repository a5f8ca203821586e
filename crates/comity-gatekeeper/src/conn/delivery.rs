//! Delivery from the mailbox to one client (PROTOCOL §7): in order, at most a window ahead of the client's answers.

use super::wire::{Over, Writer, mark_offline};
use crate::chat::Session;
use crate::limits::{DELIVERY_PAGE, DELIVERY_PAGE_BYTES, MAX_DELIVERY_WINDOW};
use crate::store::Waiting;
use comity_core::StoreError;
use comity_xmpp::Node;

/// Why delivery stopped.
pub(super) enum Stopped {
    Over(Over),
    Store(StoreError),
}

impl From<Over> for Stopped {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What waited when the client came, and how much of it was sent.
struct Offline {
    waiting: Waiting,
    sent: u32,
}

fn ib(child: Node) -> Node {
    Node::new("ib").with_attr("from", comity_core::Server::Whatsapp).with_child(child)
}

pub(super) struct Delivery {
    active: bool,
    /// There may be more in the mailbox than was sent.
    more: bool,
    /// The place of the last stanza sent.
    cursor: i64,
    /// Sent and not answered.
    in_flight: u32,
    window: u32,
    offline: Option<Offline>,
}

impl Delivery {
    pub(super) fn new(window: u32) -> Self {
        Self {
            active: false,
            more: false,
            cursor: 0,
            in_flight: 0,
            window: window.clamp(1, MAX_DELIVERY_WINDOW),
            offline: None,
        }
    }

    /// Begins: announces what waits.
    pub(super) async fn activate(&mut self, session: &Session, writer: &mut Writer) -> Result<(), Stopped> {
        if self.active {
            return Ok(());
        }
        let waiting = session.site.store.waiting(session.user.account.clone()).await?;
        let preview = Node::new("offline_preview")
            .with_attr("count", waiting.total())
            .with_attr("message", waiting.message)
            .with_attr("receipt", waiting.receipt)
            .with_attr("notification", waiting.notification)
            .with_attr("call", waiting.call);
        writer.node(&ib(preview)).await?;
        self.offline = Some(Offline { waiting, sent: 0 });
        (self.active, self.more) = (true, true);
        Ok(())
    }

    pub(super) fn pause(&mut self) {
        self.active = false;
    }

    /// Mail was stored.
    pub(super) fn mail(&mut self) {
        self.more = true;
    }

    /// The client answered that many stanzas.
    pub(super) fn answered(&mut self, count: u32) {
        self.in_flight = self.in_flight.saturating_sub(count);
    }

    /// The client pulls that many more.
    pub(super) fn pull(&mut self, count: u32) {
        self.window = self.window.max(self.in_flight.saturating_add(count)).min(MAX_DELIVERY_WINDOW);
    }

    /// Whether there is something to send and room for it.
    pub(super) fn is_due(&self) -> bool {
        self.active && self.more && self.in_flight < self.window
    }

    /// Sends the next page.
    pub(super) async fn page(&mut self, session: &Session, writer: &mut Writer) -> Result<(), Stopped> {
        let limit = (self.window - self.in_flight.min(self.window)).min(DELIVERY_PAGE);
        let store = &session.site.store;
        let page = store.page(&session.user.account, self.cursor, limit, DELIVERY_PAGE_BYTES).await?;
        if page.is_empty() {
            self.more = false;
            return self.end_offline(writer).await;
        }
        for queued in page {
            if self.offline.as_ref().is_some_and(|offline| queued.seq > offline.waiting.last) {
                self.end_offline(writer).await?;
            }
            let stanza = match &mut self.offline {
                Some(offline) => {
                    offline.sent += 1;
                    mark_offline(&session.site.dialect, queued.stanza, offline.sent)
                }
                None => queued.stanza,
            };
            writer.frame(&stanza).await?;
            self.cursor = queued.seq;
            self.in_flight += 1;
        }
        if self.offline.as_ref().is_some_and(|offline| self.cursor >= offline.waiting.last) {
            self.end_offline(writer).await?;
        }
        Ok(())
    }

    async fn end_offline(&mut self, writer: &mut Writer) -> Result<(), Stopped> {
        if let Some(offline) = self.offline.take() {
            let end = Node::new("offline").with_attr("count", offline.sent);
            writer.node(&ib(end)).await?;
        }
        Ok(())
    }
}
