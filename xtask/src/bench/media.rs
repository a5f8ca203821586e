//! Format 1 from file to file, beside Baileys in Node doing the same.

use super::{Measured, ROUNDS, Side, median};
use crate::run::{Result, has, target_dir};
use serde_json::json;
use std::process::Command;
use xshell::{Shell, cmd};

/// Plaintext of one measurement, in bytes.
const LEN: u64 = 64 << 20;

pub(super) fn bench(sh: &Shell) -> Result<Vec<Measured>> {
    if !has("node") || !has("npm") {
        println!("format1_encrypt: skipped: Node.js is not installed");
        return Ok(Vec::new());
    }
    let dir = crate::interop::prepare_node(sh, "media")?;
    cmd!(sh, "cargo build --release -p comity-benches --bin bench-media").run()?;
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
