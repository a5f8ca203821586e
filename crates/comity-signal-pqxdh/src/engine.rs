//! The engine's stores over a snapshot, and the one place where it runs.

use crate::convert::{error, key, pair};
use async_trait::async_trait;
use comity_core::CryptoRng;
use comity_signal::{Context, Error, KeyPair, PreKeys, PublicKey, State};
use core::cell::Cell;
use core::convert::Infallible;
use core::future::Future;
use core::pin::pin;
use core::task::{Poll, Waker};
use libsignal_protocol as ls;
use libsignal_protocol::{GenericSignedPreKey, SignalProtocolError as E};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use uuid::Uuid;
use zeroize::Zeroizing;

type EngineResult<T> = Result<T, E>;

/// Runs an operation; a panic of the engine ends here, and with it the operation: nothing of its state is kept.
pub(crate) fn guard<T>(operation: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or(Err(Error::Engine("panic in libsignal-protocol")))
}

/// Runs an engine call. Its stores are in memory, so that it is ready at the first poll.
pub(crate) fn run<T>(call: impl Future<Output = EngineResult<T>>) -> Result<T, Error> {
    match pin!(call).poll(&mut core::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(error),
        Poll::Pending => Err(Error::Engine("a call that waits")),
    }
}

/// The device every peer has inside one operation; nothing of it reaches the wire.
pub(crate) fn device() -> Result<ls::DeviceId, Error> {
    ls::DeviceId::new(1).map_err(|_| Error::Engine("device id"))
}

/// The address every peer has inside one operation.
pub(crate) fn address() -> Result<ls::ProtocolAddress, Error> {
    Ok(ls::ProtocolAddress::new("peer".to_owned(), device()?))
}

/// Our generator behind the engine's older traits.
pub(crate) struct Rng<'a>(pub(crate) &'a mut dyn CryptoRng);

impl rand_core_09::RngCore for Rng<'_> {
    fn next_u32(&mut self) -> u32 {
        rand_core::Rng::next_u32(self.0)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::Rng::next_u64(self.0)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        rand_core::Rng::fill_bytes(self.0, out);
    }
}

impl rand_core_09::CryptoRng for Rng<'_> {}

/// For calls that draw nothing: what they would draw is zeros.
pub(crate) struct NoRng;

impl rand_core::TryRng for NoRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill(0);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for NoRng {}

/// The session record of one operation. The engine loads it once and stores it once: it is taken out, and kept as bytes.
pub(crate) struct Sessions {
    loaded: Cell<Option<ls::SessionRecord>>,
    stored: Option<(State, Option<Vec<u8>>)>,
}

impl Sessions {
    pub(crate) fn load(bytes: Option<&[u8]>) -> Result<Self, Error> {
        let record = bytes.map(ls::SessionRecord::deserialize).transpose();
        Ok(Self { loaded: Cell::new(record.map_err(|_| Error::Corrupt("session"))?), stored: None })
    }

    /// The record that the engine stored, and the identity of its current session: after a decrypt, of the one that opened
    /// the message.
    pub(crate) fn finish(self) -> Result<(State, PublicKey), Error> {
        let (state, identity) = self.stored.ok_or(Error::Engine("no session stored"))?;
        Ok((state, PublicKey::parse(&identity.ok_or(Error::Corrupt("session"))?)?))
    }

    /// The record with its current session archived.
    pub(crate) fn archive(bytes: &[u8]) -> Result<State, Error> {
        let mut record = ls::SessionRecord::deserialize(bytes).map_err(|_| Error::Corrupt("session"))?;
        record.archive_current_state().map_err(error)?;
        Ok(Zeroizing::new(record.serialize().map_err(error)?))
    }
}

#[async_trait(?Send)]
impl ls::SessionStore for Sessions {
    async fn load_session(&self, _: &ls::ProtocolAddress) -> EngineResult<Option<ls::SessionRecord>> {
        Ok(self.loaded.take())
    }

    async fn store_session(&mut self, _: &ls::ProtocolAddress, record: &ls::SessionRecord) -> EngineResult<()> {
        self.stored = Some((Zeroizing::new(record.serialize()?), record.remote_identity_key_bytes()?));
        Ok(())
    }
}

/// Both identities of one operation. The engine may use no other one for the peer, archived sessions included.
pub(crate) struct Identity<'a> {
    ours: &'a KeyPair,
    registration_id: u32,
    theirs: ls::IdentityKey,
}

