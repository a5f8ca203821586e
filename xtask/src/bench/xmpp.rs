//! The stanza codec beside wacore-binary, rxml and minidom, stanza by stanza over the wire data.

use super::{Measured, ROUNDS, Side, geomean, median};
use crate::run::{Result, target_dir};
use serde_json::{Value, json};
use std::process::Command;
use xshell::{Shell, cmd};

const CORPUS: &str = "crates/comity-xmpp/tests/data/baileys/stanzas";
const WACORE: &str = "wacore-binary 0.7";

pub(super) fn bench(sh: &Shell) -> Result<Vec<Measured>> {
    cmd!(sh, "cargo build --release -p comity-benches --bin bench-xmpp").run()?;
    let mut ours = Side::start(&mut Command::new(target_dir(sh).join("release/bench-xmpp")))?;
    let mut peer = Side::start(&mut Command::new(super::peers(sh, false)?.join("peer-xmpp")))?;
    let frames = corpus(sh)?;
    let mut stanzas = Vec::new();
    for (name, frame) in &frames {
        let answer = ours.ask(&json!({"bench": "xml", "input": frame}))?;
        if let Some(text) = answer.get("output").and_then(Value::as_str) {
            stanzas.push((name.clone(), text.to_owned()));
        }
    }

    let mut measured = Vec::new();
    let mut worst: Option<(f64, String)> = None;
    for (bench, metric) in [
        ("decode_borrowed", "decode_borrowed_geomean"),
        ("decode_owned", "decode_owned_geomean"),
        ("encode", "encode_geomean"),
    ] {
        let cases = cases(bench, &frames, &mut ours, &mut peer)?;
        for case in &cases {
            if worst.as_ref().is_none_or(|(ratio, _)| case.ratio() < *ratio) {
                worst = Some((case.ratio(), format!("{bench} of {}", case.name)));
            }
        }
        measured.push(sum_up(metric, WACORE, &cases));
    }
    if let Some((ratio, note)) = worst {
        let (metric, unit, samples) = ("worst_single_stanza", "ratio", Value::Null);
        measured.push(Measured { metric, unit, peer_name: WACORE, ours: ratio, peer: 1.0, ratio, note, samples });
    }
    for (metric, peer_name) in [("xml_strict_events", "rxml 0.14"), ("xml_strict_tree", "minidom 0.19")] {
        measured.push(sum_up(metric, peer_name, &cases(metric, &stanzas, &mut ours, &mut peer)?));
    }

    // Its fastest build, for information: it needs features that the stable compiler does not have.
    let mut simd = Side::start(&mut Command::new(super::peers(sh, true)?.join("peer-xmpp")))?;
    println!("beside its nightly SIMD build:");
    for bench in ["decode_borrowed", "decode_owned", "encode"] {
        let cases = cases(bench, &frames, &mut ours, &mut simd)?;
        println!("  {bench:<20} {:.2}", geomean(cases.iter().map(Case::ratio)));
    }
    Ok(measured)
}

/// The names of the stanzas that are measured.
pub(super) fn names(sh: &Shell) -> Result<Vec<String>> {
    Ok(corpus(sh)?.into_iter().map(|(name, _)| name).collect())
}

/// The plain frames of the wire data, in hex, sorted by name.
fn corpus(sh: &Shell) -> Result<Vec<(String, String)>> {
    let mut frames = Vec::new();
    for path in sh.read_dir(CORPUS)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "hex")) {
        let frame = sh.read_file(&path)?.trim().to_owned();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if frame.starts_with("00") {
            frames.push((name, frame));
        }
    }
    frames.sort();
    Ok(frames)
}

struct Case {
    name: String,
    ours: Vec<f64>,
    peer: Vec<f64>,
}

impl Case {
    /// How many times as fast as the peer we are.
    fn ratio(&self) -> f64 {
        median(&self.peer) / median(&self.ours)
    }
}

/// Measures `bench` of every input that both sides can read, in turns.
fn cases(bench: &str, inputs: &[(String, String)], ours: &mut Side, peer: &mut Side) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (name, input) in inputs {
        let request = json!({"bench": bench, "input": input});
        let mut case = Case { name: name.clone(), ours: Vec::new(), peer: Vec::new() };
        if let Some(error) = peer.ask(&request)?.get("error") {
            println!("{bench} of {name} left out: the peer says {error}");
            continue;
        }
        for _ in 0..ROUNDS {
            case.ours.push(ours.measure(&request)?);
            case.peer.push(peer.measure(&request)?);
        }
        cases.push(case);
    }
    Ok(cases)
}

fn sum_up(metric: &'static str, peer_name: &'static str, cases: &[Case]) -> Measured {
    let mut sorted: Vec<&Case> = cases.iter().collect();
    sorted.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let lowest = sorted.iter().take(3).map(|case| format!("{} {:.2}", case.name, case.ratio()));
    Measured {
        metric,
        unit: "ns",
        peer_name,
        ours: geomean(cases.iter().map(|case| median(&case.ours))),
        peer: geomean(cases.iter().map(|case| median(&case.peer))),
        ratio: geomean(cases.iter().map(Case::ratio)),
        note: format!("{} inputs; lowest {}", cases.len(), lowest.collect::<Vec<_>>().join(", ")),
        samples: cases.iter().map(|case| json!({"name": case.name, "ours": case.ours, "peer": case.peer})).collect(),
    }
}
