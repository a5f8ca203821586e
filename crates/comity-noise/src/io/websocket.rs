//! The same byte stream in binary WebSocket messages (PROTOCOL §5.1): a message may hold part of a frame or several.

use crate::limits::{MAX_READ, MAX_WEBSOCKET_MESSAGE, WEBSOCKET_PIECE};
use core::pin::Pin;
use core::task::{Context, Poll};
use futures_util::future::ready;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

/// The path of the chat service.
pub const PATH: &str = "/ws/chat";

/// Bounds for a socket that [`split`] takes: messages of [`MAX_WEBSOCKET_MESSAGE`] at most.
///
/// The WebSocket layer reserves a message's declared length, logged in or not: the bound on what a connection costs before
/// its login holds on TCP alone. On a public port, put a proxy with its own bound in front, or lower this one.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(MAX_READ)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * WEBSOCKET_PIECE)
        .max_message_size(Some(MAX_WEBSOCKET_MESSAGE))
        .max_frame_size(Some(MAX_WEBSOCKET_MESSAGE))
}

/// The two halves of a socket as byte streams, for [`connect`](super::connect) and [`accept`](super::accept).
///
/// Open the socket with [`config`]. Text messages are an error of kind [`io::ErrorKind::InvalidData`]. Shutting the
/// writing half down sends the closing message.
pub fn split<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    socket: WebSocketStream<S>,
) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin) {
    let (sink, stream) = socket.split();
    let bytes = stream.map_err(io_error).try_filter_map(|message| {
        ready(match message {
            Message::Binary(bytes) => Ok(Some(bytes)),
            Message::Text(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a text message")),
            _ => Ok(None),
        })
    });
    let sink = sink.with(|bytes| ready(Ok(Message::Binary(bytes)))).sink_map_err(io_error);
    (StreamReader::new(bytes), Pieces(SinkWriter::new(CopyToBytes::new(sink))))
}

fn io_error(e: WebSocketError) -> io::Error {
    match e {
        WebSocketError::Io(e) => e,
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => io::ErrorKind::NotConnected.into(),
        e => io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
    }
}

/// Writes no more than [`WEBSOCKET_PIECE`] at once.
struct Pieces<W>(W);

impl<W: AsyncWrite + Unpin> AsyncWrite for Pieces<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf.get(..WEBSOCKET_PIECE).unwrap_or(buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
