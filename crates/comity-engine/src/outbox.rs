//! Sending: what is queued is durable, goes out once encrypted, again after a reconnect with the same ciphertext, and is
//! forgotten when the server has acknowledged it.

use crate::Error;
use crate::content::Content;
use crate::engine::{Effect, Engine, Then};
use crate::io::{CommandId, Event, Failure, MessageState, Reply};
use crate::lane::{Fetched, Job, LaneKey, Outcome};
use crate::limits::{MAX_OUTBOX, MAX_RECEIPT_IDS};
use crate::receive::changed;
use crate::record::{Outgoing, Sent, SentMedia, message_key, parse};
use bytes::{Bytes, BytesMut};
use comity_core::{Batch, CryptoRng, Jid, MessageId, Record, RecordKey, RecordKind};
use comity_proto::Codec;
use comity_signal::{Address, EncKind, Records, encrypt, establish, keys_for_encrypt, merge, pad};
use comity_xmpp::stanza::{Ack, AckClass, Enc, EncType, Message, Participant, Receipt, ReceiptType};
use comity_xmpp::{Dialect, Node, Text};
use std::collections::BTreeMap;

/// What the server acknowledges, as its ack names it: class (with a receipt's type), from, id.
type AckKey = (Box<str>, Jid, Box<str>);

/// What waits for the server's ack, by record id: the order of sending.
#[derive(Default)]
pub(crate) struct Outbox {
    entries: BTreeMap<Box<str>, Entry>,
    /// More than one where a message is sent again before the first sending is acknowledged.
    by_ack: BTreeMap<AckKey, Vec<Box<str>>>,
    /// Which connection it is. What a job began to send on an earlier one goes out in its turn, not when the job is done.
    pub(crate) epoch: u64,
}

/// A queued stanza.
pub(crate) struct Entry {
    to: Jid,
    ack: AckKey,
    /// A revocation's: the message taken back.
    revokes: Option<MessageId>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its record is being written.
    Storing,
    /// For a session.
    Waiting,
    /// A job is at it.
    AtWork,
    /// Sent on this connection.
    Sent,
}

impl Entry {
    fn new(outgoing: &Outgoing, stage: Stage) -> Result<Self, Error> {
        let to: Jid = outgoing.to.parse().map_err(|_| Error::Corrupt("outbox"))?;
        let class = if outgoing.is_receipt() { outgoing.edit.as_str() } else { "message" };
        let revokes = outgoing.revokes.parse().ok();
        Ok(Self { ack: (class.into(), to.clone(), outgoing.id.as_str().into()), to, revokes, stage })
    }

    pub(crate) fn of_record(record: &Record) -> Result<Self, Error> {
        Self::new(&parse(record, "outbox")?.ok_or(Error::Corrupt("outbox"))?, Stage::Waiting)
    }
}

impl Outbox {
    pub(crate) fn insert(&mut self, key: &str, entry: Entry) {
        self.by_ack.entry(entry.ack.clone()).or_default().push(key.into());
        self.entries.insert(key.into(), entry);
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key)
            && let Some(keys) = self.by_ack.get_mut(&entry.ack)
        {
            keys.retain(|other| **other != *key);
            if keys.is_empty() {
                self.by_ack.remove(&entry.ack);
            }
        }
    }

    /// A queued stanza goes out on the next connection.
    pub(crate) fn wait(&mut self, key: &str) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stage = Stage::Waiting;
        }
    }

    /// What was sent and not acknowledged goes out again.
    pub(crate) fn connection_gone(&mut self) {
        self.epoch += 1;
        for entry in self.entries.values_mut() {
            if matches!(entry.stage, Stage::Sent | Stage::AtWork) {
                entry.stage = Stage::Waiting;
            }
        }
    }
}

/// Encrypts a queued message if that is still to be done, and sends it.
pub(crate) struct Send {
    key: Box<str>,
    epoch: u64,
    to: Jid,
    id: Box<str>,
    peer: Address,
    revokes: Option<MessageId>,
    pub(crate) bundle: Option<Fetched>,
}