impl<'a> Identity<'a> {
    pub(crate) fn new(context: &Context<'a>) -> Result<Self, Error> {
        Ok(Self {
            ours: context.identity,
            registration_id: context.registration_id,
            theirs: ls::IdentityKey::new(key(&context.peer_identity)?),
        })
    }
}

#[async_trait(?Send)]
impl ls::IdentityKeyStore for Identity<'_> {
    async fn get_identity_key_pair(&self) -> EngineResult<ls::IdentityKeyPair> {
        pair(self.ours).map(Into::into).map_err(|_| E::NoKeyTypeIdentifier)
    }

    async fn get_local_registration_id(&self) -> EngineResult<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        address: &ls::ProtocolAddress,
        identity: &ls::IdentityKey,
    ) -> EngineResult<ls::IdentityChange> {
        if *identity == self.theirs {
            Ok(ls::IdentityChange::NewOrUnchanged)
        } else {
            Err(E::UntrustedIdentity(address.clone()))
        }
    }

    async fn is_trusted_identity(
        &self,
        _: &ls::ProtocolAddress,
        identity: &ls::IdentityKey,
        _: ls::Direction,
    ) -> EngineResult<bool> {
        Ok(*identity == self.theirs)
    }

    async fn get_identity(&self, _: &ls::ProtocolAddress) -> EngineResult<Option<ls::IdentityKey>> {
        Ok(Some(self.theirs))
    }
}

/// The pre-keys that a message names, and whether the engine asked for the signed one: it does when it builds a session.
#[derive(Clone)]
pub(crate) struct Keys {
    one_time: Option<(u32, ls::KeyPair)>,
    signed: Option<(u32, ls::KeyPair, [u8; 64])>,
    pq: Option<(u32, ls::kem::KeyPair)>,
    asked: Rc<Cell<bool>>,
}

impl Keys {
    pub(crate) fn new(keys: &PreKeys) -> Result<Self, Error> {
        let pq = |pair: &comity_signal::PqKeyPair| {
            ls::kem::KeyPair::from_public_and_private(&pair.public, &pair.secret)
                .map_err(|_| Error::Corrupt("post-quantum pre-key"))
        };
        Ok(Self {
            one_time: keys.one_time.as_ref().map(|(id, k)| Ok::<_, Error>((*id, pair(k)?))).transpose()?,
            signed: keys.signed.as_ref().map(|(id, k, sig)| Ok::<_, Error>((*id, pair(k)?, *sig))).transpose()?,
            pq: keys.pq.as_ref().map(|(id, k)| Ok::<_, Error>((*id, pq(k)?))).transpose()?,
            asked: Rc::default(),
        })
    }

    pub(crate) fn was_asked(&self) -> bool {
        self.asked.get()
    }
}

#[async_trait(?Send)]
impl ls::PreKeyStore for Keys {
    async fn get_pre_key(&self, id: ls::PreKeyId) -> EngineResult<ls::PreKeyRecord> {
        match &self.one_time {
            Some((have, pair)) if *have == u32::from(id) => Ok(ls::PreKeyRecord::new(id, pair)),
            _ => Err(E::InvalidPreKeyId),
        }
    }

    async fn save_pre_key(&mut self, _: ls::PreKeyId, _: &ls::PreKeyRecord) -> EngineResult<()> {
        Ok(())
    }

    async fn remove_pre_key(&mut self, _: ls::PreKeyId) -> EngineResult<()> {
        Ok(())
    }
}

#[async_trait(?Send)]
impl ls::SignedPreKeyStore for Keys {
    async fn get_signed_pre_key(&self, id: ls::SignedPreKeyId) -> EngineResult<ls::SignedPreKeyRecord> {
        self.asked.set(true);
        match &self.signed {
            Some((have, pair, signature)) if *have == u32::from(id) => {
                Ok(ls::SignedPreKeyRecord::new(id, ls::Timestamp::from_epoch_millis(0), pair, signature))
            }
            _ => Err(E::InvalidSignedPreKeyId),
        }
    }

    async fn save_signed_pre_key(&mut self, _: ls::SignedPreKeyId, _: &ls::SignedPreKeyRecord) -> EngineResult<()> {
        Ok(())
    }
}

