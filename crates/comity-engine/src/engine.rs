//! The engine: routes each input to the conversation it belongs to, and holds back what is not durable yet.

use crate::Error;
use crate::config::Config;
use crate::connection::Link;
use crate::io::{BatchId, Command, CommandId, Event, Input, Output, Query, Reply, RequestId};
use crate::iq::Iqs;
use crate::lane::{LaneKey, Lanes};
use crate::outbox::{Entry, Outbox};
use crate::record::Order;
use crate::retry::Retries;
use crate::start::{Account, Start};
use crate::sweep::Sweep;
use crate::upkeep::Upkeep;
use bytes::Bytes;
use comity_core::{Batch, CryptoRng, Jid, Record, RecordKind, StoreError, Timestamp};
use comity_signal::{Address, Suites};
use comity_xmpp::{Dialect, Node};
use std::collections::{BTreeMap, VecDeque};

/// The client as a state machine: no socket, clock, thread or file. See the crate's documentation for how to drive it.
pub struct Engine {
    pub(crate) config: Config,
    /// How stanzas are written and read under the profile.
    pub(crate) dialect: Dialect,
    pub(crate) suites: Suites,
    pub(crate) now: Timestamp,
    pub(crate) account: Option<Account>,
    pub(crate) start: Start,
    pub(crate) link: Link,
    pub(crate) lanes: Lanes,
    pub(crate) iqs: Iqs,
    pub(crate) outbox: Outbox,
    pub(crate) retries: Retries,
    /// Peers with a message that waits for their identity to be accepted, and the connection it came by.
    pub(crate) held: BTreeMap<Address, u64>,
    pub(crate) order: Order,
    pub(crate) sweep: Sweep,
    pub(crate) upkeep: Upkeep,
    /// Messages that the application has not confirmed.
    pub(crate) unconfirmed: usize,
    loads: BTreeMap<RequestId, Loading>,
    commits: BTreeMap<BatchId, Then>,
    next_request: u64,
    next_batch: u64,
    out: VecDeque<Output>,
}

/// What a load is for.
pub(crate) enum Loading {
    Start,
    Lane(LaneKey),
    Sweep(RecordKind),
}

/// What follows a commit.
#[derive(Default)]
pub(crate) struct Then {
    /// Done when the batch is durable, in order.
    pub(crate) effects: Vec<Effect>,
    /// The lane whose job this is: it runs again on a conflict, and goes on otherwise.
    pub(crate) lane: Option<LaneKey>,
}

/// Something that may leave the engine, or happen in it, only once its batch is durable.
pub(crate) enum Effect {
    /// A stanza; lost if the connection is gone.
    Send(Node),
    Emit(Event),
    Reply(CommandId, Result<Reply, Error>),
    /// A queued message or receipt is in the store.
    Queued(Box<str>),
    /// The outbox has one more.
    Insert(Box<str>, Box<Entry>),
    /// A queued message or receipt is ready to go out.
    Transmit(Box<str>, Bytes, u64),
    /// A queued message or receipt is done with.
    Dequeue(Box<str>),
    /// A message was asked for once more, or a session was rebuilt for one.
    Counted(Box<crate::retry::Counted>),
    /// A message waits for the application to confirm it.
    Stored,
    /// One less does.
    Confirmed,
    /// The account's start goes on.
    Started,
    /// The account is enlisted: log in with this token.
    Connect(String),
    /// Uploads the pre-keys just stored.
    Upload(Box<crate::keys::Upload>),
    /// Publishes the signed pre-key just stored.
    Rotated(Box<comity_signal::Account>, comity_signal::SignedPreKeyPublic),
    /// More pre-keys are to be uploaded, and all else with them.
    Refill,
    /// The connection is to be made anew: the server then sends once more what was not acknowledged.
    Reconnect,
}

impl Engine {
    /// An engine for the account of `config`, speaking the Signal versions of `suites`.
    pub fn new(config: Config, suites: Suites) -> Self {
        let link = Link::new(config.online);
        let suites = if config.profile.post_quantum { suites } else { suites.without_post_quantum() };
        Self {
            dialect: Dialect::new(&config.profile),
            config,
            suites,
            now: Timestamp::default(),
            account: None,
            start: Start::default(),
            link,
            lanes: Lanes::default(),
            iqs: Iqs::default(),
            outbox: Outbox::default(),
            retries: Retries::default(),
            held: BTreeMap::new(),
            order: Order::default(),
            sweep: Sweep::default(),
            upkeep: Upkeep::default(),
            unconfirmed: 0,
            loads: BTreeMap::new(),
            commits: BTreeMap::new(),
            next_request: 0,
            next_batch: 0,
            out: VecDeque::new(),
        }
    }

