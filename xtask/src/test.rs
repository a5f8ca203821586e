//! `cargo xtask test`: the whole test suite, ending in a total line.

use crate::flags::Soak;
use crate::run::{Result, lines};
use std::ffi::OsString;
use std::fmt;
use std::ops::AddAssign;
use std::process::Command;
use xshell::{Shell, cmd};

/// What the test harnesses counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.ignored)
    }
}

/// Runs the tests and prints the totals, alone on the last line.
pub(crate) fn test(sh: &Shell, args: &[OsString]) -> Result {
    let mut totals = Totals::default();
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--all-features", "--no-fail-fast"]).args(args).current_dir(sh.current_dir());
    let ok = lines(&mut cargo, |line| {
        println!("{line}");
        if let Some(found) = summary(line) {
            totals += found;
        }
    })?;
    println!("{totals}");
    if ok { Ok(()) } else { Err("tests failed".into()) }
}

/// Runs the simulation with so many seeds of so many steps, or replays one seed.
pub(crate) fn sim(sh: &Shell, seeds: u64, steps: u32, seed: Option<u64>) -> Result {
    let test = "nothing_is_lost_whatever_fails";
    let run = cmd!(sh, "cargo test --workspace --all-features --test sim {test} -- --nocapture");
    let run = run.env("COMITY_SIM_SEEDS", seeds.to_string()).env("COMITY_SIM_STEPS", steps.to_string());
    match seed {
        Some(seed) => run.env("COMITY_SIM_SEED", seed.to_string()),
        None => run,
    }
    .run()?;
    Ok(())
}

/// Runs the SIGKILL loop so often for each suite.
pub(crate) fn kill(sh: &Shell, kills: u32) -> Result {
    let kills = kills.to_string();
    cmd!(sh, "cargo test --workspace --all-features --test sigkill -- --nocapture").env("COMITY_KILLS", kills).run()?;
    Ok(())
}

/// Kills under load: any process for so many minutes, or the gatekeeper so often.
pub(crate) fn soak(sh: &Shell, flags: &Soak) -> Result {
    if flags.server || flags.rounds.is_some() {
        let rounds = flags.rounds.unwrap_or(200).to_string();
        cmd!(sh, "cargo test --workspace --all-features --test end_to_end soak -- --nocapture")
            .env("COMITY_ROUNDS", rounds)
            .run()?;
        return Ok(());
    }
    let seconds = (u64::from(flags.minutes.unwrap_or(20)) * 60).to_string();
    // The servers are programs of their own.
    cmd!(sh, "cargo build --workspace --all-features --bins").run()?;
    let mut test = cmd!(sh, "cargo test --workspace --all-features --test soak -- --nocapture");
    test = test.env("COMITY_SOAK_SECONDS", seconds);
    if let Some(seed) = flags.seed {
        test = test.env("COMITY_SEED", seed.to_string());
    }
    Ok(test.run()?)
}

/// Reads a harness's summary line: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn summary(line: &str) -> Option<Totals> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut totals = Totals::default();
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else { continue };
        match what {
            "passed" => totals.passed = number.parse().ok()?,
            "failed" => totals.failed = number.parse().ok()?,
            "ignored" => totals.ignored = number.parse().ok()?,
            _ => {}
        }
    }
    Some(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_add_up() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.27s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test tests::result ... ok",
        ] {
            if let Some(found) = summary(line) {
                totals += found;
            }
        }
        assert_eq!(totals.to_string(), "13 passed, 2 failed, 1 skipped");
    }
}
