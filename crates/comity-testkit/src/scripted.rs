//! One client's engine against a scripted server under virtual time: what a test of the connection's life, or of one fault,
//! needs and a whole simulation hides.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "for tests alone: what goes wrong fails the test"
)]

use bytes::BytesMut;
use comity_core::{Batch, Store as _, Timestamp};
use comity_engine::{
    BatchId, Command, CommandId, Config, ConnectionState, Engine, Error, Event, Input, Output, Query, Reply,
};
use comity_noise::cert::Issuer;
use comity_noise::frame::FrameDecoder;
use comity_noise::{Opener, Responder, ResponderConfig, Sealer, StaticKey, Step, TrustRoot, Validity};
use comity_signal::Suites;
use comity_signal::store_tests::MemoryStore;
use comity_xmpp::Node;
use comity_xmpp::stanza::{Iq, KeyUpload};
use core::time::Duration;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// When it begins.
pub const BEGIN: Timestamp = Timestamp::from_secs(1_764_000_000);

/// The server's side of a connection.
pub enum Link {
    /// Nobody answers.
    Away,
    Listening,
    Hello,
    Finish(Box<comity_noise::AwaitFinish>),
    In(Box<(Sealer, Opener)>),
}

/// An engine over a store in memory, and the server it talks to: real handshakes and frames, answers from a script.
pub struct Scripted {
    pub engine: Engine,
    pub config: Config,
    pub rng: StdRng,
    pub now: Timestamp,
    pub deadline: Option<Timestamp>,
    pub store: MemoryStore,
    /// Commits are kept back, to be answered by [`Scripted::sync`].
    pub slow: bool,
    pub unsynced: Vec<(BatchId, Batch)>,
    pub server: ResponderConfig,
    pub link: Link,
    pub wire: BytesMut,
    pub decoder: FrameDecoder,
    /// What the server got, answered requests aside.
    pub heard: Vec<Node>,
    pub events: Vec<Event>,
    pub replies: Vec<Result<Reply, Error>>,
    pub connects: u32,
    /// One-time keys on the server.
    pub keys: u32,
    pub uploads: u32,
    pub digest: Option<Node>,
    /// What was uploaded last.
    pub uploaded: Option<KeyUpload>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// A native user's account with no suite, online, and a server that takes connections but has not said `<success/>`.
    pub fn new() -> Self {
        Self::with(Suites::new())
    }

