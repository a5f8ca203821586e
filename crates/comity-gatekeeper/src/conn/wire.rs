//! Frames of one connection: read into a buffer that survives cancellation, sealed into a buffer that is written with a
//! deadline.

use crate::limits::{READ_CHUNK, WRITE_CHUNK, WRITE_DEADLINE};
use bytes::{Bytes, BytesMut};
use comity_noise::frame::FrameDecoder;
use comity_noise::{Opener, Sealer};
use comity_xmpp::{EncodeOptions, Node, encode};
use std::fmt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The peer closed it, or the network did.
    Gone,
    /// The peer took too long.
    Late,
    /// The peer broke the transport.
    Broken(comity_noise::Error),
    /// The peer sent a frame that is no stanza.
    NotAStanza(comity_xmpp::Error),
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("gone"),
            Self::Late => f.write_str("deadline"),
            Self::Broken(error) => error.fmt(f),
            Self::NotAStanza(error) => error.fmt(f),
        }
    }
}

impl From<comity_noise::Error> for Over {
    fn from(error: comity_noise::Error) -> Self {
        Self::Broken(error)
    }
}

/// The receiving half.
pub(super) struct Reader {
    half: OwnedReadHalf,
    buf: BytesMut,
    decoder: FrameDecoder,
}

impl Reader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self { half, buf: BytesMut::new(), decoder: FrameDecoder::with_prologue() }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.decoder.set_limit(limit);
    }

    /// The next frame's body. Cancel-safe: what was read stays in the buffer.
    pub(super) async fn frame(&mut self) -> Result<BytesMut, Over> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buf)? {
                return Ok(frame);
            }
            self.buf.reserve(self.decoder.missing(&self.buf).min(READ_CHUNK));
            if self.half.read_buf(&mut self.buf).await.map_err(|_| Over::Gone)? == 0 {
                return Err(Over::Gone);
            }
        }
    }
}

/// Opens a frame's body and reads the stanza in it.
pub(super) fn open(opener: &mut Opener, mut frame: BytesMut) -> Result<Node, Over> {
    opener.open(&mut frame)?;
    comity_xmpp::decode_bytes(&frame.freeze(), &comity_xmpp::Limits::DEFAULT).map_err(Over::NotAStanza)
}

/// Bytes on their way out.
pub(super) struct Out {
    half: OwnedWriteHalf,
    buf: BytesMut,
}

impl Out {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self { half, buf: BytesMut::new() }
    }

    /// Where handshake messages are appended.
    pub(super) fn buf(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Writes what was appended.
    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE_DEADLINE, self.half.write_all(&self.buf)).await;
        self.buf.clear();
        if self.buf.capacity() > 2 * WRITE_CHUNK {
            self.buf = BytesMut::new(); // one large stanza does not stay with the connection
        }
        written.map_err(|_| Over::Late)?.map_err(|_| Over::Gone)
    }

    /// Ends the stream in this direction.
    pub(super) async fn close(&mut self) {
        let _gone_anyway = timeout(WRITE_DEADLINE, self.half.shutdown()).await;
    }
}

/// The sending half after the handshake.
pub(super) struct Writer {
    pub(super) out: Out,
    sealer: Sealer,
}

impl Writer {
    pub(super) fn new(out: Out, sealer: Sealer) -> Self {
        Self { out, sealer }
    }

    /// Seals an encoded stanza; written by the next flush, or now if much has come together.
    pub(super) async fn frame(&mut self, frame: &[u8]) -> Result<(), Over> {
        self.sealer.seal_frame(frame, self.out.buf())?;
        self.flush_if_full().await
    }

    /// Encodes and seals a stanza.
    pub(super) async fn node(&mut self, node: &Node) -> Result<(), Over> {
        let mut encoded = Ok(());
        self.sealer.seal_frame_with(self.out.buf(), |buf| encoded = encode(node, buf, &EncodeOptions::default()))?;
        encoded.map_err(Over::NotAStanza)?;
        self.flush_if_full().await
    }

    async fn flush_if_full(&mut self) -> Result<(), Over> {
        if self.out.buf.len() >= WRITE_CHUNK { self.out.flush().await } else { Ok(()) }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        self.out.flush().await
    }
}

/// The frame with `offline` set, for what was queued before the client came.
pub(super) fn mark_offline(frame: Vec<u8>, place: u32) -> Vec<u8> {
    let frame = Bytes::from(frame);
    let marked = comity_xmpp::decode_bytes(&frame, &comity_xmpp::Limits::DEFAULT).ok().and_then(|node| {
        let mut out = BytesMut::with_capacity(frame.len() + 16);
        encode(&node.with_attr("offline", place), &mut out, &EncodeOptions::default()).ok().map(|()| out.to_vec())
    });
    marked.unwrap_or_else(|| frame.to_vec())
}
