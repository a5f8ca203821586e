//! A file that is gone from its host: asked for again, answered for, and the other way round (PROTOCOL §10, "Media gone").
//!
//! Both stanzas are durable in the outbox before they go out, and neither is acknowledged before what it says is stored.
//! What does not open under the file's key, about this message, of this peer, changes nothing.

use crate::content::Content;
use crate::engine::{Effect, Engine};
use crate::io::{CommandId, Event, EventId, MediaRequest, Reply};
use crate::lane::{self, LaneKey, Outcome};
use crate::limits::{MAX_INBOX, MAX_MEDIA_RETRIES, MAX_SOURCE_LEN, MEDIA_RETRY_INTERVAL};
use crate::media::is_direct_path;
use crate::outbox::{NOTIFICATION, encode, sent_key};
use crate::record::{AskedMedia, Incoming, MediaNotice, Outgoing, Sent, SentMedia, message_key, parse};
use crate::{Error, Media};
use comity_core::{Batch, CryptoRng, Jid, MessageId, RecordKey, RecordKind, Timestamp};
use comity_media::{MediaKey, SealedRetry, open_retry, seal_retry};
use comity_proto::Codec;
use comity_proto::message::media_retry_notification::ResultType;
use comity_proto::message::{MediaRetryNotification, ServerErrorReceipt};
use comity_signal::{Address, Records};
use comity_xmpp::Node;
use comity_xmpp::stanza::{Ack, Encrypted, MediaRetry, Notification, Receipt, ReceiptType, notice};

/// One step, for one message.
pub(crate) struct Job {
    chat: Jid,
    id: MessageId,
    step: Step,
}

enum Step {
    /// The application wants a file again.
    Ask { command: CommandId, key: MediaKey },
    /// The peer wants one of ours.
    Asked { sealed: SealedRetry, ack: Node },
    /// The application has uploaded it, or has it no more.
    Answer { command: CommandId, event: EventId, direct_path: Option<String> },
    /// The peer has; or there was none to answer.
    Answered { sealed: Option<SealedRetry>, ack: Option<Node> },
}

fn asked_key(chat: &Jid, id: &MessageId) -> RecordKey {
    message_key(RecordKind::MediaRetry, chat, id)
}

fn inbox_key(event: &EventId) -> RecordKey {
    RecordKey { kind: RecordKind::Inbox, id: event.0.clone() }
}

impl SentMedia {
    /// What is to be kept of a content, if it is a file.
    pub(crate) fn of(content: &Content, source: String) -> Result<Option<Self>, Error> {
        if source.len() > MAX_SOURCE_LEN {
            return Err(Error::Content("a source longer than the limit"));
        }
        let Content::Media(media) = content else { return Ok(None) };
        Ok(Some(Self {
            key: media.key.expose().to_vec(),
            kind: media.kind.mms_type().to_owned(),
            file_enc_sha256: media.file_enc_sha256.to_vec(),
            source,
            ..Self::default()
        }))
    }
}

/// The event of a stored notice.
pub(crate) fn event(key: &str, stored: &Incoming, notice: &MediaNotice) -> Result<Event, Error> {
    let corrupt = || Error::Corrupt("media notice");
    let event = EventId(key.into());
    let chat: Jid = stored.from.parse().map_err(|_| corrupt())?;
    let id: MessageId = stored.id.parse().map_err(|_| corrupt())?;
    Ok(match &notice.requested {
        Some(media) => Event::MediaRequested(Box::new(MediaRequest {
            event,
            from: chat,
            id,
            kind: media.kind.parse().map_err(|_| corrupt())?,
            key: MediaKey::from_slice(&media.key).map_err(|_| corrupt())?,
            file_enc_sha256: media.file_enc_sha256.as_slice().try_into().map_err(|_| corrupt())?,
            source: Some(media.source.clone()).filter(|source| !source.is_empty()),
        })),
        None if notice.direct_path.is_empty() => Event::MediaGone { event, chat, id },
        None => Event::MediaRefreshed { event, chat, id, direct_path: notice.direct_path.clone() },
    })
}

