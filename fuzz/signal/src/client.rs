//! A client that is logged in, and a server that sends it anything: messages of its peer, the same again, changed, under
//! other names and ids, and stanzas of all forms. Nothing that is not authentic changes a session, a pinned identity or
//! what the application is shown; what is authentic is shown once.

use super::damage::damage;
use arbitrary::{Arbitrary as _, Unstructured};
use bytes::BytesMut;
use comity_core::{Jid, RecordKey, RecordKind, Store as _, Timestamp};
use comity_engine::limits::MAX_MEDIA_RETRIES;
use comity_engine::{Command, CommandId, Config, Content, Engine, Event, Input, Media, MediaRequest, Output, Query};
use comity_media::{MediaKey, MediaKind, seal_retry};
use comity_noise::cert::Issuer;
use comity_noise::frame::FrameDecoder;
use comity_noise::{
    Accepted, AwaitFinish, Opener, Responder, ResponderConfig, Sealer, StaticKey, Step, TrustRoot, Validity,
};
use comity_proto::Codec as _;
use comity_signal::store_tests::MemoryStore;
use comity_signal::suite_tests::{End, TestRng};
use comity_signal::{Address, Bundle, EncKind, Encrypted, PreKeyPublic, PublicKey, SignedPreKeyPublic, Suites};
use comity_signal_x3dh::X3dh;
use comity_xmpp::stanza::{Iq, KeyUpload};
use comity_xmpp::{EncodeOptions, Limits, Node};
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const MAX_OPS: usize = 48;
const BEGIN: Timestamp = Timestamp::from_secs(1_700_000_000);
const PEER: &str = "1-10853634039893@interop";
const STRANGER: &str = "2-10853634039893@interop";
const NUMBER: u64 = 4_915_100_000_001;

enum Link {
    Listening,
    Hello,
    Finish(Box<AwaitFinish>),
    In(Box<(Sealer, Opener)>),
}

struct World {
    engine: Engine,
    rng: TestRng,
    now: Timestamp,
    store: MemoryStore,
    server: ResponderConfig,
    link: Link,
    wire: BytesMut,
    decoder: FrameDecoder,
    /// What the client sent and nobody has answered.
    heard: Vec<Node>,
    /// One-time keys on the server.
    keys: u32,
    uploaded: Option<KeyUpload>,
    shown: Vec<String>,
    events: Vec<comity_engine::EventId>,
    /// Requests for the file that are not answered, and how many there were.
    requests: Vec<MediaRequest>,
    requested: usize,
}

/// What does not depend on the input: a store with an account, its uploaded keys, a peer that knows them.
struct Fixture {
    store: MemoryStore,
    server: ResponderConfig,
    root: TrustRoot,
    peer: End,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let rng = &mut TestRng::new(1);
    let root = StaticKey::generate(rng);
    let key = StaticKey::generate(rng);
    let validity = Validity { not_before: 0, not_after: BEGIN.as_secs() * 2 };
    let issuer = Issuer::new(&root, StaticKey::generate(rng), 1, validity, rng);
    let chain = issuer.chain(key.public(), 2, validity, rng);
    let (server, root) = (ResponderConfig::new(key, chain), TrustRoot(root.public()));
    let mut world = World::new(MemoryStore::new(), &server, root, 0);
    let upload = world.uploaded.take().expect("keys are uploaded at the first login");
    let key = |bytes: [u8; 32]| PublicKey::new(bytes).unwrap();
    let one_time = &upload.keys[0];
    let bundle = Bundle {
        registration_id: upload.registration,
        identity: key(upload.identity),
        signed: SignedPreKeyPublic {
            id: upload.skey.id,
            value: key(upload.skey.value),
            signature: upload.skey.signature,
        },
        one_time: Some(PreKeyPublic { id: one_time.id, value: key(one_time.value) }),
        pq: None,
    };
    let mut peer = End::new("1-10853634039893", 2, &Suites::new().with(X3dh), 2);
    peer.establish(&us(), &bundle).unwrap();
    Fixture { store: world.store, server, root, peer }
});

