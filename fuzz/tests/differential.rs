//! Runs every tracked seed of the differential target through it, without a fuzzer.
#![allow(clippy::disallowed_methods, reason = "tests")]

#[path = "../src/differential.rs"]
mod differential;

use std::path::Path;

#[test]
fn every_seed_passes() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/xmpp_binary_differential");
    let mut seeds: Vec<_> = std::fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for seed in seeds {
        println!("{}", seed.display()); // shown if the target panics
        differential::run(&std::fs::read(seed).unwrap());
    }
}
