//! The same byte stream in binary WebSocket messages (PROTOCOL §5.1): a message may hold part of a frame or several.
//!
//! [`accept`] and [`connect`] do all of it under the one deadline: the upgrade, the handshake, the connection. A server whose
//! port has other HTTP services takes the upgrade itself, with [`answer`], and hands the connection to
//! [`ByteStream::server`]. What the peer declares costs nothing, logged in or not: its frames are taken in pieces of
//! [`WEBSOCKET_READ`] bytes.

mod guard;
mod upgrade;

use super::{ClientConnection, ServerConnection, Timeouts, initiate, respond, within};
use crate::limits::{IDLE_BUFFER, WEBSOCKET_PIECE, WEBSOCKET_READ};
use crate::{Error, InitiatorConfig, ResponderConfig};
use bytes::{Buf as _, Bytes};
use comity_core::{CryptoRng, Timestamp};
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use futures_util::{Sink as _, Stream as _};
use guard::Guard;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf, ReadHalf, WriteHalf, split};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::http::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

/// The path of the chat service.
pub const PATH: &str = "/ws/chat";

/// A client's connection over a WebSocket.
pub type WebSocketClient<S> = ClientConnection<ReadHalf<ByteStream<S>>, WriteHalf<ByteStream<S>>>;

/// A server's connection over a WebSocket.
pub type WebSocketServer<S> = ServerConnection<ReadHalf<ByteStream<S>>, WriteHalf<ByteStream<S>>>;

/// Takes a new connection on a public port: the upgrade, at [`PATH`] only (elsewhere the answer is 404, and 400 to what is
/// no upgrade), then the handshake, all under the handshake's deadline. `stream` is TCP, or TLS over it.
///
/// Before the login a connection costs no more than [`MAX_WEBSOCKET_MEMORY`](crate::limits::MAX_WEBSOCKET_MEMORY).
///
/// Not cancel-safe: a dropped handshake is a lost connection.
///
/// # Errors
/// [`Error::Upgrade`], and as [`accept`](super::accept). What breaks the WebSocket protocol later, a text message among it,
/// is an [`Error::Io`] of kind [`io::ErrorKind::InvalidData`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: &ResponderConfig,
    rng: &mut (dyn CryptoRng + Send),
    timeouts: Timeouts,
) -> Result<WebSocketServer<S>, Error> {
    let handshake = async {
        let io = upgrade::accept(stream).await?;
        let (reader, writer) = split(ByteStream::new(io, Role::Server).await);
        respond(reader, writer, config, rng, timeouts.idle).await
    };
    within(timeouts, handshake).await
}

/// Connects over `stream`, TCP or TLS over it, to the server `host` (name or address, with the port if it is not the
/// scheme's own): the upgrade at [`PATH`], then the handshake, logging in with `payload`.
///
/// Not cancel-safe: a dropped handshake is a lost connection.
///
/// # Errors
/// [`Error::Upgrade`], [`Error::Misuse`] if `host` is none, and as [`connect`](super::connect).
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    config: &InitiatorConfig,
    payload: Bytes,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
    timeouts: Timeouts,
) -> Result<WebSocketClient<S>, Error> {
    let handshake = async {
        let io = upgrade::connect(stream, host).await?;
        let (reader, writer) = split(ByteStream::new(io, Role::Client).await);
        initiate(reader, writer, config, payload, now, rng, timeouts.idle).await
    };
    within(timeouts, handshake).await
}

/// The answer of a server that reads requests itself: the upgrade. Its path is the server's to check.
///
/// # Errors
/// [`Error::Upgrade`] if the request is none for an upgrade.
pub fn answer<T>(request: &Request<T>) -> Result<Response<()>, Error> {
    create_response_with_body(request, || ()).map_err(|_| Error::Upgrade("a request that is none for an upgrade"))
}

/// The bytes in a WebSocket's binary messages. Shutting it down sends the closing message.
pub struct ByteStream<S> {
    socket: WebSocketStream<Guard<S>>,
    /// Of the last message, what was not read yet.
    bytes: Bytes,
    /// Whether the peer has sent its closing message.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    /// The server's end of a connection that has been upgraded: see [`answer`]. Split, it is for
    /// [`io::accept`](super::accept).
    pub async fn server(stream: S) -> Self {
        Self::new(BufReader::with_capacity(IDLE_BUFFER, stream), Role::Server).await
    }

    async fn new(io: BufReader<S>, role: Role) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(WEBSOCKET_READ)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * WEBSOCKET_PIECE)
            .max_message_size(Some(WEBSOCKET_READ))
            .max_frame_size(Some(WEBSOCKET_READ));
        let socket = WebSocketStream::from_raw_socket(Guard::new(io), role, Some(config)).await;
        Self { socket, bytes: Bytes::new(), ended: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.bytes.is_empty() && !self.ended {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.bytes = bytes,
                Some(Ok(Message::Close(_))) => {
                    // The answer is sent if the peer still reads; that is not waited for.
                    let _ = Pin::new(&mut self.socket).poll_flush(cx);
                    self.ended = true;
                }
                Some(Ok(_)) => {} // control messages, which the socket answers itself
                Some(Err(e)) => return Poll::Ready(Err(io_error(e))),
                None => self.ended = true,
            }
        }
        let len = self.bytes.len().min(buf.remaining());
        buf.put_slice(&self.bytes.split_to(len));
        if self.bytes.is_empty() {
            self.bytes = Bytes::new(); // or it would hold the message's memory
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io_error)?;
        let piece = Bytes::copy_from_slice(buf.get(..WEBSOCKET_PIECE).unwrap_or(buf));
        let len = piece.remaining();
        Pin::new(&mut self.socket).start_send(Message::Binary(piece)).map_err(io_error)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io_error)
    }
}

impl<S> fmt::Debug for ByteStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").finish_non_exhaustive()
    }
}

fn io_error(e: WebSocketError) -> io::Error {
    match e {
        WebSocketError::Io(e) => e,
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => io::ErrorKind::NotConnected.into(),
        WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => io::ErrorKind::UnexpectedEof.into(),
        e => io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
    }
}
