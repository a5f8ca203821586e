//! Our side of `cargo xtask bench signal`, and the engines bare beside it, records as bytes as ours.
//!
//! Benches are named `SIDE/VERSION/WHAT`: side `ours` or `bare`, version `v3` or `v4`, what `message` (100 bytes encrypted
//! and decrypted) or `establish` (a session from a bundle, its first message encrypted and decrypted); and
//! `durable/VERSION`: a message encrypted, its session and its body committed to SQLite, in batches.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "measures what works")]
#![allow(clippy::indexing_slicing, unreachable_pub, reason = "measures what works")]

mod bare_v3;
mod bare_v4;
mod ours;
#[path = "../../src/side.rs"]
mod side;

use side::{Answer, Refused, serve, time};
use std::error::Error;
use std::hint::black_box;

/// The plaintext of a message.
const TEXT: [u8; 100] = [0x5a; 100];

fn main() -> Result<(), Box<dyn Error>> {
    serve(|bench, _| measure(bench))
}

fn measure(bench: &str) -> Result<Answer, Refused> {
    let version = |name| match name {
        "v3" => Ok(3),
        "v4" => Ok(4),
        _ => Err("no such version"),
    };
    let parts: Vec<&str> = bench.split('/').collect();
    Ok(match *parts.as_slice() {
        ["ours", name, "message"] => {
            let mut pair = ours::Pair::talking(version(name)?);
            time(|| pair.message())
        }
        ["ours", name, "establish"] => {
            let pair = ours::Pair::new(version(name)?);
            time(|| drop(black_box(pair.clone().establish())))
        }
        ["bare", "v3", "message"] => {
            let mut pair = bare_v3::Pair::talking();
            time(|| pair.message())
        }
        ["bare", "v3", "establish"] => {
            let pair = bare_v3::Pair::new();
            time(|| drop(black_box(pair.clone().establish())))
        }
        ["bare", "v4", "message"] => {
            let mut pair = bare_v4::Pair::talking();
            time(|| pair.message())
        }
        ["bare", "v4", "establish"] => {
            let pair = bare_v4::Pair::new();
            time(|| drop(black_box(pair.clone().establish())))
        }
        ["durable", name] => {
            let mut durable = ours::Durable::new(version(name)?);
            let Answer::Nanoseconds(ns) = time(|| durable.batch()) else { return Err("no time".into()) };
            Answer::Nanoseconds(ns / ours::BATCH as f64)
        }
        _ => return Err("no such bench".into()),
    })
}
