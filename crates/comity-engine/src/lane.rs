//! One lane per peer: at most one job at a time may read and change what is stored of a peer, so no ratchet step can be
//! lost or taken twice in this process; between processes the records' revisions see to it.
//!
//! A job is: load records → run → commit → effects. Whatever needs the network first (a bundle) starts over from the
//! load, and so does a job whose commit conflicts. What encrypts keeps its order; while it waits for a bundle, the rest (what
//! comes in, above all) passes it.

use crate::engine::{Effect, Engine, Loading, Then};
use crate::io::{Event, Query};
use crate::limits::{MAX_CONFLICTS, MAX_LANE_JOBS};
use crate::{Error, keys, media_retry, outbox, receipts, receive, retry, upkeep};
use comity_core::{Batch, CryptoRng, Jid, Record, RecordKey, StoreError};
use comity_signal::{Address, Bundle, Records, account_key};
use std::collections::{BTreeMap, VecDeque};

/// What a lane guards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LaneKey {
    /// The account's own keys.
    Account,
    /// One peer.
    Peer(Address),
}

#[derive(Default)]
pub(crate) struct Lanes(BTreeMap<LaneKey, Lane>);

#[derive(Default)]
struct Lane {
    /// The first one is at work unless the lane is idle.
    jobs: VecDeque<Job>,
    stage: Stage,
    fetch: Fetch,
    conflicts: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Loading,
    /// Waiting for a bundle.
    Waiting,
    Committing,
}

/// The bundle that the lane's first encrypting job needs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fetch {
    #[default]
    None,
    /// It is asked for.
    Asked,
    /// There was no connection to ask over.
    Parked,
}

/// Something to do with a peer's records.
pub(crate) enum Job {
    Send(Box<outbox::Send>),
    Acked(outbox::Acked),
    Receive(Box<receive::Receive>),
    Receipt(receipts::Receipt),
    Resend(Box<retry::Resend>),
    IdentityChanged(keys::IdentityChanged),
    Refill(keys::Refill),
    SafetyNumber(keys::SafetyNumber),
    Accept(keys::Accept),
    Rotate(upkeep::Rotate),
    Digest(Box<upkeep::Digest>),
    Prune(upkeep::Prune),
    Media(Box<media_retry::Job>),
}

/// What running a job gave.
pub(crate) enum Outcome {
    /// Commit, then these.
    Commit(Batch, Vec<Effect>),
    /// Nothing to commit.
    Done(Vec<Effect>),
    /// The peer's key bundle is needed first.
    NeedBundle(Jid),
}

/// What a bundle fetch gave.
pub(crate) type Fetched = Result<Bundle, Error>;

impl Job {
    fn keys(&self, engine: &Engine) -> Vec<RecordKey> {
        match self {
            Self::Send(job) => job.keys(),
            Self::Acked(job) => job.keys(),
            Self::Receive(job) => job.keys(engine),
            Self::Receipt(job) => job.keys(),
            Self::Resend(job) => job.keys(),
            Self::IdentityChanged(job) => job.keys(),
            Self::Refill(_) => keys::Refill::keys(engine),
            Self::SafetyNumber(job) => job.keys(),
            Self::Accept(job) => job.keys(),
            Self::Rotate(_) | Self::Prune(_) => vec![account_key()],
            Self::Digest(job) => job.keys(),
            Self::Media(job) => job.keys(),
        }
    }

    fn run(&mut self, engine: &mut Engine, records: &mut Records, rng: &mut dyn CryptoRng) -> Result<Outcome, Error> {
        match self {
            Self::Send(job) => job.run(engine, records, rng),
            Self::Acked(job) => job.run(records),
            Self::Receive(job) => job.run(engine, records, rng),
            Self::Receipt(job) => job.run(records),
            Self::Resend(job) => job.run(engine, records, rng),
            Self::IdentityChanged(job) => job.run(engine, records).map_err(|e| Error::Session(e.to_string())),
            Self::Refill(job) => job.run(engine, records, rng).map_err(|e| Error::Session(e.to_string())),
            Self::SafetyNumber(job) => job.run(engine, records),
            Self::Accept(job) => job.run(records).map_err(|e| Error::Session(e.to_string())),
            Self::Rotate(job) => job.run(engine, records, rng).map_err(|e| Error::Session(e.to_string())),
            Self::Digest(job) => job.run(engine, records).map_err(|e| Error::Session(e.to_string())),
            Self::Media(job) => job.run(engine, records, rng),
            Self::Prune(job) => job.run(records).map_err(|e| Error::Session(e.to_string())),
        }
    }

