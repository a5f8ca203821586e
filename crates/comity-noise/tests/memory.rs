//! What a connection costs a server, counted by the allocator: before its login, and idle after it.
#![cfg(feature = "tokio")]
#![allow(
    unsafe_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test"
)]

mod common;

use bytes::{Bytes, BytesMut};
use comity_noise::io::{Timeouts, accept};
use comity_noise::limits::MAX_HANDSHAKE_FRAME;
use comity_noise::{Initiator, Profile, Responder, Step};
use common::{NOW, Sandbox, rng};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts the bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Gives its bytes, at most `piece` at once, then waits for ever.
struct Script<'a>(&'a [u8], usize);

impl AsyncRead for Script<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let len = self.0.len().min(self.1).min(buf.remaining());
        if len == 0 {
            return Poll::Pending;
        }
        let (now, later) = self.0.split_at(len);
        buf.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

struct Nowhere;

impl AsyncWrite for Nowhere {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The one test of this file: others in the same process would be counted too.
#[tokio::test]
async fn a_connection_costs_what_is_promised() {
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    let initiator = Initiator::start(&sandbox.client(2), Bytes::new(), NOW, &mut rng(5), &mut up).unwrap();
    let Step::Continue(_) = Responder::new(&sandbox.config).read(&up[7..], &mut rng(6), &mut down).unwrap() else {
        panic!("not an XX")
    };
    let hello = up.len();
    let mut client = initiator.read(&down[3..], NOW, &mut up).unwrap().transport;
    let login = up.len();
    let mut big = BytesMut::zeroed(100_000);
    client.seal(&mut big).unwrap();
    comity_noise::frame::write_frame(&big, &mut up).unwrap();

    // Before the login: after the first message, with all but the last byte of the longest second one.
    let mut before = up[..hello].to_vec();
    before.extend_from_slice(&u32::try_from(MAX_HANDSHAKE_FRAME).unwrap().to_be_bytes()[1..]);
    before.resize(before.len() + MAX_HANDSHAKE_FRAME - 1, 0);
    for piece in [1, 700, 1 << 20] {
        let mut rng = rng(6);
        let base = IN_USE.load(Ordering::Relaxed);
        PEAK.store(base, Ordering::Relaxed);
        let script = Script(&before, piece);
        let mut waiting = pin!(accept(script, Nowhere, &sandbox.config, &mut rng, Timeouts::default()));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let cost = IN_USE.load(Ordering::Relaxed) - base + size_of_val(&*waiting);
        let peak = PEAK.load(Ordering::Relaxed) - base + size_of_val(&*waiting);
        println!("before the login, pieces of {piece}: {cost} bytes, peak {peak}, future {}", size_of_val(&*waiting));
        assert!(peak <= 10 * 1024, "{peak} bytes");
    }

    #[cfg(feature = "websocket")]
    over_websockets(&sandbox, &up, [hello, login], &before).await;

    // Idle after it, and again after a message of 100,000 bytes.
    for script in [&up[..login], &up[..]] {
        let base = IN_USE.load(Ordering::Relaxed);
        let mut rng = rng(6);
        let accepted = accept(Script(script, 4096), Nowhere, &sandbox.config, &mut rng, Timeouts::default());
        let mut connection = Box::new(accepted.await.unwrap());
        if script.len() > login {
            assert_eq!(connection.reader.read().await.unwrap().unwrap().len(), 100_000);
            connection.writer.send(&[0; 100_000]).await.unwrap();
        }
        let mut reading = Box::pin(connection.reader.read());
        assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let cost = IN_USE.load(Ordering::Relaxed) - base;
        println!("idle: {cost} bytes");
        assert!(cost <= 4 * 1024, "{cost} bytes");
    }
}

/// A frame as a client sends it, under the mask that changes nothing.
#[cfg(feature = "websocket")]
fn frame(first: u8, len: usize, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | 127], &(len as u64).to_be_bytes()[..], &[0; 4], payload].concat()
}

