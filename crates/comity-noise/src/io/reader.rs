//! The receiving half: bytes to frames to messages.

use crate::frame::FrameDecoder;
use crate::limits::{IDLE_BUFFER, MAX_FRAME, MAX_READ};
use crate::{Error, Opener};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

/// Frames off a byte stream.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    io: R,
    buf: BytesMut,
    decoder: FrameDecoder,
    /// Whether the peer has logged in, and may make the buffer grow before a frame is known to need it.
    established: bool,
    /// Whether the last read filled the buffer, so that more is likely to wait.
    busy: bool,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(super) fn new(io: R, decoder: FrameDecoder) -> Self {
        Self { io, buf: BytesMut::new(), decoder, established: false, busy: false }
    }

    pub(super) fn edge_routing(&self) -> Option<Bytes> {
        self.decoder.edge_routing().cloned()
    }

    /// The next frame's body; `None` at an end between frames. Cancel-safe: what was read stays in the buffer.
    pub(super) async fn frame(&mut self) -> Result<Option<BytesMut>, Error> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buf)? {
                return Ok(Some(frame));
            }
            if self.fill().await? == 0 {
                return if self.buf.is_empty() { Ok(None) } else { Err(Error::UnexpectedEnd) };
            }
        }
    }

    /// Reads once. The buffer grows with what has arrived, not with what a header declares, and shrinks when idle.
    async fn fill(&mut self) -> Result<usize, Error> {
        let least = if self.busy { MAX_READ } else { IDLE_BUFFER };
        if self.buf.is_empty() {
            // What is left of the old one may hold on to the allocation of a large frame.
            self.buf = BytesMut::with_capacity(least);
        }
        let missing = self.decoder.missing(&self.buf);
        if self.buf.capacity() - self.buf.len() < missing.min(least) {
            self.buf.reserve(missing.clamp(least, MAX_READ.max(self.buf.len())));
        }
        let len = self.io.read_buf(&mut self.buf).await?;
        self.busy = self.established && self.buf.len() == self.buf.capacity();
        Ok(len)
    }
}

/// Receives messages: the reading half of a connection.
#[derive(Debug)]
pub struct MessageReader<R> {
    incoming: Incoming<R>,
    opener: Opener,
    idle: Option<Duration>,
    deadline: Option<Instant>,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    pub(super) fn new(mut incoming: Incoming<R>, opener: Opener, idle: Option<Duration>) -> Self {
        incoming.decoder.set_limit(MAX_FRAME);
        incoming.established = true;
        let mut reader = Self { incoming, opener, idle, deadline: None };
        reader.touch();
        reader
    }

    /// The next message, decrypted; `None` once the peer has ended the stream between two frames.
    ///
    /// Cancel-safe: no bytes are lost, and the idle deadline runs on.
    ///
    /// # Errors
    /// [`Error::IdleDeadline`], [`Error::Forged`], [`Error::FrameTooLong`], [`Error::UnexpectedEnd`], [`Error::Io`]. Each
    /// is the end of the connection, and so is the end of the stream.
    pub async fn read(&mut self) -> Result<Option<BytesMut>, Error> {
        loop {
            if let Some(mut frame) = self.incoming.decoder.decode(&mut self.incoming.buf)? {
                self.opener.open(&mut frame)?;
                return Ok(Some(frame));
            }
            let fill = self.incoming.fill();
            let len = match self.deadline {
                Some(deadline) => timeout_at(deadline, fill).await.unwrap_or(Err(Error::IdleDeadline))?,
                None => fill.await?,
            };
            if len == 0 {
                return if self.incoming.buf.is_empty() { Ok(None) } else { Err(Error::UnexpectedEnd) };
            }
            self.touch();
        }
    }

    /// The messages as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<BytesMut, Error>> {
        try_unfold(self, |mut reader| async move { Ok(reader.read().await?.map(|message| (message, reader))) })
    }

    /// Whether a message has opened: see [`Opener::is_live`].
    pub const fn is_live(&self) -> bool {
        self.opener.is_live()
    }

    /// Sets how long the peer may be silent from now on; `None` waits for ever.
    pub fn set_idle(&mut self, idle: Option<Duration>) {
        self.idle = idle;
        self.touch();
    }

    fn touch(&mut self) {
        self.deadline = self.idle.map(|idle| Instant::now() + idle);
    }
}