    /// What to do instead when the job cannot be done.
    fn fail(self, error: Error) -> Vec<Effect> {
        match self {
            Self::SafetyNumber(job) => vec![Effect::Reply(job.command, Err(error))],
            Self::Accept(job) => vec![Effect::Reply(job.command, Err(error))],
            Self::Media(job) => job.fail(error),
            _ => vec![Effect::Emit(Event::Warning(error))],
        }
    }

    /// Whether it may need a bundle.
    const fn encrypts(&self) -> bool {
        matches!(self, Self::Send(_) | Self::Resend(_))
    }

    fn take_bundle(&mut self, bundle: Fetched) {
        match self {
            Self::Send(job) => job.bundle = Some(bundle),
            Self::Resend(job) => job.bundle = Some(bundle),
            _ => {}
        }
    }
}

impl Lanes {
    /// How many jobs each lane has, those aside that may have to wait for a bundle.
    pub(crate) fn queued(&self) -> BTreeMap<LaneKey, usize> {
        let count = |lane: &Lane| lane.jobs.iter().filter(|job| !job.encrypts()).count();
        let busy = self.0.iter().map(|(key, lane)| (key.clone(), count(lane)));
        busy.filter(|(_, count)| *count > 0).collect()
    }
}

impl Engine {
    /// Queues a job. A full lane drops it: what came from the server comes again, as it is not acknowledged, and what is
    /// in the outbox stays there.
    pub(crate) fn enqueue(&mut self, key: LaneKey, job: Job) {
        let lane = self.lanes.0.entry(key.clone()).or_default();
        if lane.jobs.len() >= MAX_LANE_JOBS {
            return self.emit(Event::Warning(Error::Full("jobs of one peer")));
        }
        lane.jobs.push_back(job);
        match lane.stage {
            Stage::Idle => self.lane_start(&key),
            Stage::Waiting => self.let_pass(&key),
            _ => {}
        }
    }

    /// While the first job waits for a bundle, the first that needs none goes before it.
    fn let_pass(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.0.get_mut(key) else { return };
        let next = lane.jobs.iter().position(|job| !job.encrypts());
        if let Some(job) = next.and_then(|at| lane.jobs.remove(at)) {
            lane.jobs.push_front(job);
            self.lane_start(key);
        }
    }

    fn lane_start(&mut self, key: &LaneKey) {
        match self.lanes.0.get(key).and_then(|lane| lane.jobs.front()) {
            Some(job) => {
                let keys = job.keys(self);
                self.lane_stage(key, Stage::Loading);
                self.load(Query::Keys(keys), Loading::Lane(key.clone()));
            }
            None => {
                self.lanes.0.remove(key);
            }
        }
    }

    fn lane_stage(&mut self, key: &LaneKey, stage: Stage) {
        if let Some(lane) = self.lanes.0.get_mut(key) {
            lane.stage = stage;
        }
    }