#[cfg(feature = "websocket")]
async fn over_websockets(sandbox: &Sandbox, up: &[u8], [hello, login]: [usize; 2], before: &[u8]) {
    use comity_noise::io::websocket;
    use comity_noise::limits::{MAX_UPGRADE, MAX_UPGRADE_LINES, MAX_WEBSOCKET_FRAME, MAX_WEBSOCKET_MEMORY};

    let request = "GET /ws/chat HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    // The largest head: as many lines as there may be, of as many different headers, and all bytes.
    let lines = MAX_UPGRADE_LINES - 1 - request.lines().count();
    let mut largest = request.to_owned();
    for line in 0..lines {
        let left = MAX_UPGRADE - 2 - largest.len();
        let header = format!("x{line}: \r\n");
        largest.push_str(&header.replace(": ", &format!(": {}", "v".repeat(left / (lines - line) - header.len()))));
    }
    largest.push_str("\r\n");
    assert!(largest.len() > MAX_UPGRADE - 40 && largest.len() <= MAX_UPGRADE);
    let request = format!("{request}\r\n").into_bytes();

    let fragment = |n: usize, byte: &u8| frame(if n == 0 { 2 } else { 0 }, 1, &[*byte]);
    let scripts = [
        ("a head cut short", largest.as_bytes()[..MAX_UPGRADE - 100].to_vec()),
        ("the largest head", largest.into_bytes()),
        ("an upgrade", request.clone()),
        ("the longest frame declared", [&request[..], &frame(0x82, MAX_WEBSOCKET_FRAME as usize, &[])].concat()),
        ("and begun", [&request[..], &frame(0x82, MAX_WEBSOCKET_FRAME as usize, before)].concat()),
        ("the longest login, in one frame", [&request[..], &frame(0x82, before.len(), before)].concat()),
        (
            "two frames",
            [&request[..], &frame(0x82, hello, &before[..hello]), &frame(0x82, 9000, &before[hello..])].concat(),
        ),
        (
            "fragments of a byte",
            [request.clone(), before.iter().enumerate().flat_map(|(n, byte)| fragment(n, byte)).collect()].concat(),
        ),
        ("pings", [request.clone(), frame(0x89, 125, &[0; 125]).repeat(50)].concat()),
    ];
    for (name, script) in scripts {
        for piece in [1, 700, 1 << 20] {
            let mut rng = rng(6);
            let base = IN_USE.load(Ordering::Relaxed);
            PEAK.store(base, Ordering::Relaxed);
            let stream = tokio::io::join(Script(&script, piece), Nowhere);
            let mut waiting = pin!(websocket::accept(stream, &sandbox.config, &mut rng, Timeouts::default()));
            for _ in 0..100 {
                let pending = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
                assert!(pending, "{name}");
            }
            let peak = PEAK.load(Ordering::Relaxed) - base + size_of_val(&*waiting);
            println!("{name}, pieces of {piece}: peak {peak} bytes, future {}", size_of_val(&*waiting));
            assert!(peak <= MAX_WEBSOCKET_MEMORY, "{name}: {peak} bytes");
        }
    }

    // Idle after the login, and again after a message of 100,000 bytes each way.
    for len in [login, up.len()] {
        let base = IN_USE.load(Ordering::Relaxed);
        let mut rng = rng(6);
        let script = [request.clone(), frame(0x82, len, &up[..len])].concat();
        let start = script.len();
        let stream = tokio::io::join(Script(&script, 4096), Nowhere);
        let accepted = websocket::accept(stream, &sandbox.config, &mut rng, Timeouts::default());
        let mut connection = Box::new(accepted.await.unwrap());
        if len > login {
            assert_eq!(connection.reader.read().await.unwrap().unwrap().len(), 100_000);
            connection.writer.send(&[0; 100_000]).await.unwrap();
        }
        let mut reading = Box::pin(connection.reader.read());
        assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let cost = IN_USE.load(Ordering::Relaxed) - base - start;
        println!("idle over a WebSocket: {cost} bytes");
        assert!(cost <= 12 * 1024, "{cost} bytes");
    }
}