/// Where [`Outgoing::edit`] has a receipt's type: a notification.
pub(crate) const NOTIFICATION: &str = "notification";

fn outbox_key(key: &str) -> RecordKey {
    RecordKey { kind: RecordKind::Outbox, id: key.into() }
}

impl Send {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn sent_key(&self) -> RecordKey {
        RecordKey::new(RecordKind::Sent, format_args!("{}/{}", self.to, self.id))
    }

    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        let mut keys = keys_for_encrypt(&self.peer);
        keys.extend([outbox_key(&self.key), self.sent_key()]);
        keys.extend(self.revokes.iter().map(|id| sent_key(&self.to, id)));
        keys
    }

    pub(crate) fn run(
        &mut self,
        engine: &Engine,
        records: &mut Records,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, Error> {
        if self.epoch != engine.outbox.epoch {
            return Ok(Outcome::Done(Vec::new()));
        }
        let record = records.get(&outbox_key(&self.key)).map_err(|_| Error::Corrupt("outbox"))?.clone();
        let dequeue = || Effect::Dequeue(self.key.clone());
        let Some(mut outgoing) = parse::<Outgoing>(&record, "outbox")? else {
            return Ok(Outcome::Done(vec![dequeue()]));
        };
        if !outgoing.stanza.is_empty() {
            return Ok(Outcome::Done(vec![Effect::Transmit(self.key.clone(), outgoing.stanza, self.epoch)]));
        }
        let mut batch = Batch::new();
        let sent = records.get(&self.sent_key()).map_err(|_| Error::Corrupt("sent"))?.clone();
        if sent.value.is_some() {
            batch.delete(&record); // an id that was sent before
            return Ok(Outcome::Commit(batch, vec![dequeue()]));
        }
        match seal(engine, records, &self.peer, &self.to, &outgoing, self.bundle.as_ref(), rng) {
            Ok(sealed) => {
                batch.append(sealed.batch);
                let media = outgoing.media.take();
                let kept = Sent { at: engine.now.as_millis(), outgoing: Some(outgoing.clone()), media };
                batch.put(&sent, kept.encode_to_vec());
                self.forget_media(records, &mut batch)?;
                outgoing.stanza = sealed.stanza.clone();
                batch.put(&record, outgoing.encode_to_vec());
                let mut effects = sealed.events;
                effects.push(Effect::Transmit(self.key.clone(), sealed.stanza, self.epoch));
                Ok(Outcome::Commit(batch, effects))
            }
            Err(Error::NotConnected) => Ok(Outcome::NeedBundle(self.to.clone())),
            Err(error) => {
                let failure = match error {
                    Error::UnknownRecipient => Failure::UnknownRecipient,
                    Error::IdentityChanged { identity } => Failure::IdentityChanged { identity },
                    Error::Session(cause) => Failure::Session(cause),
                    other => return Err(other),
                };
                batch.delete(&record);
                let effects = vec![dequeue(), state(&self.to, &self.id, MessageState::Failed(failure))?];
                Ok(Outcome::Commit(batch, effects))
            }
        }
    }
}

impl Send {
    /// The file of a message that is taken back is not given again.
    fn forget_media(&self, records: &Records, batch: &mut Batch) -> Result<(), Error> {
        let Some(id) = self.revokes.as_ref().filter(|id| *id.as_str() != *self.id) else { return Ok(()) };
        let record = records.get(&sent_key(&self.to, id)).map_err(|_| Error::Corrupt("sent"))?;
        if let Some(sent) = parse::<Sent>(record, "sent")?.filter(|sent| sent.media.is_some()) {
            batch.put(record, Sent { media: None, ..sent }.encode_to_vec());
        }
        Ok(())
    }
}

/// A message encrypted for a peer, and what must be durable before it goes out.
pub(crate) struct Sealed {
    pub(crate) batch: Batch,
    pub(crate) stanza: Bytes,
    pub(crate) events: Vec<Effect>,
}

