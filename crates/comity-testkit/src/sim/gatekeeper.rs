//! A gatekeeper: log-in, key directory, mailbox; it acknowledges what is durable, and a crash loses what is not
//! (PROTOCOL §4, §5, §7, §8).

use super::directory::{Db, Enlistment, Mail};
use super::network::ConnId;
use super::world::{Event, World};
use super::{Invariant, Sabotage};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use comity_core::{IntegratorId, Jid, MessageId, PartnerUser, Server, Timestamp, UserNumber};
use comity_engine::{Input, RequestId};
use comity_noise::cert::Issuer;
use comity_noise::{Accepted, Pattern, Responder, ResponderConfig, Sealer, StaticKey, Step, TrustRoot, Validity};
use comity_proto::Codec as _;
use comity_proto::handshake::ClientPayload;
use comity_xmpp::stanza::{
    Ack, Delivery, Failure, Ib, IbBody, Iq, KeyCount, KeyCountQuery, KeyFetch, KeyFetchEntry, KeyFetchResult,
    KeyUpload, Message, OfflinePreview, Ping, Reported, SignedPreKeyXml, StreamError, Success,
};
use comity_xmpp::{EncodeOptions, Node};
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Fewer one-time keys than this, and their owner is told.
const LOW_WATER: u32 = 10;
/// Stanzas remembered for replay.
const OLD_MAIL: usize = 64;
const INTEGRATOR: u16 = 1;

/// A log-in.
pub(super) struct Session {
    account: Jid,
    sealer: Sealer,
    /// The client has proved to be there: until then a 0-RTT log-in has no effect.
    live: bool,
    active: bool,
    /// The place of the last stanza delivered.
    cursor: u64,
    /// What waited at the log-in: the last one's place, and how many were sent.
    offline: Option<(u64, u32)>,
}

/// What follows a commit.
enum Answer {
    Node(ConnId, Node),
    Active(ConnId),
    Acked(MessageId),
    Http(usize, u64, RequestId, Bytes),
}

pub(super) struct Gatekeeper {
    noise: ResponderConfig,
    pub(super) root: TrustRoot,
    pub(super) up: bool,
    process: u64,
    pub(super) db: Db,
    synced: Db,
    answers: Vec<Answer>,
    committing: bool,
    /// The connection of each account.
    pub(super) live: BTreeMap<Jid, ConnId>,
    old_mail: VecDeque<Rc<Mail>>,
}

impl Gatekeeper {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        let (root, key) = (StaticKey::generate(rng), StaticKey::generate(rng));
        let issuer = Issuer::new(&root, StaticKey::generate(rng), 1, Validity::ALWAYS, rng);
        let chain = issuer.chain(key.public(), 2, Validity::ALWAYS, rng);
        Self {
            noise: ResponderConfig::new(key, chain),
            root: TrustRoot(root.public()),
            up: true,
            process: 0,
            db: Db::default(),
            synced: Db::default(),
            answers: Vec::new(),
            committing: false,
            live: BTreeMap::new(),
            old_mail: VecDeque::new(),
        }
    }
}

fn server() -> Jid {
    Jid::server_only(Server::Whatsapp)
}

