//! What a connection costs a server, counted by the allocator: before its login, and idle after it.
#![cfg(feature = "tokio")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

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
