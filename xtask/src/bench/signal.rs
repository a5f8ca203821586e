//! Our sessions beside the engines bare, records as bytes on both sides; and durable messages in batches.

use super::{Measured, ROUNDS, Side, median};
use crate::run::{Result, target_dir};
use serde_json::json;
use std::process::Command;
use xshell::{Shell, cmd};

/// Durable messages a second that count as 1.
const FLOOR: f64 = 5_000.0;

pub(super) fn bench(sh: &Shell) -> Result<Vec<Measured>> {
    cmd!(sh, "cargo build --release -p comity-bench-signal").run()?;
    let program = target_dir(sh).join("release/bench-signal");
    let mut ours = Side::start(&mut Command::new(&program))?;
    let mut bare = Side::start(&mut Command::new(&program))?;
    let mut measured = Vec::new();
    for (metric, peer, bench) in [
        ("v4_encrypt_decrypt_100B", "libsignal bare", "v4/message"),
        ("v3_encrypt_decrypt_100B", "wacore bare", "v3/message"),
        ("v4_establish", "libsignal bare", "v4/establish"),
        ("v3_establish", "wacore bare", "v3/establish"),
    ] {
        let (mine, theirs) = (format!("ours/{bench}"), format!("bare/{bench}"));
        measured.push(super::beside(metric, peer, (&mut ours, &mine), (&mut bare, &theirs))?);
    }
    let mut rates = Vec::new();
    for version in ["v3", "v4"] {
        let request = json!({"bench": format!("durable/{version}"), "input": ""});
        let samples = (0..ROUNDS).map(|_| Ok(1e9 / ours.measure(&request)?)).collect::<Result<Vec<_>>>()?;
        rates.push((version, median(&samples), samples));
    }
    let worse = rates.iter().map(|(_, rate, _)| *rate).fold(f64::INFINITY, f64::min);
    measured.push(Measured {
        metric: "durable_batched_msgs_per_s",
        unit: "1/s",
        peer_name: "floor",
        ours: worse,
        peer: FLOOR,
        ratio: worse / FLOOR,
        note: rates.iter().map(|(version, rate, _)| format!("{version} {rate:.0}")).collect::<Vec<_>>().join(", "),
        samples: json!(rates),
    });
    Ok(measured)
}
