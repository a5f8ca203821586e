//! A logged-in connection: one task that reads, answers and delivers (PROTOCOL §5.5, §7).

use super::Peer;
use super::delivery::{Delivery, Stopped};
use super::wire::Over;
use crate::chat::{Done, Reply, Session, Then, alias, handle, is_pipelined};
use crate::hub::{Ending, Port};
use crate::limiter::Bucket;
use crate::limits::{MAX_PENDING, STANZA_BURST, STANZAS_PER_SECOND};
use crate::partners::Partner;
use bytes::BytesMut;
use comity_core::Redacted;
use comity_xmpp::Node;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How a connection ends.
enum End {
    /// The other side is gone, or silent.
    Over(Over),
    /// The server says so.
    Server(Ending),
    /// The server is going down.
    Drain,
    /// The store failed: nothing more can be promised.
    Store,
    /// The client is leaving.
    Client,
}

impl From<Over> for End {
    fn from(over: Over) -> Self {
        match over {
            Over::Store(error) => Stopped::Store(error).into(),
            over => Self::Over(over),
        }
    }
}

impl From<Stopped> for End {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Over(over) => over.into(),
            Stopped::Store(error) => {
                tracing::error!(%error, "store");
                Self::Store
            }
        }
    }
}

pub(super) struct Live {
    session: Session,
    peer: Peer,
    port: Port,
    delivery: Delivery,
    /// Stanzas that wait for their commit, in the order in which they came.
    pending: FuturesOrdered<BoxFuture<'static, Done>>,
    bucket: Bucket,
    /// Whose user it is, if a partner's: its users are limited together, too.
    partner: Option<Arc<Partner>>,
}

impl Live {
    pub(super) fn new(session: Session, peer: Peer, port: Port) -> Self {
        let bucket = Bucket::full(STANZA_BURST, session.site.clock.now());
        let partner = session.user.integrator().and_then(|id| session.site.partners.get(id.get()).cloned());
        let delivery = Delivery::new(session.site.profile.delivery_window);
        Self { session, peer, port, delivery, pending: FuturesOrdered::new(), bucket, partner }
    }

    /// The stanza in an opened frame.
    fn decode(&self, frame: BytesMut) -> Result<Node, Over> {
        self.session.site.dialect.decode_bytes(&frame.freeze()).map_err(Over::NotAStanza)
    }

    /// Counts a stanza; how long the next one has to wait.
    fn count(&mut self) -> Duration {
        let now = self.session.site.clock.now();
        let own = self.bucket.reserve(STANZA_BURST, STANZAS_PER_SECOND.into(), now);
        self.partner.as_ref().map_or(own, |partner| own.max(partner.stanza(now)))
    }

    pub(super) async fn run(mut self, first: Option<BytesMut>, drain: watch::Receiver<bool>) -> Result<(), Over> {
        let end = match self.talk(first, drain).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        // What was taken is committed whether the client is still there or not; its recipients are told.
        while let Some(done) = self.pending.next().await {
            for node in &done.nodes {
                let _may_be_gone = self.peer.writer.node(node).await;
            }
        }
        let last = match &end {
            End::Over(Over::NotAStanza(_)) => {
                Some(Node::new("stream:error").with_child(Node::new("xml-not-well-formed")))
            }
            End::Over(_) | End::Client => None,
            End::Server(ending) => Some(conflict(*ending)),
            End::Drain => Some(Node::new("stream:error").with_attr("code", "503")),
            End::Store => Some(Node::new("stream:error").with_attr("code", "500")),
        };
        if let Some(last) = last {
            let _may_be_gone = self.peer.writer.node(&last).await;
        }
        self.peer.writer.close().await;
        self.leave(!matches!(end, End::Server(_))).await;
        match end {
            End::Over(over) => Err(over),
            _ => Ok(()),
        }
    }

    /// After the connection: mail that it did not answer is new activity for a disconnected user.
    async fn leave(self, wake: bool) {
        let Session { site, user } = self.session;
        drop(self.port);
        tracing::info!(account = %Redacted(&user.account), "disconnected");
        let seen = site.store.seen(&user.account, site.clock.now()).await;
        if let Err(error) = seen.await {
            tracing::error!(%error, "store");
        }
        let waits = wake && user.integrator().is_some();
        if waits && matches!(site.store.push_target(user.account.clone()).await, Ok(Some(_))) {
            site.push.wake(&user.account);
        }
    }

    async fn talk(
        &mut self,
        first: Option<BytesMut>,
        mut drain: watch::Receiver<bool>,
    ) -> Result<std::convert::Infallible, End> {
        if let Some(first) = first {
            self.take(self.decode(first)?).await?;
        }
        let mut read_from = Instant::now();
        loop {
            self.peer.writer.flush().await?;
            let due = self.delivery.is_due();
            let reading = self.pending.len() < MAX_PENDING;
            let throttled = read_from > Instant::now();
            tokio::select! {
                frame = self.peer.reader.frame(), if reading && !throttled => {
                    let node = self.decode(frame?)?;
                    read_from = Instant::now() + self.count(); // too fast: the rest waits in the socket
                    self.take(node).await?;
                }
                () = sleep_until(read_from), if throttled => {}
                Some(done) = self.pending.next(), if !self.pending.is_empty() => self.apply(done).await?,
                () = std::future::ready(()), if due => {
                    self.delivery.page(&self.session, &mut self.peer.writer).await?;
                }
                () = self.port.mail.notified() => self.delivery.mail(),
                Some(frame) = self.port.live.recv() => self.peer.writer.frame(&frame).await?,
                Some(ending) = self.port.ending.recv() => return Err(End::Server(ending)),
                () = super::drained(&mut drain) => return Err(End::Drain),
            }
        }
    }

    /// Handles a stanza. One whose effect is not ordered by the store's writer waits for those before it.
    async fn take(&mut self, mut node: Node) -> Result<(), End> {
        if self.session.user.alias_view {
            node = alias::inward(&*self.session.site.store, node).await.map_err(Over::Store)?;
        }
        if !is_pipelined(&node) {
            while let Some(done) = self.pending.next().await {
                self.apply(done).await?;
            }
        }
        match handle(&self.session, node).await {
            Reply::Later(later) => {
                self.pending.push_back(later);
                Ok(())
            }
            // An immediate answer keeps its place behind those that wait.
            Reply::Ready(done) if !self.pending.is_empty() => {
                self.pending.push_back(Box::pin(std::future::ready(done)));
                Ok(())
            }
            Reply::Ready(done) => self.apply(done).await,
        }
    }

    async fn apply(&mut self, done: Done) -> Result<(), End> {
        for node in &done.nodes {
            self.peer.writer.node(node).await?;
        }
        self.delivery.answered(done.answered);
        match done.then {
            Then::Nothing => {}
            Then::Active(active) => {
                if active {
                    self.delivery.activate(&self.session, &mut self.peer.writer).await?;
                } else {
                    self.delivery.pause();
                }
                self.port.active.store(active, Ordering::Release);
            }
            Then::Pull(count) => self.delivery.pull(count),
            Then::End => return Err(End::Client),
        }
        Ok(())
    }
}

fn conflict(ending: Ending) -> Node {
    let error = Node::new("stream:error");
    match ending {
        Ending::Replaced => error.with_child(Node::new("conflict").with_attr("type", "replaced")),
        Ending::DeviceRemoved => {
            error.with_attr("code", "401").with_child(Node::new("conflict").with_attr("type", "device_removed"))
        }
    }
}
