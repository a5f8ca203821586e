//! `cargo xtask interop`: our crates against other people's implementations, as processes.
//!
//! An area's folder under `crates/comity-testkit/peers/` is copied to `target/interop/`, its packages are installed
//! there, our side is built, and its drivers run. A driver prints a JSON object a line for each case:
//! `{"peer","case","result":"ok|fail|skipped","reason"}`.

mod areas;

use crate::run::{Result, announce, has, out_dir};
use areas::{AREAS, Area, Driver, Program};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use xshell::{Shell, cmd};

/// The cases that have to appear in every report, `AREA.PEER.CASE` a line.
const CASES: &str = include_str!("../data/cases.txt");

/// A driver that takes longer hangs.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    result: &'static str,
    reason: String,
}

/// By area, peer and case.
type Report = BTreeMap<(String, String, String), Outcome>;

/// Runs an area, or all.
pub(crate) fn interop(sh: &Shell, wanted: &str) -> Result {
    if wanted != "all" && !AREAS.iter().any(|area| area.name == wanted) {
        let names: Vec<_> = AREAS.iter().map(|area| area.name).collect();
        return Err(format!("no area {wanted}; there are {} and all", names.join(", ")).into());
    }
    let mut report = Report::new();
    for area in AREAS.iter().filter(|area| wanted == "all" || area.name == wanted) {
        run_area(sh, area, wanted == "all", &mut report)?;
    }
    for (area, peer, case) in required().filter(|(area, ..)| wanted == "all" || area == wanted) {
        report.entry((area, peer, case)).or_insert_with(|| Outcome::skipped("no driver for it yet"));
    }

    let rows: Vec<Value> = report
        .iter()
        .map(|((area, peer, case), outcome)| {
            json!({"id": format!("{area}.{peer}.{case}"), "area": area, "peer": peer, "case": case,
                "result": outcome.result, "reason": outcome.reason})
        })
        .collect();
    sh.write_file(out_dir(sh, "interop")?.join("report.json"), serde_json::to_string_pretty(&rows)?)?;
    let mut counts = BTreeMap::from([("ok", 0), ("fail", 0), ("skipped", 0)]);
    for ((_, peer, case), outcome) in &report {
        *counts.entry(outcome.result).or_insert(0) += 1;
        match outcome.result {
            "ok" => println!("{peer} {case} ok"),
            "fail" => println!("{peer} {case} FAIL: {}", outcome.reason),
            _ => println!("{peer} {case} skipped: {}", outcome.reason),
        }
    }
    let [failed, ok, skipped] = ["fail", "ok", "skipped"].map(|result| counts.get(result).copied().unwrap_or(0));
    println!("interop: {ok} ok, {failed} failed, {skipped} skipped");
    if failed == 0 { Ok(()) } else { Err(format!("{failed} cases failed").into()) }
}

/// The ids of `cases.txt`.
fn required() -> impl Iterator<Item = (String, String, String)> {
    let ids = CASES.lines().filter(|line| !line.starts_with('#')).filter_map(|id| split_id(id.trim()));
    ids.map(|(area, peer, case)| (area.to_owned(), peer.to_owned(), case.to_owned()))
}

/// Area, peer and case of an id: split at the first and the last dot, a peer's version has dots of its own.
fn split_id(id: &str) -> Option<(&str, &str, &str)> {
    let (area, rest) = id.split_once('.')?;
    let (peer, case) = rest.rsplit_once('.')?;
    Some((area, peer, case))
}

fn run_area(sh: &Shell, area: &Area, workspace: bool, report: &mut Report) -> Result {
    if area.drivers.is_empty() {
        return Ok(());
    }
    let dir = out_dir(sh, "interop")?.join(area.name);
    copy_folder(sh, &sh.current_dir().join("crates/comity-testkit/peers").join(area.name), &dir)?;
    if has("node") && has("npm") {
        for (name, packages) in area.packages {
            install_packages(sh, &dir.join("packages").join(name), packages)?;
        }
    }
    let ours = build_ours(sh, area, workspace)?;
    for driver in area.drivers {
        let missing = match driver.program {
            Program::Node(_) | Program::Ours(_) if !has("node") || !has("npm") => Some("Node.js is not installed"),
            Program::Python(_) if !has("python3") => Some("Python is not installed"),
            _ => None,
        };
        let outcome = match missing {
            Some(reason) => Outcome::skipped(reason),
            None => match run_driver(sh, area, driver, &dir, &ours, report) {
                Ok(()) => Outcome::failed("the driver did not report it"),
                Err(error) => Outcome::failed(&error.to_string()),
            },
        };
        for (peer, case) in driver.provides {
            let key = (area.name.to_owned(), (*peer).to_owned(), (*case).to_owned());
            report.entry(key).or_insert_with(|| outcome.clone());
        }
    }
    Ok(())
}

