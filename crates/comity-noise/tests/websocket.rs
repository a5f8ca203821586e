//! The adapter over WebSockets: both ends, other implementations, and what is refused (PROTOCOL §5.1; RFC 6455).
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use bytes::{Bytes, BytesMut};
use comity_core::ErrorKind;
use comity_noise::frame::FrameDecoder;
use comity_noise::io::websocket::{self, WebSocketServer};
use comity_noise::io::{Timeouts, accept, connect};
use comity_noise::limits::{MAX_UPGRADE, MAX_UPGRADE_LINES, MAX_WEBSOCKET_FRAME};
use comity_noise::{Error, Initiator, Pattern, Profile};
use common::{NOW, Sandbox, rng};
use futures_util::{SinkExt as _, StreamExt as _};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{accept_async, client_async};

const REQUEST: &str = "GET /ws/chat HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

type Accepted = Result<WebSocketServer<DuplexStream>, Error>;

/// A server's end, accepting, and the client's.
fn serve(pipe: usize) -> (DuplexStream, JoinHandle<Accepted>) {
    let (client, server) = duplex(pipe);
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let accepting = async move { websocket::accept(server, &sandbox.config, &mut rng(4), Timeouts::default()).await };
    (client, tokio::spawn(accepting))
}

/// A frame with a mask, as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![first];
    match payload.len() {
        len @ ..126 => out.push(0x80 | len as u8),
        len @ ..65_536 => out.extend([&[0x80 | 126], &(len as u16).to_be_bytes()[..]].concat()),
        len => out.extend([&[0x80 | 127], &(len as u64).to_be_bytes()[..]].concat()),
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

#[tokio::test]
async fn both_ends() {
    for pipe in [1 << 16, 3] {
        let (stream, accepting) = serve(pipe);
        let client = Sandbox::new(1, Profile::WhatsApp).client(2);
        let login = Bytes::from_static(b"login");
        let connecting =
            websocket::connect(stream, "chat:80", &client, login, NOW, &mut rng(3), Timeouts::default()).await;
        let (mut client, mut server) = (connecting.unwrap(), accepting.await.unwrap().unwrap());
        assert_eq!((client.pattern, server.pattern), (Pattern::Xx, Pattern::Xx));
        assert_eq!(server.login.payload(), "login");
        for len in [0, 1, 2048, 300_000] {
            let text: Vec<u8> = (0..len).map(|n| n as u8).collect();
            client.writer.queue(b"small").unwrap();
            client.writer.queue(&text).unwrap();
            let (sent, received) = tokio::join!(client.writer.flush(), async {
                (server.reader.read().await.unwrap().unwrap(), server.reader.read().await.unwrap().unwrap())
            });
            sent.unwrap();
            assert_eq!(received, (b"small"[..].into(), text[..].into()));
            let (sent, received) = tokio::join!(server.writer.send(&text), client.reader.read());
            sent.unwrap();
            assert_eq!(received.unwrap().unwrap(), text);
        }
        let (ended, end) = tokio::join!(client.writer.shutdown(), server.reader.read());
        ended.unwrap();
        assert!(end.unwrap().is_none());
    }
}

/// Another implementation's client, which cuts the stream as it likes and pings between the fragments.
#[tokio::test]
async fn messages_however_they_are_cut() {
    for (pipe, piece) in [(1 << 16, 1), (1 << 16, 7), (5, 100), (1 << 16, 5000), (1 << 16, 200_000)] {
        let (stream, accepting) = serve(pipe);
        let (mut socket, _) = client_async("ws://chat/ws/chat?ED=abc", stream).await.unwrap();
        let mut out = BytesMut::new();
        let config = Sandbox::new(1, Profile::WhatsApp).client(2);
        let initiator = Initiator::start(&config, Bytes::new(), NOW, &mut rng(3), &mut out).unwrap();
        socket.send(Message::Binary(out.split().freeze())).await.unwrap();
        let (mut received, mut decoder) = (BytesMut::new(), FrameDecoder::new());
        let hello = loop {
            if let Some(hello) = decoder.decode(&mut received).unwrap() {
                break hello;
            }
            received.extend_from_slice(&socket.next().await.unwrap().unwrap().into_data());
        };
        let mut client = initiator.read(&hello, NOW, &mut out).unwrap();
        let text: Vec<u8> = (0..150_000).map(|n| n as u8).collect();
        for text in [&b""[..], b"one", &text] {
            let mut sealed = BytesMut::from(text);
            client.transport.seal(&mut sealed).unwrap();
            comity_noise::frame::write_frame(&sealed, &mut out).unwrap();
        }

        let sending = async {
            for (n, fragments) in out.chunks(3 * piece).enumerate() {
                let last = fragments.len().div_ceil(piece) - 1;
                for (m, fragment) in fragments.chunks(piece).enumerate() {
                    let opcode = if m == 0 { Data::Binary } else { Data::Continue };
                    let frame = Frame::message(fragment.to_vec(), OpCode::Data(opcode), m == last);
                    socket.feed(Message::Frame(frame)).await.unwrap();
                    if n % 100 == 0 {
                        socket.feed(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
                    }
                }
            }
            // Messages that hold nothing.
            socket.feed(Message::Binary(Bytes::new())).await.unwrap();
            socket.send(Message::Pong(Bytes::new())).await.unwrap();
            // What it pinged is answered, and its close ends the stream.
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
            socket.close(None).await.unwrap();
        };
        let receiving = async {
            let mut server = accepting.await.unwrap().unwrap();
            for text in [&b""[..], b"one", &text] {
                assert_eq!(server.reader.read().await.unwrap().unwrap(), text);
            }
            assert!(server.reader.read().await.unwrap().is_none());
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn a_foreign_server() {
    let (stream, server) = duplex(1 << 16);
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let config = sandbox.client(2);
    let (mut client_rng, mut server_rng) = (rng(3), rng(4));
    let (client, _) = tokio::join!(
        websocket::connect(stream, "chat", &config, Bytes::new(), NOW, &mut client_rng, Timeouts::default()),
        async {
            let mut socket = accept_async(server).await.unwrap();
            let (mut received, mut decoder, mut out) =
                (BytesMut::new(), FrameDecoder::with_prologue(), BytesMut::new());
            while received.len() < 43 {
                received.extend_from_slice(&socket.next().await.unwrap().unwrap().into_data());
            }
            let hello = decoder.decode(&mut received).unwrap().unwrap();
            comity_noise::Responder::new(&sandbox.config).read(&hello, &mut server_rng, &mut out).unwrap();
            socket.send(Message::Ping(Bytes::new())).await.unwrap();
            socket.send(Message::Binary(out.freeze())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::new()));
        }
    );
    client.unwrap();
}

#[tokio::test]
async fn frames_that_are_refused() {
    let long = |len: u64| [&[0x82, 0xff], &len.to_be_bytes()[..], &[0; 4]].concat();
    let refused = [
        ("a text message", frame(0x81, b"WA")),
        ("a text message", [frame(0x02, b"WA"), frame(0x81, b"WA")].concat()),
        ("a reserved bit", frame(0xc2, b"WA")),
        ("a frame out of order", frame(0x80, b"WA")),
        ("a frame out of order", [frame(0x02, b"WA"), frame(0x82, b"WA")].concat()),
        ("a frame out of order", frame(0x83, b"WA")),
        ("a long control frame", frame(0x89, &[0; 126])),
        ("a long control frame", frame(0x09, b"in fragments")),
        ("a frame that is too long", long(MAX_WEBSOCKET_FRAME + 1)),
        ("a frame that is too long", long(u64::MAX)),
        ("masked", b"\x82\x02WA".to_vec()),
        ("masked", [b"\x89\x00".to_vec(), frame(0x82, b"WA")].concat()),
        ("opcode", frame(0x8b, b"")),
    ];
    for (why, bytes) in refused {
        let (mut client, accepting) = serve(1 << 16);
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        client.write_all(&bytes).await.unwrap();
        let Err(Error::Io(e)) = accepting.await.unwrap() else { panic!("{why}") };
        assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        assert!(e.to_string().contains(why), "{e}, not {why}");
    }
    // What is allowed goes on to the handshake, and fails there.
    for bytes in [
        frame(0x82, b"GET"),
        [frame(0x02, b""), frame(0x80, b"G")].concat(),
        b"\x82\xff\0\0\0\0\0\0\0\x01\0\0\0\0G".to_vec(),
    ] {
        let (mut client, accepting) = serve(1 << 16);
        client.write_all(&[REQUEST.as_bytes(), &bytes].concat()).await.unwrap();
        assert!(matches!(accepting.await.unwrap(), Err(Error::Prologue)));
    }
    // An end without a close, within a frame.
    let (mut client, accepting) = serve(1 << 16);
    client.write_all(&[REQUEST.as_bytes(), &long(100), b"WA"].concat()).await.unwrap();
    client.shutdown().await.unwrap();
    let end = accepting.await.unwrap();
    assert!(matches!(&end, Err(Error::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof), "{end:?}");
}

#[tokio::test]
async fn upgrades() {
    let with = |from: &str, to: &str| REQUEST.replace(from, to);
    let cases = [
        (REQUEST.to_owned(), "101"),
        (with("/ws/chat", "/ws/chat?ED=CAIIAggN"), "101"),
        (with("\r\n", "\n"), "101"),
        (with("/ws/chat", "/"), "404"),
        (with("/ws/chat", "/ws/chat/"), "404"),
        (with("/ws/chat", "/x/ws/chat"), "404"),
        (with("GET", "POST"), "400"),
        (with("13", "8"), "400"),
        (with("websocket", "h2c"), "400"),
        (with("dGhlIHNhbXBsZSBub25jZQ==", "short"), "400"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "400"),
        ("\r\n".to_owned(), "400"),
        ("\u{16}\u{3}\u{1} no HTTP at all\n\n".to_owned(), "400"),
        (with("Host", &format!("Cookie: {}\r\nHost", "x".repeat(MAX_UPGRADE))), ""),
        (with("Host", &format!("{}Host", "a: b\r\n".repeat(MAX_UPGRADE_LINES))), ""),
        ("G".repeat(1 << 16), ""),
    ];
    for (request, status) in cases {
        for piece in [1, 1 << 16] {
            let (mut client, accepting) = serve(piece);
            let (mut reader, mut writer) = split(&mut client);
            let sending = async {
                let _ = writer.write_all(request.as_bytes()).await; // it may be refused before its end
            };
            let mut answer = [0; 12];
            let (_, answered) = tokio::join!(sending, async {
                if status.is_empty() { Ok(0) } else { reader.read_exact(&mut answer).await }
            });
            answered.unwrap();
            if status == "101" {
                assert_eq!(&answer, b"HTTP/1.1 101");
                accepting.abort();
                continue;
            }
            assert!(status.is_empty() || answer.ends_with(status.as_bytes()), "{request}");
            let drain = tokio::spawn(async move {
                let mut rest = Vec::new();
                let _ = client.read_to_end(&mut rest).await;
            });
            let refused = accepting.await.unwrap();
            assert!(matches!(&refused, Err(Error::Upgrade(_))), "{request}");
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::PeerIncompatible);
            drain.await.unwrap();
        }
    }
    let (mut client, accepting) = serve(100);
    client.write_all(b"GET /ws").await.unwrap();
    drop(client);
    assert!(matches!(accepting.await.unwrap(), Err(Error::UnexpectedEnd)));
}

#[tokio::test]
async fn answers_that_are_refused() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    for answer in [
        "HTTP/1.1 404 Not Found\r\n\r\n".to_owned(),
        format!("{good}\r\n"),
        format!("{good}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
        format!("{good}{}", "a: b\r\n".repeat(MAX_UPGRADE_LINES)),
        "x".repeat(MAX_UPGRADE + 1),
        "no HTTP\n\n".to_owned(),
    ] {
        let (stream, mut server) = duplex(1 << 16);
        server.write_all(answer.as_bytes()).await.unwrap();
        let config = Sandbox::new(1, Profile::WhatsApp).client(2);
        let end =
            websocket::connect(stream, "chat", &config, Bytes::new(), NOW, &mut rng(3), Timeouts::default()).await;
        assert!(matches!(end, Err(Error::Upgrade(_))), "{answer}");
    }
    let (stream, _server) = duplex(1 << 16);
    let config = Sandbox::new(1, Profile::WhatsApp).client(2);
    let end = websocket::connect(stream, "a b", &config, Bytes::new(), NOW, &mut rng(3), Timeouts::default()).await;
    assert!(matches!(end, Err(Error::Misuse(_))));
}

/// One deadline for all of it: a client that drips its request, one that stops after it, and a silent server.
#[tokio::test(start_paused = true)]
async fn the_deadline_is_that_of_the_whole() {
    let (mut client, accepting) = serve(1 << 16);
    for byte in REQUEST.bytes() {
        if client.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(matches!(accepting.await.unwrap(), Err(Error::HandshakeDeadline)));

    let start = tokio::time::Instant::now();
    let (mut client, accepting) = serve(1 << 16);
    tokio::time::sleep(Duration::from_secs(6)).await;
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(matches!(accepting.await.unwrap(), Err(Error::HandshakeDeadline)));
    assert_eq!(start.elapsed().as_secs(), 10);

    let (stream, _server) = duplex(1 << 16);
    let config = Sandbox::new(1, Profile::WhatsApp).client(2);
    let end = websocket::connect(stream, "chat", &config, Bytes::new(), NOW, &mut rng(3), Timeouts::default()).await;
    assert!(matches!(end, Err(Error::HandshakeDeadline)));
}

#[test]
fn futures_are_send() {
    fn send<T: Send>(_: T) {}
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let client = sandbox.client(2);
    let (a, b) = duplex(1);
    let (mut one, mut two) = (rng(1), rng(2));
    send(websocket::accept(b, &sandbox.config, &mut one, Timeouts::default()));
    send(websocket::connect(a, "chat", &client, Bytes::new(), NOW, &mut two, Timeouts::default()));
    // Without a WebSocket the same types, over the stream's halves.
    let (a, b) = duplex(1);
    let ((ar, aw), (br, bw)) = (split(a), split(b));
    send(accept(br, bw, &sandbox.config, &mut one, Timeouts::default()));
    send(connect(ar, aw, &client, Bytes::new(), NOW, &mut two, Timeouts::default()));
}

#[tokio::test]
async fn a_server_may_answer_the_upgrade_itself() {
    use tokio_tungstenite::tungstenite::http::Request;
    let request = |version: &str| {
        let request = Request::get("/any").header("Connection", "Upgrade").header("Upgrade", "websocket");
        let request = request.header("Sec-WebSocket-Version", version);
        request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").body("of any kind").unwrap()
    };
    let answer = websocket::answer(&request("13")).unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["Sec-WebSocket-Accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(matches!(websocket::answer(&request("12")), Err(Error::Upgrade(_))));
    assert!(matches!(websocket::answer(&Request::get("/any").body(()).unwrap()), Err(Error::Upgrade(_))));

    // What follows is the byte stream, and in it the handshake.
    let (mut client, server) = duplex(1 << 16);
    let serving = tokio::spawn(async move {
        let (reader, writer) = split(websocket::ByteStream::server(server).await);
        let config = Sandbox::new(1, Profile::WhatsApp).config;
        accept(reader, writer, &config, &mut rng(4), Timeouts::default()).await
    });
    let mut hello = BytesMut::new();
    let config = Sandbox::new(1, Profile::WhatsApp).client(2);
    let initiator = Initiator::start(&config, Bytes::from_static(b"login"), NOW, &mut rng(3), &mut hello).unwrap();
    for part in hello.chunks(7) {
        client.write_all(&frame(0x82, part)).await.unwrap();
    }
    let mut decoder = FrameDecoder::new();
    let mut stream = BytesMut::new();
    let answer = loop {
        if let Some(answer) = decoder.decode(&mut stream).unwrap() {
            break answer;
        }
        let mut head = [0; 2];
        client.read_exact(&mut head).await.unwrap();
        let len = match head[1] {
            126 => usize::from(client.read_u16().await.unwrap()),
            len => usize::from(len),
        };
        let mut piece = vec![0; len];
        client.read_exact(&mut piece).await.unwrap();
        stream.extend_from_slice(&piece);
    };
    let mut finish = BytesMut::new();
    initiator.read(&answer, NOW, &mut finish).unwrap();
    client.write_all(&frame(0x82, &finish)).await.unwrap();
    assert_eq!(serving.await.unwrap().unwrap().login.payload()[..], b"login"[..]);
}
