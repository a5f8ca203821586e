//! Format 1 from file to file, beside Baileys in Node doing the same, and in memory beside the bound of its passes; format 2
//! beside its bare AEAD.

use super::{Measured, ROUNDS, Side, beside, median};
use crate::run::{Result, has, target_dir};
use serde_json::json;
use std::process::Command;
use xshell::{Shell, cmd};

/// Plaintext of one measurement, in bytes.
const LEN: u64 = 64 << 20;
/// The same in memory, of format 1 and of format 2.
const LEN1: f64 = (16 << 20) as f64;
const LEN2: f64 = (4 << 20) as f64;

pub(super) fn bench(sh: &Shell) -> Result<Vec<Measured>> {
    cmd!(sh, "cargo build --release -p comity-benches --bin bench-media").run()?;
    let mut measured = alone(sh)?;
    if has("node") && has("npm") {
        measured.extend(format1(sh)?);
    } else {
        println!("format1_encrypt: skipped: Node.js is not installed");
    }
    measured.extend(super::relay::bench(sh)?);
    Ok(measured)
}

fn alone(sh: &Shell) -> Result<Vec<Measured>> {
    let program = target_dir(sh).join("release/bench-media");
    let [mut ours, mut bare] = [Side::start(&mut Command::new(&program))?, Side::start(&mut Command::new(&program))?];
    let bare_aead = "aes-gcm 0.11 alone, segments of 64 KiB";
    let mut row = |len, metric, peer, mine, theirs| {
        let mut found = beside(metric, peer, (&mut ours, mine), (&mut bare, theirs))?;
        (found.ours, found.peer) = (len * 1e3 / found.ours, len * 1e3 / found.peer);
        found.unit = "MB/s";
        Ok::<_, Box<dyn std::error::Error>>(found)
    };
    Ok(vec![
        row(LEN2, "format2_encrypt_64KiB", bare_aead, "encrypt", "encrypt_bare")?,
        row(LEN2, "format2_decrypt_64KiB", bare_aead, "decrypt", "decrypt_bare")?,
        row(LEN1, "format1_of_bound", "its passes on two cores", "format1", "format1_bound")?,
    ])
}

fn format1(sh: &Shell) -> Result<Vec<Measured>> {
    let dir = crate::interop::prepare_node(sh, "media")?;
    let mut ours = Side::start(Command::new(target_dir(sh).join("release/bench-media")).current_dir(&dir))?;
    let mut peer = Side::start(Command::new("node").arg("bench.mjs").current_dir(&dir))?;
    let source = dir.join("bench.plain");
    sh.write_file(&source, vec![0x5a; usize::try_from(LEN)?])?;
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (side, samples) in [&mut ours, &mut peer].into_iter().zip(&mut samples) {
            let nanos = side.measure(&json!({"cmd": "encrypt", "path": source}))?;
            if round > 0 {
                samples.push(LEN as f64 * 1e3 / nanos);
            }
        }
    }
    sh.remove_path(source)?;
    let [ours, peer] = samples.each_ref().map(|samples| median(samples));
    Ok(vec![Measured {
        metric: "format1_encrypt",
        unit: "MB/s",
        peer_name: "baileys 7.0.0-rc14 encryptedStream, Node",
        ours,
        peer,
        ratio: ours / peer,
        note: String::new(),
        samples: json!(samples),
    }])
}