/// Encrypts `outgoing` for `peer`, with a session built from `bundle` if there is one.
///
/// # Errors
/// [`Error::NotConnected`] if a bundle is needed first; [`Error::UnknownRecipient`], [`Error::Session`].
pub(crate) fn seal(
    engine: &Engine,
    records: &mut Records,
    peer: &Address,
    to: &Jid,
    outgoing: &Outgoing,
    bundle: Option<&Fetched>,
    rng: &mut dyn CryptoRng,
) -> Result<Sealed, Error> {
    let session = |e: comity_signal::Error| match e {
        comity_signal::Error::IdentityChanged { identity } => Error::IdentityChanged { identity: *identity.as_bytes() },
        other => Error::Session(other.to_string()),
    };
    let mut batch = Batch::new();
    let mut events = Vec::new();
    if let Some(bundle) = bundle {
        let bundle = bundle.clone()?;
        let policy = engine.config.identity_policy;
        let (built, changes) =
            establish(records, &engine.suites, policy, peer, &bundle, engine.now, rng).map_err(session)?;
        records.apply(&changes);
        batch = changes;
        if let Some(change) = &built.identity_change {
            events.push(Effect::Emit(changed(to, change)));
        }
        events.push(Effect::Emit(Event::SessionReady { peer: to.clone(), version: built.version }));
    }
    let mut padded = outgoing.content.to_vec();
    pad(&mut padded, rng);
    let (sealed, changes) = encrypt(records, &engine.suites, peer, &padded, engine.now, rng).map_err(|e| match e {
        comity_signal::Error::NoSession => Error::NotConnected,
        other => session(other),
    })?;
    let mut enc = Enc::new(enc_type(sealed.kind), sealed.body);
    enc.mediatype = (!outgoing.mediatype.is_empty()).then(|| outgoing.mediatype.as_str().into());
    enc.hide_failure = outgoing.hide_on_failure;
    enc.count = (outgoing.retry > 0).then_some(outgoing.retry);
    let id = outgoing.id.parse().map_err(|_| Error::Corrupt("outbox"))?;
    let mut message = Message::new(id, to.clone(), Text::from(outgoing.message_type.as_str()).into(), enc);
    if engine.config.profile.enc_in_participants {
        message.participants = vec![Participant {
            jid: to.clone(),
            enc: std::mem::take(&mut message.enc),
            rest: comity_xmpp::stanza::Rest::default(),
        }];
    }
    message.edit = (!outgoing.edit.is_empty()).then(|| Text::from(outgoing.edit.as_str()).into());
    Ok(Sealed { batch: merge(batch, changes), stanza: encode(&engine.dialect, &message.into_node())?, events })
}

const fn enc_type(kind: EncKind) -> EncType {
    match kind {
        EncKind::Pkmsg => EncType::PreKey,
        EncKind::Msg => EncType::Session,
        EncKind::Skmsg => EncType::SenderKey,
    }
}

pub(crate) fn encode(dialect: &Dialect, node: &Node) -> Result<Bytes, Error> {
    let mut stanza = BytesMut::new();
    dialect.encode(node, &mut stanza).map_err(|_| Error::Content("the stanza is too large"))?;
    Ok(stanza.freeze())
}

fn state(chat: &Jid, id: &str, state: MessageState) -> Result<Effect, Error> {
    let id = id.parse().map_err(|_| Error::Corrupt("outbox"))?;
    Ok(Effect::Emit(Event::State { chat: chat.clone(), id, state }))
}

/// The server has taken a queued stanza, or refused it.
pub(crate) struct Acked {
    key: Box<str>,
    to: Jid,
    id: Box<str>,
    error: Option<u16>,
}

