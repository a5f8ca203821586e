//! The adapter over in-memory streams: deadlines, cancellation, batching (PROTOCOL §5.1).
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use bytes::Bytes;
use comity_noise::io::{ClientConnection, ServerConnection, Timeouts, accept, connect};
use comity_noise::limits::MAX_PLAINTEXT;
use comity_noise::{Error, Pattern, Profile};
use common::{NOW, Sandbox, rng};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::time::timeout;

type Client = ClientConnection<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;
type Server = ServerConnection<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

async fn pair(pipe: usize, timeouts: Timeouts) -> (Client, Server) {
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let mut client = sandbox.client(2);
    client.edge_routing = Some(Bytes::from_static(b"routing"));
    let (a, b) = duplex(pipe);
    let ((ar, aw), (br, bw)) = (split(a), split(b));
    let login = Bytes::from_static(b"login");
    let server = tokio::spawn(async move { accept(br, bw, &sandbox.config, &mut rng(4), timeouts).await });
    let client = connect(ar, aw, &client, login, NOW, &mut rng(3), timeouts).await.unwrap();
    (client, server.await.unwrap().unwrap())
}

#[tokio::test]
async fn messages_both_ways_however_the_stream_is_cut() {
    for pipe in [1, 7, 64 * 1024] {
        let (mut client, mut server) = pair(pipe, Timeouts::default()).await;
        assert_eq!((client.pattern, server.pattern), (Pattern::Xx, Pattern::Xx));
        assert_eq!(server.edge_routing.as_deref(), Some(&b"routing"[..]));
        assert_eq!(server.login.payload(), "login");
        let echo = tokio::spawn(async move {
            while let Some(message) = server.reader.read().await.unwrap() {
                server.writer.send(&message).await.unwrap();
            }
            server.writer.shutdown().await.unwrap();
        });
        for len in [0, 1, 1000, 70_000] {
            client.writer.queue(&vec![1; len]).unwrap();
            client.writer.queue_with(|out| out.extend_from_slice(&vec![2; len])).unwrap();
            let ((), (one, two)) = tokio::join!(async { client.writer.flush().await.unwrap() }, async {
                (client.reader.read().await.unwrap().unwrap(), client.reader.read().await.unwrap().unwrap())
            });
            assert_eq!((one, two), (vec![1; len][..].into(), vec![2; len][..].into()));
        }
        client.writer.shutdown().await.unwrap();
        assert!(client.reader.read().await.unwrap().is_none());
        echo.await.unwrap();
    }
}

#[tokio::test]
async fn the_largest_message() {
    let (mut client, mut server) = pair(1 << 20, Timeouts::default()).await;
    let big = vec![7; MAX_PLAINTEXT];
    assert!(matches!(client.writer.queue(&vec![7; MAX_PLAINTEXT + 1]), Err(Error::PlaintextTooLong { .. })));
    client.writer.queue(&big).unwrap();
    assert!(matches!(client.writer.queue(b"more"), Err(Error::WriteQueueFull { .. })));
    let (sent, received) = tokio::join!(client.writer.flush(), server.reader.read());
    sent.unwrap();
    assert_eq!(received.unwrap().unwrap(), big);
}

#[tokio::test]
async fn as_stream_and_sink() {
    use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};

    let (client, server) = pair(100, Timeouts::default()).await;
    let messages: Vec<Vec<u8>> = (0..50).map(|n| vec![n; 40]).collect();
    let mut writer = client.writer;
    let (sent, received) = tokio::join!(
        async {
            writer.send_all(&mut stream::iter(messages.clone()).map(Ok)).await?;
            writer.shutdown().await
        },
        server.reader.into_stream().map_ok(|message| message.to_vec()).try_collect::<Vec<_>>()
    );
    sent.unwrap();
    assert_eq!(received.unwrap(), messages);
}

