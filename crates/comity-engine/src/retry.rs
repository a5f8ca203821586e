//! Retries both ways: asking for a message that could not be decrypted, and encrypting one anew (PROTOCOL §7).

use crate::Error;
use crate::engine::{Effect, Engine};
use crate::io::Event;
use crate::keys::{key_xml, pq_xml, retry_bundle, signed_xml};
use crate::lane::{Fetched, Job, LaneKey, Outcome};
use crate::limits::MAX_TRACKED_RETRIES;
use crate::outbox::{seal, sent_key};
use crate::receive::Receive;
use crate::record::{Outgoing, Sent, parse};
use comity_core::{CryptoRng, Jid, MessageId, RecordKey, Timestamp};
use comity_proto::Codec;
use comity_signal::limits::{MAX_REBUILDS_PER_PEER, MAX_RETRIES_PER_MESSAGE, REBUILD_WINDOW};
use comity_signal::{Account, Address, Records, keys_for_encrypt, merge, pinned_identity};
use comity_xmpp::Node;
use comity_xmpp::stanza::{Receipt, Retry, RetryKeys, nack};
use std::collections::BTreeMap;

/// How often each message was asked for; forgotten at a restart, when the server delivers and the count begins anew.
#[derive(Default)]
pub(crate) struct Retries {
    asked: BTreeMap<(Jid, MessageId), u32>,
    /// When sessions were rebuilt because a peer asked.
    rebuilt: BTreeMap<Address, Vec<Timestamp>>,
}

/// Something to count.
pub(crate) enum Counted {
    /// A message was asked for so often.
    Asked(Jid, MessageId, u32),
    /// A session with a peer was rebuilt.
    Rebuilt(Address, Timestamp),
}

impl Retries {
    fn next(&self, from: &Jid, id: &MessageId) -> u32 {
        self.asked.get(&(from.clone(), id.clone())).copied().unwrap_or_default() + 1
    }

    /// Whether one more session may be rebuilt because this peer asked.
    fn may_rebuild(&self, peer: &Address, now: Timestamp) -> bool {
        let limit = usize::try_from(MAX_REBUILDS_PER_PEER).unwrap_or(usize::MAX);
        self.rebuilt.get(peer).is_none_or(|at| at.iter().filter(|at| now.since(**at) < REBUILD_WINDOW).count() < limit)
    }

    /// Whether the session with this peer was rebuilt after that.
    fn rebuilt_since(&self, peer: &Address, then: Timestamp) -> bool {
        self.rebuilt.get(peer).is_some_and(|at| at.iter().any(|at| *at > then))
    }

    /// What was asked and rebuilt is durable.
    pub(crate) fn count(&mut self, counted: Counted) {
        match counted {
            Counted::Asked(from, id, count) => {
                if self.asked.len() >= MAX_TRACKED_RETRIES {
                    self.asked.pop_first();
                }
                self.asked.insert((from, id), count);
            }
            Counted::Rebuilt(peer, now) => {
                if self.rebuilt.len() >= MAX_TRACKED_RETRIES {
                    self.rebuilt.pop_first();
                }
                let at = self.rebuilt.entry(peer).or_default();
                at.retain(|at| now.since(*at) < REBUILD_WINDOW);
                at.push(now);
            }
        }
    }

    pub(crate) fn forget(&mut self, from: &Jid, id: &MessageId) {
        self.asked.remove(&(from.clone(), id.clone()));
    }
}

impl Receive {
    /// Asks the sender to send it again; from the second time on with keys to build a session from.
    pub(crate) fn ask_again(
        &self,
        engine: &mut Engine,
        records: &mut Records,
        error: &comity_signal::Error,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, Error> {
        let session = |e: comity_signal::Error| Error::Session(e.to_string());
        let count = engine.retries.next(&self.from, &self.id);
        let event =
            Event::Undecryptable { from: self.from.clone(), id: self.id.clone(), count, cause: error.to_string() };
        if count >= MAX_RETRIES_PER_MESSAGE {
            engine.retries.forget(&self.from, &self.id);
            let duplicate = *error == comity_signal::Error::Duplicate;
            let code = if duplicate { nack::OLD_COUNTER } else { nack::UNHANDLED };
            return Ok(Outcome::Done(vec![self.refuse(code), Effect::Emit(event)]));
        }
        let counted = Effect::Counted(Box::new(Counted::Asked(self.from.clone(), self.id.clone(), count)));
        let account = Account::load(records).map_err(session)?;
        let mut retry = Retry {
            count,
            id: self.id.clone(),
            t: self.t,
            error: error.retry_code().map(u32::from),
            registration: account.registration_id(),
            keys: None,
            rest: Default::default(),
        };
        if count < 2 && error.retry_code() != Some(1) {
            let receipt = Receipt::retry(self.from.clone(), retry).into_node();
            return Ok(Outcome::Done(vec![counted, Effect::Send(receipt), Effect::Emit(event)]));
        }
        // A fresh one-time key, which is never uploaded: for this sender alone.
        let (fresh, mut batch) = Account::new_pre_keys(records, 1, rng).map_err(session)?;
        let key = fresh.first().ok_or(Error::Corrupt("account"))?;
        let mut keys = RetryKeys {
            identity: *account.identity().as_bytes(),
            key: key_xml(key),
            skey: signed_xml(account.signed_pre_key()),
            pqkey: None,
            rest: Default::default(),
        };
        if account.pq_last_resort().is_some() {
            records.apply(&batch);
            let (fresh, more) =
                Account::new_pq_pre_keys(records, &engine.suites, 1, engine.now, rng).map_err(session)?;
            keys.pqkey = fresh.first().map(pq_xml);
            batch = merge(batch, more);
        }
        retry.keys = Some(keys);
        let receipt = Receipt::retry(self.from.clone(), retry).into_node();
        Ok(Outcome::Commit(batch, vec![counted, Effect::Send(receipt), Effect::Emit(event)]))
    }
}

/// Encrypts a sent message once more, for the peer that asked.
pub(crate) struct Resend {
    from: Jid,
    peer: Address,
    retry: Retry,
    ack: Node,
    pub(crate) bundle: Option<Fetched>,
}

impl Resend {
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        let mut keys = keys_for_encrypt(&self.peer);
        keys.push(sent_key(&self.from, &self.retry.id));
        keys
    }

