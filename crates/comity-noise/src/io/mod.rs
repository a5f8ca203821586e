//! Adapter for byte streams: handshakes under a deadline, then a reader and a writer of messages (PROTOCOL §5.1).
//!
//! Reader and writer are separate values over separate halves of a stream (`TcpStream::into_split`,
//! `tokio::io::split`), so that different tasks can own them. The generator is `Send`, as `rand::rngs::StdRng` is and the
//! thread's own one is not.
//!
//! ```no_run
//! # async fn f(config: &comity_noise::InitiatorConfig, login: bytes::Bytes, now: comity_core::Timestamp,
//! #     rng: &mut (dyn comity_core::CryptoRng + Send)) -> Result<(), comity_noise::Error> {
//! use comity_noise::io::{Timeouts, connect};
//!
//! let (reader, writer) = tokio::net::TcpStream::connect("127.0.0.1:5222").await?.into_split();
//! let mut connection = connect(reader, writer, config, login, now, rng, Timeouts::default()).await?;
//! connection.writer.queue(b"one")?;
//! connection.writer.queue(b"two")?;
//! connection.writer.flush().await?; // both in one system call
//! while let Some(message) = connection.reader.read().await? {
//!     println!("{} bytes", message.len());
//! }
//! # Ok(())
//! # }
//! ```

mod reader;
#[cfg(feature = "websocket")]
pub mod websocket;
mod writer;

pub use reader::MessageReader;
pub use writer::MessageWriter;

use crate::frame::FrameDecoder;
use crate::limits::{HANDSHAKE_DEADLINE, IDLE_DEADLINE};
use crate::{
    Error, Initiator, InitiatorConfig, Login, Pattern, Profile, PublicKey, Responder, ResponderConfig, Step,
    VerifiedServer,
};
use bytes::{Bytes, BytesMut};
use comity_core::{CryptoRng, Timestamp};
use core::time::Duration;
use reader::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// How long to wait for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the whole handshake.
    pub handshake: Duration,
    /// For the next byte after it; `None` waits for ever.
    pub idle: Option<Duration>,
}

impl Default for Timeouts {
    /// [`HANDSHAKE_DEADLINE`] and [`IDLE_DEADLINE`].
    fn default() -> Self {
        Self { handshake: HANDSHAKE_DEADLINE, idle: Some(IDLE_DEADLINE) }
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct ClientConnection<R, W> {
    /// Receives messages.
    pub reader: MessageReader<R>,
    /// Sends messages.
    pub writer: MessageWriter<W>,
    /// See [`Established::pattern`](crate::Established::pattern).
    pub pattern: Pattern,
    /// See [`Established::server`](crate::Established::server).
    pub server: VerifiedServer,
    /// See [`Established::handshake_hash`](crate::Established::handshake_hash).
    pub handshake_hash: [u8; 32],
}

/// A server's connection.
#[derive(Debug)]
pub struct ServerConnection<R, W> {
    /// Receives messages.
    pub reader: MessageReader<R>,
    /// Sends messages.
    pub writer: MessageWriter<W>,
    /// See [`Accepted::pattern`](crate::Accepted::pattern).
    pub pattern: Pattern,
    /// See [`Accepted::client`](crate::Accepted::client).
    pub client: PublicKey,
    /// See [`Login`] for what must wait until [`MessageReader::is_live`].
    pub login: Login,
    /// The client's edge-routing value, if it sent one.
    pub edge_routing: Option<Bytes>,
    /// See [`Accepted::handshake_hash`](crate::Accepted::handshake_hash).
    pub handshake_hash: [u8; 32],
}

/// Runs a client's handshake, logging in with `payload`.
///
/// Not cancel-safe: a dropped handshake is a lost connection.
///
/// # Errors
/// As [`Initiator::start`] and [`Initiator::read`], and those of the stream.
pub async fn connect<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: R,
    writer: W,
    config: &InitiatorConfig,
    payload: Bytes,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
    timeouts: Timeouts,
) -> Result<ClientConnection<R, W>, Error> {
    within(timeouts, initiate(reader, writer, config, payload, now, rng, timeouts.idle)).await
}

async fn initiate<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: R,
    mut writer: W,
    config: &InitiatorConfig,
    payload: Bytes,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
    idle: Option<Duration>,
) -> Result<ClientConnection<R, W>, Error> {
    let mut out = BytesMut::new();
    let initiator = Initiator::start(config, payload, now, rng, &mut out)?;
    write_all(&mut writer, &mut out).await?;
    let mut incoming = Incoming::new(reader, FrameDecoder::new());
    let hello = incoming.frame().await?.ok_or(Error::UnexpectedEnd)?;
    let established = initiator.read(&hello, now, &mut out)?;
    drop(hello);
    write_all(&mut writer, &mut out).await?;
    let (sealer, opener) = established.transport.split();
    Ok(ClientConnection {
        reader: MessageReader::new(incoming, opener, idle),
        writer: MessageWriter::new(writer, sealer),
        pattern: established.pattern,
        server: established.server,
        handshake_hash: established.handshake_hash,
    })
}

/// Runs a server's handshake.
///
/// Not cancel-safe: a dropped handshake is a lost connection.
///
/// # Errors
/// As [`Responder::read`] and [`AwaitFinish::read`](crate::AwaitFinish::read), and those of the stream. Nothing needs to
/// be told to the client: close the stream.
pub async fn accept<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: R,
    writer: W,
    config: &ResponderConfig,
    rng: &mut (dyn CryptoRng + Send),
    timeouts: Timeouts,
) -> Result<ServerConnection<R, W>, Error> {
    within(timeouts, respond(reader, writer, config, rng, timeouts.idle)).await
}

async fn respond<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: R,
    mut writer: W,
    config: &ResponderConfig,
    rng: &mut (dyn CryptoRng + Send),
    idle: Option<Duration>,
) -> Result<ServerConnection<R, W>, Error> {
    let mut incoming = Incoming::new(
        reader,
        match config.profile {
            Profile::WhatsApp => FrameDecoder::with_prologue(),
            Profile::Plain { .. } => FrameDecoder::new(),
        },
    );
    let mut out = BytesMut::new();
    let hello = incoming.frame().await?.ok_or(Error::UnexpectedEnd)?;
    let step = Responder::new(config).read(&hello, rng, &mut out)?;
    drop(hello);
    write_all(&mut writer, &mut out).await?;
    drop(out);
    let accepted = match step {
        Step::Done(accepted) => accepted,
        Step::Continue(wait) => wait.read(&incoming.frame().await?.ok_or(Error::UnexpectedEnd)?)?,
    };
    let (sealer, opener) = accepted.transport.split();
    let edge_routing = incoming.edge_routing();
    Ok(ServerConnection {
        reader: MessageReader::new(incoming, opener, idle),
        writer: MessageWriter::new(writer, sealer),
        pattern: accepted.pattern,
        client: accepted.client,
        login: accepted.login,
        edge_routing,
        handshake_hash: accepted.handshake_hash,
    })
}

async fn within<T>(timeouts: Timeouts, handshake: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(timeouts.handshake, handshake).await.unwrap_or(Err(Error::HandshakeDeadline))
}

async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, out: &mut BytesMut) -> Result<(), Error> {
    writer.write_all_buf(out).await?;
    writer.flush().await?;
    Ok(())
}
