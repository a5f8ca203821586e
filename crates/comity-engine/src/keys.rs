//! The account's keys on the server, and the keys of others (PROTOCOL §8).

use crate::Error;
use crate::engine::{Effect, Engine};
use crate::io::{CommandId, Event, Reply};
use crate::iq::Purpose;
use crate::lane::{Job, LaneKey, Outcome};
use crate::limits::PREKEY_BATCH;
use comity_core::{CryptoRng, Jid, RecordKey};
use comity_signal::{
    Account, Address, Bundle, Party, PqPreKeyPublic, PreKeyPublic, PublicKey, Records, SignedPreKeyPublic,
    accept_identity, account_key, archive, identity_key, keys_for_peer, merge, pinned_identity, pq_pre_key_key,
    safety_number,
};
use comity_xmpp::Node;
use comity_xmpp::stanza::{
    Delivery, Iq, KeyBundle, KeyCount, KeyCountQuery, KeyFetch, KeyFetchResult, KeyUpload, PqPreKeyXml, PreKeyXml,
    RetryKeys, SignedPreKeyXml,
};

/// Pre-keys that are stored and can be published.
pub(crate) struct Upload {
    one_time: Vec<PreKeyPublic>,
    pq_one_time: Vec<PqPreKeyPublic>,
    pq_last: Option<PqPreKeyPublic>,
}

/// Makes new one-time pre-keys.
pub(crate) struct Refill;

impl Refill {
    pub(crate) fn keys(engine: &Engine) -> Vec<RecordKey> {
        let last = engine.account.as_ref().and_then(|account| account.signal.pq_last_resort());
        core::iter::once(account_key()).chain(last.map(pq_pre_key_key)).collect()
    }

    pub(crate) fn run(
        &self,
        engine: &Engine,
        records: &mut Records,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, comity_signal::Error> {
        let last = Account::load(records)?.pq_last_resort().filter(|_| engine.suites.post_quantum());
        let (one_time, mut batch) = Account::new_pre_keys(records, PREKEY_BATCH, rng)?;
        let mut upload = Upload { one_time, pq_one_time: Vec::new(), pq_last: None };
        if let Some(last) = last {
            upload.pq_last = Some(Account::pq_pre_key(records, last)?);
            records.apply(&batch);
            let (keys, more) = Account::new_pq_pre_keys(records, &engine.suites, PREKEY_BATCH, engine.now, rng)?;
            upload.pq_one_time = keys;
            batch = merge(batch, more);
        }
        Ok(Outcome::Commit(batch, vec![Effect::Upload(Box::new(upload))]))
    }
}

/// The server says that a peer has a new identity: archive the sessions, tell the user (PROTOCOL §8).
pub(crate) struct IdentityChanged {
    pub(crate) jid: Jid,
    pub(crate) peer: Address,
    pub(crate) ack: Node,
}

impl IdentityChanged {
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        keys_for_peer(&self.peer)
    }

    pub(crate) fn run(&self, engine: &Engine, records: &Records) -> Result<Outcome, comity_signal::Error> {
        let batch = archive(records, &engine.suites, &self.peer)?;
        let told = Event::IdentityChanged { peer: self.jid.clone(), identity: None, blocked: false };
        Ok(Outcome::Commit(batch, vec![Effect::Emit(told), Effect::Send(self.ack.clone())]))
    }
}

/// Takes a peer's new identity key where the policy waits for that.
pub(crate) struct Accept {
    pub(crate) command: CommandId,
    pub(crate) peer: Address,
    pub(crate) identity: PublicKey,
}

impl Accept {
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        keys_for_peer(&self.peer)
    }

    pub(crate) fn run(&self, records: &Records) -> Result<Outcome, comity_signal::Error> {
        let batch = accept_identity(records, &self.peer, self.identity)?;
        let done = Effect::Reply(self.command, Ok(Reply::Done));
        // Messages that were not acknowledged because of it come again.
        Ok(if batch.is_empty() {
            Outcome::Done(vec![done])
        } else {
            Outcome::Commit(batch, vec![done, Effect::Reconnect])
        })
    }
}

/// Computes a chat's safety number.
pub(crate) struct SafetyNumber {
    pub(crate) command: CommandId,
    pub(crate) jid: Jid,
    pub(crate) peer: Address,
}

impl SafetyNumber {
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        vec![identity_key(&self.peer)]
    }

    pub(crate) fn run(&self, engine: &Engine, records: &Records) -> Result<Outcome, Error> {
        let session = |e: comity_signal::Error| Error::Session(e.to_string());
        let theirs = pinned_identity(records, &self.peer).map_err(session)?.ok_or(Error::UnknownRecipient)?;
        let account = engine.account.as_ref().ok_or(Error::NotEnlisted)?;
        let (me, them) = (engine.me()?.to_string(), self.jid.to_string());
        let digits = safety_number(
            Party { id: &me, identity: account.signal.identity() },
            Party { id: &them, identity: theirs },
        );
        let reply = Reply::SafetyNumber(digits.map_err(session)?);
        Ok(Outcome::Done(vec![Effect::Reply(self.command, Ok(reply))]))
    }
}

impl Engine {
    /// A login is passive: first the keys, then `<active/>` (PROTOCOL §5.5).
    pub(crate) fn begin_session(&mut self) {
        if let Err(error) = self.ask(KeyCountQuery, Purpose::KeyCount) {
            self.hang_up(Some(error));
        }
    }