    pub(crate) fn on_lane_loaded(
        &mut self,
        key: &LaneKey,
        result: Result<Vec<Record>, StoreError>,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(mut job) = self.lanes.0.get_mut(key).and_then(|lane| lane.jobs.pop_front()) else { return };
        let outcome = match result {
            Ok(records) => job.run(self, &mut records.into_iter().collect(), rng),
            Err(error) => Err(Error::Store(error)),
        };
        if let Some(lane) = self.lanes.0.get_mut(key) {
            lane.jobs.push_front(job);
        }
        match outcome {
            Ok(Outcome::Commit(batch, effects)) => {
                self.lane_stage(key, Stage::Committing);
                self.commit(batch, Then { effects, lane: Some(key.clone()) });
            }
            Ok(Outcome::Done(effects)) => {
                self.apply(effects);
                self.lane_done(key);
            }
            Ok(Outcome::NeedBundle(jid)) => {
                let asked = self.lanes.0.get(key).is_some_and(|lane| lane.fetch == Fetch::Asked)
                    || self.fetch_bundle(key.clone(), jid);
                if let Some(lane) = self.lanes.0.get_mut(key) {
                    lane.fetch = if asked { Fetch::Asked } else { Fetch::Parked };
                }
                self.lane_stage(key, Stage::Waiting);
                self.let_pass(key);
            }
            Err(error) => self.lane_failed(key, error),
        }
    }

    /// The first job is done; on to the next.
    pub(crate) fn lane_done(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.0.get_mut(key) {
            lane.stage = Stage::Idle;
            lane.conflicts = 0;
            if lane.jobs.pop_front().is_some_and(|job| !job.encrypts()) {
                self.job_over(key);
            }
        }
        self.lane_start(key);
    }

    pub(crate) fn lane_conflict(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.0.get_mut(key) else { return };
        lane.conflicts += 1;
        if lane.conflicts > MAX_CONFLICTS {
            return self.lane_failed(key, Error::Store(StoreError::Conflict));
        }
        self.lane_start(key);
    }

    /// The first job cannot be done; on to the next, unless it is the store's fault.
    pub(crate) fn lane_failed(&mut self, key: &LaneKey, error: Error) {
        if matches!(error, Error::Store(_)) {
            return self.lane_dropped(key, &error);
        }
        let Some(lane) = self.lanes.0.get_mut(key) else { return };
        lane.stage = Stage::Idle;
        lane.conflicts = 0;
        if let Some(job) = lane.jobs.pop_front() {
            let counted = !job.encrypts();
            self.apply(job.fail(error));
            if counted {
                self.job_over(key);
            }
        }
        self.lane_start(key);
    }

    /// The store failed. No job may overtake the first one: all of the lane go, and the connection with them. On the next
    /// the server gives again what is not acknowledged, and the outbox what is not sent.
    fn lane_dropped(&mut self, key: &LaneKey, error: &Error) {
        let Some(lane) = self.lanes.0.remove(key) else { return };
        for job in lane.jobs {
            match job {
                Job::Send(job) => self.outbox.wait(job.key()),
                Job::Acked(job) => self.outbox.wait(job.key()),
                Job::Media(job) => job.dropped(self, error),
                Job::SafetyNumber(_) | Job::Accept(_) => self.apply(job.fail(error.clone())),
                _ => {}
            }
        }
        self.link.store_failed();
        self.hang_up(Some(error.clone()));
    }

    /// A bundle came, or will not come.
    pub(crate) fn on_bundle(&mut self, key: &LaneKey, bundle: Fetched) {
        let Some(lane) = self.lanes.0.get_mut(key) else { return };
        if lane.fetch != Fetch::Asked {
            return;
        }
        if bundle == Err(Error::ConnectionLost) {
            lane.fetch = Fetch::Parked;
            return;
        }
        lane.fetch = Fetch::None;
        if let Some(job) = lane.jobs.iter_mut().find(|job| job.encrypts()) {
            job.take_bundle(bundle);
        }
        if lane.stage == Stage::Waiting {
            self.lane_start(key);
        }
    }

    /// There is a connection again: lanes that waited for one start over.
    pub(crate) fn unpark_lanes(&mut self) {
        let parked: Vec<_> =
            self.lanes.0.iter().filter(|(_, lane)| lane.fetch == Fetch::Parked).map(|(key, _)| key.clone()).collect();
        for key in parked {
            let Some(lane) = self.lanes.0.get_mut(&key) else { continue };
            lane.fetch = Fetch::None;
            if lane.stage == Stage::Waiting {
                self.lane_start(&key);
            }
        }
    }
}
