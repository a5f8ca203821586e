//! What the server has of our keys is kept right: the signed pre-key rotated, the rest compared by digest, what is left over
//! deleted (PROTOCOL §8).

use crate::Error;
use crate::engine::{Effect, Engine};
use crate::io::Event;
use crate::iq::Purpose;
use crate::keys::signed_xml;
use crate::lane::{Job, LaneKey, Outcome};
use crate::limits::{DIGEST_INTERVAL, ROTATE_RETRY};
use comity_core::{CryptoRng, RecordKey, Timestamp};
use comity_signal::{Account, Records, SignedPreKeyPublic, account_key, pre_key_key};
use comity_xmpp::stanza::{Iq, KeyDigest, KeyDigestQuery, KeyRotate};
use sha1::{Digest as _, Sha1};

/// When what is next due.
#[derive(Default)]
pub(crate) struct Upkeep {
    /// The next comparison; at the first login after a start.
    digest: Timestamp,
    /// Before that, no rotation is begun: one may be under way, or have failed.
    rotate: Timestamp,
}

/// Replaces the signed pre-key.
pub(crate) struct Rotate;

impl Rotate {
    pub(crate) fn run(
        &self,
        engine: &Engine,
        records: &mut Records,
        rng: &mut dyn CryptoRng,
    ) -> Result<Outcome, comity_signal::Error> {
        let account = Account::load(records)?;
        if !account.rotation_due(engine.now) {
            let skey = account.signed_pre_key().clone(); // another process was first
            return Ok(Outcome::Done(vec![Effect::Rotated(Box::new(account), skey)]));
        }
        let (skey, batch) = Account::rotate(records, engine.now, rng)?;
        records.apply(&batch);
        let account = Account::load(records)?;
        Ok(Outcome::Commit(batch, vec![Effect::Rotated(Box::new(account), skey)]))
    }
}

/// Compares what the server has with what the store has.
pub(crate) struct Digest(KeyDigest);

impl Digest {
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        core::iter::once(account_key()).chain(self.0.ids.iter().map(|id| pre_key_key(*id))).collect()
    }

    pub(crate) fn run(&self, engine: &Engine, records: &Records) -> Result<Outcome, comity_signal::Error> {
        let (account, theirs) = (Account::load(records)?, &self.0);
        let ours = signed_xml(account.signed_pre_key());
        let mut hash = Sha1::new();
        hash.update(theirs.identity);
        hash.update(theirs.skey.value);
        hash.update(theirs.skey.signature);
        let mut held = true;
        for id in &theirs.ids {
            match Account::pre_key(records, *id) {
                Ok(key) => hash.update(key.value.as_bytes()),
                Err(comity_signal::Error::MissingPreKey) => held = false,
                Err(error) => return Err(error),
            }
        }
        let account_fits = theirs.registration == account.registration_id()
            && theirs.identity == *account.identity().as_bytes()
            && theirs.skey == ours
            && (!engine.suites.post_quantum() || theirs.pq_last == account.pq_last_resort());
        let keys_fit = held && <[u8; 20]>::from(hash.finalize()) == theirs.hash;
        let mut effects = Vec::new();
        if !keys_fit {
            // Whoever is given such a key cannot reach us with its first message, and will be asked to try again.
            effects.push(Effect::Emit(Event::Warning(Error::BadAnswer("key digest: pre-keys that are not ours"))));
        }
        if !account_fits {
            effects.push(Effect::Refill); // one-time keys cannot be taken back
        }
        Ok(Outcome::Done(effects))
    }
}

/// Deletes one-time pre-keys that nobody can use any more.
pub(crate) struct Prune(pub(crate) Vec<RecordKey>);

impl Prune {
    pub(crate) fn run(&self, records: &Records) -> Result<Outcome, comity_signal::Error> {
        let batch = Account::prune(records, &self.0)?;
        Ok(if batch.is_empty() { Outcome::Done(vec![]) } else { Outcome::Commit(batch, vec![]) })
    }
}

impl Engine {
    /// Whatever is due, as soon as there is a session to do it in.
    pub(crate) fn upkeep(&mut self) {
        if !self.is_active() {
            return;
        }
        if self.upkeep.digest <= self.now {
            self.upkeep.digest = self.now.after(DIGEST_INTERVAL);
            if let Err(error) = self.ask(KeyDigestQuery, Purpose::Digest) {
                self.emit(Event::Warning(error));
            }
        }
        let due = self.account.as_ref().is_some_and(|account| account.signal.rotation_due(self.now));
        if due && self.upkeep.rotate <= self.now {
            self.upkeep.rotate = self.now.after(ROTATE_RETRY);
            self.enqueue(LaneKey::Account, Job::Rotate(Rotate));
        }
    }

    pub(crate) fn upkeep_due(&mut self) -> Option<Timestamp> {
        self.is_active().then_some(self.upkeep.digest)
    }

    /// The new key is durable: publish it. If that fails, the digest will tell.
    pub(crate) fn rotated(&mut self, signal: Account, skey: &SignedPreKeyPublic) {
        if let Some(account) = &mut self.account {
            account.signal = signal;
        }
        let rotate = KeyRotate { skey: signed_xml(skey), pq_last: None, rest: Default::default() };
        if self.ask(rotate, Purpose::Rotate).is_err() {
            self.upkeep.digest = self.now;
        }
    }

    pub(crate) fn on_rotate(&mut self, answer: Result<Iq, Error>) {
        match answer {
            Ok(_) => self.emit(Event::SignedPreKeyRotated),
            Err(_) => self.upkeep.digest = self.now,
        }
    }

    pub(crate) fn on_digest(&mut self, answer: Result<Iq, Error>) {
        match answer.and_then(|iq| iq.into_payload::<KeyDigest>().map_err(|_| Error::BadAnswer("key digest"))) {
            Ok(digest) => self.enqueue(LaneKey::Account, Job::Digest(Box::new(Digest(digest)))),
            Err(Error::Refused { code: 404, .. }) => self.refill(),
            Err(Error::Refused { .. }) => {} // a server without digests
            Err(error) => self.emit(Event::Warning(error)),
        }
    }
}
