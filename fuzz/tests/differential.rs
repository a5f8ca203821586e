//! Runs every tracked seed of the differential targets through them, without a fuzzer.
#![allow(clippy::disallowed_methods, reason = "tests")]

#[path = "../src/differential.rs"]
mod differential;
#[path = "../src/snow_differential.rs"]
mod snow_differential;

use std::path::Path;

#[test]
fn every_seed_passes() {
    replay("noise_snow_differential", snow_differential::run);
    replay("xmpp_binary_differential", differential::run);
}

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seed");
    for seed in seeds {
        println!("{}", seed.display()); // shown if the target panics
        run(&std::fs::read(seed).unwrap());
    }
}
