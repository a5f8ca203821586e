//! The HTTP upgrade of both sides, its head within bounds (RFC 6455 §4).

use super::PATH;
use crate::Error;
use crate::limits::{IDLE_BUFFER, MAX_UPGRADE, MAX_UPGRADE_LINES};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::{Response, generate_request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::http::StatusCode;

/// Answers the client's request; what follows are frames.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<BufReader<S>, Error> {
    let mut io = BufReader::with_capacity(IDLE_BUFFER, stream);
    let (answer, result) = answer(&head(&mut io).await?);
    io.write_all(&answer).await?;
    io.flush().await?;
    result.map(|()| io)
}

/// Asks, and checks the answer; what follows are frames.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(stream: S, host: &str) -> Result<BufReader<S>, Error> {
    let mut io = BufReader::with_capacity(IDLE_BUFFER, stream);
    let request = format!("ws://{host}{PATH}").into_client_request().and_then(generate_request);
    let (request, key) = request.map_err(|_| Error::Misuse("not a host"))?;
    io.write_all(&request).await?;
    io.flush().await?;
    check(&head(&mut io).await?, &key)?;
    Ok(io)
}

/// Reads up to the empty line.
async fn head<S: AsyncRead + Unpin>(io: &mut BufReader<S>) -> Result<Vec<u8>, Error> {
    let (mut head, mut lines) = (Vec::with_capacity(MAX_UPGRADE), 0);
    loop {
        let start = head.len();
        loop {
            let bytes = io.fill_buf().await?;
            if bytes.is_empty() {
                return Err(Error::UnexpectedEnd);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            if head.len() + part.len() > MAX_UPGRADE {
                return Err(Error::Upgrade("a head that is too long"));
            }
            head.extend_from_slice(part);
            let len = part.len();
            io.consume(len);
            if end.is_some() {
                break;
            }
        }
        lines += 1;
        if matches!(head.get(start..), Some(b"\n" | b"\r\n")) {
            return Ok(head);
        }
        if lines == MAX_UPGRADE_LINES {
            return Err(Error::Upgrade("a head of too many lines"));
        }
    }
}

/// What to answer to a request, and whether it is an upgrade.
fn answer(head: &[u8]) -> (Vec<u8>, Result<(), Error>) {
    let refuse = |status, why| {
        (format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes(), Err(why))
    };
    let bad = || refuse(StatusCode::BAD_REQUEST, Error::Upgrade("a request that is none for an upgrade"));
    let Ok(Some((_, request))) = Request::try_parse(head) else { return bad() };
    if request.uri().path() != PATH {
        return refuse(StatusCode::NOT_FOUND, Error::Upgrade("another path"));
    }
    let mut out = Vec::new();
    match create_response(&request).and_then(|response| write_response(&mut out, &response)) {
        Ok(()) => (out, Ok(())),
        Err(_) => bad(),
    }
}

/// Whether the server's head answers the request with `key` by the upgrade.
fn check(head: &[u8], key: &str) -> Result<(), Error> {
    let Ok(Some((_, response))) = Response::try_parse(head) else {
        return Err(Error::Upgrade("an answer that is none"));
    };
    let is = |name, value: &str| {
        response.headers().get(name).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    let accepted = response.headers().get("Sec-WebSocket-Accept");
    if response.status() != StatusCode::SWITCHING_PROTOCOLS
        || !is("Upgrade", "websocket")
        || !is("Connection", "Upgrade")
        || accepted.is_none_or(|value| *value != derive_accept_key(key.as_bytes()))
        || response.headers().contains_key("Sec-WebSocket-Extensions")
        || response.headers().contains_key("Sec-WebSocket-Protocol")
    {
        return Err(Error::Upgrade("an answer that is no upgrade"));
    }
    Ok(())
}
