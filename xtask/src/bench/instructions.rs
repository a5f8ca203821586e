//! Instructions per stanza, counted by valgrind, held against the tracked counts: the gate that noise cannot move.

use crate::run::{Result, has, out_dir, target_dir};
use serde_json::{Map, Value, json};
use std::path::Path;
use xshell::{Shell, cmd};

const RUNNER: &str = "0.20.0";
const TRACKED: &str = "benches/data/xmpp_instructions.json";
/// Growth that counts as a regression.
const TOLERANCE: f64 = 1.03;

/// Counts, and compares with the tracked counts or replaces them. Counts of another compiler are not compared.
pub(super) fn gate(sh: &Shell, stanzas: &[String], accept: bool) -> Result {
    if !has("valgrind") {
        println!("instruction counts: skipped: valgrind is not installed");
        return Ok(());
    }
    let rustc = cmd!(sh, "rustc --version").read()?;
    let tracked: Value = if accept { json!({}) } else { serde_json::from_str(&sh.read_file(TRACKED)?)? };
    let comparable = tracked.get("rustc").and_then(Value::as_str) == Some(&rustc);
    let mut counts = Map::new();
    let (mut sum, mut sum_tracked, mut worse) = (0, 0, Vec::new());
    for (name, count) in count(sh, stanzas)? {
        if let Some(before) = tracked.pointer(&format!("/counts/{}", name.replace('/', "~1"))).and_then(Value::as_u64) {
            (sum, sum_tracked) = (sum + count, sum_tracked + before);
            if count as f64 > before as f64 * TOLERANCE {
                worse.push(format!("{name}: {before} -> {count}"));
            }
        }
        counts.insert(name, count.into());
    }
    println!("instruction counts: {} of {} stanzas", counts.len(), stanzas.len());
    if accept {
        sh.write_file(TRACKED, serde_json::to_string_pretty(&json!({"rustc": rustc, "counts": counts}))? + "\n")?;
        println!("written to {TRACKED}");
    } else if comparable {
        println!("in all {sum}, tracked {sum_tracked}");
        if !worse.is_empty() {
            return Err(format!("more instructions than tracked (accept with --accept):\n{}", worse.join("\n")).into());
        }
    } else {
        println!("tracked with another compiler: not compared");
    }
    Ok(())
}

/// `bench/stanza` and its instructions.
fn count(sh: &Shell, stanzas: &[String]) -> Result<Vec<(String, u64)>> {
    let tools = out_dir(sh, "tools")?;
    let runner = tools.join("bin/gungraun-runner");
    if !runner.exists() {
        cmd!(sh, "cargo install gungraun-runner --version {RUNNER} --locked --root {tools}").run()?;
    }
    let bench = cmd!(sh, "cargo bench -q -p comity-benches --bench xmpp_instructions -- --save-summary=json");
    bench.env("GUNGRAUN_RUNNER", runner).ignore_stdout().ignore_stderr().run()?;
    let out = target_dir(sh).join("gungraun/comity-benches/xmpp_instructions/codec");
    let mut counts = Vec::new();
    for dir in sh.read_dir(out)? {
        // FUNCTION.stanza_N
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((function, index)) = name.split_once(".stanza_") else { continue };
        let Some(stanza) = index.parse().ok().and_then(|index: usize| stanzas.get(index)) else { continue };
        counts.push((format!("{function}/{stanza}"), instructions(sh, &dir)?));
    }
    Ok(counts)
}

fn instructions(sh: &Shell, dir: &Path) -> Result<u64> {
    let summary: Value = serde_json::from_str(&sh.read_file(dir.join("summary.json"))?)?;
    let new = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new").and_then(Value::as_u64);
    new.ok_or_else(|| format!("{} names no instructions", dir.display()).into())
}
