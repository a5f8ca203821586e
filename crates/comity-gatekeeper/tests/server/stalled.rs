//! Ten thousand connections that never log in, and a thousand that send a byte now and then (PROTOCOL §5): little memory, cut
//! by the deadline, and those who are logged in go on. The server is a process of its own.

use crate::binary::{enlist, native, online, start, world};
use crate::client::Client;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const STALLED: usize = 10_000;
const DRIPPING: usize = 1_000;
/// What a connection may cost the server before it has logged in, in bytes.
const MAX_BEFORE_LOG_IN: u64 = 10 * 1024;
/// The handshake's deadline of 10 s, and time for 11,000 to be cut.
const CUT_BY: Duration = Duration::from_secs(40);
/// The start of a connection: prologue, and the length of a frame that never comes whole.
const BEGUN: &[u8] = &[b'W', b'A', 6, 3, 0, 1, 0, 0x12, 0x34];

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Connections that this process and the server's, which inherits the limit, may have.
fn room() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft = line.split_whitespace().next().unwrap();
    soft.parse::<usize>().map_or(usize::MAX, |soft| soft.saturating_sub(300))
}

/// The 99th percentile of the time from a message to its acknowledgement.
async fn p99(client: &mut Client, to: &str, prefix: &str) -> Duration {
    let mut times = Vec::new();
    for n in 0..300 {
        let start = Instant::now();
        client.deliver(to, &format!("{prefix}{n}"), b"hello").await;
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

/// Sends what it has, then a byte every `drip`, until the server closes. Whether it did in time.
async fn stall(mut stream: TcpStream, begun: &'static [u8], drip: Option<Duration>) -> bool {
    let cut = async {
        let _ = stream.write_all(begun).await;
        let mut byte = [0; 1];
        loop {
            tokio::select! {
                read = stream.read(&mut byte) => {
                    if matches!(read, Ok(0) | Err(_)) {
                        return;
                    }
                }
                () = tokio::time::sleep(drip.unwrap_or(CUT_BY)) => {
                    if stream.write_all(&[0]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::time::timeout(CUT_BY, cut).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_stalled_connections_cost_little_and_end() {
    let (stalled, dripping) = (STALLED.min(room() * 10 / 11), DRIPPING.min(room() / 11));
    let world = world().await;
    let server = start(world.dir.path()).await;
    let bob = native(&world, &server).await;
    let alice = enlist(&world, &server, "alice@partner.test").await;
    online(&world, &server, &bob).await.opt_in(&[12]).await;
    let mut client = online(&world, &server, &alice).await;
    let pid = server.pid();
    let quiet = p99(&mut client, &bob.jid, "QUIET").await;

    let before = resident(pid);
    let mut connections = JoinSet::new();
    for n in 0..stalled + dripping {
        let stream = TcpStream::connect(server.chat).await.unwrap();
        let begun = &BEGUN[..if n % 2 == 0 { BEGUN.len() } else { 0 }];
        connections.spawn(stall(stream, begun, (n >= stalled).then_some(Duration::from_secs(1))));
    }
    let busy = p99(&mut client, &bob.jid, "BUSY").await;
    let each = resident(pid).saturating_sub(before) / (stalled + dripping) as u64;
    println!("{stalled} stalled, {dripping} dripping: {each} B each, p99 {quiet:?} before, {busy:?} with them");
    assert!(each <= MAX_BEFORE_LOG_IN, "{each} bytes each");
    while let Some(cut) = connections.join_next().await {
        assert!(cut.unwrap(), "a connection outlived the deadline");
    }
    client.ping().await;
}
