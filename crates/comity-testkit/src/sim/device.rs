//! An account's process: the engine, and a driver that does what it wants.

use super::app::App;
use super::check::{Given, Invariant};
use super::network::ConnId;
use super::store::{Job, SimStore};
use super::world::{Event, World};
use super::{Sabotage, trace};
use comity_core::{Jid, MessageId, RecordKey, RecordKind, Server, StoreError};
use comity_engine::{Command, Config, ConnectionState, Engine, Event as Told, Failure, Input, MessageState, Output};
use comity_noise::TrustRoot;
use comity_signal::{EncKind, IdentityPolicy, pre_key_key};
use comity_xmpp::Node;
use comity_xmpp::stanza::{Iq, KeyUpload, Message, Receipt};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// Batches and loads done together, at most.
const GROUP: usize = 16;
/// After at most so long a user starts an application again that could not start, in ms.
const PATIENCE: u64 = 5_000;

pub(super) struct Device {
    pub(super) index: usize,
    /// The JID, once there is one.
    pub(super) jid: Option<Jid>,
    pub(super) engine: Option<Engine>,
    /// Which process of this device.
    pub(super) process: u64,
    /// Which installation, with keys of its own.
    pub(super) installation: u32,
    pub(super) store: SimStore,
    pub(super) link: Option<ConnId>,
    /// When the engine wants to be woken.
    pub(super) tick: Option<u64>,
    /// How far its clock is off, in ms.
    pub(super) skew: i64,
    pub(super) cut_off_until: u64,
    pub(super) app: App,
    pub(super) given: Given,
    pub(super) shown: Option<ConnectionState>,
    /// Takes a new identity only when its user has accepted it.
    careful: bool,
    /// When its answers come, so that they keep their order.
    answers_at: u64,
    ready: bool,
}

/// Index 1 is the native user, the others are the partner's.
fn is_native(index: usize) -> bool {
    index == 1
}

impl Device {
    pub(super) fn new(index: usize, rng: &mut StdRng) -> Self {
        let jid = is_native(index).then(|| Jid::new(&phone(index).to_string(), Server::Whatsapp).expect("a number"));
        Self {
            index,
            jid,
            engine: None,
            process: 0,
            installation: 0,
            store: SimStore::default(),
            link: None,
            tick: None,
            skew: rng.random_range(-30_000..=30_000),
            cut_off_until: 0,
            app: App::default(),
            given: Given::default(),
            shown: None,
            careful: rng.random(),
            answers_at: 0,
            ready: false,
        }
    }

    /// Whom it can write to.
    pub(super) fn writes_to(&self, other: usize) -> bool {
        is_native(self.index) != is_native(other)
    }

    fn config(&self, root: TrustRoot) -> Config {
        let mut config = if is_native(self.index) {
            Config::native(phone(self.index), root)
        } else {
            Config::partner(format!("user{}@sim.test", self.index).parse().expect("an id"), root)
        };
        if self.careful {
            config.identity_policy = IdentityPolicy::Block;
        }
        config
    }
}

fn phone(index: usize) -> u64 {
    4_915_100_000_000 + index as u64
}

