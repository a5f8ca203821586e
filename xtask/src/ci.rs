//! `cargo xtask ci`: everything that has to hold. `.ci/run` calls this and nothing else.

use crate::run::{Result, lines};
use crate::{demo, fuzz, interop, test, tidy};
use std::process::Command;
use std::time::Instant;
use xshell::{Shell, cmd};

/// The workspaces beside the main one.
const OTHERS: [&str; 3] = ["fuzz", "fuzz/signal", "benches/peers"];

/// Cheap checks first; stops at the first failure; the test totals are the last line.
pub(crate) fn ci(sh: &Shell) -> Result {
    let mut totals = None;
    let done = steps(sh, &mut totals);
    if let Some(totals) = totals {
        println!("{totals}");
    }
    done
}

fn steps(sh: &Shell, totals: &mut Option<String>) -> Result {
    step("format", || {
        cmd!(sh, "cargo fmt --all --check").run()?;
        for other in OTHERS {
            cmd!(sh, "cargo fmt --manifest-path {other}/Cargo.toml --check").run()?;
        }
        Ok(())
    })?;
    step("lock files", || {
        for other in OTHERS {
            cmd!(sh, "cargo metadata --locked --format-version 1 --manifest-path {other}/Cargo.toml").quiet().read()?;
        }
        Ok(())
    })?;
    step("tidy", || tidy::tidy(sh))?;
    step("clippy", || Ok(cmd!(sh, "cargo clippy --workspace --all-targets --all-features -- -D warnings").run()?))?;
    step("documentation", || {
        Ok(cmd!(sh, "cargo doc --workspace --all-features --no-deps").env("RUSTDOCFLAGS", "-D warnings").run()?)
    })?;
    step("tests", || readme_test_command(sh, totals))?;
    step("demo", || {
        // The features of the tests, so that nothing is compiled twice.
        cmd!(sh, "cargo build --workspace --all-features --bins --tests").run()?;
        demo::run(sh, "debug", &["--json"])
    })?;
    step("simulation", || test::sim(sh, 500, 2000, None))?;
    step("foreign peers", || interop::interop(sh, "all"))?;
    step("fuzz targets", || fuzz::build(sh))?;
    step("fuzz seeds", || fuzz::seeds(sh))
}

/// The README promises `cargo xtask test`; so that is what runs.
fn readme_test_command(sh: &Shell, totals: &mut Option<String>) -> Result {
    let readme = sh.read_file("README.md")?;
    if !readme.lines().any(|line| line.trim_start_matches("$ ").trim().starts_with("cargo xtask test")) {
        return Err("README.md does not name `cargo xtask test` on a line of its own".into());
    }
    let mut last = String::new();
    let ok = lines(Command::new("cargo").args(["xtask", "test"]).current_dir(sh.current_dir()), |line| {
        println!("{line}");
        line.clone_into(&mut last);
    })?;
    *totals = Some(last);
    if ok { Ok(()) } else { Err("tests failed".into()) }
}

fn step(name: &str, work: impl FnOnce() -> Result) -> Result {
    eprintln!("\n== {name}");
    let start = Instant::now();
    work().map_err(|error| format!("{name}: {error}"))?;
    eprintln!("== {name}: ok, {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
