//! Frames on the byte stream: prologue, edge-routing preamble, three-byte lengths (PROTOCOL §5.1).

use crate::Error;
use crate::limits::{FRAME_HEADER, MAX_EDGE_ROUTING, MAX_FRAME, MAX_HANDSHAKE_FRAME};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// "WA", protocol 6, dictionary 3: what a client writes once before its first frame, and the Noise prologue.
pub const PROLOGUE: [u8; 4] = *b"WA\x06\x03";

/// What an edge-routing preamble begins with.
pub const EDGE_ROUTING: [u8; 4] = *b"ED\x00\x01";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    PreambleOrPrologue,
    Prologue,
    Frames,
}

/// Takes frames off a byte stream, however it was cut.
///
/// The bytes stay in the caller's buffer until a frame is whole; the decoder allocates nothing and holds nothing but the
/// edge-routing value. A new decoder admits frames of [`MAX_HANDSHAKE_FRAME`].
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    expect: Expect,
    limit: usize,
    routing: Option<Bytes>,
}

impl FrameDecoder {
    /// For a stream of frames alone: what a client reads, and both sides in the plain profile.
    pub const fn new() -> Self {
        Self { expect: Expect::Frames, limit: MAX_HANDSHAKE_FRAME, routing: None }
    }

    /// For a stream that begins with the prologue and, before it, perhaps an edge-routing preamble: what a server reads.
    pub const fn with_prologue() -> Self {
        Self { expect: Expect::PreambleOrPrologue, limit: MAX_HANDSHAKE_FRAME, routing: None }
    }

    /// Sets the longest body admitted from now on, at most [`MAX_FRAME`].
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME);
    }

    /// The client's edge-routing value, once read; it is not part of any transcript.
    pub const fn edge_routing(&self) -> Option<&Bytes> {
        self.routing.as_ref()
    }

    /// Takes the next frame's body off the front of `buf`; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Error::Prologue`], [`Error::EdgeRoutingTooLong`], [`Error::FrameTooLong`], each as soon as the bytes that show
    /// it are there; `buf` is left as it was from the fault on.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        while self.expect != Expect::Frames {
            if !self.introduction(buf)? {
                return Ok(None);
            }
        }
        let Some(len) = declared(&*buf) else { return Ok(None) };
        if len > self.limit {
            return Err(Error::FrameTooLong { len, limit: self.limit });
        }
        if buf.len() < FRAME_HEADER + len {
            return Ok(None);
        }
        buf.advance(FRAME_HEADER);
        Ok(Some(buf.split_to(len)))
    }

    /// How many bytes the frame (or preamble) at the front of `buf` still needs, at least 1; call after
    /// [`decode`](Self::decode) answered `None`. A bound for the next read, not something to allocate at once.
    pub fn missing(&self, buf: &BytesMut) -> usize {
        match self.expect {
            Expect::Frames => FRAME_HEADER + declared(buf).unwrap_or(0),
            Expect::PreambleOrPrologue | Expect::Prologue => PROLOGUE.len(),
        }
        .saturating_sub(buf.len())
        .max(1)
    }

    /// Takes one introductory part; whether it was whole.
    fn introduction(&mut self, buf: &mut BytesMut) -> Result<bool, Error> {
        let begins = |with: &[u8; 4]| buf.iter().zip(with).all(|(a, b)| a == b);
        if begins(&PROLOGUE) {
            if buf.len() < PROLOGUE.len() {
                return Ok(false);
            }
            buf.advance(PROLOGUE.len());
            self.expect = Expect::Frames;
            return Ok(true);
        }
        if self.expect == Expect::Prologue || !begins(&EDGE_ROUTING) {
            return Err(Error::Prologue);
        }
        let Some(len) = buf.get(EDGE_ROUTING.len()..).and_then(declared) else { return Ok(false) };
        if len > MAX_EDGE_ROUTING {
            return Err(Error::EdgeRoutingTooLong { len });
        }
        let head = EDGE_ROUTING.len() + FRAME_HEADER;
        if buf.len() < head + len {
            return Ok(false);
        }
        buf.advance(head);
        self.routing = Some(Bytes::copy_from_slice(&buf.split_to(len)));
        self.expect = Expect::Prologue;
        Ok(true)
    }
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The length at the front of `bytes`, if it is there.
fn declared(bytes: impl AsRef<[u8]>) -> Option<usize> {
    let [a, b, c, ..] = *bytes.as_ref() else { return None };
    Some(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
}

/// The three bytes that declare `len`.
///
/// # Errors
/// [`Error::FrameTooLong`] above [`MAX_FRAME`].
pub fn header(len: usize) -> Result<[u8; FRAME_HEADER], Error> {
    match u32::try_from(len).map(u32::to_be_bytes) {
        Ok([0, a, b, c]) => Ok([a, b, c]),
        _ => Err(Error::FrameTooLong { len, limit: MAX_FRAME }),
    }
}

/// Appends `body` as one frame to `out`.
///
/// # Errors
/// [`Error::FrameTooLong`] above [`MAX_FRAME`]; nothing is appended.
pub fn write_frame(body: &[u8], out: &mut BytesMut) -> Result<(), Error> {
    let header = header(body.len())?;
    out.reserve(header.len() + body.len());
    out.put_slice(&header);
    out.put_slice(body);
    Ok(())
}

/// Appends what a client writes before its first frame: the edge-routing preamble, if there is a value, and the prologue.
///
/// # Errors
/// [`Error::EdgeRoutingTooLong`] above [`MAX_EDGE_ROUTING`]; nothing is appended.
pub fn write_introduction(edge_routing: Option<&[u8]>, out: &mut BytesMut) -> Result<(), Error> {
    if let Some(routing) = edge_routing {
        if routing.len() > MAX_EDGE_ROUTING {
            return Err(Error::EdgeRoutingTooLong { len: routing.len() });
        }
        out.put_slice(&EDGE_ROUTING);
        write_frame(routing, out)?;
    }
    out.put_slice(&PROLOGUE);
    Ok(())
}