impl World<'_> {
    pub(super) fn is_running(&self, device: usize, process: u64) -> bool {
        self.devices[device].engine.is_some() && self.devices[device].process == process
    }

    pub(super) fn start(&mut self, device: usize) {
        let suites = (self.setup.suites)(device);
        let root = self.gatekeeper.root;
        let it = &mut self.devices[device];
        it.process += 1;
        it.engine = Some(Engine::new(it.config(root), suites));
        it.answers_at = 0;
        it.ready = false;
        it.given.restarted();
        it.app.restarted();
        if self.setup.sabotage == Sabotage::OldAccount {
            it.store.roll_back_account();
        }
        self.feed(device, Input::Start);
    }

    /// The process is killed at this moment.
    pub(super) fn kill(&mut self, device: usize) {
        let queued = self.devices[device].store.queue.len() as u64;
        let kept = self.between(0, queued) as usize;
        let it = &mut self.devices[device];
        it.engine = None;
        it.tick = None;
        it.shown = None;
        let before = it.store.queue.len();
        // Under way is at most one group.
        let kept = if it.store.busy { kept.min(GROUP) } else { 0 };
        let lost = it.store.crash(kept);
        if before > 0 {
            self.learn_places(device);
        }
        self.counts.unsynced_lost += lost;
        if let Some(link) = self.devices[device].link {
            self.drop_client(link);
        }
    }

    /// Feeds one input, and what follows from it at once.
    pub(super) fn feed(&mut self, device: usize, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let now = self.clock(device);
            let Some(engine) = &mut self.devices[device].engine else { return };
            let mut drain = engine.handle(now, input, &mut self.keys);
            let outputs: Vec<Output> = drain.by_ref().collect();
            let deadline = drain.deadline();
            for output in outputs {
                next = self.act(device, output).or(next);
            }
            self.wake(device, deadline.map(|at| at.as_millis().saturating_add_signed(-self.devices[device].skew)));
        }
    }

    fn wake(&mut self, device: usize, deadline: Option<u64>) {
        let Some(at) = deadline.map(|at| at.max(self.now + 1)) else { return };
        let it = &mut self.devices[device];
        if it.tick != Some(at) {
            it.tick = Some(at);
            let process = it.process;
            self.at(at, Event::Tick(device, process));
        }
    }

    /// Does what the engine wants; gives the input that follows at once, if one does.
    fn act(&mut self, device: usize, output: Output) -> Option<Input> {
        let process = self.devices[device].process;
        match output {
            Output::Connect => self.open(device),
            Output::Transmit(bytes) => {
                if let Some(link) = self.devices[device].link {
                    self.note(format_args!("{device} > {link}: {}", trace::short(&bytes)));
                    self.transmit(link, bytes);
                }
            }
            Output::Disconnect => {
                if let Some(link) = self.devices[device].link {
                    self.note(format_args!("{device} disconnects {link}"));
                    self.drop_client(link);
                    return Some(Input::Disconnected);
                }
            }
            Output::Persist(id, batch) => {
                self.note(format_args!("{device} persist {} of {}", id.0, batch.changes.len()));
                if self.setup.sabotage == Sabotage::EarlyPersisted {
                    let result = self.devices[device].store.commit(&batch);
                    self.learn_places(device);
                    self.answer_store(device, SimStore::answer(id, result));
                } else {
                    self.queue_job(device, Job::Persist(id, batch));
                }
            }
            Output::Load(id, query) => self.queue_job(device, Job::Load(id, query)),
            Output::FetchToken(id, _) => {
                let wait = self.between(5, 200);
                let token = if self.fault(60) {
                    Err("the partner is not there".to_owned())
                } else {
                    Ok(format!("user{device}@sim.test"))
                };
                self.later(wait, Event::Input(device, process, Input::Token(id, token)));
            }
            Output::Enlist(id, form) => {
                let wait = self.between(5, 200);
                self.later(wait, Event::Enlist(device, process, id, form));
            }
            Output::Reply(id, result) => {
                self.note(format_args!("{device} reply {} ok {}", id.0, result.is_ok()));
                self.on_reply(device, id, result);
            }
            Output::Event(event) => self.on_event(device, event),
            other => panic!("unknown output {other:?}"),
        }
        None
    }

    fn queue_job(&mut self, device: usize, job: Job) {
        let store = &mut self.devices[device].store;
        store.queue.push_back(job);
        if !std::mem::replace(&mut store.busy, true) {
            self.work(device);
        }
    }

    fn work(&mut self, device: usize) {
        let slow = self.fault(20);
        let wait = if slow { self.between(100, 2_000) } else { self.between(0, 12) };
        let process = self.devices[device].process;
        self.later(wait, Event::Stored(device, process));
    }

    /// The store has done a group.
    pub(super) fn on_stored(&mut self, device: usize) {
        let queued = self.devices[device].store.queue.len();
        let group = self.between(1, GROUP as u64) as usize;
        for _ in 0..group.min(queued) {
            let job = self.devices[device].store.queue.pop_front().expect("as many as counted");
            let now = self.now;
            let (conflict, fails) = (self.fault(8), self.fault(4));
            let store = &mut self.devices[device].store;
            let medium = || StoreError::Medium("the disk failed".into());
            let answer = match job {
                Job::Persist(id, batch) => {
                    let result = if now < store.full_until || fails {
                        Err(medium())
                    } else if conflict && batch.changes.iter().any(|change| change.expected.is_some()) {
                        Err(StoreError::Conflict)
                    } else {
                        store.commit(&batch)
                    };
                    match &result {
                        Ok(()) => {}
                        Err(StoreError::Conflict) => self.counts.conflicts += 1,
                        Err(_) => self.counts.store_failures += 1,
                    }
                    SimStore::answer(id, result)
                }
                Job::Load(id, query) => {
                    let unreadable = now < store.unreadable_until;
                    self.counts.store_failures += u64::from(unreadable);
                    Input::Loaded(id, if unreadable { Err(medium()) } else { Ok(store.load(&query)) })
                }
            };
            self.answer_store(device, answer);
        }
        self.learn_places(device);
        if self.devices[device].store.queue.is_empty() {
            self.devices[device].store.busy = false;
        } else {
            self.work(device);
        }
    }

    fn answer_store(&mut self, device: usize, answer: Input) {
        let wait = self.between(0, 3);
        let it = &mut self.devices[device];
        it.answers_at = it.answers_at.max(self.now + wait);
        let (at, process) = (it.answers_at, it.process);
        self.at(at, Event::Input(device, process, answer));
    }

    /// Messages that are in the outbox have their place.
    fn learn_places(&mut self, device: usize) {
        let durable = self.devices[device].store.durable();
        let outbox = durable.range(RecordKey { kind: RecordKind::Outbox, id: "".into() }..);
        for (key, _) in outbox.take_while(|(key, _)| key.kind == RecordKind::Outbox) {
            let Some((place, id)) = key.id.split_once('/') else { continue };
            let id = id.parse().ok().and_then(|id: MessageId| self.check.sent.get_mut(&id));
            if let Some(sent) = id.filter(|sent| sent.from == device && sent.place.is_none()) {
                sent.place = u64::from_str_radix(place, 16).ok();
            }
        }
    }

    fn on_event(&mut self, device: usize, event: Told) {
        match event {
            Told::AccountReady { noise_key, jid } => {
                self.devices[device].ready = true;
                if is_native(device) {
                    let process = self.devices[device].process;
                    self.later(30, Event::Register(device, process, noise_key));
                } else if let Some(jid) = jid {
                    self.devices[device].jid = Some(jid);
                }
            }
            Told::Enlisted { jid } => self.devices[device].jid = Some(jid),
            Told::Connection(state) => {
                self.note(format_args!("{device} is {state:?}"));
                self.devices[device].shown = Some(state);
            }
            Told::Message(message) => {
                self.note(format_args!("{device} gets {}", message.id));
                let inbox = RecordKey { kind: RecordKind::Inbox, id: message.event.0.clone() };
                let durable = self.devices[device].store.durable().contains_key(&inbox);
                let from = self.devices.iter().position(|other| other.jid.as_ref() == Some(&message.from));
                let mut given = std::mem::take(&mut self.devices[device].given);
                if self.check.given(device, &mut given, &message, from, durable) {
                    self.counts.deliveries += 1;
                } else {
                    self.counts.given_again += 1;
                }
                self.devices[device].given = given;
                self.on_message_event(device, &message);
            }
            Told::Undecryptable { id, cause, count, .. } => {
                self.note(format_args!("{device} cannot decrypt {id}, {count}: {cause}"));
                self.check.undecryptable(&id);
            }
            Told::State { chat, id, state } => {
                self.note(format_args!("{device}: {id} {state:?}"));
                match state {
                    MessageState::Failed(Failure::IdentityChanged { identity }) if self.devices[device].careful => {
                        if let Some(sent) = self.check.sent.get_mut(&id) {
                            sent.failed = true;
                        }
                        self.new_identity(device, chat, Some(identity));
                    }
                    MessageState::Failed(failure) => self.check.failed(&id, &failure),
                    MessageState::Sent => {}
                    _ => {
                        if let Some(sent) = self.check.sent.get_mut(&id) {
                            sent.arrived = true;
                        }
                    }
                }
            }
            Told::Resent { id, count, .. } => {
                self.note(format_args!("{device} sends {id} again, {count}"));
                self.counts.resends += 1;
            }
            Told::IdentityChanged { peer, identity, blocked } => {
                self.new_identity(device, peer, identity.filter(|_| blocked));
            }
            Told::Warning(error) => {
                self.note(format_args!("{device} warns: {error}"));
                self.check.warning(&device.to_string(), &error);
                if !self.devices[device].ready {
                    // Its store could not be read or written at the start: the user tries again.
                    self.start_again(device);
                }
            }
            Told::Replaced | Told::EnlistFailed(_) | Told::LoginRefused { .. } => {
                self.note(format_args!("{device}: {event:?}"));
                self.go_online_soon(device);
            }
            _ => {}
        }
    }

    /// A peer has a new identity; one that waits for it is accepted after a while.
    fn new_identity(&mut self, device: usize, peer: Jid, offered: Option<[u8; 32]>) {
        let changed = self.devices.iter().find(|other| other.jid.as_ref() == Some(&peer));
        if changed.is_none_or(|other| other.installation == 0) {
            self.check.fail(Invariant::TrueIdentityChanges, format!("{device} believes in one"));
        }
        if let Some(identity) = offered {
            self.counts.accepted += 1;
            let (wait, process) = (self.between(20, 4_000), self.devices[device].process);
            self.later(wait, Event::Ask(device, process, Command::AcceptIdentity { peer, identity }));
        }
    }

    /// The user of an application that does not come up closes it and tries again.
    fn start_again(&mut self, device: usize) {
        let (wait, process) = (self.between(500, PATIENCE), self.devices[device].process);
        self.later(wait, Event::GiveUp(device, process));
    }

    /// Whether what stands in a stanza is durable at this moment, and its keys are fresh.
    pub(super) fn check_wire(&mut self, device: usize, node: &Node) {
        let durable = self.devices[device].store.durable();
        let has = |kind: RecordKind, id: String| durable.contains_key(&RecordKey { kind, id: id.into() });
        let queued = |id: &str| {
            let outbox = durable.range(RecordKey { kind: RecordKind::Outbox, id: "".into() }..);
            let mut outbox = outbox.take_while(|(key, _)| key.kind == RecordKind::Outbox);
            outbox.find(|(key, _)| key.id.ends_with(id)).map(|(_, (_, value))| value.as_slice())
        };
        let mut early = None;
        match node.tag() {
            "message" => {
                let message = Message::parse(node).expect("our own client's message");
                let enc = message.enc.first().expect("a ciphertext");
                let body = &enc.ciphertext;
                let stored = |(key, (_, value)): (&RecordKey, &(u64, Vec<u8>))| {
                    key.kind == RecordKind::Outbox
                        && key.id.ends_with(message.id.as_str())
                        && value.windows(body.len()).any(|window| window == &**body)
                };
                if !durable.iter().any(stored) {
                    early = Some(format!("ciphertext of {}", message.id));
                }
                let kind = EncKind::parse(enc.kind.as_str()).expect("a kind");
                let jid = self.devices[device].jid.clone().expect("it sends");
                self.check.ciphertext(&jid, message.id.as_str(), kind, body);
            }
            "receipt" => {
                let receipt = Receipt::parse(node).expect("our own client's receipt");
                let to = receipt.to.clone().expect("to somebody");
                if let Some(keys) = receipt.retry.as_ref().and_then(|retry| retry.keys.as_ref()) {
                    if !durable.contains_key(&pre_key_key(keys.key.id)) {
                        early = Some(format!("pre-key {} of a retry receipt", keys.key.id));
                    }
                    self.check.pre_key("one-time", keys.identity, keys.key.id, &keys.key.value);
                } else if receipt.retry.is_none() && receipt.kind.is_none() {
                    if !has(RecordKind::Seen, format!("{to}/{}", receipt.id)) {
                        early = Some(format!("delivery receipt of {}", receipt.id));
                    }
                } else if receipt.retry.is_none() && queued(receipt.id.as_str()).is_none() {
                    early = Some(format!("read receipt of {}", receipt.id));
                }
            }
            "iq" => {
                let iq = Iq::parse(node).expect("our own client's iq");
                if iq.is::<KeyUpload>() {
                    let upload = iq.payload::<KeyUpload>().expect("our own client's keys");
                    if let Some(key) = upload.keys.iter().find(|key| !durable.contains_key(&pre_key_key(key.id))) {
                        early = Some(format!("pre-key {}", key.id));
                    }
                    self.check.upload(&upload);
                }
            }
            _ => {}
        }
        if let Some(what) = early {
            self.check.fail(Invariant::DurableFirst, format!("{what} is on the wire and not in the store of {device}"));
        }
    }
}
