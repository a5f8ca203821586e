//! The sending half: messages to frames, many frames to one write.

use crate::limits::MAX_WRITE_QUEUE;
use crate::{Error, Sealer};
use bytes::{Buf as _, BytesMut};
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use futures_util::Sink;
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Sends messages: the writing half of a connection.
#[derive(Debug)]
pub struct MessageWriter<W> {
    io: W,
    sealer: Sealer,
    out: BytesMut,
}

impl<W: AsyncWrite + Unpin> MessageWriter<W> {
    pub(super) fn new(io: W, sealer: Sealer) -> Self {
        Self { io, sealer, out: BytesMut::new() }
    }

    /// Seals `plaintext` as one frame for the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`Error::WriteQueueFull`] while [`MAX_WRITE_QUEUE`] bytes wait, and those of [`Sealer::seal_frame`]; nothing is
    /// queued.
    pub fn queue(&mut self, plaintext: &[u8]) -> Result<(), Error> {
        self.check()?;
        self.sealer.seal_frame(plaintext, &mut self.out)
    }

    /// As [`queue`](Self::queue), with the plaintext that `write` appends to the buffer it is given.
    ///
    /// # Errors
    /// As [`queue`](Self::queue), and [`Error::Misuse`] if `write` shortens the buffer.
    pub fn queue_with(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), Error> {
        self.check()?;
        self.sealer.seal_frame_with(&mut self.out, write)
    }

    /// Writes what is queued, with as few system calls as the stream allows.
    ///
    /// Cancel-safe: what is not written stays queued, and the next flush goes on where this one stopped.
    ///
    /// # Errors
    /// [`Error::Io`]: the end of the connection.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_write_out(cx)).await
    }

    /// Queues and flushes one message. If it is cancelled the message is sent by the next flush.
    ///
    /// # Errors
    /// As [`queue`](Self::queue) and [`flush`](Self::flush).
    pub async fn send(&mut self, plaintext: &[u8]) -> Result<(), Error> {
        self.queue(plaintext)?;
        self.flush().await
    }

    /// Bytes sealed and not yet written.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// Flushes, then ends the stream. Cancel-safe.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        self.flush().await?;
        self.io.shutdown().await?;
        Ok(())
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            self.out.advance(written);
        }
        self.out = BytesMut::new(); // nothing is held for an idle connection
        Pin::new(&mut self.io).poll_flush(cx).map_err(Error::Io)
    }

    fn check(&self) -> Result<(), Error> {
        if self.out.len() >= MAX_WRITE_QUEUE {
            return Err(Error::WriteQueueFull { limit: MAX_WRITE_QUEUE });
        }
        Ok(())
    }
}

/// Messages fed are sealed at once and written together by the next flush, or when [`MAX_WRITE_QUEUE`] bytes wait.
impl<W: AsyncWrite + Unpin, T: AsRef<[u8]>> Sink<T> for MessageWriter<W> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.check().is_ok() { Poll::Ready(Ok(())) } else { self.poll_write_out(cx) }
    }

    fn start_send(mut self: Pin<&mut Self>, message: T) -> Result<(), Error> {
        self.queue(message.as_ref())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_write_out(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx).map_err(Error::Io)
    }
}