impl Job {
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        match &self.step {
            Step::Ask { .. } | Step::Answered { .. } => vec![asked_key(&self.chat, &self.id)],
            Step::Asked { .. } => vec![sent_key(&self.chat, &self.id)],
            Step::Answer { event, .. } => vec![sent_key(&self.chat, &self.id), inbox_key(event)],
        }
    }

    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        records: &Records,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, Error> {
        match &self.step {
            Step::Ask { command, key } => self.ask(engine, records, *command, key, rng),
            Step::Asked { sealed, ack } => self.asked(engine, records, sealed, ack),
            Step::Answer { command, event, direct_path } => {
                self.answer(engine, records, *command, event, direct_path.as_ref(), rng)
            }
            Step::Answered { sealed, ack } => self.answered(engine, records, sealed.as_ref(), ack.as_ref()),
        }
    }

    /// What to do instead when it cannot be done.
    pub(crate) fn fail(self, error: Error) -> Vec<Effect> {
        match self.step {
            Step::Ask { command, .. } | Step::Answer { command, .. } => vec![Effect::Reply(command, Err(error))],
            _ => vec![Effect::Emit(Event::Warning(error))],
        }
    }

    /// The store failed. What came from the server comes again.
    pub(crate) fn dropped(self, engine: &mut Engine, error: &Error) {
        if matches!(self.step, Step::Ask { .. } | Step::Answer { .. }) {
            let told = self.fail(error.clone());
            engine.apply(told);
        }
    }

    fn ask(
        &self,
        engine: &mut Engine,
        records: &Records,
        command: CommandId,
        key: &MediaKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, Error> {
        let record = records.get(&asked_key(&self.chat, &self.id)).map_err(|_| Error::Corrupt("request"))?;
        let mut asked = parse::<AskedMedia>(record, "request")?.unwrap_or_default();
        let reply = Effect::Reply(command, Ok(Reply::Done));
        if asked.open && engine.now < Timestamp::from_millis(asked.at).after(MEDIA_RETRY_INTERVAL) {
            return Ok(Outcome::Done(vec![reply]));
        }
        if asked.count as usize >= MAX_MEDIA_RETRIES {
            return Err(Error::Full("requests for this file"));
        }
        asked.at = engine.now.as_millis();
        asked.key = key.expose().to_vec();
        asked.count += 1;
        asked.open = true;
        let request = ServerErrorReceipt { stanza_id: Some(self.id.to_string()) };
        let mut receipt = Receipt::new(self.id.clone(), self.chat.clone(), Some(ReceiptType::ServerError));
        receipt.media = Some(self.seal(&request, key, self.chat.clone(), rng)?);
        let mut batch = Batch::new();
        batch.put(record, asked.encode_to_vec());
        let class = ReceiptType::ServerError.as_str();
        let sent = self.queue(engine, class, &receipt.into_node(), &mut batch)?;
        Ok(Outcome::Commit(batch, [reply].into_iter().chain(sent).collect()))
    }

    fn asked(
        &self,
        engine: &mut Engine,
        records: &Records,
        sealed: &SealedRetry,
        ack: &Node,
    ) -> Result<Outcome, Error> {
        let ignored = || Ok(Outcome::Done(vec![Effect::Send(ack.clone())]));
        let record = records.get(&sent_key(&self.chat, &self.id)).map_err(|_| Error::Corrupt("sent"))?;
        let Some(Sent { at, outgoing, media: Some(mut media) }) = parse::<Sent>(record, "sent")? else {
            return ignored();
        };
        let key = MediaKey::from_slice(&media.key).map_err(|_| Error::Corrupt("sent"))?;
        let known = media.requests.iter().any(|iv| *iv == sealed.enc_iv);
        if known || media.open || media.requests.len() >= MAX_MEDIA_RETRIES || !self.opens(&key, sealed) {
            return ignored();
        }
        if engine.unconfirmed >= MAX_INBOX {
            return Ok(Outcome::Done(vec![Effect::Emit(Event::Warning(Error::Full("unconfirmed messages")))]));
        }
        media.requests.push(sealed.enc_iv.to_vec());
        media.open = true;
        let requested = SentMedia { requests: Vec::new(), open: false, ..media.clone() };
        let mut batch = Batch::new();
        batch.put(record, Sent { at, outgoing, media: Some(media) }.encode_to_vec());
        let notice = MediaNotice { requested: Some(requested), direct_path: String::new() };
        let mut effects = self.tell(engine, notice, &mut batch)?;
        effects.push(Effect::Send(ack.clone()));
        Ok(Outcome::Commit(batch, effects))
    }

    fn answer(
        &self,
        engine: &mut Engine,
        records: &Records,
        command: CommandId,
        event: &EventId,
        direct_path: Option<&String>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, Error> {
        let reply = Effect::Reply(command, Ok(Reply::Done));
        let asked = records.get(&inbox_key(event)).map_err(|_| Error::Corrupt("media notice"))?;
        let Some(stored) = parse::<Incoming>(asked, "media notice")? else {
            return Ok(Outcome::Done(vec![reply])); // answered before
        };
        let requested = stored.media.and_then(|notice| notice.requested);
        let requested = requested.filter(|_| stored.from == self.chat.to_string() && stored.id == *self.id.as_str());
        let requested = requested.ok_or(Error::Content("not an event that asks for a file"))?;
        let key = MediaKey::from_slice(&requested.key).map_err(|_| Error::Corrupt("media notice"))?;
        let result = if direct_path.is_some() { ResultType::Success } else { ResultType::NotFound };
        let answer = MediaRetryNotification {
            stanza_id: Some(self.id.to_string()),
            direct_path: direct_path.cloned(),
            result: Some(result as i32),
        };
        // The children are the request's: the asker's view of the message.
        let payload = self.seal(&answer, &key, engine.me()?.clone(), rng)?;
        let mut notification =
            Notification::new(self.id.as_str(), engine.me()?.clone(), notice::MEDIA_RETRY, engine.now, payload);
        (notification.to, notification.from, notification.t) = (Some(self.chat.clone()), None, None);
        let mut batch = Batch::new();
        batch.delete(asked);
        let record = records.get(&sent_key(&self.chat, &self.id)).map_err(|_| Error::Corrupt("sent"))?;
        if let Some(Sent { at, outgoing, media: Some(media) }) = parse::<Sent>(record, "sent")? {
            let media = Some(SentMedia { open: false, ..media });
            batch.put(record, Sent { at, outgoing, media }.encode_to_vec());
        }
        let sent = self.queue(engine, NOTIFICATION, &notification.into_node(), &mut batch)?;
        Ok(Outcome::Commit(batch, [Effect::Confirmed, reply].into_iter().chain(sent).collect()))
    }

    fn answered(
        &self,
        engine: &mut Engine,
        records: &Records,
        sealed: Option<&SealedRetry>,
        ack: Option<&Node>,
    ) -> Result<Outcome, Error> {
        let acked = || ack.cloned().map(Effect::Send);
        let record = records.get(&asked_key(&self.chat, &self.id)).map_err(|_| Error::Corrupt("request"))?;
        let Some(mut asked) = parse::<AskedMedia>(record, "request")?.filter(|asked| asked.open) else {
            return Ok(Outcome::Done(acked().into_iter().collect())); // nothing was asked, or all is answered
        };
        let key = MediaKey::from_slice(&asked.key).map_err(|_| Error::Corrupt("request"))?;
        let Some(direct_path) = self.verdict(&asked, &key, sealed) else {
            return Ok(Outcome::Done(acked().into_iter().collect()));
        };
        if engine.unconfirmed >= MAX_INBOX {
            return Ok(Outcome::Done(vec![Effect::Emit(Event::Warning(Error::Full("unconfirmed messages")))]));
        }
        asked.open = false;
        asked.answers.extend(sealed.map(|sealed| sealed.enc_iv.to_vec()));
        let mut batch = Batch::new();
        batch.put(record, asked.encode_to_vec());
        let mut effects = self.tell(engine, MediaNotice { requested: None, direct_path }, &mut batch)?;
        effects.extend(acked());
        Ok(Outcome::Commit(batch, effects))
    }

    /// The file's new path, empty if there is none; `None` for what is no answer to this request.
    fn verdict(&self, asked: &AskedMedia, key: &MediaKey, sealed: Option<&SealedRetry>) -> Option<String> {
        // `<error/>` is not sealed. Who could forge it could as well keep the answer back.
        let Some(sealed) = sealed else { return Some(String::new()) };
        if asked.answers.iter().any(|iv| *iv == sealed.enc_iv) {
            return None;
        }
        let opened = open_retry(key, self.id.as_str(), sealed).ok()?;
        let answer = MediaRetryNotification::decode(opened.as_slice()).ok()?;
        if answer.stanza_id.as_deref() != Some(self.id.as_str()) {
            return None;
        }
        match answer.result {
            Some(result) if result == ResultType::Success as i32 => answer.direct_path.filter(|p| is_direct_path(p)),
            _ => Some(String::new()),
        }
    }

    fn opens(&self, key: &MediaKey, sealed: &SealedRetry) -> bool {
        let request = open_retry(key, self.id.as_str(), sealed).ok();
        let request = request.and_then(|opened| ServerErrorReceipt::decode(opened.as_slice()).ok());
        request.is_some_and(|request| request.stanza_id.as_deref() == Some(self.id.as_str()))
    }

    /// `encoded`, sealed, about this message as the asker sees it: in the chat with `author`, who wrote it.
    fn seal(
        &self,
        message: &impl Codec,
        key: &MediaKey,
        author: Jid,
        rng: &mut dyn CryptoRng,
    ) -> Result<MediaRetry, Error> {
        let sealed = seal_retry(key, self.id.as_str(), &message.encode_to_vec(), rng);
        let sealed = sealed.map_err(|_| Error::Content("a direct path longer than the limit"))?;
        let encrypted = Encrypted { payload: sealed.enc_p, iv: sealed.enc_iv, rest: Default::default() };
        Ok(MediaRetry { body: Ok(encrypted), jid: author, from_me: false, participant: None, rest: Default::default() })
    }

    fn queue(&self, engine: &mut Engine, class: &str, node: &Node, batch: &mut Batch) -> Result<[Effect; 2], Error> {
        if engine.outbox_full() {
            return Err(Error::Full("messages"));
        }
        let outgoing = Outgoing {
            to: self.chat.to_string(),
            id: self.id.to_string(),
            stanza: encode(&engine.dialect, node)?,
            edit: class.to_owned(),
            ..Default::default()
        };
        engine.queue_resent(&outgoing, batch)
    }

    /// The event, stored until it is confirmed.
    fn tell(&self, engine: &mut Engine, notice: MediaNotice, batch: &mut Batch) -> Result<Vec<Effect>, Error> {
        let stored = Incoming {
            from: self.chat.to_string(),
            id: self.id.to_string(),
            t: engine.now.as_secs(),
            media: Some(notice),
            ..Default::default()
        };
        let key = engine.order.next(engine.now, &self.id);
        let told = crate::receive::event(&key, &stored, engine.me()?)?;
        batch.put_owned(RecordKey { kind: RecordKind::Inbox, id: key.into() }, stored.encode_to_vec());
        Ok(vec![Effect::Stored, Effect::Emit(told)])
    }
}

impl Engine {
    /// Queues a file's message.
    pub(crate) fn queue_media(
        &mut self,
        command: CommandId,
        to: &Jid,
        media: Media,
        id: Option<MessageId>,
        source: String,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.queue_message(command, to, &Content::Media(Box::new(media)), id, source, rng)
    }

    fn media_job(&mut self, chat: Jid, id: MessageId, step: Step) -> Result<(), Error> {
        let peer = Address::of_jid(&chat).map_err(|_| Error::Content("not somebody to ask"))?;
        self.enqueue(LaneKey::Peer(peer), lane::Job::Media(Box::new(Job { chat, id, step })));
        Ok(())
    }

    pub(crate) fn ask_media(
        &mut self,
        command: CommandId,
        chat: Jid,
        id: MessageId,
        key: MediaKey,
    ) -> Result<(), Error> {
        self.me()?;
        self.media_job(chat, id, Step::Ask { command, key })
    }

    pub(crate) fn answer_media(
        &mut self,
        command: CommandId,
        event: EventId,
        to: Jid,
        direct_path: Option<String>,
    ) -> Result<(), Error> {
        if direct_path.as_ref().is_some_and(|path| !is_direct_path(path)) {
            return Err(Error::Content("not a direct path"));
        }
        // An event's id ends with the message's.
        let id = event.0.split_once('/').and_then(|(_, id)| id.parse().ok()).ok_or(Error::Content("not an event"))?;
        self.media_job(to, id, Step::Answer { command, event, direct_path })
    }

    pub(crate) fn on_server_error(&mut self, receipt: Receipt, from: Jid, ack: Node) {
        let sealed = receipt.media.and_then(|media| media.body.ok()).map(sealed);
        let (Some(sealed), None) = (sealed, &receipt.participant) else { return self.send(&ack) };
        if self.media_job(from, receipt.id, Step::Asked { sealed, ack: ack.clone() }).is_err() {
            self.send(&ack);
        }
    }

    pub(crate) fn on_media_retry(&mut self, notification: &Notification, ack: Option<Ack>) {
        let parsed = notification.payload::<MediaRetry>().ok().filter(|_| notification.participant.is_none());
        let (Some(from), Some(media), Ok(id)) = (notification.from.clone(), parsed, notification.id.parse()) else {
            return self.answer(ack, None);
        };
        let step = Step::Answered { sealed: media.body.ok().map(sealed), ack: ack.clone().map(Ack::into_node) };
        if self.media_job(from, id, step).is_err() {
            self.answer(ack, None);
        }
    }
}

fn sealed(encrypted: Encrypted) -> SealedRetry {
    SealedRetry { enc_p: encrypted.payload, enc_iv: encrypted.iv }
}