fn us() -> Address {
    Address::of_jid(&format!("{NUMBER}@s.whatsapp.net").parse().unwrap()).unwrap()
}

impl World {
    /// Logged in, with so many keys on the server.
    fn new(store: MemoryStore, server: &ResponderConfig, root: TrustRoot, keys: u32) -> Self {
        let mut world = Self {
            engine: Engine::new(Config::native(NUMBER, root), Suites::new().with(X3dh)),
            rng: TestRng::new(3),
            now: BEGIN,
            store,
            server: server.clone(),
            link: Link::Listening,
            wire: BytesMut::new(),
            decoder: FrameDecoder::new(),
            heard: Vec::new(),
            keys,
            uploaded: None,
            shown: Vec::new(),
            events: Vec::new(),
            requests: Vec::new(),
            requested: 0,
        };
        world.feed(Input::Start);
        world
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let outputs: Vec<_> = self.engine.handle(self.now, inputs.remove(0), &mut self.rng).collect();
            for output in outputs {
                inputs.extend(self.act(output));
            }
        }
    }

    fn act(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Connect => {
                (self.link, self.wire, self.decoder) = (Link::Listening, BytesMut::new(), FrameDecoder::new());
                Some(Input::Connected)
            }
            Output::Disconnect => {
                self.link = Link::Listening;
                Some(Input::Disconnected)
            }
            Output::Transmit(bytes) => self.receive(&bytes),
            Output::Persist(id, batch) => Some(match self.store.commit(&[batch]).remove(0) {
                Ok(_) => Input::Persisted(id),
                Err(error) => Input::PersistFailed(id, error),
            }),
            Output::Load(id, query) => Some(Input::Loaded(
                id,
                match query {
                    Query::Keys(keys) => self.store.load(&keys),
                    Query::First(kind, limit) => self.store.scan(kind, "", "", limit),
                    Query::After(kind, after, limit) => self.store.scan(kind, "", &after, limit),
                    _ => unreachable!("no other query"),
                },
            )),
            Output::Event(Event::Message(message)) => {
                if let Content::Text { text, .. } = &message.content {
                    self.shown.push(text.clone());
                }
                self.events.push(message.event);
                None
            }
            Output::Event(Event::MediaRequested(request)) => {
                self.requested += 1;
                self.requests.push(*request);
                None
            }
            Output::Event(Event::MediaRefreshed { event, .. } | Event::MediaGone { event, .. }) => {
                self.events.push(event);
                None
            }
            _ => None,
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Option<Input> {
        self.wire.extend_from_slice(bytes);
        if matches!(self.link, Link::Listening) {
            drop(self.wire.split_to(4)); // the prologue
            self.link = Link::Hello;
        }
        let mut back = BytesMut::new();
        while let Some(mut frame) = self.decoder.decode(&mut self.wire).unwrap() {
            self.link = match std::mem::replace(&mut self.link, Link::Listening) {
                Link::Hello => match Responder::new(&self.server).read(&frame, &mut self.rng, &mut back).unwrap() {
                    Step::Continue(next) => Link::Finish(Box::new(next)),
                    Step::Done(accepted) => welcome(accepted, &mut back),
                },
                Link::Finish(next) => welcome(next.read(&frame).unwrap(), &mut back),
                Link::In(mut link) => {
                    link.1.open(&mut frame).unwrap();
                    let node = comity_xmpp::decode(&frame, &Limits::default()).unwrap();
                    match self.answer(&node) {
                        Some(answer) => seal(&mut link.0, &answer, &mut back),
                        None => self.heard.push(node),
                    }
                    Link::In(link)
                }
                Link::Listening => unreachable!("a frame after the prologue"),
            };
            if matches!(self.link, Link::In(_)) {
                self.decoder.set_limit(1 << 20);
            }
        }
        (!back.is_empty()).then(|| Input::Received(back.freeze()))
    }

    /// The server answers what a login asks for.
    fn answer(&mut self, node: &Node) -> Option<Node> {
        let first = node.children().first().filter(|_| node.tag() == "iq")?.tag();
        let result = Node::new("iq")
            .with_attr("type", "result")
            .with_attr("id", node.attr("id")?.clone())
            .with_attr("from", comity_core::Server::Whatsapp);
        match first {
            "count" => Some(result.with_child(Node::new("count").with_attr("value", self.keys))),
            "registration" => {
                self.uploaded = Iq::parse(node).ok()?.into_payload().ok();
                Some(result)
            }
            "active" => Some(result),
            _ => None,
        }
    }

    fn say(&mut self, node: &Node) {
        let Link::In(link) = &mut self.link else { return };
        let mut out = BytesMut::new();
        seal(&mut link.0, node, &mut out);
        self.feed(Input::Received(out.freeze()));
    }

    /// What only authentic messages may change.
    fn guarded(&self) -> Vec<(RecordKey, Vec<u8>)> {
        use RecordKind::{Inbox, MediaRetry, PeerIdentity, Seen, Session};
        let guarded = |key: &RecordKey| matches!(key.kind, Session | PeerIdentity | Inbox | Seen | MediaRetry);
        self.store.snapshot().into_iter().filter(|(key, _)| guarded(key)).collect()
    }
}

