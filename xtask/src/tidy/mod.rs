//! `cargo xtask tidy`: the rules of the house as code.

mod arrows;
mod files;
mod graph;

use crate::run::Result;
use graph::Graph;
use xshell::{Shell, cmd};

/// Checks every rule and prints every breach.
pub(crate) fn tidy(sh: &Shell) -> Result {
    // Every edge that any feature can switch on counts: more than any binary is built with.
    let metadata = cmd!(sh, "cargo metadata --format-version 1 --all-features").read()?;
    let graph = Graph::parse(&metadata)?;
    let mut breaches = arrows::check(&graph);
    breaches.extend(arrows::check_licence_files(&graph));
    // With two TLS providers in one graph the process has no default one. `cargo metadata` lists ring for whoever could
    // switch it on; `cargo tree` knows who does.
    let ring = cmd!(sh, "cargo tree --workspace --all-features --target all --edges all --invert ring --prefix none");
    let ring = ring.ignore_status().ignore_stderr().read()?;
    breaches.extend(ring.lines().nth(1).map(|user| format!("{user} brings ring; the one TLS provider is aws-lc-rs")));
    let tracked = cmd!(sh, "git ls-files").read()?;
    for path in tracked.lines() {
        let Ok(text) = sh.read_file(path) else { continue }; // deleted, or not text
        breaches.extend(files::check(path, &text));
    }
    for breach in &breaches {
        println!("tidy: {breach}");
    }
    match breaches.len() {
        0 => {
            println!("tidy: {} crates and {} files are in order", graph.members().count(), tracked.lines().count());
            Ok(())
        }
        n => Err(format!("{n} rules broken").into()),
    }
}