    pub(crate) fn run(
        &mut self,
        engine: &mut Engine,
        records: &mut Records,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, Error> {
        let ack = Effect::Send(self.ack.clone());
        let record = records.get(&sent_key(&self.from, &self.retry.id)).map_err(|_| Error::Corrupt("sent"))?.clone();
        let Some(Sent { at, outgoing: Some(kept), media }) = parse::<Sent>(&record, "sent")? else {
            return Ok(Outcome::Done(vec![ack]));
        };
        let mut outgoing = Outgoing { retry: self.retry.count, ..kept.clone() };
        // A fetched bundle goes before the receipt's keys: it is fetched when those were not good enough.
        let offered = self.retry.keys.as_ref().map(|keys| retry_bundle(self.retry.registration, keys));
        // A peer with new keys asks for everything under way at once: what went out before the session was rebuilt goes by
        // that one, and what is beyond the limit, too; but an identity that it does not belong to has no use for it.
        let pinned = pinned_identity(records, &self.peer).map_err(|e| Error::Session(e.to_string()))?;
        let renewed = matches!(&offered, Some(Ok(bundle)) if pinned != Some(bundle.identity));
        let since = engine.retries.rebuilt_since(&self.peer, Timestamp::from_millis(at));
        let may_rebuild = renewed || (!since && engine.retries.may_rebuild(&self.peer, engine.now));
        let offered = self.bundle.clone().or(offered);
        let mut bundle = offered.clone().filter(|_| may_rebuild);
        let mut sealed = seal(engine, records, &self.peer, &self.from, &outgoing, bundle.as_ref(), rng);
        if !may_rebuild && sealed.as_ref().err() == Some(&Error::NotConnected) {
            // The one that was rebuilt is there no more: the server has told of a new identity.
            bundle = offered;
            sealed = seal(engine, records, &self.peer, &self.from, &outgoing, bundle.as_ref(), rng);
        }
        match sealed {
            Ok(sealed) => {
                let mut batch = sealed.batch;
                batch.put(&record, Sent { at: engine.now.as_millis(), outgoing: Some(kept), media }.encode_to_vec());
                outgoing.stanza = sealed.stanza;
                let transmit = engine.queue_resent(&outgoing, &mut batch)?;
                let event =
                    Event::Resent { chat: self.from.clone(), id: self.retry.id.clone(), count: self.retry.count };
                let mut effects = sealed.events;
                if bundle.is_some() {
                    effects.push(Effect::Counted(Box::new(Counted::Rebuilt(self.peer.clone(), engine.now))));
                }
                effects.push(ack);
                effects.extend(transmit);
                effects.push(Effect::Emit(event));
                Ok(Outcome::Commit(batch, effects))
            }
            // Keys that do not make a session, such as those that would downgrade one, are not used: fetch.
            Err(Error::NotConnected) if self.bundle.is_none() => Ok(Outcome::NeedBundle(self.from.clone())),
            Err(Error::Session(_)) if self.bundle.is_none() && bundle.is_some() => {
                Ok(Outcome::NeedBundle(self.from.clone()))
            }
            Err(Error::IdentityChanged { identity }) => {
                // Not acknowledged: it is asked for again once the application has accepted the new identity.
                let told = Event::IdentityChanged { peer: self.from.clone(), identity: Some(identity), blocked: true };
                Ok(Outcome::Done(vec![Effect::Emit(told)]))
            }
            Err(error) => Ok(Outcome::Done(vec![ack, Effect::Emit(Event::Warning(error))])),
        }
    }
}

impl Engine {
    pub(crate) fn on_retry_receipt(&mut self, receipt: Receipt, from: Jid, peer: Address, ack: Node) {
        match receipt.retry {
            Some(retry) if retry.count < MAX_RETRIES_PER_MESSAGE => {
                let job = Resend { from, peer: peer.clone(), retry, ack, bundle: None };
                self.enqueue(LaneKey::Peer(peer), Job::Resend(Box::new(job)));
            }
            _ => self.send(&ack),
        }
    }
}
