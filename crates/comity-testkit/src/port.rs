//! Ports for servers that are started and started again.

use std::net::{Ipv4Addr, TcpListener};
use std::process::id;
use std::sync::atomic::{AtomicU16, Ordering};

/// A free port of 127.0.0.1, below those that outgoing connections are given, so that none of these takes it before the
/// server does; another one at each call.
#[allow(clippy::disallowed_methods, reason = "what it is for")]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(id() % 312 * 64).unwrap_or_default();
    loop {
        let port = 10_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
