//! `cargo xtask bench`: our figures beside a peer's, measured alternately in one run.
//!
//! Both sides are processes that answer one JSON line per request with nanoseconds, so that neither runs while the
//! other is measured. Raw samples are kept beside the report.

mod instructions;
mod media;
mod noise;
mod relay;
mod signal;
mod xmpp;

use crate::run::{Result, announce, out_dir, target_dir};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use xshell::{Shell, cmd};

/// Metrics and goals, the tracked copy.
const GOALS: &str = include_str!("../data/goals.json");
const AREAS: [&str; 5] = ["xmpp", "noise", "signal", "media", "gatekeeper"];
/// Rounds of one measurement by each side.
const ROUNDS: usize = 11;

/// Measures an area, or all that have benches.
pub(crate) fn bench(sh: &Shell, area: Option<&str>, accept: bool) -> Result {
    if let Some(area) = area.filter(|area| !AREAS.contains(area)) {
        return Err(format!("no area {area}; there are {}", AREAS.join(", ")).into());
    }
    for name in AREAS.iter().filter(|name| area.is_none_or(|area| area == **name)) {
        let measured = match *name {
            "xmpp" => xmpp::bench(sh)?,
            "noise" => noise::bench(sh)?,
            "signal" => signal::bench(sh)?,
            "media" => media::bench(sh)?,
            _ => Vec::new(),
        };
        report(sh, name, &measured)?;
        if *name == "xmpp" {
            instructions::gate(sh, &xmpp::names(sh)?, accept)?;
        }
    }
    Ok(())
}

/// One metric, measured.
struct Measured {
    metric: &'static str,
    unit: &'static str,
    peer_name: &'static str,
    ours: f64,
    peer: f64,
    /// More is better for us.
    ratio: f64,
    note: String,
    samples: Value,
}

/// Writes `target/bench/AREA.json` and prints the table; goals without a figure yet are named, not passed over.
fn report(sh: &Shell, area: &str, measured: &[Measured]) -> Result {
    let goals: Vec<Value> = serde_json::from_str(GOALS)?;
    let mut rows = Vec::new();
    println!("{:<28} {:>12} {:>12} {:<6} {:>7} {:>6}  met", "metric", "ours", "peer", "unit", "ratio", "goal");
    for goal in goals.iter().filter(|goal| goal.get("bench").is_some_and(|bench| bench == area)) {
        let name = goal.get("metric").and_then(Value::as_str).ok_or("goals.json: metric")?;
        let wanted = goal.get("goal").and_then(Value::as_f64).ok_or("goals.json: goal")?;
        let Some(found) = measured.iter().find(|found| found.metric == name) else {
            println!("{name:<28} {:>12}", "no bench yet");
            continue;
        };
        let Measured { unit, peer_name, ours, peer, ratio, note, .. } = found;
        let met = *ratio >= wanted;
        println!("{name:<28} {ours:>12.1} {peer:>12.1} {unit:<6} {ratio:>7.2} {wanted:>6.2}  {met:<5}  {note}");
        rows.push(json!({"metric": name, "ours": ours, "peer": peer, "peer_name": peer_name,
            "unit": unit, "ratio": ratio, "goal": wanted, "met": met, "note": note}));
    }
    let dir = out_dir(sh, "bench")?;
    sh.write_file(dir.join(format!("{area}.json")), serde_json::to_string_pretty(&rows)?)?;
    let raw: Vec<Value> =
        measured.iter().map(|found| json!({"metric": found.metric, "samples": found.samples})).collect();
    sh.write_file(dir.join(format!("{area}.samples.json")), serde_json::to_string_pretty(&raw)?)?;
    Ok(())
}

/// Builds the peers, out of their own lock file, and says where they are.
fn peers(sh: &Shell, simd: bool) -> Result<PathBuf> {
    let target = target_dir(sh).join(if simd { "bench-peers-simd" } else { "bench-peers" });
    let mut build =
        cmd!(sh, "cargo build --release --locked --manifest-path benches/peers/Cargo.toml --target-dir {target}");
    if simd {
        build = build.args(["--features", "simd"]).env("RUSTC_BOOTSTRAP", "1");
    }
    build.run()?;
    Ok(target.join("release"))
}

/// One bench of ours and one of the peer, in turns.
fn beside(
    metric: &'static str,
    peer_name: &'static str,
    (ours, mine): (&mut Side, &str),
    (peer, theirs): (&mut Side, &str),
) -> Result<Measured> {
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let [ours_ns, peer_ns] = &mut samples;
        ours_ns.push(ours.measure(&json!({"bench": mine, "input": ""}))?);
        peer_ns.push(peer.measure(&json!({"bench": theirs, "input": ""}))?);
    }
    let [ours, peer] = samples.each_ref().map(|samples| median(samples));
    let (ratio, note) = (peer / ours, String::new());
    Ok(Measured { metric, unit: "ns", peer_name, ours, peer, ratio, note, samples: json!(samples) })
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn geomean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value.ln()));
    f64::exp(sum / count)
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

    fn ask(&mut self, request: &Value) -> Result<Value> {
        let requests = self.requests.as_mut().ok_or("no stdin")?;
        writeln!(requests, "{request}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Nanoseconds of what is asked for.
    fn measure(&mut self, request: &Value) -> Result<f64> {
        let answer = self.ask(request)?;
        answer.get("ns").and_then(Value::as_f64).ok_or_else(|| format!("a side says {answer}").into())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.requests = None; // the end of its input ends the process
        let _ = self.child.wait();
    }
}
