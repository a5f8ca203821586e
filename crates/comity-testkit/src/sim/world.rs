//! The world: one queue of events in virtual time, and what each of them does.

use super::check::{Check, Invariant};
use super::device::Device;
use super::gatekeeper::Gatekeeper;
use super::network::{Conn, ConnId};
use super::trace::{Counts, Trace};
use super::{Report, Sabotage, Setup};
use bytes::Bytes;
use comity_core::{RecordKind, Timestamp};
use comity_engine::{Command, Input, RequestId};
use comity_xmpp::Node;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;

/// When the world begins, in ms.
const BEGIN: u64 = 1_790_000_000_000;

/// Everything has drained within this time after the last fault, in ms: the longest wait before a reconnect, thrice.
const DRAIN_LIMIT: u64 = 30 * 60 * 1000;

/// More events than this are no draining.
const DRAIN_STEPS: u64 = 200_000;

/// Something that happens at its time. What belongs to a process is of no effect once that process is gone.
pub(super) enum Event {
    /// An answer for the engine of a device's process.
    Input(usize, u64, Input),
    /// The deadline of an engine.
    Tick(usize, u64),
    /// A device's store has done a group of its jobs.
    Stored(usize, u64),
    /// What was written is on the medium, under sabotage.
    Synced(usize),
    /// A device starts again.
    Restart(usize),
    /// A process that could not start is ended and started again.
    GiveUp(usize, u64),
    /// The application of a device does something.
    App(usize),
    /// The application asks for something, if its process is still the same.
    Ask(usize, u64, Command),
    /// A connection is open at the client.
    Opened(ConnId),
    /// A client's handshake bytes are at the gatekeeper.
    Hello(ConnId, Bytes),
    /// A client's stanzas are at the gatekeeper.
    Stanzas(ConnId, Vec<Node>),
    /// The gatekeeper's bytes are at the client.
    Bytes(ConnId, Bytes),
    /// The client's end closed, as the gatekeeper sees it.
    GoneAtGatekeeper(ConnId),
    /// The gatekeeper's end closed, as the client sees it.
    GoneAtClient(ConnId),
    /// An enlistment is at the gatekeeper.
    Enlist(usize, u64, RequestId, String),
    /// A native user's key is to be registered.
    Register(usize, u64, [u8; 32]),
    /// The gatekeeper's store has synced what it was given.
    Committed(u64),
    GatekeeperStart,
    Fault,
}

