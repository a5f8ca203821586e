//! The deterministic simulation with both suites: clients, a gatekeeper and a network under virtual time, everything
//! that can fail failing (`cargo xtask sim`).
//!
//! `COMITY_SIM_SEEDS` and `COMITY_SIM_STEPS` set how much runs; `COMITY_SIM_SEED` replays one seed and prints its trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::print_stdout, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "the settings come from the environment, the seeds go to threads")]

use comity_signal::Suites;
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;
use comity_testkit::sim::{Counts, Invariant, Report, Sabotage, Setup, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What an ordinary `cargo test` runs.
const SEEDS: u64 = 40;
const STEPS: u32 = 2_000;
/// Per hundred seeds of [`STEPS`] steps at least this much has happened, or the run says nothing.
const MINIMA: [(&str, fn(&Counts) -> u64, u64); 11] = [
    ("sends", |c| c.sends, 1_000),
    ("deliveries", |c| c.deliveries, 1_000),
    ("client crashes", |c| c.client_crashes, 200),
    ("gatekeeper crashes", |c| c.gatekeeper_crashes, 50),
    ("partitions", |c| c.partitions, 50),
    ("broken connections", |c| c.breaks + c.half_open, 50),
    ("retries", |c| c.retries, 50),
    ("identity changes", |c| c.identity_changes, 10),
    ("accepted identities", |c| c.accepted, 10),
    ("store failures", |c| c.store_failures, 100),
    ("duplicates", |c| c.duplicates, 50),
];
/// Each sabotage is found within so many seeds.
const SABOTAGED_SEEDS: u64 = 500;

/// Partners' users speak both versions, the native user version 3 alone or, in every other world, both.
fn suites(seed: u64) -> impl Fn(usize) -> Suites + Sync {
    move |account| {
        let both = account != 1 || seed.is_multiple_of(2);
        if both { Suites::new().with(X3dh).with(Pqxdh::new()) } else { Suites::new().with(X3dh) }
    }
}

fn run_seed(seed: u64, steps: u32, sabotage: Sabotage, trace: bool) -> Report {
    run(seed, &Setup { suites: &suites(seed), steps, sabotage, trace })
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs the seeds on all cores until `stop` says so; gives the reports in any order.
fn run_seeds(seeds: u64, steps: u32, sabotage: Sabotage, stop: impl Fn(&Report) -> bool + Sync) -> Vec<Report> {
    let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let report = run_seed(seed, steps, sabotage, false);
                    if stop(&report) {
                        stopped.store(true, Ordering::Relaxed);
                    }
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    reports.into_inner().unwrap()
}

fn replay(seed: u64, steps: u32) -> String {
    format!("cargo xtask sim --seed {seed} --steps {steps}")
}

#[test]
fn nothing_is_lost_whatever_fails() {
    let steps = setting("COMITY_SIM_STEPS").map_or(STEPS, |steps| u32::try_from(steps).expect("fewer steps"));
    if let Some(seed) = setting("COMITY_SIM_SEED") {
        let report = run_seed(seed, steps, Sabotage::None, true);
        for line in &report.lines {
            println!("{line}");
        }
        println!("seed {seed}: {}", report.counts);
        assert!(report.broken.is_none(), "{:?}", report.broken);
        return;
    }
    let seeds = setting("COMITY_SIM_SEEDS").unwrap_or(SEEDS);
    let start = std::time::Instant::now();
    let mut reports = run_seeds(seeds, steps, Sabotage::None, |_| false);
    reports.sort_by_key(|report| report.seed);
    let mut counts = Counts::default();
    let mut broken = Vec::new();
    for report in &reports {
        counts += report.counts;
        if let Some((invariant, what)) = &report.broken {
            println!("{invariant}: {what}\n  {}", replay(report.seed, steps));
            broken.push(report.seed);
        }
    }
    println!("{seeds} seeds of {steps} steps in {:.0} s: {counts}", start.elapsed().as_secs_f64());
    let hundreds = seeds * u64::from(steps) / u64::from(STEPS);
    for (what, count, least) in MINIMA {
        let least = least * hundreds / 100;
        assert!(count(&counts) >= least, "{what}: {} of at least {least}", count(&counts));
    }
    assert!(broken.is_empty(), "{} seeds of {seeds} do not hold: {broken:?}", broken.len());
}

#[test]
fn a_replay_is_the_same_to_the_bit() {
    for seed in [0, 1] {
        let [first, second] = [(); 2].map(|()| run_seed(seed, 600, Sabotage::None, false));
        assert_eq!((first.digest, first.counts), (second.digest, second.counts), "seed {seed}");
    }
    let [first, second] = [2, 3].map(|seed| run_seed(seed, 600, Sabotage::None, false).digest);
    assert_ne!(first, second);
}

/// The bug is found, and by one of these invariants; gives how many seeds that took.
fn found(sabotage: Sabotage, by: &[Invariant]) {
    let reports = run_seeds(SABOTAGED_SEEDS, STEPS, sabotage, |report| report.broken.is_some());
    let broken: Vec<_> = reports.iter().filter_map(|r| Some((r.seed, r.broken.as_ref()?))).collect();
    println!("{sabotage:?}: {broken:?} within {} seeds", reports.len());
    assert!(!broken.is_empty(), "{sabotage:?} is not found in {SABOTAGED_SEEDS} seeds");
    for (seed, (invariant, what)) in broken {
        assert!(by.contains(invariant), "seed {seed}: {invariant}: {what}");
    }
}

#[test]
fn pre_key_ids_that_begin_again_are_found() {
    found(Sabotage::OldAccount, &[Invariant::PreKeyIdOnce]);
}

#[test]
fn a_batch_told_durable_too_early_is_found() {
    found(Sabotage::EarlyPersisted, &[Invariant::DurableFirst]);
}

#[test]
fn retry_receipts_that_go_nowhere_are_found() {
    found(Sabotage::LostRetries, &[Invariant::NothingLost]);
}