impl Acked {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn sent_key(&self) -> RecordKey {
        RecordKey::new(RecordKind::Sent, format_args!("{}/{}", self.to, self.id))
    }

    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        vec![outbox_key(&self.key), self.sent_key()]
    }

    pub(crate) fn run(&self, records: &Records) -> Result<Outcome, Error> {
        let missing = |_| Error::Corrupt("outbox");
        let record = records.get(&outbox_key(&self.key)).map_err(missing)?;
        let mut effects = vec![Effect::Dequeue(self.key.clone())];
        let Some(outgoing) = parse::<Outgoing>(record, "outbox")? else { return Ok(Outcome::Done(effects)) };
        let mut batch = Batch::new();
        batch.delete(record);
        if !outgoing.is_receipt() && outgoing.retry == 0 {
            let reached = match self.error {
                Some(code) => MessageState::Failed(Failure::Server(code)),
                None => MessageState::Sent,
            };
            effects.push(state(&self.to, &self.id, reached)?);
            let sent = records.get(&self.sent_key()).map_err(missing)?;
            if self.error.is_some() && sent.value.is_some() {
                batch.delete(sent); // nobody will ask for it, and it may be sent anew
            }
        }
        Ok(Outcome::Commit(batch, effects))
    }
}

impl Engine {
    /// Queues a message: durable first, then the reply, then the rest.
    pub(crate) fn queue_message(
        &mut self,
        command: CommandId,
        to: &Jid,
        content: &Content,
        id: Option<MessageId>,
        source: String,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        Address::of_jid(to).map_err(|_| Error::Content("not somebody to write to"))?;
        let content_bytes = content.encode(self.me()?, to, self.now)?;
        let id = id.unwrap_or_else(|| MessageId::random(rng));
        let kind = content.wire_kind();
        let text = |t: Option<&'static str>| t.unwrap_or_default().to_owned();
        let outgoing = Outgoing {
            to: to.to_string(),
            id: id.to_string(),
            content: content_bytes.into(),
            message_type: kind.message_type.to_owned(),
            mediatype: text(kind.mediatype),
            edit: text(kind.edit),
            hide_on_failure: kind.hide_on_failure,
            media: SentMedia::of(content, source)?,
            revokes: match content {
                Content::Revoke { id } => id.to_string(),
                _ => String::new(),
            },
            ..Default::default()
        };
        self.queue(outgoing, &id, Some((command, Reply::Queued(id.clone()))))
    }

    /// Queues a read or played receipt.
    pub(crate) fn queue_receipts(
        &mut self,
        command: CommandId,
        chat: &Jid,
        ids: &[MessageId],
        played: bool,
    ) -> Result<(), Error> {
        if !self.config.read_receipts {
            self.reply(command, Ok(Reply::Done));
            return Ok(());
        }
        let mut waiting = Some((command, Reply::Done));
        for group in ids.chunks(MAX_RECEIPT_IDS) {
            let Some(mut receipt) = Receipt::read_all(group.iter().cloned(), chat.clone()) else { continue };
            let kind = if played { ReceiptType::Played } else { ReceiptType::Read };
            let class = kind.as_str().to_owned();
            receipt.kind = Some(kind);
            receipt.t = Some(self.now);
            let id = receipt.id.clone();
            let outgoing = Outgoing {
                to: chat.to_string(),
                id: id.to_string(),
                stanza: encode(&self.dialect, &receipt.into_node())?,
                edit: class,
                ..Default::default()
            };
            self.queue(outgoing, &id, waiting.take())?;
        }
        if let Some((command, reply)) = waiting {
            self.reply(command, Ok(reply));
        }
        Ok(())
    }

    fn queue(&mut self, outgoing: Outgoing, id: &MessageId, then: Option<(CommandId, Reply)>) -> Result<(), Error> {
        let entry = Entry::new(&outgoing, Stage::Storing)?;
        if self.outbox.by_ack.contains_key(&entry.ack) {
            if let Some((command, reply)) = then {
                self.reply(command, Ok(reply)); // under way already
            }
            return Ok(());
        }
        if self.outbox.entries.len() >= MAX_OUTBOX {
            return Err(Error::Full("messages"));
        }
        let key: Box<str> = self.order.next(self.now, id).into();
        self.outbox.insert(&key, entry);
        let mut batch = Batch::new();
        batch.put_owned(outbox_key(&key), outgoing.encode_to_vec());
        let reply = then.map(|(command, reply)| Effect::Reply(command, Ok(reply)));
        let effects = reply.into_iter().chain([Effect::Queued(key)]).collect();
        self.commit(batch, Then { effects, lane: None });
        Ok(())
    }