fn file(key: &MediaKey) -> Media {
    Media {
        kind: MediaKind::Document,
        mimetype: String::new(),
        caption: None,
        file_name: None,
        key: key.clone(),
        file_sha256: [1; 32],
        file_enc_sha256: [2; 32],
        file_length: 3,
        direct_path: "/gone".into(),
        key_timestamp: BEGIN,
        dimensions: None,
        seconds: None,
        thumbnail: None,
        waveform: None,
        sidecar: None,
    }
}

/// The handshake is done, and the login good.
fn welcome(accepted: Accepted, back: &mut BytesMut) -> Link {
    let (mut sealer, opener) = accepted.transport.split();
    seal(&mut sealer, &Node::new("success").with_attr("t", BEGIN.as_secs()), back);
    Link::In(Box::new((sealer, opener)))
}

fn seal(sealer: &mut Sealer, node: &Node, out: &mut BytesMut) {
    let mut stanza = BytesMut::new();
    if comity_xmpp::encode(node, &mut stanza, &EncodeOptions::default()).is_ok() {
        sealer.seal_frame(&stanza, out).unwrap();
    }
}

fn message(from: &str, id: &str, sealed: &Encrypted) -> Node {
    let kind = match sealed.kind {
        EncKind::Pkmsg => "pkmsg",
        _ => "msg",
    };
    let enc = Node::new("enc").with_attr("v", "2").with_attr("type", kind).with_bytes(sealed.body.clone());
    Node::new("message")
        .with_attr("from", from.parse::<Jid>().unwrap())
        .with_attr("id", id)
        .with_attr("type", "text")
        .with_attr("t", BEGIN.as_secs())
        .with_child(enc)
}

struct Case<'a> {
    world: World,
    peer: End,
    u: Unstructured<'a>,
    /// Messages that left the peer: id, text, ciphertext, whether it arrived as it was.
    sent: Vec<(String, String, Encrypted, bool)>,
    /// A stanza of any form may have archived the sessions: what comes then may be asked for again.
    disturbed: bool,
}

/// The target.
pub fn ops(input: &[u8]) {
    let fixture = &*FIXTURE;
    let world = World::new(fixture.store.fork(), &fixture.server, fixture.root, 100);
    let mut peer = fixture.peer.clone();
    peer.store = fixture.peer.store.fork();
    let mut case = Case { world, peer, u: Unstructured::new(input), sent: Vec::new(), disturbed: false };
    for _ in 0..MAX_OPS {
        if case.u.is_empty() {
            break;
        }
        let op = u8::arbitrary(&mut case.u).unwrap_or(0);
        case.step(op);
        let shown: BTreeSet<_> = case.world.shown.iter().collect();
        assert_eq!(shown.len(), case.world.shown.len(), "a message was shown twice");
        let texts: BTreeSet<_> = case.sent.iter().map(|(_, text, ..)| text).collect();
        assert!(shown.is_subset(&texts), "a message was shown that nobody wrote");
    }
}