/// An area's folder with its npm packages installed: where benches find their peers.
pub(crate) fn prepare_node(sh: &Shell, area: &str) -> Result<PathBuf> {
    let dir = out_dir(sh, "interop")?.join(area);
    copy_folder(sh, &sh.current_dir().join("crates/comity-testkit/peers").join(area), &dir)?;
    npm_install(sh, &dir)?;
    Ok(dir)
}

/// Builds the examples that stand for our side; `COMITY_NAME` tells a driver where each is. With the whole workspace's
/// features when every area runs: then the tests have compiled everything already.
fn build_ours(sh: &Shell, area: &Area, workspace: bool) -> Result<Vec<(String, PathBuf)>> {
    let mut ours = Vec::new();
    for (package, example) in area.examples {
        let scope = if workspace { vec!["--workspace"] } else { vec!["--package", package] };
        cmd!(sh, "cargo build {scope...} --all-features --example {example}").run()?;
        let binary = format!("{example}{}", std::env::consts::EXE_SUFFIX);
        let name = format!("COMITY_{}", example.to_uppercase().replace('-', "_"));
        ours.push((name, crate::run::target_dir(sh).join("debug/examples").join(binary)));
    }
    for (package, binary) in area.binaries {
        cmd!(sh, "cargo build --package {package} --bin {binary}").run()?;
        let binary = format!("{binary}{}", std::env::consts::EXE_SUFFIX);
        let name = package.to_uppercase().replace('-', "_");
        ours.push((name, crate::run::target_dir(sh).join("debug").join(binary)));
    }
    Ok(ours)
}

fn run_driver(
    sh: &Shell,
    area: &Area,
    driver: &Driver,
    dir: &Path,
    ours: &[(String, PathBuf)],
    report: &mut Report,
) -> Result {
    let mut command = match driver.program {
        Program::Node(script) => {
            npm_install(sh, &dir.join(script).parent().map_or_else(|| dir.to_owned(), Path::to_owned))?;
            let mut node = Command::new("node");
            node.arg(dir.join(script));
            node
        }
        Program::Python(script) => {
            let mut python = Command::new(venv(sh, dir)?);
            python.arg(dir.join(script));
            python
        }
        Program::Ours(name) => {
            let (_, binary) = ours.iter().find(|(known, _)| known == name).ok_or("no such example")?;
            Command::new(binary)
        }
    };
    for arg in driver.args {
        match *arg {
            "$PEERS" => command.arg(dir),
            "$PACKAGES" => command.arg(dir.join("packages")),
            arg => match ours.iter().find(|(name, _)| arg.strip_prefix('$') == Some(name)) {
                Some((_, path)) => command.arg(path),
                None => command.arg(arg),
            },
        };
    }
    command.envs(ours.iter().map(|(name, path)| (name, path))).env("COMITY_PEERS", dir);
    command.current_dir(dir);
    let mut strange = None;
    let status = lines_within(&mut command, DRIVER_TIMEOUT, |line| match parse(area.name, line) {
        Some((peer, case, outcome)) => {
            report.insert((area.name.to_owned(), peer, case), outcome);
        }
        None if line.trim().is_empty() => {}
        None => strange = Some(line.to_owned()),
    })?;
    if !status {
        return Err("the driver failed before it".into());
    }
    strange.map_or(Ok(()), |line| Err(format!("the driver printed {line:?}").into()))
}

/// One case of a driver. Its id may be given in full, and success may be called `pass`.
fn parse(area: &str, line: &str) -> Option<(String, String, Outcome)> {
    let row: Value = serde_json::from_str(line).ok()?;
    let text = |name| row.get(name).and_then(Value::as_str);
    let result = match text("result")? {
        "ok" | "pass" => "ok",
        "fail" => "fail",
        "skipped" | "skip" => "skipped",
        _ => return None,
    };
    let (peer, case) = match split_id(text("case")?) {
        Some((of, peer, case)) if of == area => (peer, case),
        _ => (text("peer")?, text("case")?),
    };
    let outcome = Outcome { result, reason: text("reason").unwrap_or_default().to_owned() };
    Some((peer.to_owned(), case.to_owned(), outcome))
}

/// `npm ci` by the tracked lock file (or `npm install` without one), once per state of the manifest.
fn npm_install(sh: &Shell, dir: &Path) -> Result {
    let manifest = sh.read_file(dir.join("package.json"))?;
    // The tracked one, if there is; npm's own is not asked for.
    let lock = sh.read_file(dir.join("package-lock.json")).unwrap_or_default();
    let stamp = dir.join("node_modules/.installed");
    if sh.read_file(&stamp).is_ok_and(|known| known == format!("{manifest}{lock}")) {
        return Ok(());
    }
    let _dir = sh.push_dir(dir);
    let (verb, lock_flag) = if lock.is_empty() { ("install", Some("--no-package-lock")) } else { ("ci", None) };
    cmd!(sh, "npm {verb} {lock_flag...} --ignore-scripts --no-audit --no-fund --loglevel=error")
        .ignore_stdout()
        .run()?;
    sh.write_file(stamp, format!("{manifest}{lock}"))?;
    Ok(())
}