    /// Whether nothing more can be queued.
    pub(crate) fn outbox_full(&self) -> bool {
        self.outbox.entries.len() >= MAX_OUTBOX
    }

    /// A stanza whose record is in the batch of the job that made it: a message resent, a file asked for or answered for.
    pub(crate) fn queue_resent(&mut self, outgoing: &Outgoing, batch: &mut Batch) -> Result<[Effect; 2], Error> {
        let id: MessageId = outgoing.id.parse().map_err(|_| Error::Corrupt("sent"))?;
        let key: Box<str> = self.order.next(self.now, &id).into();
        let entry = Entry::new(outgoing, Stage::Waiting)?;
        batch.put_owned(outbox_key(&key), outgoing.encode_to_vec());
        Ok([
            Effect::Insert(key.clone(), Box::new(entry)),
            Effect::Transmit(key, outgoing.stanza.clone(), self.outbox.epoch),
        ])
    }

    pub(crate) fn on_queued(&mut self, key: &str) {
        if let Some(entry) = self.outbox.entries.get_mut(key) {
            entry.stage = Stage::Waiting;
        }
        if self.is_active() {
            self.start_send(key);
        }
    }

    /// Everything that waits goes out, in order.
    pub(crate) fn flush_outbox(&mut self) {
        let waiting: Vec<_> = self
            .outbox
            .entries
            .iter()
            .filter(|(_, entry)| entry.stage == Stage::Waiting)
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            self.start_send(&key);
        }
    }

    fn start_send(&mut self, key: &str) {
        let Some(entry) = self.outbox.entries.get_mut(key) else { return };
        let Ok(peer) = Address::of_jid(&entry.to) else { return };
        entry.stage = Stage::AtWork;
        let job = Send {
            key: key.into(),
            epoch: self.outbox.epoch,
            to: entry.to.clone(),
            id: entry.ack.2.clone(),
            peer: peer.clone(),
            revokes: entry.revokes.clone(),
            bundle: None,
        };
        self.enqueue(LaneKey::Peer(peer), Job::Send(Box::new(job)));
    }

    /// A queued stanza is ready, and durable as it is: send it, or keep it for the next connection.
    pub(crate) fn transmit(&mut self, key: &str, stanza: &[u8], epoch: u64) {
        let active = self.is_active();
        if active && epoch != self.outbox.epoch {
            // Unless the new connection's own job is at it.
            if self.outbox.entries.get(key).is_some_and(|entry| entry.stage == Stage::Waiting) {
                self.start_send(key);
            }
            return;
        }
        if let Some(entry) = self.outbox.entries.get_mut(key) {
            entry.stage = if active { Stage::Sent } else { Stage::Waiting };
        }
        if active {
            self.send_encoded(stanza);
        }
    }

    pub(crate) fn on_ack(&mut self, ack: Ack) {
        let class = match (&ack.class, ack.kind) {
            (AckClass::Message, _) => "message".into(),
            (AckClass::Notification, _) => NOTIFICATION.into(),
            (AckClass::Receipt, Some(kind)) => kind.to_string().into(),
            _ => return,
        };
        let Some(from) = ack.from else { return };
        let Some(keys) = self.outbox.by_ack.get(&(class, from, ack.id.as_str().into())) else { return };
        let sent = |key: &str| self.outbox.entries.get(key).is_some_and(|entry| entry.stage == Stage::Sent);
        let Some(key) = keys.iter().find(|key| sent(key)).cloned() else { return };
        let Some(entry) = self.outbox.entries.get_mut(&key) else { return };
        entry.stage = Stage::AtWork;
        let Ok(peer) = Address::of_jid(&entry.to) else { return };
        let job = Acked { key, to: entry.to.clone(), id: entry.ack.2.clone(), error: ack.error };
        self.enqueue(LaneKey::Peer(peer), Job::Acked(job));
    }
}

/// The key of what is kept of a sent message.
pub(crate) fn sent_key(peer: &Jid, id: &MessageId) -> RecordKey {
    message_key(RecordKind::Sent, peer, id)
}
