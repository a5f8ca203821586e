//! Runs every tracked fuzz seed through its target, without a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![allow(unreachable_pub, reason = "the file is a library of its own")]

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::path::Path;

fn fuzz(part: &str) -> impl Iterator<Item = std::path::PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(part);
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path())
}

#[test]
fn every_seed_passes() {
    for (name, _) in targets::TARGETS {
        let mut seeds: Vec<_> = fuzz(&format!("seeds/{name}")).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{name} has no seed");
        for seed in seeds {
            println!("{name} {}", seed.display()); // shown if the target panics
            targets::run(name, &std::fs::read(seed).unwrap());
        }
    }
}

#[test]
fn every_target_is_replayed() {
    let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files: BTreeSet<String> = fuzz("fuzz_targets").map(stem).collect();
    // The differential ones are replayed in their own workspace.
    let names = targets::TARGETS.iter().map(|(name, _)| name).chain(targets::DIFFERENTIAL);
    assert_eq!(files, names.map(|name| (*name).to_owned()).collect());
}

/// Or no target could notice an allocation.
#[test]
fn allocations_are_counted() {
    let (held, calls, peak) = targets::alloc::cost(|| vec![0u8; 1000]);
    assert_eq!((held.len(), calls, peak), (1000, 1, 1000));
}
