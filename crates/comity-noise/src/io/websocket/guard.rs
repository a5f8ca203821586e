//! Below the WebSocket layer: cuts the peer's frames into short messages (RFC 6455 §5.2).
//!
//! That layer reserves the length that a frame declares before any of it arrives, and gathers the fragments of a message.
//! Here the messages only carry a byte stream, so where they begin and end means nothing, and each can be handed up as
//! messages of [`WEBSOCKET_READ`] bytes: then neither costs more than one of those, whoever the peer is.

use crate::limits::{MAX_WEBSOCKET_FRAME, WEBSOCKET_READ};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Longest header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// From here on, opcodes of control frames.
const CONTROL: u8 = 8;
const MAX_CONTROL: u64 = 125;

// Or a piece would begin inside the mask.
const _: () = assert!(WEBSOCKET_READ.is_multiple_of(4) && WEBSOCKET_READ <= u16::MAX as usize);

/// A header, coming in or going up.
#[derive(Default)]
struct Header {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Header {
    /// How long a header is that begins like this one.
    fn whole(&self) -> usize {
        let [_, second, ..] = self.bytes;
        if self.len < 2 {
            return 2;
        }
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED == 0 { 0 } else { 4 }
    }

    /// The length it declares, and its mask.
    fn declared(&self) -> (u64, Option<[u8; 4]>) {
        let [_, second, a, b, c, d, e, f, g, h, ..] = self.bytes;
        let (len, rest) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([a, b])), self.bytes.get(4..)),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), self.bytes.get(10..)),
            short => (u64::from(short), self.bytes.get(2..)),
        };
        let mask = rest.and_then(<[u8]>::first_chunk).copied();
        (len, mask.filter(|_| second & MASKED != 0))
    }

    /// Of a binary message of `len` bytes.
    fn binary(len: u16, mask: Option<[u8; 4]>) -> Self {
        let [a, b] = len.to_be_bytes();
        let mut header = Self { bytes: [0; MAX_HEADER], len: if mask.is_some() { 8 } else { 4 } };
        let [m0, m1, m2, m3] = mask.unwrap_or_default();
        let masked = if mask.is_some() { MASKED } else { 0 };
        if let Some(bytes) = header.bytes.first_chunk_mut() {
            *bytes = [FINAL | BINARY, masked | 126, a, b, m0, m1, m2, m3];
        }
        header
    }
}

/// A stream that holds WebSocket frames.
pub(super) struct Guard<S> {
    io: BufReader<S>,
    /// The peer's next header, as far as it has come.
    coming: Header,
    /// Ours, of the piece being handed up, and how much of it was.
    header: Header,
    given: usize,
    /// Bytes of the piece that were not handed up yet.
    piece: usize,
    /// Bytes of the peer's frame after the piece.
    left: u64,
    mask: Option<[u8; 4]>,
    /// Whether the peer's message goes on in another frame.
    unfinished: bool,
}

impl<S> Guard<S> {
    pub(super) fn new(io: BufReader<S>) -> Self {
        Self {
            io,
            coming: Header::default(),
            header: Header::default(),
            given: 0,
            piece: 0,
            left: 0,
            mask: None,
            unfinished: false,
        }
    }

    /// Takes the peer's header, now whole.
    fn begin(&mut self) -> io::Result<()> {
        let [first, ..] = self.coming.bytes;
        let (len, mask) = self.coming.declared();
        let (opcode, is_final) = (first & 0x0f, first & FINAL != 0);
        if first & 0x70 != 0 {
            return Err(refused("a reserved bit"));
        }
        if opcode >= CONTROL {
            if !is_final || len > MAX_CONTROL {
                return Err(refused("a long control frame"));
            }
            self.header = core::mem::take(&mut self.coming);
            (self.given, self.piece) = (0, usize::try_from(len).unwrap_or(0));
            return Ok(());
        }
        match (opcode, self.unfinished) {
            (BINARY, false) | (CONTINUATION, true) => {}
            (TEXT, _) => return Err(refused("a text message")),
            _ => return Err(refused("a frame out of order")),
        }
        if len > MAX_WEBSOCKET_FRAME {
            return Err(refused("a frame that is too long"));
        }
        self.coming = Header::default();
        (self.left, self.mask, self.unfinished) = (len, mask, !is_final);
        Ok(())
    }

    /// Goes on with the peer's frame.
    fn next_piece(&mut self) {
        self.piece = usize::try_from(self.left).unwrap_or(usize::MAX).min(WEBSOCKET_READ);
        self.left -= self.piece as u64;
        self.header = Header::binary(u16::try_from(self.piece).unwrap_or(u16::MAX), self.mask);
        self.given = 0;
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let header = this.header.bytes.get(this.given..this.header.len).unwrap_or_default();
            if let Some(part @ [_, ..]) = header.get(..header.len().min(buf.remaining())) {
                buf.put_slice(part);
                this.given += part.len();
                return Poll::Ready(Ok(()));
            }
            if this.piece > 0 || buf.remaining() == 0 {
                let len = this.piece.min(buf.remaining());
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(len));
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
                let len = part.filled().len();
                buf.advance(len);
                this.piece -= len;
                return Poll::Ready(Ok(()));
            }
            if this.left > 0 {
                this.next_piece();
                continue;
            }
            let whole = this.coming.whole();
            let missing = this.coming.bytes.get_mut(this.coming.len..whole).unwrap_or_default();
            let mut part = ReadBuf::new(missing);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
            let len = part.filled().len();
            if len == 0 {
                return Poll::Ready(Ok(()));
            }
            this.coming.len += len;
            if this.coming.len >= 2 && this.coming.len == this.coming.whole() {
                this.begin()?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
