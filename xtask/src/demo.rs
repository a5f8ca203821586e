//! `cargo xtask demo`: builds the three binaries and runs the guided demo.

use crate::run::{Result, announce, target_dir};
use std::ffi::{OsStr, OsString};
use std::process::Command;
use xshell::{Shell, cmd};

/// Release build and run; `--profile dev` before the demo's own arguments takes the dev build instead.
pub(crate) fn demo(sh: &Shell, args: &[OsString]) -> Result {
    match args {
        [flag, profile, rest @ ..] if flag == "--profile" && profile == "dev" => {
            cmd!(sh, "cargo build -p comity-cli -p comity-partner -p comity-gatekeeper --bins").run()?;
            run(sh, "debug", rest)
        }
        [flag, profile, rest @ ..] if flag == "--profile" && profile == "release" => release(sh, rest),
        rest => release(sh, rest),
    }
}

fn release(sh: &Shell, args: &[OsString]) -> Result {
    cmd!(sh, "cargo build --release -p comity-cli -p comity-partner -p comity-gatekeeper --bins").run()?;
    run(sh, "release", args)
}

/// Runs the demo of an already built profile.
pub(crate) fn run(sh: &Shell, profile_dir: &str, args: &[impl AsRef<OsStr>]) -> Result {
    let binary = target_dir(sh).join(profile_dir).join(format!("comity{}", std::env::consts::EXE_SUFFIX));
    // Not through the shell of this task: the demo draws on the terminal, and paths are the caller's.
    let mut demo = Command::new(binary);
    demo.arg("demo").args(args);
    announce(&demo);
    match demo.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("the demo failed ({status})").into()),
    }
}