    /// Takes one input. What is to be done comes out of the [`Drain`]; as long as it lives there is no second input.
    pub fn handle(&mut self, now: Timestamp, input: Input, rng: &mut dyn CryptoRng) -> Drain<'_> {
        self.now = now.max(self.now);
        match input {
            Input::Start => self.on_start(),
            Input::Connected => self.on_connected(rng),
            Input::Disconnected => self.on_disconnected(rng),
            Input::Received(bytes) => self.on_received(bytes),
            Input::Loaded(id, result) => self.on_loaded(id, result, rng),
            Input::Persisted(id) => self.on_persisted(id),
            Input::PersistFailed(id, error) => self.on_persist_failed(id, error, rng),
            Input::Token(id, result) => self.on_token(id, result, rng),
            Input::EnlistAnswer(id, result) => self.on_enlist_answer(id, result, rng),
            Input::Command(id, command) => self.on_command(id, command, rng),
            Input::Tick => {}
        }
        self.on_time();
        Drain { engine: self }
    }

    /// The id of this account, once it has one.
    pub(crate) fn me(&self) -> Result<&Jid, Error> {
        self.account.as_ref().and_then(|account| account.jid.as_ref()).ok_or(Error::NotEnlisted)
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    pub(crate) fn reply(&mut self, id: CommandId, result: Result<Reply, Error>) {
        self.output(Output::Reply(id, result));
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn load(&mut self, query: Query, what: Loading) -> RequestId {
        let id = self.request();
        self.loads.insert(id, what);
        self.output(Output::Load(id, query));
        id
    }

    /// Commits `batch`, and does the rest when it is durable; at once if there is nothing to commit and nothing before it.
    pub(crate) fn commit(&mut self, batch: Batch, then: Then) {
        self.next_batch += 1;
        let id = BatchId(self.next_batch);
        self.commits.insert(id, then);
        self.output(Output::Persist(id, batch));
    }

    fn on_loaded(&mut self, id: RequestId, result: Result<Vec<Record>, StoreError>, rng: &mut dyn CryptoRng) {
        match self.loads.remove(&id) {
            Some(Loading::Start) => self.on_start_loaded(result, rng),
            Some(Loading::Sweep(kind)) => self.on_swept(kind, result),
            Some(Loading::Lane(lane)) => self.on_lane_loaded(&lane, result, rng),
            None => {}
        }
    }

    fn on_persisted(&mut self, id: BatchId) {
        let Some(then) = self.commits.remove(&id) else { return };
        self.link.store_works();
        self.apply(then.effects);
        if let Some(lane) = then.lane {
            self.lane_done(&lane);
        }
    }

    fn on_persist_failed(&mut self, id: BatchId, error: StoreError, rng: &mut dyn CryptoRng) {
        let Some(then) = self.commits.remove(&id) else { return };
        match then.lane {
            Some(lane) if error == StoreError::Conflict => self.lane_conflict(&lane),
            Some(lane) => self.lane_failed(&lane, Error::Store(error)),
            // Another process made the account first: it is ours, too.
            None if error == StoreError::Conflict && self.start == Start::Keys => {
                self.start = Start::New;
                self.on_start();
            }
            None => {
                let mut told = false;
                for effect in then.effects {
                    match effect {
                        Effect::Reply(command, _) => {
                            told = true;
                            self.reply(command, Err(Error::Store(error.clone())));
                        }
                        Effect::Queued(key) => self.outbox.remove(&key),
                        Effect::Connect(_) => self.enlistment_lost(rng),
                        _ => {}
                    }
                }
                if !told {
                    self.emit(Event::Warning(Error::Store(error)));
                }
            }
        }
    }

    pub(crate) fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(node) => self.send(&node),
                Effect::Emit(event) => self.emit(event),
                Effect::Reply(id, result) => self.reply(id, result),
                Effect::Queued(key) => self.on_queued(&key),
                Effect::Insert(key, entry) => self.outbox.insert(&key, *entry),
                Effect::Counted(retry) => self.retries.count(*retry),
                Effect::Stored => self.unconfirmed += 1,
                Effect::Confirmed => self.unconfirmed = self.unconfirmed.saturating_sub(1),
                Effect::Transmit(key, stanza, epoch) => self.transmit(&key, &stanza, epoch),
                Effect::Dequeue(key) => self.outbox.remove(&key),
                Effect::Started => self.on_started(),
                Effect::Connect(token) => self.connect_enlisted(token),
                Effect::Upload(upload) => self.upload(*upload),
                Effect::Rotated(account, skey) => self.rotated(*account, &skey),
                Effect::Refill => self.refill(),
                Effect::Reconnect => self.reconnect(),
            }
        }
    }

    fn on_command(&mut self, id: CommandId, command: Command, rng: &mut dyn CryptoRng) {
        if let Err(error) = self.run_command(id, command, rng) {
            self.reply(id, Err(error));
        }
    }
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Engine(..)")
    }
}

/// What the last input brought about, in order. What is not taken comes out of the next drain.
#[derive(Debug)]
pub struct Drain<'a> {
    engine: &'a mut Engine,
}

impl Drain<'_> {
    /// When to call [`Engine::handle`] with [`Input::Tick`] if nothing else happens before.
    pub fn deadline(&mut self) -> Option<Timestamp> {
        self.engine.deadline()
    }
}

impl Iterator for Drain<'_> {
    type Item = Output;

    fn next(&mut self) -> Option<Output> {
        self.engine.out.pop_front()
    }
}
