//! `cargo xtask fuzz`: the targets of `fuzz/` and `fuzz/signal/`, driven by cargo-fuzz.

use crate::flags;
use crate::run::{Result, out_dir};
use std::path::PathBuf;
use xshell::{Shell, cmd};

const CARGO_FUZZ: &str = "0.13.2";
const SECONDS: u32 = 60;
/// The fuzz crates: the one of the signal targets is apart, for it links (and sanitizes) both engines.
const CRATES: [&str; 2] = ["fuzz", "fuzz/signal"];

/// `list`, `build`, `replay` or `run TARGET`.
pub(crate) fn fuzz(sh: &Shell, flags: &flags::Fuzz) -> Result {
    match (flags.action.as_str(), &flags.target) {
        ("list", None) => {
            targets(sh)?.iter().for_each(|(_, target)| println!("{target}"));
            Ok(())
        }
        ("build", None) => build(sh),
        ("replay", None) => replay(sh),
        ("run", Some(target)) => run(sh, target, flags.seconds.unwrap_or(SECONDS)),
        _ => Err("fuzz list | build | replay | run TARGET [--seconds N]".into()),
    }
}

/// The targets, as cargo sees them, each with its crate's folder.
fn targets(sh: &Shell) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for dir in CRATES {
        let manifest = format!("{dir}/Cargo.toml");
        let metadata = cmd!(sh, "cargo metadata --manifest-path {manifest} --no-deps --format-version 1").read()?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        let targets = metadata.pointer("/packages/0/targets").and_then(|targets| targets.as_array());
        let bins = targets
            .into_iter()
            .flatten()
            .filter(|target| target.pointer("/kind/0").is_some_and(|kind| kind == "bin"))
            .filter_map(|target| Some(target.get("name")?.as_str()?.to_owned()));
        found.extend(bins.map(|name| (dir, name)));
    }
    found.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(found)
}

/// Builds every target with the address sanitizer and coverage counters.
pub(crate) fn build(sh: &Shell) -> Result {
    let tool = tool(sh)?;
    // The sanitizers ship with the stable toolchain, only the flags to use them do not.
    for dir in CRATES {
        cmd!(sh, "{tool} build --fuzz-dir {dir}").env("RUSTC_BOOTSTRAP", "1").run()?;
    }
    Ok(())
}

/// Runs every seed through its target as it was built, sanitizer and all.
pub(crate) fn seeds(sh: &Shell) -> Result {
    let tool = tool(sh)?;
    for (dir, target) in targets(sh)? {
        let seeds = format!("{dir}/seeds/{target}");
        cmd!(sh, "{tool} run --fuzz-dir {dir} {target} {seeds} -- -runs=0")
            .env("RUSTC_BOOTSTRAP", "1")
            .quiet()
            .ignore_stderr()
            .run()?;
    }
    Ok(())
}

/// Runs every seed through its target, by the ordinary tests that do so; those of the differential targets by the test
/// beside them, for only their own lock file has the decoders to compare with.
fn replay(sh: &Shell) -> Result {
    cmd!(sh, "cargo test -p comity-testkit --test fuzz_replay").run()?;
    cmd!(sh, "cargo test -p comity-cli --test fuzz_replay_signal").run()?;
    cmd!(sh, "cargo test --manifest-path fuzz/Cargo.toml --test differential").run()?;
    Ok(())
}

fn run(sh: &Shell, target: &str, seconds: u32) -> Result {
    let Some((dir, _)) = targets(sh)?.into_iter().find(|(_, name)| name == target) else {
        return Err(format!("no fuzz target {target}; see `cargo xtask fuzz list`").into());
    };
    let tool = tool(sh)?;
    let (corpus, seeds) = (format!("{dir}/corpus/{target}"), format!("{dir}/seeds/{target}"));
    sh.create_dir(&corpus)?;
    let bounds = [&format!("-max_total_time={seconds}"), "-rss_limit_mb=2048", "-timeout=10"];
    let words = format!("{dir}/dicts/{target}.dict");
    let words = sh.path_exists(&words).then(|| format!("-dict={words}"));
    cmd!(sh, "{tool} run --fuzz-dir {dir} {target} {corpus} {seeds} -- {bounds...} {words...}")
        .env("RUSTC_BOOTSTRAP", "1")
        .run()?;
    Ok(())
}

/// cargo-fuzz, installed under `target/tools` unless it is there.
fn tool(sh: &Shell) -> Result<PathBuf> {
    let root = out_dir(sh, "tools")?;
    let binary = root.join("bin").join(format!("cargo-fuzz{}", std::env::consts::EXE_SUFFIX));
    if !binary.exists() {
        cmd!(sh, "cargo install cargo-fuzz --version {CARGO_FUZZ} --locked --root {root}").run()?;
    }
    Ok(binary)
}