pub(super) struct World<'a> {
    pub(super) setup: Setup<'a>,
    /// Draws what happens.
    pub(super) rng: StdRng,
    /// Draws what the parties draw.
    pub(super) keys: StdRng,
    /// ms.
    pub(super) now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) devices: Vec<Device>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) gatekeeper: Gatekeeper,
    pub(super) check: Check,
    pub(super) counts: Counts,
    pub(super) trace: Trace,
    /// There are no faults any more.
    pub(super) calm: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(seed: u64, setup: Setup<'a>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut keys = StdRng::seed_from_u64(seed ^ 0x6b65_7973);
        let gatekeeper = Gatekeeper::new(&mut keys);
        // A few worlds have a second partner's user.
        let accounts = if seed.is_multiple_of(8) { 3 } else { 2 };
        let devices = (0..accounts).map(|index| Device::new(index, &mut rng)).collect();
        let mut world = Self {
            setup,
            rng,
            keys,
            now: BEGIN,
            sequence: 0,
            queue: BTreeMap::new(),
            devices,
            conns: BTreeMap::new(),
            gatekeeper,
            check: Check::default(),
            counts: Counts::default(),
            trace: Trace::new(setup.trace),
            calm: false,
        };
        for device in 0..accounts {
            if setup.sabotage == Sabotage::EarlyPersisted {
                world.devices[device].store.synced = Some(BTreeMap::new());
                world.later(500, Event::Synced(device));
            }
            world.later(0, Event::Restart(device));
            world.later(1_000, Event::App(device));
        }
        world.later(3_000, Event::Fault);
        world
    }

    /// Queues an event `delay` ms from now, behind those of the same time.
    pub(super) fn later(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((time.max(self.now), self.sequence), event);
    }

    /// True so many times in a thousand, and never when the world is calm.
    pub(super) fn fault(&mut self, per_mille: u32) -> bool {
        !self.calm && self.rng.random_ratio(per_mille, 1000)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high)
    }

    pub(super) fn clock(&self, device: usize) -> Timestamp {
        Timestamp::from_millis(self.now.saturating_add_signed(self.devices[device].skew))
    }

    pub(super) fn run(&mut self) {
        while self.counts.steps < u64::from(self.setup.steps) && self.step() {}
        self.calm_down();
        let until = self.now + DRAIN_LIMIT;
        let most = self.counts.steps + DRAIN_STEPS;
        while self.check.broken.is_none() && !self.drained() {
            if self.now >= until || self.counts.steps >= most || !self.step() {
                return self.not_drained();
            }
        }
        self.finish();
    }

    /// The next event; `false` after a breach.
    fn step(&mut self) -> bool {
        let Some(((time, _), event)) = self.queue.pop_first() else { return false };
        self.now = time;
        if self.happen(event) {
            self.counts.steps += 1;
        }
        self.check.broken.is_none()
    }

    /// Does what the event says; `false` if it came too late for anybody.
    fn happen(&mut self, event: Event) -> bool {
        let at = self.now - BEGIN;
        macro_rules! trace {
            ($($what:tt)*) => { self.trace.line(format_args!("{at:>8} {}", format_args!($($what)*))) };
        }
        match event {
            Event::Input(device, process, input) => {
                if !self.is_running(device, process) {
                    return false;
                }
                match &input {
                    Input::Persisted(id) => trace!("{device} persisted {}", id.0),
                    Input::PersistFailed(id, error) => trace!("{device} persist {} failed: {error}", id.0),
                    Input::Loaded(id, result) => trace!("{device} loaded {} ok {}", id.0, result.is_ok()),
                    Input::Token(_, result) => trace!("{device} token ok {}", result.is_ok()),
                    Input::EnlistAnswer(_, result) => trace!("{device} enlist answer ok {}", result.is_ok()),
                    _ => trace!("{device} input"),
                }
                self.feed(device, input);
            }
            Event::Tick(device, process) => {
                if !self.is_running(device, process) || self.devices[device].tick != Some(self.now) {
                    return false;
                }
                self.devices[device].tick = None;
                trace!("{device} tick");
                self.feed(device, Input::Tick);
            }
            Event::Stored(device, process) => {
                if !self.is_running(device, process) {
                    return false;
                }
                self.on_stored(device);
            }
            Event::Synced(device) => {
                self.devices[device].store.sync();
                let wait = self.between(200, 3_000);
                self.later(wait, Event::Synced(device));
                return false;
            }
            Event::Restart(device) => {
                if self.devices[device].engine.is_some() {
                    return false;
                }
                trace!("{device} starts");
                self.start(device);
            }
            Event::GiveUp(device, process) => {
                if !self.is_running(device, process) {
                    return false;
                }
                trace!("{device} is started again");
                self.kill(device);
                self.later(100, Event::Restart(device));
            }
            Event::App(device) => {
                self.on_app(device);
                let wait = if self.calm { 2_000 } else { self.between(100, 900) };
                self.later(wait, Event::App(device));
            }
            Event::Ask(device, process, command) => {
                if !self.is_running(device, process) {
                    return false;
                }
                self.ask(device, command);
            }
            Event::Opened(conn) => return self.on_opened(conn),
            Event::Hello(conn, bytes) => return self.on_hello(conn, &bytes),
            Event::Stanzas(conn, nodes) => return self.on_stanzas(conn, nodes),
            Event::Bytes(conn, bytes) => return self.on_bytes(conn, bytes),
            Event::GoneAtGatekeeper(conn) => return self.on_gone_at_gatekeeper(conn),
            Event::GoneAtClient(conn) => return self.on_gone_at_client(conn),
            Event::Enlist(device, process, id, form) => self.on_enlist(device, process, id, &form),
            Event::Register(device, process, key) => return self.on_register(device, process, key),
            Event::Committed(process) => return self.on_committed(process),
            Event::GatekeeperStart => {
                trace!("gatekeeper starts");
                self.gatekeeper.up = true;
            }
            Event::Fault => {
                if self.calm {
                    return false;
                }
                self.on_fault();
                let wait = self.between(300, 4_000);
                self.later(wait, Event::Fault);
            }
        }
        true
    }

    /// Writes a line into the trace.
    pub(super) fn note(&mut self, line: std::fmt::Arguments<'_>) {
        let at = self.now - BEGIN;
        self.trace.line(format_args!("{at:>8} {line}"));
    }

    /// Whether nothing waits anywhere.
    fn drained(&self) -> bool {
        let idle = |device: &Device| {
            device.engine.is_some()
                && device.app.is_idle()
                && device.store.queue.is_empty()
                && device.store.count(RecordKind::Outbox) == 0
                && device.store.count(RecordKind::Inbox) == 0
        };
        self.gatekeeper.up && self.gatekeeper.db.mail.is_empty() && self.devices.iter().all(idle)
    }

    fn installations(&self) -> Vec<u32> {
        self.devices.iter().map(|device| device.installation).collect()
    }

    fn not_drained(&mut self) {
        let mut what = vec![format!("{} stanzas in mailboxes", self.gatekeeper.db.mail.len())];
        for device in &self.devices {
            what.push(format!(
                "{}: {} in the outbox, {} in the inbox, application idle {}, last state {:?}",
                device.index,
                device.store.count(RecordKind::Outbox),
                device.store.count(RecordKind::Inbox),
                device.app.is_idle(),
                device.shown,
            ));
        }
        self.check.fail(Invariant::Drains, what.join("; "));
    }

    fn finish(&mut self) {
        let missing = self.check.missing(&self.installations());
        if let Some((invariant, _)) = missing.first() {
            let invariant = *invariant;
            let what: Vec<_> = missing.into_iter().map(|(_, what)| what).collect();
            self.check.fail(invariant, what.join("; "));
        }
    }

    pub(super) fn into_report(self, seed: u64) -> Report {
        let (digest, lines) = self.trace.into_parts();
        Report { seed, counts: self.counts, digest, lines, broken: self.check.broken }
    }
}