impl Case<'_> {
    fn step(&mut self, op: u8) {
        let pick = usize::from(op >> 3);
        match op & 7 {
            0 => self.arrives(),
            1 => self.again(pick),
            2 => self.damaged(),
            3 => self.foreign(pick),
            4 => self.any_stanza(),
            5 => self.ours(pick),
            6 => {
                self.world.now = self.world.now.after(Duration::from_secs(1 << (pick % 12)));
                self.world.feed(Input::Tick);
            }
            _ if pick & 1 == 1 => self.media(pick >> 1),
            _ => {
                if !self.world.events.is_empty() {
                    let event = self.world.events.remove(0);
                    self.world.feed(Input::Command(CommandId(1), Command::Confirm(event)));
                }
            }
        }
    }

    /// A file of either side is asked for, or answered for: as it should be, changed, by a stranger, or under another key.
    fn media(&mut self, pick: usize) {
        const ID: &str = "MEDIA";
        let (ours, stranger, other_key) = (pick & 1 == 0, pick & 6 == 2, pick & 6 == 4);
        let key = MediaKey::from([7; 32]);
        let to: Jid = PEER.parse().unwrap();
        if let Some(MediaRequest { event, from: to, .. }) = self.world.requests.pop() {
            let direct_path = (pick & 8 == 0).then(|| "/again".to_owned());
            self.world.feed(Input::Command(CommandId(3), Command::AnswerMedia { event, to, direct_path }));
        }
        let (id, stanza_id) = (ID.parse().unwrap(), Some(ID.to_owned()));
        let (command, encoded) = if ours {
            let (media, source) = (Box::new(file(&key)), "here".to_owned());
            let receipt = comity_proto::message::ServerErrorReceipt { stanza_id };
            (Command::SendMedia { to, media, id: Some(id), source }, receipt.encode_to_vec())
        } else {
            let direct_path = Some("/again".to_owned());
            let answer = comity_proto::message::MediaRetryNotification { stanza_id, direct_path, result: Some(1) };
            (Command::AskMedia { chat: to, id, key: key.clone() }, answer.encode_to_vec())
        };
        self.world.feed(Input::Command(CommandId(4), command));
        let sealing = if other_key { MediaKey::from([8; 32]) } else { key };
        let sealed = seal_retry(&sealing, ID, &encoded, &mut self.world.rng).unwrap();
        let mut body = sealed.enc_p.to_vec();
        if pick & 6 == 6 {
            damage(&mut self.u, &mut body);
        }
        let authentic = body[..] == sealed.enc_p[..] && !stranger && !other_key;
        let encrypt = Node::new("encrypt")
            .with_child(Node::new("enc_p").with_bytes(body))
            .with_child(Node::new("enc_iv").with_bytes(sealed.enc_iv.to_vec()));
        let from: Jid = if stranger { STRANGER } else { PEER }.parse().unwrap();
        let node = if ours { Node::new("receipt") } else { Node::new("notification") };
        let node = node
            .with_attr("type", if ours { "server-error" } else { "mediaretry" })
            .with_attr("id", ID)
            .with_attr("t", BEGIN.as_secs())
            .with_attr("from", from)
            .with_child(encrypt)
            .with_child(Node::new("rmr").with_attr("jid", PEER.parse::<Jid>().unwrap()).with_attr("from_me", "false"));
        if !authentic {
            return self.unchanged(&node);
        }
        self.world.say(&node);
        self.unchanged(&node); // the same once more
        assert!(self.world.requested <= MAX_MEDIA_RETRIES, "a file is asked for without end");
    }

    fn write(&mut self) -> usize {
        let n = self.sent.len();
        let text = format!("text {n}");
        let content = comity_proto::message::Message { conversation: Some(text.clone()), ..Default::default() };
        let mut padded = content.encode_to_vec();
        padded.push(1);
        let sealed = self.peer.encrypt(&us(), &padded).unwrap();
        self.sent.push((format!("{n:016X}"), text, sealed, false));
        n
    }

    fn arrives(&mut self) {
        let n = self.write();
        self.deliver(n);
    }

    fn deliver(&mut self, n: usize) {
        let (id, text, sealed, arrived) = &mut self.sent[n];
        let before = self.world.shown.len();
        self.world.say(&message(PEER, id, sealed));
        let in_session = matches!(self.world.link, Link::In(_));
        if in_session && !*arrived && !self.disturbed {
            assert_eq!(self.world.shown.get(before..), Some(&[text.clone()][..]), "an authentic message was not shown");
        }
        *arrived |= self.world.shown.contains(text);
    }

    fn unchanged(&mut self, node: &Node) {
        let before = self.world.guarded();
        self.world.say(node);
        assert!(self.world.guarded() == before, "what is not authentic changed the state");
    }

    fn again(&mut self, pick: usize) {
        let arrived: Vec<_> = (0..self.sent.len()).filter(|n| self.sent[*n].3 && !self.disturbed).collect();
        if let Some(n) = arrived.get(pick % arrived.len().max(1)) {
            let (id, _, sealed, _) = &self.sent[*n];
            let other = if pick & 1 == 0 { id.clone() } else { format!("{id}F") };
            let node = message(PEER, &other, sealed);
            self.unchanged(&node);
        }
    }

    /// Before the message itself, which must arrive all the same.
    fn damaged(&mut self) {
        let n = self.write();
        let (id, _, sealed, _) = self.sent[n].clone();
        let mut body = sealed.body.to_vec();
        damage(&mut self.u, &mut body);
        if body[..] != sealed.body[..] && !self.disturbed {
            let (before, shown) = (self.world.guarded(), self.world.shown.len());
            let kind = sealed.kind;
            self.world.say(&message(PEER, &id, &Encrypted { body: body.into(), ..sealed }));
            if self.world.guarded() != before {
                // Around the message of a `pkmsg` stands what no MAC covers, and an old session does not look at.
                assert_eq!(kind, EncKind::Pkmsg, "what is not authentic changed the state");
                assert_eq!(self.world.shown.get(shown..), Some(&[self.sent[n].1.clone()][..]));
                self.sent[n].3 = true;
            }
        }
        self.deliver(n);
    }

    fn foreign(&mut self, pick: usize) {
        let n = self.write();
        let (id, _, sealed, _) = self.sent[n].clone();
        let from = if pick & 1 == 0 { STRANGER } else { "4915199999999@s.whatsapp.net" };
        // A first message sets a session up with whoever sends it: that one is authentic.
        if sealed.kind != EncKind::Pkmsg {
            self.unchanged(&message(from, &id, &sealed));
        }
        self.deliver(n);
    }

    fn any_stanza(&mut self) {
        let len = usize::from(u8::arbitrary(&mut self.u).unwrap_or(0)).min(self.u.len());
        let frame = self.u.bytes(len).unwrap_or_default();
        if let Ok(node) = comity_xmpp::decode(frame, &Limits::default()) {
            self.disturbed = true;
            self.world.say(&node);
        }
    }

    /// The client sends; the server acknowledges, or refuses, or the peer says that it came.
    fn ours(&mut self, pick: usize) {
        let to: Jid = PEER.parse().unwrap();
        let send = Command::Send { to, content: Content::text("x"), id: None };
        self.world.feed(Input::Command(CommandId(2), send));
        let Some(at) = self.world.heard.iter().rposition(|node| node.tag() == "message") else { return };
        let sent = self.world.heard.remove(at);
        let Some(id) = sent.attr("id").cloned() else { return };
        let (tag, error) = [("ack", None), ("ack", Some(475u16)), ("receipt", None)][pick % 3];
        let mut node = Node::new(tag).with_attr("id", id).with_attr("from", PEER.parse::<Jid>().unwrap());
        node = node.with_attr("t", BEGIN.as_secs()).with_opt_attr("error", error);
        if tag == "ack" {
            node = node.with_attr("class", "message");
        }
        self.world.say(&node);
    }
}
