//! `cargo xtask bench`: our figures beside a peer's, measured alternately in one run.
//!
//! Both sides are processes that answer one JSON line per request with nanoseconds, so that neither runs while the
//! other is measured. Raw samples are kept beside the report.

use crate::run::{Result, announce, has, out_dir, target_dir};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use xshell::{Shell, cmd};

/// Metrics and goals, the tracked copy.
const GOALS: &str = include_str!("../data/goals.json");
const AREAS: [&str; 5] = ["xmpp", "noise", "signal", "media", "gatekeeper"];
/// Rounds of one measurement by each side; the first is thrown away.
const ROUNDS: usize = 12;
/// Plaintext of one media measurement.
const MEDIA_LEN: u64 = 64 << 20;

/// Measures an area, or all that have benches.
pub(crate) fn bench(sh: &Shell, area: Option<&str>) -> Result {
    if let Some(area) = area.filter(|area| !AREAS.contains(area)) {
        return Err(format!("no area {area}; there are {}", AREAS.join(", ")).into());
    }
    for name in AREAS.iter().filter(|name| area.is_none_or(|area| area == **name)) {
        let measured = if *name == "media" { media(sh)? } else { Vec::new() };
        report(sh, name, &measured)?;
    }
    Ok(())
}

/// One metric, measured.
struct Measured {
    metric: &'static str,
    unit: &'static str,
    peer_name: String,
    ours: Vec<f64>,
    peer: Vec<f64>,
}

/// Writes `target/bench/AREA.json` and prints the table; goals without a figure yet are named, not passed over.
fn report(sh: &Shell, area: &str, measured: &[Measured]) -> Result {
    let goals: Vec<Value> = serde_json::from_str(GOALS)?;
    let mut rows = Vec::new();
    println!("{:<28} {:>12} {:>12} {:<8} {:>7} {:>6}  met", "metric", "ours", "peer", "unit", "ratio", "goal");
    for goal in goals.iter().filter(|goal| goal.get("bench").is_some_and(|bench| bench == area)) {
        let name = goal.get("metric").and_then(Value::as_str).ok_or("goals.json: metric")?;
        let wanted = goal.get("goal").and_then(Value::as_f64).ok_or("goals.json: goal")?;
        let Some(found) = measured.iter().find(|found| found.metric == name) else {
            println!("{name:<28} {:>12}", "no bench yet");
            continue;
        };
        let (ours, peer) = (median(&found.ours), median(&found.peer));
        let ratio = ours / peer;
        let met = ratio >= wanted;
        println!("{name:<28} {ours:>12.1} {peer:>12.1} {:<8} {ratio:>7.2} {wanted:>6.2}  {met}", found.unit);
        rows.push(json!({"metric": name, "ours": ours, "peer": peer, "peer_name": found.peer_name,
            "unit": found.unit, "ratio": ratio, "goal": wanted, "met": met}));
    }
    let dir = out_dir(sh, "bench")?;
    sh.write_file(dir.join(format!("{area}.json")), serde_json::to_string_pretty(&rows)?)?;
    let raw: Vec<Value> = measured
        .iter()
        .map(|found| json!({"metric": found.metric, "unit": found.unit, "ours": found.ours, "peer": found.peer}))
        .collect();
    sh.write_file(dir.join(format!("{area}.samples.json")), serde_json::to_string_pretty(&raw)?)?;
    Ok(())
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Format 1 from file to file, beside Baileys in Node doing the same.
fn media(sh: &Shell) -> Result<Vec<Measured>> {
    if !has("node") || !has("npm") {
        println!("format1_encrypt: skipped: Node.js is not installed");
        return Ok(Vec::new());
    }
    let dir = crate::interop::prepare_node(sh, "media")?;
    cmd!(sh, "cargo build --release -p comity-benches --bin bench-media").run()?;
    let mut ours = Side::start(Command::new(target_dir(sh).join("release/bench-media")).current_dir(&dir))?;
    let mut peer = Side::start(Command::new("node").arg("bench.mjs").current_dir(&dir))?;
    let source = dir.join("bench.plain");
    sh.write_file(&source, vec![0x5a; usize::try_from(MEDIA_LEN)?])?;
    let mut measured = Measured {
        metric: "format1_encrypt",
        unit: "MB/s",
        peer_name: "baileys 7.0.0-rc14 encryptedStream, Node".to_owned(),
        ours: Vec::new(),
        peer: Vec::new(),
    };
    for round in 0..ROUNDS {
        for (side, samples) in [(&mut ours, &mut measured.ours), (&mut peer, &mut measured.peer)] {
            let nanos = side.measure(&source)?;
            if round > 0 {
                samples.push(MEDIA_LEN as f64 * 1e3 / nanos);
            }
        }
    }
    sh.remove_path(source)?;
    Ok(vec![measured])
}

/// A process that measures on request.
struct Side {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Side {
    fn start(command: &mut Command) -> Result<Self> {
        announce(command);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, requests, answers })
    }

    fn measure(&mut self, source: &Path) -> Result<f64> {
        let requests = self.requests.as_mut().ok_or("no stdin")?;
        writeln!(requests, "{}", json!({"cmd": "encrypt", "path": source}))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let answer: Value = serde_json::from_str(&answer)?;
        answer.get("ns").and_then(Value::as_f64).ok_or_else(|| format!("bench peer says {answer}").into())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.requests = None; // the end of its input ends the process
        let _ = self.child.wait();
    }
}