    /// The same, with these suites.
    pub fn with(suites: Suites) -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let root = StaticKey::generate(&mut rng);
        let key = StaticKey::generate(&mut rng);
        let validity = Validity { not_before: 0, not_after: BEGIN.as_secs() + 400 * 86_400 };
        let issuer = Issuer::new(&root, StaticKey::generate(&mut rng), 1, validity, &mut rng);
        let chain = issuer.chain(key.public(), 2, validity, &mut rng);
        let config = Config::native(4_915_100_000_001, TrustRoot(root.public()));
        let mut rig = Self {
            engine: Engine::new(config.clone(), suites),
            config,
            rng,
            now: BEGIN,
            deadline: None,
            store: MemoryStore::new(),
            slow: false,
            unsynced: Vec::new(),
            server: ResponderConfig::new(key, chain),
            link: Link::Listening,
            wire: BytesMut::new(),
            decoder: FrameDecoder::new(),
            heard: Vec::new(),
            events: Vec::new(),
            replies: Vec::new(),
            connects: 0,
            keys: 50,
            uploads: 0,
            digest: None,
            uploaded: None,
        };
        rig.feed(Input::Start);
        rig
    }

    /// The same, logged in and up to date.
    pub fn logged_in() -> Self {
        let mut rig = Self::new();
        rig.say(&Node::new("success").with_attr("t", BEGIN.as_secs()));
        rig.say(&offline("offline", 0));
        assert_eq!(rig.state(), ConnectionState::UpToDate);
        rig
    }

    /// The client is killed: what was not committed is lost, and it starts anew with the same store, not logged in yet.
    pub fn restart(&mut self, suites: Suites) {
        (self.unsynced, self.slow) = (Vec::new(), false);
        (self.events, self.replies) = (Vec::new(), Vec::new());
        self.engine = Engine::new(self.config.clone(), suites);
        self.link = Link::Listening;
        self.feed(Input::Start);
    }

    pub fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let mut drain = self.engine.handle(self.now, inputs.remove(0), &mut self.rng);
            let outputs: Vec<_> = drain.by_ref().collect();
            self.deadline = drain.deadline();
            for output in outputs {
                inputs.extend(self.act(output));
            }
        }
    }

    fn act(&mut self, output: Output) -> Vec<Input> {
        match output {
            Output::Connect => {
                self.connects += 1;
                (self.wire, self.decoder) = (BytesMut::new(), FrameDecoder::new());
                if matches!(self.link, Link::Away) {
                    return vec![Input::Disconnected];
                }
                self.link = Link::Listening;
                vec![Input::Connected]
            }
            Output::Transmit(bytes) => self.receive(&bytes),
            Output::Disconnect => {
                if !matches!(self.link, Link::Away) {
                    self.link = Link::Listening;
                }
                vec![Input::Disconnected]
            }
            Output::Persist(id, batch) if self.slow => {
                self.unsynced.push((id, batch));
                vec![]
            }
            Output::Persist(id, batch) => vec![self.commit(id, batch)],
            Output::Load(id, query) => vec![Input::Loaded(
                id,
                match query {
                    Query::Keys(keys) => self.store.load(&keys),
                    Query::First(kind, limit) => self.store.scan(kind, "", "", limit),
                    Query::After(kind, after, limit) => self.store.scan(kind, "", &after, limit),
                    other => panic!("{other:?}"),
                },
            )],
            Output::Event(event) => {
                self.events.push(event);
                vec![]
            }
            Output::Reply(_, result) => {
                self.replies.push(result);
                vec![]
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn commit(&self, id: BatchId, batch: Batch) -> Input {
        match self.store.commit(&[batch]).remove(0) {
            Ok(_) => Input::Persisted(id),
            Err(error) => Input::PersistFailed(id, error),
        }
    }

    /// What was kept back is durable.
    pub fn sync(&mut self) {
        self.slow = false;
        for (id, batch) in std::mem::take(&mut self.unsynced) {
            let done = self.commit(id, batch);
            self.feed(done);
        }
    }

    /// The server takes bytes; what it sends back.
    fn receive(&mut self, bytes: &[u8]) -> Vec<Input> {
        self.wire.extend_from_slice(bytes);
        if matches!(self.link, Link::Listening) && self.wire.len() >= 4 {
            drop(self.wire.split_to(4)); // the prologue
            self.link = Link::Hello;
        }
        let mut back = BytesMut::new();
        while let Some(mut frame) = self.decoder.decode(&mut self.wire).unwrap() {
            self.link = match std::mem::replace(&mut self.link, Link::Away) {
                Link::Hello => match Responder::new(&self.server).read(&frame, &mut self.rng, &mut back).unwrap() {
                    Step::Continue(next) => Link::Finish(Box::new(next)),
                    Step::Done(accepted) => self.accepted(accepted),
                },
                Link::Finish(next) => {
                    let accepted = next.read(&frame).unwrap();
                    self.accepted(accepted)
                }
                Link::In(mut transport) => {
                    transport.1.open(&mut frame).unwrap();
                    let node = comity_xmpp::decode(&frame, &comity_xmpp::Limits::default()).unwrap();
                    if let Some(answer) = self.answer(&node) {
                        seal(&mut transport.0, &answer, &mut back);
                    } else {
                        self.heard.push(node);
                    }
                    Link::In(transport)
                }
                other => other,
            };
        }
        if back.is_empty() { vec![] } else { vec![Input::Received(back.freeze())] }
    }

    fn accepted(&mut self, accepted: comity_noise::Accepted) -> Link {
        self.decoder.set_limit(1 << 20);
        Link::In(Box::new(accepted.transport.split()))
    }

    fn answer(&mut self, node: &Node) -> Option<Node> {
        let result = Node::new("iq")
            .with_attr("type", "result")
            .with_attr("id", node.attr("id")?.clone())
            .with_attr("from", comity_core::Server::Whatsapp);
        if node.tag() != "iq" || node.attr_str("xmlns")? == "w:p" {
            return None; // keep-alives: each test answers as it likes
        }
        Some(match node.children().first().map(Node::tag)? {
            "count" => result.with_child(Node::new("count").with_attr("value", self.keys)),
            "registration" => {
                self.uploads += 1;
                self.uploaded = Iq::parse(node).unwrap().into_payload().ok();
                result
            }
            "digest" => match &self.digest {
                Some(digest) => result.with_child(digest.clone()),
                None => {
                    Node::new("iq").with_attr("type", "error").with_attr("id", node.attr("id")?.clone()).with_child(
                        Node::new("error").with_attr("code", 501u16).with_attr("text", "feature-not-implemented"),
                    )
                }
            },
            "rotate" => {
                self.heard.push(node.clone());
                result
            }
            "key" => return None, // bundles: each test gives what it likes
            _ => result,
        })
    }

    pub fn say(&mut self, node: &Node) {
        let Link::In(transport) = &mut self.link else { panic!("nobody is logged in") };
        let mut out = BytesMut::new();
        seal(&mut transport.0, node, &mut out);
        self.feed(Input::Received(out.freeze()));
    }

    pub fn command(&mut self, command: Command) {
        self.feed(Input::Command(CommandId(1), command));
    }

    /// Time passes, with every deadline kept.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(at) = self.deadline.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.feed(Input::Tick);
        }
        self.now = end;
        self.feed(Input::Tick);
    }

    pub fn state(&self) -> ConnectionState {
        let states = self.events.iter().rev().find_map(|event| match event {
            Event::Connection(state) => Some(*state),
            _ => None,
        });
        states.unwrap()
    }

    pub fn has(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}

fn seal(sealer: &mut Sealer, node: &Node, out: &mut BytesMut) {
    let mut stanza = BytesMut::new();
    comity_xmpp::encode(node, &mut stanza, &comity_xmpp::EncodeOptions::default()).unwrap();
    sealer.seal_frame(&stanza, out).unwrap();
}

pub fn offline(tag: &'static str, count: u32) -> Node {
    let inner = Node::new(tag).with_attr("count", count);
    let inner = ["message", "receipt", "notification", "call"].iter().fold(inner, |node, name| {
        if tag == "offline_preview" { node.with_attr(*name, if *name == "message" { count } else { 0 }) } else { node }
    });
    Node::new("ib").with_attr("from", comity_core::Server::Whatsapp).with_child(inner)
}