/// A project of its own with exact versions, for peers that need several versions of one library.
fn install_packages(sh: &Shell, dir: &Path, packages: &[(&str, &str)]) -> Result {
    let wanted: serde_json::Map<_, _> =
        packages.iter().map(|(name, version)| ((*name).to_owned(), Value::from(*version))).collect();
    sh.create_dir(dir)?;
    sh.write_file(dir.join("package.json"), json!({"private": true, "dependencies": wanted}).to_string())?;
    npm_install(sh, dir)
}

/// The interpreter of a virtual environment with the packages of `requirements.txt`.
fn venv(sh: &Shell, dir: &Path) -> Result<PathBuf> {
    let python = dir.join("venv/bin/python");
    let wanted = sh.read_file(dir.join("requirements.txt"))?;
    let stamp = dir.join("venv/.installed");
    if sh.read_file(&stamp).is_ok_and(|known| known == wanted) {
        return Ok(python);
    }
    let _dir = sh.push_dir(dir);
    cmd!(sh, "python3 -m venv venv").run()?;
    cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check -r requirements.txt").run()?;
    sh.write_file(stamp, wanted)?;
    Ok(python)
}

/// Copies the tracked files of a folder over what an earlier run left; installed packages stay.
fn copy_folder(sh: &Shell, from: &Path, to: &Path) -> Result {
    sh.create_dir(to)?;
    for entry in sh.read_dir(from)? {
        let Some(name) = entry.file_name() else { continue };
        if name == "node_modules" {
            continue;
        }
        if entry.is_dir() { copy_folder(sh, &entry, &to.join(name))? } else { sh.copy_file(&entry, to.join(name))? }
    }
    Ok(())
}

/// Hands each line of `command`'s stdout to `line`; kills it at the time-out.
fn lines_within(command: &mut Command, limit: Duration, mut line: impl FnMut(&str)) -> Result<bool> {
    use std::io::BufRead;
    announce(command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let child = Arc::new(Mutex::new(child));
    let (done, ended) = mpsc::channel::<()>();
    let watched = Arc::clone(&child);
    let watchdog = std::thread::spawn(move || {
        let late = ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if late && let Ok(mut child) = watched.lock() {
            let _ = child.kill();
        }
        late
    });
    for text in std::io::BufReader::new(stdout).split(b'\n') {
        line(&String::from_utf8_lossy(&text?));
    }
    drop(done);
    if watchdog.join().map_err(|_| "watchdog")? {
        return Err(format!("no end after {} s", limit.as_secs()).into());
    }
    let status = child.lock().map_err(|_| "watchdog")?.wait()?;
    Ok(status.success())
}

impl Outcome {
    fn skipped(reason: &str) -> Self {
        Self { result: "skipped", reason: reason.to_owned() }
    }

    fn failed(reason: &str) -> Self {
        Self { result: "fail", reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_split_at_the_first_and_last_dot() {
        let all: Vec<_> = required().collect();
        assert_eq!(all.len(), CASES.lines().filter(|line| !line.starts_with('#')).count());
        let id = |a: &str, p: &str, c: &str| (a.to_owned(), p.to_owned(), c.to_owned());
        assert!(all.contains(&id("signal", "official-0.72.1", "v3-both")));
        assert!(all.iter().all(|(area, ..)| AREAS.iter().any(|known| known.name == area)));
    }

    #[test]
    fn what_a_driver_provides_is_in_the_list() {
        for area in AREAS {
            for (peer, case) in area.drivers.iter().flat_map(|driver| driver.provides) {
                let known = required().any(|(a, p, c)| a == area.name && p == *peer && c == *case);
                assert!(known, "{}.{peer}.{case}", area.name);
            }
        }
    }

    #[test]
    fn driver_lines_are_read_strictly() {
        let (peer, case, outcome) = parse("media", r#"{"peer":"baileys","case":"x","result":"ok"}"#).unwrap();
        assert_eq!((peer.as_str(), case.as_str()), ("baileys", "x"));
        assert_eq!(outcome, Outcome { result: "ok", reason: String::new() });
        let full = parse("noise", r#"{"peer":"b","case":"noise.b-0.1.x","result":"pass","reason":""}"#).unwrap();
        assert_eq!((full.0.as_str(), full.1.as_str()), ("b-0.1", "x"));
        assert!(parse("media", r#"{"peer":"baileys","case":"x","result":"OK"}"#).is_none());
        assert!(parse("media", "hello").is_none());
    }
}
