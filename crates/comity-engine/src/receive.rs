//! Receiving: decrypt, store, then acknowledge and show; each message once (PROTOCOL §7).

use crate::Error;
use crate::content::Content;
use crate::engine::{Effect, Engine};
use crate::io::{Event, EventId, MessageEvent};
use crate::lane::{Job, LaneKey, Outcome};
use crate::limits::{MAX_HELD, MAX_INBOX};
use crate::media_retry;
use crate::record::{Incoming, Seen, message_key};
use bytes::Bytes;
use comity_core::{Batch, CryptoRng, Jid, MessageId, RecordKey, RecordKind, Timestamp};
use comity_proto::Codec;
use comity_signal::{
    Address, Decrypted, EncKind, IdentityChange, Records, decrypt, keys_for_decrypt, keys_for_peer, unpad,
};
use comity_xmpp::Node;
use comity_xmpp::stanza::{Ack, EncType, Message, Receipt, nack};

/// A message to decrypt.
pub(crate) struct Receive {
    pub(crate) from: Jid,
    pub(crate) peer: Address,
    pub(crate) id: MessageId,
    pub(crate) t: Timestamp,
    notify: Option<String>,
    offline: bool,
    kind: EncKind,
    body: Bytes,
    /// The connection that it came by.
    epoch: u64,
    pub(crate) ack: Ack,
}

impl Receive {
    fn seen_key(&self) -> RecordKey {
        message_key(RecordKind::Seen, &self.from, &self.id)
    }

    pub(crate) fn keys(&self, engine: &Engine) -> Vec<RecordKey> {
        // A body that does not parse is found out in `run`, and answered there.
        let keys = keys_for_decrypt(&engine.suites, &self.peer, self.kind, &self.body);
        let mut keys = keys.unwrap_or_else(|_| keys_for_peer(&self.peer));
        keys.push(self.seen_key());
        keys
    }

    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        records: &mut Records,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, Error> {
        let seen = records.get(&self.seen_key()).map_err(|_| Error::Corrupt("seen"))?.clone();
        if seen.value.is_some() {
            return Ok(Outcome::Done(vec![self.delivered()]));
        }
        if engine.unconfirmed >= MAX_INBOX {
            // Neither decrypted nor acknowledged: the server keeps it.
            return Ok(Outcome::Done(vec![Effect::Emit(Event::Warning(Error::Full("unconfirmed messages")))]));
        }
        if engine.held.get(&self.peer) == Some(&self.epoch) {
            // One before it waits for an identity to be accepted: it comes again after that one.
            return Ok(Outcome::Done(Vec::new()));
        }
        let policy = engine.config.identity_policy;
        let done = decrypt(records, &engine.suites, policy, &self.peer, self.kind, &self.body, engine.now, rng);
        match done {
            Ok((decrypted, mut batch)) => {
                engine.retries.forget(&self.from, &self.id);
                batch.put(&seen, Seen { at: engine.now.as_millis() }.encode_to_vec());
                self.take(engine, &decrypted, batch)
            }
            Err(comity_signal::Error::IdentityChanged { identity }) => {
                // Not acknowledged: it comes again once the application has accepted the new identity.
                if engine.held.len() >= MAX_HELD {
                    engine.held.pop_first();
                }
                engine.held.insert(self.peer.clone(), self.epoch);
                let identity = Some(*identity.as_bytes());
                let told = Event::IdentityChanged { peer: self.from.clone(), identity, blocked: true };
                Ok(Outcome::Done(vec![Effect::Emit(told)]))
            }
            // A counter that was used, of a message that was never taken: it is not lost before its sender was asked.
            Err(error) if error.retry_code().is_some() || error == comity_signal::Error::Duplicate => {
                self.ask_again(engine, records, &error, rng)
            }
            Err(error) => Ok(Outcome::Done(vec![
                self.refuse(nack::UNHANDLED),
                Effect::Emit(Event::Warning(Error::Session(error.to_string()))),
            ])),
        }
    }

