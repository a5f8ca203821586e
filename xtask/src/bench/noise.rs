//! The transport and the handshake beside their bounds (the same provider's primitives, bare) and beside snow.

use super::{Measured, Side, beside};
use crate::run::{Result, target_dir};
use std::process::Command;
use xshell::{Shell, cmd};

const PROVIDERS: [&str; 2] = ["rust-crypto", "aws-lc"];

pub(super) fn bench(sh: &Shell) -> Result<Vec<Measured>> {
    cmd!(sh, "cargo build --release -p comity-benches --bin bench-noise").run()?;
    let mut ours = Side::start(&mut Command::new(target_dir(sh).join("release/bench-noise")))?;
    let mut bare = Side::start(&mut Command::new(target_dir(sh).join("release/bench-noise")))?;
    let mut snow = Side::start(&mut Command::new(super::peers(sh, false)?.join("peer-noise")))?;
    let mut measured = Vec::new();
    for (metric, len) in [
        ("transport_256B", 256),
        ("transport_4KiB", 4 << 10),
        ("transport_60000B", 60_000),
        ("transport_1MiB", 1 << 20),
    ] {
        measured.push(worst(metric, "the same AEAD, bare", &mut ours, &mut bare, |provider| {
            (format!("transport/{provider}/{len}"), format!("aead/{provider}/{len}"))
        })?);
    }
    let (fast, theirs) = ("transport/aws-lc/60000", "transport/60000");
    measured.push(beside(
        "transport_60000B_vs_snow",
        "snow, default resolver",
        (&mut ours, fast),
        (&mut snow, theirs),
    )?);
    measured.push(worst("xx_handshake_vs_bound", "its X25519 operations", &mut ours, &mut bare, |provider| {
        (format!("xx/{provider}"), format!("x25519/{provider}"))
    })?);
    measured.push(beside(
        "xx_handshake_vs_snow",
        "snow, default resolver",
        (&mut ours, "xx/aws-lc"),
        (&mut snow, "xx"),
    )?);
    Ok(measured)
}

/// The provider that comes off worse.
fn worst(
    metric: &'static str,
    peer_name: &'static str,
    ours: &mut Side,
    bare: &mut Side,
    benches: impl Fn(&str) -> (String, String),
) -> Result<Measured> {
    let mut worst: Option<Measured> = None;
    let mut notes = Vec::new();
    for provider in PROVIDERS {
        let (mine, theirs) = benches(provider);
        let found = beside(metric, peer_name, (ours, &mine), (bare, &theirs))?;
        notes.push(format!("{provider} {:.2}", found.ratio));
        if worst.as_ref().is_none_or(|worst| found.ratio < worst.ratio) {
            worst = Some(found);
        }
    }
    let mut worst = worst.ok_or("no provider")?;
    worst.note = notes.join(", ");
    Ok(worst)
}
