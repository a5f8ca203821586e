//! The demo as a program: what it says, and how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test"
)]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The demo of this build; none if the servers' binaries are not beside it.
fn demo() -> Option<Command> {
    let comity = Path::new(env!("CARGO_BIN_EXE_comity"));
    for server in ["comity-partner", "comity-gatekeeper"] {
        if !comity.with_file_name(format!("{server}{}", std::env::consts::EXE_SUFFIX)).exists() {
            eprintln!("skipped: {server} is not built (cargo build --workspace)");
            return None;
        }
    }
    let mut command = Command::new(comity);
    command.args(["demo", "--json"]);
    Some(command)
}

fn lines(stdout: &[u8]) -> Vec<Value> {
    stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
}

#[test]
fn every_file_arrives_with_its_hash() {
    let Some(mut demo) = demo() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (empty, odd) = (dir.path().join("empty"), dir.path().join("a name with ümlaut.jpg"));
    std::fs::write(&empty, b"").unwrap();
    std::fs::write(&odd, [&b"\xff\xd8\xff\xe0"[..], &[7; 100_000]].concat()).unwrap();
    let kept = dir.path().join("kept");
    let output = demo
        .arg("--file")
        .arg(&empty)
        .arg("--file")
        .arg(&odd)
        .args(["--file-size", "3MiB", "--dir"])
        .arg(&kept)
        .output()
        .unwrap();
    let lines = lines(&output.stdout);
    assert!(output.status.success(), "{:?}", lines.last());
    let files: Vec<_> = lines.iter().filter(|line| line["step"] == "file_received").collect();
    assert_eq!(files.len(), 4, "three there, the smallest one back");
    for file in &files {
        assert_eq!(file["sha256_before"], file["sha256_after"]);
        let path = file["path"].as_str().unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().len(), file["bytes"].as_u64().unwrap());
    }
    assert_eq!((files[0]["kind"].as_str(), files[1]["kind"].as_str()), (Some("document"), Some("image")));
    assert_eq!(files[2]["bytes"], 3 << 20);
    if cfg!(target_os = "linux") {
        let memory = lines.iter().find(|line| line["step"] == "memory").expect("memory is measured");
        assert!(memory["most"].as_u64().unwrap() > 1_000_000 && memory["max"] == 200_000_000, "{memory}");
    }
    let summary = &lines.last().unwrap();
    assert!(lines.iter().any(|line| line["summary"]["files"] == 4), "{summary}");
}

#[test]
fn a_killed_partner_server_is_named_and_not_waited_for() {
    let Some(mut demo) = demo() else { return };
    let mut demo = demo.stdout(Stdio::piped()).spawn().unwrap();
    let mut partner = None;
    let mut failed = None;
    let mut killed = Instant::now();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match line["step"].as_str() {
            Some("partner_ready") => partner = line["pid"].as_u64(),
            Some("key_fetch") => {
                let pid = partner.expect("the partner server was ready").to_string();
                assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
                killed = Instant::now();
            }
            _ => {}
        }
        failed = line["failed"].as_str().map(str::to_owned).or(failed);
    }
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    assert!(killed.elapsed() < Duration::from_secs(15), "it took {:?}", killed.elapsed());
    let failed = failed.expect("it says what failed");
    assert!(failed.contains("comity-partner"), "{failed}");
}

#[test]
fn a_file_that_is_not_there_is_refused_before_anything_starts() {
    let output = Command::new(env!("CARGO_BIN_EXE_comity")).args(["demo", "--file", "no-such-file"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--file no-such-file"), "{said}");
}