    /// What was decrypted is stored with the ratchet's step, for the application to take.
    fn take(&self, engine: &mut Engine, decrypted: &Decrypted, mut batch: Batch) -> Result<Outcome, Error> {
        let mut effects = Vec::new();
        if let Some(change) = &decrypted.identity_change {
            effects.push(Effect::Emit(changed(&self.from, change)));
        }
        if decrypted.new_session {
            effects.push(Effect::Emit(Event::SessionReady { peer: self.from.clone(), version: decrypted.version }));
        }
        let content = unpad(&decrypted.plaintext)
            .map_err(|_| Error::Content("bad padding"))
            .map(Bytes::copy_from_slice)
            .and_then(|raw| Ok((Content::decode(&raw, engine.me()?)?, raw)));
        match content {
            Ok((Some(_), raw)) => {
                let stored = Incoming {
                    from: self.from.to_string(),
                    id: self.id.to_string(),
                    t: self.t.as_secs(),
                    notify: self.notify.clone(),
                    content: raw,
                    version: decrypted.version.into(),
                    offline: self.offline,
                    media: None,
                };
                let key = engine.order.next(engine.now, &self.id);
                effects.extend([Effect::Stored, self.delivered(), Effect::Emit(event(&key, &stored, engine.me()?)?)]);
                batch.put_owned(RecordKey { kind: RecordKind::Inbox, id: key.into() }, stored.encode_to_vec());
            }
            // Keys without content: taken silently.
            Ok((None, _)) => effects.push(Effect::Send(self.ack.clone().into_node())),
            Err(error) => effects.extend([self.refuse(nack::BAD_CONTENT), Effect::Emit(Event::Warning(error))]),
        }
        Ok(Outcome::Commit(batch, effects))
    }

    fn delivered(&self) -> Effect {
        Effect::Send(Receipt::delivered(self.id.clone(), self.from.clone()).into_node())
    }

    pub(crate) fn refuse(&self, code: u16) -> Effect {
        Effect::Send(self.ack.clone().with_error(code).into_node())
    }
}

/// The security notification of an identity that was accepted.
pub(crate) fn changed(peer: &Jid, change: &IdentityChange) -> Event {
    Event::IdentityChanged { peer: peer.clone(), identity: Some(*change.new.as_bytes()), blocked: false }
}

/// The event of a stored message.
pub(crate) fn event(key: &str, stored: &Incoming, me: &Jid) -> Result<Event, Error> {
    let corrupt = || Error::Corrupt("message");
    if let Some(notice) = &stored.media {
        return media_retry::event(key, stored, notice);
    }
    Ok(Event::Message(Box::new(MessageEvent {
        event: EventId(key.into()),
        from: stored.from.parse().map_err(|_| corrupt())?,
        id: stored.id.parse().map_err(|_| corrupt())?,
        t: Timestamp::from_secs(stored.t),
        notify: stored.notify.clone(),
        content: Content::decode(&stored.content, me)?.ok_or_else(corrupt)?,
        raw: stored.content.clone(),
        version: u8::try_from(stored.version).map_err(|_| corrupt())?,
        offline: stored.offline,
    })))
}

impl Engine {
    pub(crate) fn on_message(&mut self, node: &Node) {
        let Some(ack) = Ack::of(node) else { return };
        let refuse = |code| ack.clone().with_error(code).into_node();
        let parsed = Message::parse(node).ok().and_then(|message| Some((message.from.clone()?, message.t?, message)));
        let Some((from, t, message)) = parsed else {
            return self.send(&refuse(nack::PARSE));
        };
        let (Ok(peer), None) = (Address::of_jid(&from), &message.participant) else {
            return self.send(&refuse(nack::UNHANDLED));
        };
        let supported = message.enc.into_iter().find_map(|enc| match (enc.v, enc.kind) {
            (2, EncType::PreKey) => Some((EncKind::Pkmsg, enc.ciphertext)),
            (2, EncType::Session) => Some((EncKind::Msg, enc.ciphertext)),
            _ => None,
        });
        let Some((kind, body)) = supported else {
            return self.send(&refuse(nack::UNKNOWN_TYPE));
        };
        let job = Receive {
            from,
            peer: peer.clone(),
            id: message.id,
            t,
            notify: message.notify.map(|name| name.to_string()),
            offline: message.offline.is_some(),
            kind,
            body,
            epoch: self.outbox.epoch,
            ack,
        };
        self.enqueue(LaneKey::Peer(peer), Job::Receive(Box::new(job)));
    }
}
