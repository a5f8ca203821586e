//! Stanzas of one connection: opened and decoded, encoded and sealed, written with a deadline.

use crate::chat::alias;
use crate::limits::{WRITE_CHUNK, WRITE_DEADLINE};
use crate::site::Site;
use bytes::{Bytes, BytesMut};
use comity_core::StoreError;
use comity_noise::io::{MessageReader, MessageWriter};
use comity_xmpp::{Dialect, Node};
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The peer closed it.
    Gone,
    /// The peer does not read.
    Late,
    /// The transport failed, or the peer broke it.
    Broken(comity_noise::Error),
    /// The peer sent a frame that is no stanza.
    NotAStanza(comity_xmpp::Error),
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("gone"),
            Self::Late => f.write_str("write deadline"),
            Self::Broken(error) => error.fmt(f),
            Self::NotAStanza(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl From<comity_noise::Error> for Over {
    fn from(error: comity_noise::Error) -> Self {
        Self::Broken(error)
    }
}

/// What a connection comes over: TCP, or a WebSocket over TCP or TLS.
pub(super) type Input = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// The receiving half.
pub(super) struct Reader(pub(super) MessageReader<Input>);

impl Reader {
    /// The next frame, opened. Cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<BytesMut, Over> {
        self.0.read().await?.ok_or(Over::Gone)
    }
}

/// The sending half.
pub(super) struct Writer {
    pub(super) messages: MessageWriter<Output>,
    pub(super) site: Arc<Site>,
    /// Whether the client sees partner users by their aliases.
    pub(super) alias_view: bool,
}

impl Writer {
    /// Seals an encoded stanza; written by the next flush, or now if much has come together.
    pub(super) async fn frame(&mut self, frame: &[u8]) -> Result<(), Over> {
        if self.alias_view {
            let node = self.site.dialect.decode(frame).map_err(Over::NotAStanza)?;
            return self.node(&node).await;
        }
        self.messages.queue(frame)?;
        self.flush_if_full().await
    }

    /// Encodes and seals a stanza.
    pub(super) async fn node(&mut self, node: &Node) -> Result<(), Over> {
        if self.alias_view {
            let seen = alias::outward(&*self.site.store, node.clone()).await.map_err(Over::Store)?;
            return self.seal(&seen).await;
        }
        self.seal(node).await
    }

    async fn seal(&mut self, node: &Node) -> Result<(), Over> {
        let mut encoded = Ok(());
        self.messages.queue_with(|out| encoded = self.site.dialect.encode(node, out))?;
        encoded.map_err(Over::NotAStanza)?;
        self.flush_if_full().await
    }

    async fn flush_if_full(&mut self) -> Result<(), Over> {
        if self.messages.queued() >= WRITE_CHUNK { self.flush().await } else { Ok(()) }
    }

    /// Writes what is sealed.
    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        if self.messages.queued() == 0 {
            return Ok(());
        }
        Ok(timeout(WRITE_DEADLINE, self.messages.flush()).await.map_err(|_| Over::Late)??)
    }

    /// Writes what is sealed and ends the stream.
    pub(super) async fn close(&mut self) {
        let _gone_anyway = timeout(WRITE_DEADLINE, self.messages.shutdown()).await;
    }
}

/// The frame with `offline` set, for what was queued before the client came.
pub(super) fn mark_offline(dialect: &Dialect, frame: Vec<u8>, place: u32) -> Vec<u8> {
    let frame = Bytes::from(frame);
    let marked = dialect.decode_bytes(&frame).ok().and_then(|node| {
        let mut out = BytesMut::with_capacity(frame.len() + 16);
        dialect.encode(&node.with_attr("offline", place), &mut out).ok().map(|()| out.to_vec())
    });
    marked.unwrap_or_else(|| frame.to_vec())
}