    pub(crate) fn on_key_count(&mut self, answer: Result<Iq, Error>) {
        let count = answer.and_then(|iq| iq.into_payload::<KeyCount>().map_err(|_| Error::BadAnswer("key count")));
        match count {
            Ok(count) if count.value >= self.config.profile.low_water => self.activate(),
            Ok(_) => self.refill(),
            Err(error) => self.hang_up(Some(error)),
        }
    }

    /// More one-time keys are needed.
    pub(crate) fn refill(&mut self) {
        match self.link.session() {
            Some(session) if !session.refilling => session.refilling = true,
            _ => return, // under way, or due at the next login anyway
        }
        self.enqueue(LaneKey::Account, Job::Refill(Refill));
    }

    /// The keys are durable: publish them. If that fails they are lost, not used twice; the next login makes new ones.
    pub(crate) fn upload(&mut self, upload: Upload) {
        let Some(account) = &self.account else { return };
        let post_quantum = upload.pq_last.is_some();
        let one_time = upload.one_time.len();
        let stanza = KeyUpload {
            registration: account.signal.registration_id(),
            identity: *account.signal.identity().as_bytes(),
            keys: upload.one_time.iter().map(key_xml).collect(),
            skey: signed_xml(account.signal.signed_pre_key()),
            pq_keys: upload.pq_one_time.iter().map(pq_xml).collect(),
            pq_last: upload.pq_last.as_ref().map(pq_xml),
            rest: Default::default(),
        };
        if let Err(error) = self.ask(stanza, Purpose::KeyUpload { one_time, post_quantum }) {
            self.emit(Event::Warning(error));
        }
    }

    pub(crate) fn on_key_upload(&mut self, answer: Result<Iq, Error>, one_time: usize, post_quantum: bool) {
        if let Some(session) = self.link.session() {
            session.refilling = false;
        }
        match answer {
            Ok(_) => {
                self.emit(Event::KeysUploaded { one_time, post_quantum });
                if !self.is_active() {
                    self.activate();
                }
            }
            Err(error) => self.hang_up(Some(error)),
        }
    }

    fn activate(&mut self) {
        if let Err(error) = self.ask(Delivery::Active, Purpose::Active) {
            self.hang_up(Some(error));
        }
    }

    pub(crate) fn on_active(&mut self, answer: Result<Iq, Error>) {
        match answer {
            Ok(_) => {
                if let Some(session) = self.link.session() {
                    session.active = true;
                }
                self.link.succeeded();
                self.unpark_lanes();
                self.flush_outbox();
            }
            Err(error) => self.hang_up(Some(error)),
        }
    }

    /// Asks for a peer's bundle. `false`: there is no connection to ask over.
    pub(crate) fn fetch_bundle(&mut self, lane: LaneKey, jid: Jid) -> bool {
        self.is_active() && self.ask(KeyFetch::of([jid]), Purpose::Bundle(lane)).is_ok()
    }

    pub(crate) fn on_key_fetch(&mut self, lane: &LaneKey, answer: Result<Iq, Error>) {
        let bundle = answer.and_then(|iq| {
            let users = iq.into_payload::<KeyFetchResult>().map_err(|_| Error::BadAnswer("key fetch"))?.users;
            let entry = users.into_iter().find(|user| {
                matches!(lane, LaneKey::Peer(peer) if Address::of_jid(&user.jid).is_ok_and(|address| address == *peer))
            });
            match entry.ok_or(Error::UnknownRecipient)?.keys {
                Ok(keys) => bundle(&keys),
                Err(_) => Err(Error::UnknownRecipient),
            }
        });
        self.on_bundle(lane, bundle);
    }
}

fn key(bytes: [u8; 32]) -> Result<PublicKey, Error> {
    PublicKey::new(bytes).map_err(|e| Error::Session(e.to_string()))
}

fn signed(xml: &SignedPreKeyXml) -> Result<SignedPreKeyPublic, Error> {
    Ok(SignedPreKeyPublic { id: xml.id, value: key(xml.value)?, signature: xml.signature })
}

fn one_time(xml: &PreKeyXml) -> Result<PreKeyPublic, Error> {
    Ok(PreKeyPublic { id: xml.id, value: key(xml.value)? })
}

fn pq(xml: &PqPreKeyXml) -> PqPreKeyPublic {
    PqPreKeyPublic { id: xml.id, value: xml.value.clone(), signature: xml.signature }
}

fn bundle(xml: &KeyBundle) -> Result<Bundle, Error> {
    Ok(Bundle {
        registration_id: xml.registration,
        identity: key(xml.identity)?,
        signed: signed(&xml.skey)?,
        one_time: xml.key.as_ref().map(one_time).transpose()?,
        pq: xml.pqkey.as_ref().map(pq),
    })
}

/// The bundle in a retry receipt.
pub(crate) fn retry_bundle(registration: u32, keys: &RetryKeys) -> Result<Bundle, Error> {
    Ok(Bundle {
        registration_id: registration,
        identity: key(keys.identity)?,
        signed: signed(&keys.skey)?,
        one_time: Some(one_time(&keys.key)?),
        pq: keys.pqkey.as_ref().map(pq),
    })
}

pub(crate) fn key_xml(key: &PreKeyPublic) -> PreKeyXml {
    PreKeyXml { id: key.id, value: *key.value.as_bytes() }
}

pub(crate) fn signed_xml(key: &SignedPreKeyPublic) -> SignedPreKeyXml {
    SignedPreKeyXml { id: key.id, value: *key.value.as_bytes(), signature: key.signature }
}

pub(crate) fn pq_xml(key: &PqPreKeyPublic) -> PqPreKeyXml {
    PqPreKeyXml { id: key.id, value: key.value.clone(), signature: key.signature }
}