#[tokio::test]
async fn reading_is_cancel_safe() {
    let (mut client, mut server) = pair(3, Timeouts::default()).await;
    let text = vec![9; 500];
    let sender = tokio::spawn(async move {
        for _ in 0..20 {
            client.writer.send(&text).await.unwrap();
        }
        client
    });
    let mut received = 0;
    while received < 20 {
        // Dropped after one poll, again and again.
        if let Ok(message) = timeout(Duration::ZERO, server.reader.read()).await {
            assert_eq!(message.unwrap().unwrap(), vec![9; 500]);
            received += 1;
        }
        tokio::task::yield_now().await;
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn flushing_is_cancel_safe() {
    let (mut client, mut server) = pair(5, Timeouts::default()).await;
    let reader = tokio::spawn(async move {
        for n in 0..20u8 {
            assert_eq!(server.reader.read().await.unwrap().unwrap(), vec![n; 300]);
        }
    });
    for n in 0..20 {
        client.writer.queue(&vec![n; 300]).unwrap();
        while timeout(Duration::ZERO, client.writer.flush()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
    reader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn deadlines() {
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let timeouts = Timeouts::default();

    // A client that says nothing, one that drips, and a server that says nothing.
    let (_quiet, b) = duplex(64);
    let (r, w) = split(b);
    assert!(matches!(accept(r, w, &sandbox.config, &mut rng(1), timeouts).await, Err(Error::HandshakeDeadline)));
    let (mut drip, b) = duplex(64);
    let (r, w) = split(b);
    let dripping = tokio::spawn(async move {
        for byte in *b"WA\x06\x03\x00\x10\x00" {
            if drip.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    });
    assert!(matches!(accept(r, w, &sandbox.config, &mut rng(1), timeouts).await, Err(Error::HandshakeDeadline)));
    dripping.await.unwrap();
    let (a, _quiet) = duplex(4096);
    let (r, w) = split(a);
    let connected = connect(r, w, &sandbox.client(2), Bytes::new(), NOW, &mut rng(1), timeouts).await;
    assert!(matches!(connected, Err(Error::HandshakeDeadline)));

    // The idle deadline runs on through cancelled reads, and a message sets it back.
    let (mut client, mut server) = pair(4096, timeouts).await;
    tokio::time::sleep(Duration::from_secs(80)).await;
    client.writer.send(b"here").await.unwrap();
    assert_eq!(server.reader.read().await.unwrap().unwrap(), "here");
    for _ in 0..8 {
        assert!(timeout(Duration::from_secs(10), server.reader.read()).await.is_err());
    }
    let end = timeout(Duration::from_secs(11), server.reader.read()).await.expect("the idle deadline");
    assert!(matches!(end, Err(Error::IdleDeadline)));
}

#[tokio::test]
async fn ends_and_faults() {
    let (client, mut server) = pair(4096, Timeouts::default()).await;
    drop(client);
    assert!(server.reader.read().await.unwrap().is_none());

    // An end inside a frame.
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let (mut a, b) = duplex(4096);
    let (r, w) = split(b);
    a.write_all(b"WA\x06\x03\x00\x00\x09abc").await.unwrap();
    drop(a);
    let end = accept(r, w, &sandbox.config, &mut rng(1), Timeouts::default()).await;
    assert!(matches!(end, Err(Error::UnexpectedEnd)));

    // A large frame before the login.
    let (mut a, b) = duplex(4096);
    let (r, w) = split(b);
    a.write_all(b"WA\x06\x03\xff\xff\xff").await.unwrap();
    let end = accept(r, w, &sandbox.config, &mut rng(1), Timeouts::default()).await;
    assert!(matches!(end, Err(Error::FrameTooLong { len: 0xff_ffff, .. })));
}

/// Counts writes.
struct Counted(Arc<AtomicUsize>);

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn many_frames_are_one_write() {
    let sandbox = Sandbox::new(1, Profile::Plain { prologue: Bytes::new() });
    let mut client = sandbox.client(2);
    client.trust = comity_noise::ServerTrust::Key(sandbox.config.key.public());
    let writes = Arc::new(AtomicUsize::new(0));

    // The client's messages, made apart, so that the server's writes can be counted.
    let (mut up, mut down) = (bytes::BytesMut::new(), bytes::BytesMut::new());
    let initiator = comity_noise::Initiator::start(&client, Bytes::new(), NOW, &mut rng(5), &mut up).unwrap();
    let comity_noise::Step::Continue(_) =
        comity_noise::Responder::new(&sandbox.config).read(&up[3..], &mut rng(6), &mut down).unwrap()
    else {
        panic!("not XX")
    };
    initiator.read(&down[3..], NOW, &mut up).unwrap();

    let (mut far, near) = duplex(1 << 16);
    far.write_all(&up).await.unwrap();
    let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(near);
    let writer = Counted(writes.clone());
    let mut server = accept(reader, writer, &sandbox.config, &mut rng(6), Timeouts::default()).await.unwrap();
    let before = writes.load(Ordering::Relaxed);
    for _ in 0..100 {
        server.writer.queue(b"a stanza").unwrap();
    }
    server.writer.flush().await.unwrap();
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
}

#[test]
fn futures_are_send() {
    fn send<T: Send>(_: T) {}
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let client = sandbox.client(2);
    let mut rng = rng(1);
    let (a, b) = duplex(1);
    let ((ar, aw), (br, bw)) = (split(a), split(b));
    send(accept(br, bw, &sandbox.config, &mut rng, Timeouts::default()));
    send(connect(ar, aw, &client, Bytes::new(), NOW, &mut rng, Timeouts::default()));
}
