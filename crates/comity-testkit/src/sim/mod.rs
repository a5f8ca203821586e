//! Accounts, a gatekeeper, their stores and the network between them in one thread under virtual time: a run is a function
//! of its seed, and whatever goes wrong in it goes wrong again (PROTOCOL §5, §7, §8).
//!
//! The accounts are [`comity_engine::Engine`]s with the suites of the caller. Everything around them is simulated: the
//! network holds back, cuts and half-closes connections; stores commit late, fail, are full and lose what was not synced;
//! clients and gatekeeper crash at any moment; the gatekeeper repeats, replays and corrupts stanzas, hands its one-time keys
//! to strangers and replaces log-ins; applications crash between an event and its confirmation, and users install anew.
//! After `steps` events the faults stop, and everything has to drain.
//!
//! What must hold is in [`Invariant`]; [`run`] ends at the first breach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a world for tests: what it does not expect of itself ends the run"
)]

mod app;
mod check;
mod device;
mod directory;
mod fault;
mod gatekeeper;
mod network;
mod store;
mod trace;
mod world;

pub use check::Invariant;
pub use trace::Counts;

use comity_signal::Suites;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A classic bug, put between the engine and the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// A restart finds an old account record: pre-key ids are given out again.
    OldAccount,
    /// The driver says that a batch is durable before it is; a crash loses it.
    EarlyPersisted,
    /// The gatekeeper acknowledges retry receipts and forgets them.
    LostRetries,
}

/// What a run is made of, beside its seed.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The suites of the account of that index: 0 is a partner's user, 1 a native one, 2 a second partner's user.
    pub suites: &'a (dyn Fn(usize) -> Suites + Sync),
    /// Events before the faults stop.
    pub steps: u32,
    /// The bug that is to be found.
    pub sabotage: Sabotage,
    /// Keeps the lines of the trace.
    pub trace: bool,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What happened how often.
    pub counts: Counts,
    /// SHA-256 of the trace: equal runs have equal ones.
    pub digest: [u8; 32],
    /// The trace, if it was asked for.
    pub lines: Vec<String>,
    /// What did not hold, and what the world knows of it.
    pub broken: Option<(Invariant, String)>,
}

/// Runs one seed to its end, or to the first invariant that does not hold. A panic is one.
pub fn run(seed: u64, setup: &Setup<'_>) -> Report {
    let mut world = world::World::new(seed, *setup);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        world.check.fail(Invariant::NoPanic, text.unwrap_or("a panic without a text").to_owned());
    }
    world.into_report(seed)
}
