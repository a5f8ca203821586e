//! Bodies for comity-noise: WebSockets.

use super::alloc::cost;
use super::noise::{Draw, NOW, SETUPS};
use arbitrary::Unstructured;
use bytes::{Bytes, BytesMut};
use comity_noise::frame::write_frame;
use comity_noise::io::{Timeouts, websocket};
use comity_noise::limits::MAX_WEBSOCKET_MEMORY;
use comity_noise::{Error, Initiator, InitiatorConfig, Responder};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::sync::LazyLock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const REQUEST: &[u8] = b"GET /ws/chat HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const MESSAGES: [usize; 4] = [0, 1, 100, 5000];

/// All that a client sends which resumes: always the same, so that its answers need not be waited for.
static CLIENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let client = InitiatorConfig { resume: Some(SETUPS[0].resume), ..SETUPS[0].client.clone() };
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    let waiting = Initiator::start(&client, Bytes::new(), NOW, &mut Draw(2), &mut up).expect("a good configuration");
    Responder::new(&SETUPS[0].server).read(&up[7..], &mut Draw(3), &mut down).expect("honest");
    let mut established = waiting.read(&down[3..], NOW, &mut up).expect("honest");
    for len in MESSAGES {
        let mut message = BytesMut::zeroed(len);
        established.transport.seal(&mut message).expect("small");
        write_frame(&message, &mut up).expect("small");
    }
    up.to_vec()
});

/// A client's bytes come through whatever frames they are put into; any other bytes end in the same way, however they are
/// cut, and before the login they cost no more than the bound.
pub fn websocket(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok((kind, size)) = u.arbitrary::<(u8, u8)>() else { return };
    let mut script = if kind & 1 == 0 { REQUEST.to_vec() } else { Vec::new() };
    let good = kind & 2 != 0;
    if good {
        frames(&mut u, &mut script);
    } else {
        script.extend_from_slice(u.take_rest());
    }
    let whole = served(&script, usize::MAX);
    assert_eq!(served(&script, usize::from(size) + 1), whole);
    if good && kind & 1 == 0 {
        assert_eq!(whole, (MESSAGES.to_vec(), Ok(())));
    }
}

/// Puts the client's bytes into frames as the input says.
fn frames(u: &mut Unstructured<'_>, script: &mut Vec<u8>) {
    let (mut rest, mut unfinished) = (&CLIENT[..], false);
    while !rest.is_empty() || unfinished {
        let [kind, size, mask] = if u.is_empty() { [0x85, 255, 0] } else { u.arbitrary().unwrap_or_default() };
        if kind & 7 == 1 {
            script.extend([0x89, 0x80 | (size % 126), mask, 0, mask, 0]);
            script.extend((0..size % 126).map(|n| n ^ mask));
            continue;
        }
        let (part, after) = rest.split_at((usize::from(size) << (kind & 7)).min(rest.len()));
        let last = kind & 0x80 != 0 || after.is_empty();
        script.push(if last { 0x80 } else { 0 } | if unfinished { 0 } else { 2 });
        (rest, unfinished) = (after, !last);
        match (kind >> 3 & 3, part.len()) {
            (0, len @ ..126) => script.push(0x80 | len as u8),
            (0 | 1, len) => script.extend([&[0xfe], &(len as u16).to_be_bytes()[..]].concat()),
            (_, len) => script.extend([&[0xff], &(len as u64).to_be_bytes()[..]].concat()),
        }
        script.extend([mask, 1, 2, 3]);
        script.extend(part.iter().zip([mask, 1, 2, 3].into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    script.extend([0x88, 0x80, 1, 2, 3, 4]);
}

/// The lengths of the messages that came, and how it ended.
fn served(script: &[u8], piece: usize) -> (Vec<usize>, Result<(), String>) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    let (rng, mut lengths) = (&mut Draw(3), Vec::new());
    let result: Result<(), Error> = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let accepting = websocket::accept(Script(script, piece), &SETUPS[0].server, rng, Timeouts::default());
            let (accepted, _, peak) = cost_of(Box::pin(accepting)).await;
            assert!(peak <= MAX_WEBSOCKET_MEMORY + 1024, "{peak} bytes");
            let mut connection = accepted?;
            while let Some(message) = connection.reader.read().await? {
                lengths.push(message.len());
            }
            Ok(())
        })
    });
    (lengths, result.map_err(|e| e.to_string()))
}

/// What a future gives that never has to wait, and what it cost.
async fn cost_of<T>(mut future: Pin<Box<impl Future<Output = T>>>) -> (T, usize, usize) {
    core::future::poll_fn(|cx| {
        let (result, calls, peak) = cost(|| future.as_mut().poll(cx));
        result.map(|result| (result, calls, peak))
    })
    .await
}

/// Gives its bytes, at most so many at once, then the end; takes all that is written.
struct Script<'a>(&'a [u8], usize);

impl AsyncRead for Script<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(self.1).min(buf.remaining()));
        buf.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script<'_> {
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