impl World<'_> {
    fn server_time(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// What was done is committed soon, and then answered.
    fn commit_soon(&mut self) {
        if !std::mem::replace(&mut self.gatekeeper.committing, true) {
            let (wait, process) = (self.between(0, 15), self.gatekeeper.process);
            self.later(wait, Event::Committed(process));
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.gatekeeper.answers.push(answer);
        self.commit_soon();
    }

    pub(super) fn on_committed(&mut self, process: u64) -> bool {
        if process != self.gatekeeper.process || !self.gatekeeper.up {
            return false;
        }
        self.gatekeeper.committing = false;
        self.gatekeeper.synced = self.gatekeeper.db.clone();
        let answers = std::mem::take(&mut self.gatekeeper.answers);
        self.note(format_args!("gatekeeper committed, {} answers", answers.len()));
        let mut nodes: BTreeMap<ConnId, Vec<Node>> = BTreeMap::new();
        for answer in answers {
            match answer {
                Answer::Node(conn, node) => nodes.entry(conn).or_default().push(node),
                Answer::Active(conn) => {
                    let node = self.activate(conn);
                    nodes.entry(conn).or_default().extend(node);
                }
                Answer::Acked(id) => {
                    if let Some(sent) = self.check.sent.get_mut(&id) {
                        sent.acked = true;
                    }
                }
                Answer::Http(device, process, id, body) => {
                    let wait = self.between(5, 100);
                    let lost = self.fault(50);
                    let result = if lost { Err("the answer was lost".to_owned()) } else { Ok(body) };
                    self.later(wait, Event::Input(device, process, Input::EnlistAnswer(id, result)));
                }
            }
        }
        for (conn, nodes) in nodes {
            self.say(conn, nodes);
        }
        for conn in self.gatekeeper.live.values().copied().collect::<Vec<_>>() {
            self.page(conn);
        }
        true
    }

    fn say(&mut self, id: ConnId, nodes: Vec<Node>) {
        let Some(session) = &mut self.conn(id).session else { return };
        let mut out = BytesMut::new();
        for node in nodes {
            let mut stanza = BytesMut::new();
            comity_xmpp::encode(&node, &mut stanza, &EncodeOptions::default()).expect("a stanza of the gatekeeper");
            session.sealer.seal_frame(&stanza, &mut out).expect("an open connection");
        }
        self.deliver(id, out.freeze());
    }

    /// Announces what waits.
    fn activate(&mut self, id: ConnId) -> Option<Node> {
        let account = self.conn(id).session.as_ref()?.account.clone();
        let (mut preview, mut last) = (OfflinePreview::default(), 0);
        for (seq, mail) in self.gatekeeper.db.mail_of(&account, 0) {
            last = seq;
            preview.count += 1;
            match mail.class.as_str() {
                "message" => preview.message += 1,
                "receipt" => preview.receipt += 1,
                _ => preview.notification += 1,
            }
        }
        let session = self.conn(id).session.as_mut()?;
        session.active = true;
        session.offline = Some((last, 0));
        Some(Ib::new(IbBody::OfflinePreview(preview)).into_node())
    }

    /// Delivers what is new in the mailbox.
    fn page(&mut self, id: ConnId) {
        let Some(session) = self.conn(id).session.as_ref().filter(|session| session.active) else { return };
        let (account, cursor, mut offline) = (session.account.clone(), session.cursor, session.offline);
        let new: Vec<_> =
            self.gatekeeper.db.mail_of(&account, cursor).map(|(seq, mail)| (seq, Rc::clone(mail))).collect();
        let mut nodes = Vec::new();
        let mut cursor = cursor;
        for (seq, mail) in new {
            cursor = seq;
            let mut node = mail.node.clone();
            if let Some((last, sent)) = &mut offline
                && seq <= *last
            {
                *sent += 1;
                node.set_attr("offline", *sent);
            }
            if mail.class == "message" && self.fault(15) {
                node = self.forge(node);
            }
            if self.fault(15) {
                self.counts.duplicates += 1;
                nodes.push(node.clone());
            }
            nodes.push(node);
            self.gatekeeper.old_mail.push_back(mail);
            if self.gatekeeper.old_mail.len() > OLD_MAIL {
                self.gatekeeper.old_mail.pop_front();
            }
        }
        if let Some((_, count)) = offline.take_if(|(last, _)| *last <= cursor) {
            nodes.push(Ib::new(IbBody::Offline { count }).into_node());
        }
        if let Some(session) = &mut self.conn(id).session {
            session.cursor = cursor;
            session.offline = offline;
        }
        if !nodes.is_empty() {
            self.say(id, nodes);
        }
    }

    /// Changes one bit of the ciphertext.
    fn forge(&mut self, node: Node) -> Node {
        let Ok(mut message) = Message::parse(&node) else { return node };
        if let Some(enc) = message.enc.first_mut() {
            let mut body = enc.ciphertext.to_vec();
            let at = self.rng.random_range(0..body.len());
            body[at] ^= 1 << self.rng.random_range(0..8);
            enc.ciphertext = body.into();
            self.counts.forgeries += 1;
        }
        message.into_node()
    }

    /// Sends an account something old, or something again.
    pub(super) fn replay(&mut self) {
        if self.gatekeeper.old_mail.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.gatekeeper.old_mail.len());
        let mail = Rc::clone(&self.gatekeeper.old_mail[at]);
        if let Some(conn) = self.gatekeeper.live.get(&mail.to).copied()
            && self.conn(conn).session.as_ref().is_some_and(|session| session.active)
        {
            self.counts.duplicates += 1;
            self.note(format_args!("gatekeeper replays {} {}", mail.class, mail.id));
            self.say(conn, vec![mail.node.clone()]);
        }
    }

    pub(super) fn on_hello(&mut self, id: ConnId, bytes: &Bytes) -> bool {
        if !self.reaches_gatekeeper(id) {
            return false;
        }
        self.note(format_args!("gatekeeper < {id}: {}", super::trace::short(bytes)));
        for frame in self.frames(id, bytes) {
            let mut out = BytesMut::new();
            let accepted = match self.conn(id).finish.take() {
                Some(finish) => finish.read(&frame),
                None => match Responder::new(&self.gatekeeper.noise).read(&frame, &mut self.keys, &mut out) {
                    Ok(Step::Done(accepted)) => Ok(accepted),
                    Ok(Step::Continue(finish)) => {
                        self.conn(id).finish = Some(finish);
                        self.deliver(id, out.freeze());
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if !out.is_empty() {
                self.deliver(id, out.freeze());
            }
            match accepted {
                Ok(accepted) => self.log_in(id, accepted),
                Err(error) => self.check.fail(Invariant::NoFault, format!("handshake: {error}")),
            }
        }
        true
    }

    fn reaches_gatekeeper(&mut self, id: ConnId) -> bool {
        let now = self.now;
        let conn = self.conn(id);
        conn.server && conn.up.cut.is_none_or(|cut| now < cut)
    }

    fn log_in(&mut self, id: ConnId, accepted: Accepted) {
        let Accepted { transport, pattern, client, login, .. } = accepted;
        let replayable = login.is_replayable();
        let (sealer, opener) = transport.split();
        let conn = self.conn(id);
        conn.opener = Some(opener);
        conn.decoder.set_limit(comity_noise::limits::MAX_FRAME);
        self.counts.logins_ik += u64::from(pattern == Pattern::Ik);
        let found = self.authenticate(login.payload(), client.as_bytes());
        let account = found.clone().unwrap_or_else(|_| server());
        let live = found.is_ok() && !replayable;
        let session = Session { account, sealer, live: false, active: false, cursor: 0, offline: None };
        self.conn(id).session = Some(session);
        match found {
            Ok(account) => {
                self.counts.logins += 1;
                self.note(format_args!("log-in {id}: {pattern:?}"));
                if live {
                    self.register(id, account);
                }
                self.say(id, vec![Success::new(self.server_time()).into_node()]);
            }
            Err(reason) => {
                self.note(format_args!("log-in {id} refused: {reason}"));
                self.say(id, vec![Failure::new(reason, "sim").into_node()]);
                self.drop_server(id);
            }
        }
    }

    /// Checks a token that says who and with which key.
    fn authenticate(&mut self, payload: &Bytes, noise_key: &[u8; 32]) -> Result<Jid, u16> {
        if self.fault(20) {
            return Err(503);
        }
        let payload = ClientPayload::decode(payload.clone()).map_err(|_| 400_u16)?;
        let jid = match payload.interop_data {
            Some(data) => {
                let number = data.account_id.and_then(|id| UserNumber::new(id).ok()).ok_or(400_u16)?;
                let integrator = IntegratorId::new(INTEGRATOR).expect("a number");
                PartnerUser { integrator, number }.jid()
            }
            None => Jid::new(&payload.username.ok_or(400_u16)?.to_string(), Server::Whatsapp).map_err(|_| 400_u16)?,
        };
        match self.gatekeeper.db.users.get(&jid) {
            Some(user) if user.noise_key == *noise_key => Ok(jid),
            None if jid.server() == Server::Interop => Err(415),
            _ => Err(401),
        }
    }

    /// The log-in takes effect: another of the same account ends.
    fn register(&mut self, id: ConnId, account: Jid) {
        if let Some(session) = &mut self.conn(id).session {
            session.live = true;
        }
        if let Some(other) = self.gatekeeper.live.insert(account, id).filter(|other| *other != id) {
            self.end(other, &StreamError::replaced());
        }
    }

    /// Ends a log-in with a word.
    pub(super) fn end(&mut self, id: ConnId, why: &StreamError) {
        if self.conn(id).session.is_some() {
            self.say(id, vec![why.clone().into_node()]);
            self.drop_server(id);
        }
    }

    pub(super) fn on_stanzas(&mut self, id: ConnId, nodes: Vec<Node>) -> bool {
        if !self.reaches_gatekeeper(id) {
            return false;
        }
        for node in nodes {
            let Some(session) = &self.conn(id).session else { return false };
            let (account, live) = (session.account.clone(), session.live);
            if !live {
                self.register(id, account.clone());
            }
            self.note(format_args!(
                "gatekeeper < {id}: {} {} {}",
                node.tag(),
                node.attr_str("id").unwrap_or_default(),
                node.attr_str("type").unwrap_or_default()
            ));
            self.on_stanza(id, &account, node);
        }
        true
    }

    fn on_stanza(&mut self, id: ConnId, account: &Jid, node: Node) {
        match node.tag() {
            "message" => self.on_message(id, account, node),
            "receipt" => self.on_receipt(id, account, node),
            "ack" => {
                let kind = node.attr_str("type").filter(|_| node.attr_str("class").as_deref() == Some("receipt"));
                let (class, ack_id) = (node.attr_str("class").unwrap(), node.attr_str("id").unwrap());
                let from = node.attr_jid("to").unwrap_or_else(server);
                if class == "message" {
                    self.gatekeeper.db.remove_message(account, &from, &ack_id);
                } else {
                    self.gatekeeper.db.remove(account, &class, &from, &ack_id, kind.as_deref());
                }
                self.commit_soon();
            }
            "iq" => self.on_iq(id, account, &Iq::parse(&node).expect("our own client's iq")),
            "chatstate" => {
                let live = node.attr_jid("to").and_then(|to| self.gatekeeper.live.get(&to)).copied();
                if let Some(conn) = live {
                    self.say(conn, vec![self.delivered_form(account, &node)]);
                }
            }
            _ => {}
        }
    }

    fn delivered_form(&self, from: &Jid, node: &Node) -> Node {
        let mut out = node.clone();
        for attr in ["to", "from", "t", "offline"] {
            out.remove_attr(attr);
        }
        out.set_attr("from", from);
        out.set_attr("t", self.now / 1000);
        out
    }

    fn on_message(&mut self, id: ConnId, account: &Jid, node: Node) {
        let to = node.attr_jid("to").expect("a message to somebody");
        let message: MessageId = node.attr_str("id").unwrap().parse().expect("a message id");
        let mut ack = Ack::by_server(&node, self.server_time()).unwrap();
        let db = &mut self.gatekeeper.db;
        if !db.users.contains_key(&to) {
            ack.error = Some(404);
        } else if db.blocks.contains(&(to.clone(), account.clone())) {
            self.counts.blocked += 1;
            if let Some(sent) = self.check.sent.get_mut(&message) {
                sent.excused = true;
            }
        } else {
            db.befriend(account, &to);
            let kind = node.child("enc").and_then(|enc| enc.attr_str("count")).unwrap_or_default().into_owned();
            let out = self.delivered_form(account, &node).with_attr("notify", "somebody");
            let (class, sender) = ("message".to_owned(), account.clone());
            self.gatekeeper.db.put(Mail { to, class, sender, id: message.to_string(), kind, node: out });
            self.answer(Answer::Acked(message));
        }
        self.answer(Answer::Node(id, ack.into_node()));
    }

    fn on_receipt(&mut self, id: ConnId, account: &Jid, node: Node) {
        let to = node.attr_jid("to").expect("a receipt to somebody");
        let message = node.attr_str("id").unwrap().into_owned();
        let kind = node.attr_str("type").unwrap_or_default().into_owned();
        let retry = kind == "retry";
        if retry || kind.is_empty() {
            self.gatekeeper.db.remove_message(account, &to, &message);
        }
        if retry {
            self.counts.retries += 1;
        }
        if self.gatekeeper.db.blocks.contains(&(to.clone(), account.clone())) {
            let sent = message.parse().ok().and_then(|id: MessageId| self.check.sent.get_mut(&id));
            if let Some(sent) = sent {
                sent.receipt_dropped = true;
                sent.excused |= retry;
            }
        } else if !(retry && self.setup.sabotage == Sabotage::LostRetries) {
            let count = node.child("retry").and_then(|retry| retry.attr_str("count"));
            let kind = count.map_or(kind, |count| format!("retry#{count}"));
            let (class, sender) = ("receipt".to_owned(), account.clone());
            let out = self.delivered_form(account, &node);
            self.gatekeeper.db.put(Mail { to, class, sender, id: message, kind, node: out });
        }
        let ack = Ack::by_server(&node, self.server_time()).unwrap();
        self.answer(Answer::Node(id, ack.into_node()));
    }

    fn on_iq(&mut self, id: ConnId, account: &Jid, iq: &Iq) {
        let answer = if iq.is::<Delivery>() {
            iq.result_empty()
        } else if iq.is::<KeyCountQuery>() {
            let value = self.gatekeeper.db.key_count(account);
            iq.result(KeyCount { value, pq: None, rest: Default::default() })
        } else if iq.is::<KeyUpload>() {
            let upload = iq.payload::<KeyUpload>().expect("our own client's keys");
            self.counts.uploads += 1;
            if self.gatekeeper.db.upload(account, upload) {
                self.tell_identity(account);
            }
            iq.result_empty()
        } else if iq.is::<KeyFetch>() {
            let users = iq.payload::<KeyFetch>().expect("our own client's question").users;
            let users = users.into_iter().map(|user| {
                let keys = self.gatekeeper.db.fetch(&user.jid).ok_or_else(|| Reported::new(500));
                KeyFetchEntry { jid: user.jid, keys, rest: Default::default() }
            });
            let users: Vec<_> = users.collect();
            for user in &users {
                self.low_water(&user.jid);
            }
            iq.result(KeyFetchResult { users, rest: Default::default() })
        } else if iq.is::<Ping>() {
            Ping::pong(iq, self.server_time())
        } else if let Some(item) = iq.children.iter().find_map(|child| find(child, "item")) {
            let pair = (account.clone(), item.attr_jid("jid").expect("somebody to block"));
            if item.attr_str("action").as_deref() == Some("block") {
                self.gatekeeper.db.blocks.insert(pair);
            } else {
                self.gatekeeper.db.blocks.remove(&pair);
            }
            iq.result_empty()
        } else {
            iq.result_empty()
        };
        self.answer(Answer::Node(id, answer.into_node()));
        if iq.is::<Delivery>() {
            self.answer(Answer::Active(id));
        }
    }

    /// Tells an account that is there that its one-time keys run low.
    pub(super) fn low_water(&mut self, account: &Jid) {
        let left = self.gatekeeper.db.key_count(account);
        if let Some(conn) = self.gatekeeper.live.get(account).copied().filter(|_| left < LOW_WATER) {
            let node = self.notification(&server()).with_child(Node::new("count").with_attr("value", left));
            self.say(conn, vec![node]);
        }
    }

    fn notification(&mut self, from: &Jid) -> Node {
        Node::new("notification")
            .with_attr("type", "encrypt")
            .with_attr("from", from)
            .with_attr("id", MessageId::random(&mut self.keys).as_str())
            .with_attr("t", self.now / 1000)
    }

    /// An account has a new identity: its contacts are told.
    fn tell_identity(&mut self, account: &Jid) {
        let node = self.notification(account).with_child(Node::new("identity"));
        let id = node.attr_str("id").unwrap().into_owned();
        for to in self.gatekeeper.db.contacts(account) {
            let (class, sender) = ("notification".to_owned(), account.clone());
            let mail = Mail { to, class, sender, id: id.clone(), kind: String::new(), node: node.clone() };
            self.gatekeeper.db.put(mail);
        }
    }

    pub(super) fn on_register(&mut self, device: usize, process: u64, key: [u8; 32]) -> bool {
        if !self.is_running(device, process) {
            return false;
        }
        if self.gatekeeper.up {
            let jid = self.devices[device].jid.clone().expect("a native user's number");
            self.gatekeeper.db.register(&jid, key);
            self.gatekeeper.synced.register(&jid, key); // the operator waits until it is done
        } else {
            self.later(500, Event::Register(device, process, key));
        }
        true
    }

    pub(super) fn on_enlist(&mut self, device: usize, process: u64, id: RequestId, form: &str) {
        if !self.gatekeeper.up {
            let answer = Input::EnlistAnswer(id, Err("connection refused".into()));
            return self.later(20, Event::Input(device, process, answer));
        }
        let field = |name: &str| {
            let value = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).expect("a field");
            value.to_owned()
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(field(name)).expect("base64url");
        let [a, b, c] = bytes("e_skey_id").try_into().unwrap();
        let enlistment = Enlistment {
            visible_id: field("token"),
            noise_key: bytes("authkey").try_into().unwrap(),
            registration: u32::from_be_bytes(bytes("e_regid").try_into().unwrap()),
            identity: bytes("e_ident").try_into().unwrap(),
            skey: SignedPreKeyXml {
                id: u32::from_be_bytes([0, a, b, c]),
                value: bytes("e_skey_val").try_into().unwrap(),
                signature: bytes("e_skey_sig").try_into().unwrap(),
            },
        };
        let number = UserNumber::random(&mut self.keys);
        let integrator = IntegratorId::new(INTEGRATOR).expect("a number");
        let (jid, changed) = self.gatekeeper.db.enlist(enlistment, number, integrator);
        if changed {
            self.tell_identity(&jid);
        }
        if changed && let Some(conn) = self.gatekeeper.live.remove(&jid) {
            self.end(conn, &StreamError::device_removed());
        }
        self.note(format_args!("{device} enlists, changed {changed}"));
        let body = format!(r#"{{"status":"ok","login":"{jid}"}}"#);
        self.answer(Answer::Http(device, process, id, body.into()));
    }

    /// The process is killed: what was not synced is lost, and nobody says goodbye.
    pub(super) fn kill_gatekeeper(&mut self) {
        self.counts.gatekeeper_crashes += 1;
        let gatekeeper = &mut self.gatekeeper;
        gatekeeper.up = false;
        gatekeeper.process += 1;
        gatekeeper.db = gatekeeper.synced.clone();
        gatekeeper.answers.clear();
        gatekeeper.committing = false;
        gatekeeper.live.clear();
        let open: Vec<_> = self.conns.iter().filter(|(_, conn)| conn.server).map(|(id, _)| *id).collect();
        for id in open {
            self.drop_server(id);
        }
    }
}

fn find<'a>(node: &'a Node, tag: &str) -> Option<&'a Node> {
    if node.tag() == tag { Some(node) } else { node.children().iter().find_map(|child| find(child, tag)) }
}
