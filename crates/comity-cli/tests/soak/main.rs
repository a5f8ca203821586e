//! Clients, gatekeeper and partner server as processes, any of which is killed (SIGKILL) at any moment: no message lost,
//! none twice, none out of order. `COMITY_SOAK_SECONDS` says for how long; `cargo xtask soak` does it for twenty minutes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs,
    reason = "a test"
)]

mod client;
mod judge;
mod world;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use std::time::{Duration, Instant};
use world::{Kind, World};

/// In the ordinary tests.
const SECONDS: u64 = 20;
/// What twenty minutes must come to; shorter runs in proportion.
const FULL: Duration = Duration::from_secs(20 * 60);
const MIN_MESSAGES: u64 = 50_000;
const MIN_KILLS: u64 = 60;
/// Of each kind of process.
const MIN_KILLS_OF_KIND: u64 = 20;
/// From one kill to the next, in milliseconds, in a run of minutes and in a shorter one.
const BETWEEN_KILLS: std::ops::Range<u64> = 5_000..20_000;
const BETWEEN_KILLS_SHORT: std::ops::Range<u64> = 1_000..3_000;
/// A killed process stays away that long, in milliseconds.
const AWAY: std::ops::Range<u64> = 0..1_500;

/// Not a test: the client that is killed, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn client_process() {
    if let Ok(setup) = std::env::var(client::SETUP) {
        client::run(&serde_json::from_str(&setup).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_nothing_is_lost_repeated_or_reordered() {
    let seconds = std::env::var("COMITY_SOAK_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    if std::env::var(client::SETUP).is_ok() {
        return;
    }
    if let Err(missing) = world::binaries() {
        assert!(seconds.is_none(), "{missing} is not built");
        eprintln!("skipped: {missing} is not built (cargo build --workspace)");
        return;
    }
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let seed = std::env::var("COMITY_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!(
        "soak of {} s, seed {seed} (which process is killed when; not what the scheduler makes of it)",
        time.as_secs()
    );
    let mut rng = StdRng::seed_from_u64(seed);
    let between = if time < Duration::from_secs(120) { BETWEEN_KILLS_SHORT } else { BETWEEN_KILLS };
    let mut world = World::start().await;
    world.up_to_speed().await;

    let start = Instant::now();
    let (mut kills, mut bag, mut told) = ([0_u64; Kind::ALL.len()], Vec::new(), Instant::now());
    loop {
        let wait = Duration::from_millis(rng.random_range(between.clone()));
        if start.elapsed() + wait > time {
            break;
        }
        world.sleep(wait).await;
        // Random, but each kind as often as any other.
        let kind = match bag.pop() {
            Some(kind) => kind,
            None => {
                bag = Kind::ALL.to_vec();
                bag.shuffle(&mut rng);
                bag.pop().unwrap()
            }
        };
        let away = Duration::from_millis(rng.random_range(AWAY));
        world.kill_for(kind, &mut rng, away).await;
        kills[kind as usize] += 1;
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!(
                "{:>5} s: {} kills, {} messages",
                start.elapsed().as_secs(),
                kills.iter().sum::<u64>(),
                world.received()
            );
        }
    }
    world.sleep(time.saturating_sub(start.elapsed())).await;
    let total = world.finish().await;

    let [clients, gatekeeper, partner] = kills;
    println!(
        "seed {seed}: {} s; killed: clients {clients}, gatekeeper {gatekeeper}, partner {partner}; {total}",
        start.elapsed().as_secs()
    );
    assert_eq!(total.faults, Vec::<String>::new());
    let share = |full: u64| full * time.as_secs() / FULL.as_secs();
    assert!(total.messages >= share(MIN_MESSAGES), "too few messages: at least {}", share(MIN_MESSAGES));
    assert!(kills.iter().sum::<u64>() >= share(MIN_KILLS).max(3), "too few kills: at least {}", share(MIN_KILLS));
    assert!(kills.iter().all(|n| *n >= share(MIN_KILLS_OF_KIND).max(1)), "too few kills of one kind");
    world.remove();
}