#[async_trait(?Send)]
impl ls::KyberPreKeyStore for Keys {
    async fn get_kyber_pre_key(&self, id: ls::KyberPreKeyId) -> EngineResult<ls::KyberPreKeyRecord> {
        match &self.pq {
            // Not `generate`: that one reads the clock.
            Some((have, pair)) if *have == u32::from(id) => {
                Ok(ls::KyberPreKeyRecord::new(id, ls::Timestamp::from_epoch_millis(0), pair, &[]))
            }
            _ => Err(E::InvalidKyberPreKeyId),
        }
    }

    async fn save_kyber_pre_key(&mut self, _: ls::KyberPreKeyId, _: &ls::KyberPreKeyRecord) -> EngineResult<()> {
        Ok(())
    }

    async fn mark_kyber_pre_key_used(
        &mut self,
        _: ls::KyberPreKeyId,
        _: ls::SignedPreKeyId,
        _: &ls::PublicKey,
    ) -> EngineResult<()> {
        Ok(())
    }
}

/// The sender-key record of one operation.
pub(crate) struct SenderKeys {
    record: Option<ls::SenderKeyRecord>,
    distribution_id: Uuid,
}

impl SenderKeys {
    pub(crate) fn load(bytes: Option<&[u8]>, distribution_id: Uuid) -> Result<Self, Error> {
        let record = bytes.map(ls::SenderKeyRecord::deserialize).transpose();
        Ok(Self { record: record.map_err(|_| Error::Corrupt("sender key"))?, distribution_id })
    }

    pub(crate) fn finish(self) -> Result<State, Error> {
        let record = self.record.ok_or(Error::Engine("no sender key stored"))?;
        Ok(Zeroizing::new(record.serialize().map_err(error)?))
    }
}

#[async_trait(?Send)]
impl ls::SenderKeyStore for SenderKeys {
    async fn store_sender_key(
        &mut self,
        _: &ls::ProtocolAddress,
        _: Uuid,
        record: &ls::SenderKeyRecord,
    ) -> EngineResult<()> {
        self.record = Some(record.clone());
        Ok(())
    }

    async fn load_sender_key(
        &mut self,
        _: &ls::ProtocolAddress,
        distribution_id: Uuid,
    ) -> EngineResult<Option<ls::SenderKeyRecord>> {
        // A message of another group finds nothing.
        Ok(self.record.clone().filter(|_| distribution_id == self.distribution_id))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
mod tests {
    use super::*;
    use comity_core::{RecordKind, Timestamp};
    use comity_signal::suite_tests::{TestRng, talking};
    use comity_signal::{Address, wire};

    /// Past the shape check the engine still panics, without any key; it ends here. If this fails on a newer engine
    /// because the error is another, the fault is mended there.
    #[test]
    fn a_panic_of_the_engine_ends_at_the_adapter() {
        std::panic::set_hook(Box::new(|_| {}));
        let (mut a, b) = talking(crate::Pqxdh::new());
        let body = a.encrypt(&b.address, b"x").unwrap().body;
        let part = wire::SignalMessage::parse(&body).unwrap().pq_ratchet;
        let at = body.windows(part.len()).position(|w| w == part).unwrap();
        let body = [&body[..at - 1], &[3, 1, 1, 0], &body[body.len() - 8..]].concat();
        let message = ls::CiphertextMessage::SignalMessage(body.as_slice().try_into().unwrap());
        // The record of the session: layout, number of states, version, length; the engine's own; checksum.
        let record = b.snapshot().into_iter().find(|(key, _)| key.kind == RecordKind::Session).unwrap().1;
        let mut sessions = Sessions::load(Some(&record[7..record.len() - 4])).unwrap();
        let context = Context {
            identity: &KeyPair::generate(&mut TestRng::new(1)),
            registration_id: 1,
            peer: &Address::new("alice", 0).unwrap(),
            peer_identity: a.account().identity(),
            now: Timestamp::from_secs(1),
        };
        let (mut identity, mut rng) = (Identity::new(&context).unwrap(), TestRng::new(2));
        let signed = Keys::new(&PreKeys::default()).unwrap();
        let (mut one_time, mut pq, mut rng) = (signed.clone(), signed.clone(), Rng(&mut rng));
        let address = address().unwrap();
        let call = ls::message_decrypt(
            &message,
            &address,
            &mut sessions,
            &mut identity,
            &mut one_time,
            &signed,
            &mut pq,
            &mut rng,
        );
        let result = guard(|| run(call));
        drop(std::panic::take_hook());
        assert_eq!(result, Err(Error::Engine("panic in libsignal-protocol")));
        assert_eq!(run(core::future::pending::<EngineResult<()>>()), Err(Error::Engine("a call that waits")));
    }
}
