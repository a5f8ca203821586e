//! The engine's stores over a snapshot, and the one place where it runs.

use crate::convert::{error, key, pair};
use crate::identity_of;
use async_trait::async_trait;
use comity_signal::{Context, Error, KeyPair, PreKeys, PublicKey, State};
use core::convert::Infallible;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use wacore_libsignal::crypto::RustCryptoProvider;
use wacore_libsignal::protocol as ws;
use wacore_libsignal::protocol::SignalProtocolError as E;
use wacore_libsignal::protocol::error::Result as EngineResult;
use wacore_libsignal::protocol::{GenericSignedPreKey, PreKeyStore, SenderKeyStore, SessionStore, SignedPreKeyStore};
use zeroize::Zeroizing;

/// Whether the engine's process-wide crypto provider is the built-in one. It can be set once per process; the first
/// call takes that one chance, so that nobody can put another beneath running sessions.
static BUILT_IN_CRYPTO: LazyLock<bool> =
    LazyLock::new(|| wacore_libsignal::crypto::set_crypto_provider(RustCryptoProvider).is_ok());

type CheckedOut = (Option<ws::SessionRecord>, Option<ws::SessionCheckoutKey>);

const NOT_STORED: Error = Error::Engine("no session stored");

/// Runs an operation; a panic of the engine ends here, and with it the operation: nothing of its state is kept.
pub(crate) fn guard<T>(operation: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or(Err(Error::Engine("panic in wacore-libsignal")))
}

/// Runs an engine call. Its stores are in memory, so that it is ready at the first poll.
pub(crate) fn run<T>(call: impl Future<Output = EngineResult<T>>) -> Result<T, Error> {
    if !*BUILT_IN_CRYPTO {
        return Err(Error::Engine("crypto provider replaced"));
    }
    match pin!(call).poll(&mut core::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(error),
        Poll::Pending => Err(Error::Engine("a call that waits")),
    }
}

/// The session record of one operation. The engine takes it out and puts it back: it is not copied, and what a failed
/// operation leaves of it goes with the operation.
pub(crate) struct Sessions(Mutex<Option<ws::SessionRecord>>);

impl Sessions {
    pub(crate) fn load(bytes: Option<&[u8]>) -> Result<Self, Error> {
        let Some(bytes) = bytes else { return Ok(Self(Mutex::default())) };
        let mut record = ws::SessionRecord::deserialize(bytes).map_err(|_| Error::Corrupt("session"))?;
        // Our commits are durable before the wire; a leased record would skip up to 64 counters at each load. One that the
        // engine makes afresh leases, too, but only an encryption reserves, and each begins with a load.
        record.waive_counter_lease();
        Ok(Self(Mutex::new(Some(record))))
    }

    fn record(&self) -> MutexGuard<'_, Option<ws::SessionRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of the current session: after a decrypt, the one that opened the message.
    pub(crate) fn identity(&self) -> Result<PublicKey, Error> {
        identity_of(self.record().as_ref().ok_or(NOT_STORED)?)
    }

    pub(crate) fn archive(&mut self) -> Result<(), Error> {
        self.record().as_mut().map_or(Ok(()), |record| record.archive_current_state().map_err(error))
    }

    pub(crate) fn finish(self) -> Result<State, Error> {
        Ok(Zeroizing::new(self.record().as_ref().ok_or(NOT_STORED)?.serialize().map_err(error)?))
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, _: &ws::ProtocolAddress) -> EngineResult<Option<ws::SessionRecord>> {
        Ok(self.record().clone())
    }

    fn try_load_session_for_update(&self, _: &ws::ProtocolAddress) -> Option<EngineResult<CheckedOut>> {
        Some(Ok((self.record().take(), None)))
    }

    async fn has_session(&self, _: &ws::ProtocolAddress) -> EngineResult<bool> {
        Ok(self.record().is_some())
    }

    async fn store_session(&mut self, _: &ws::ProtocolAddress, record: ws::SessionRecord) -> EngineResult<()> {
        *self.record() = Some(record);
        Ok(())
    }

    fn try_store_session_from_checkout(
        &mut self,
        _: &ws::ProtocolAddress,
        record: ws::SessionRecord,
        _: Option<ws::SessionCheckoutKey>,
        _: bool,
    ) -> ws::SessionCheckoutStoreResult {
        *self.record() = Some(record);
        ws::SessionCheckoutStoreResult::Stored
    }
}

/// Both identities of one operation. The engine may use no other one for the peer, archived sessions included.
pub(crate) struct Identity<'a> {
    ours: &'a KeyPair,
    registration_id: u32,
    theirs: PublicKey,
}

impl<'a> Identity<'a> {
    pub(crate) const fn new(context: &Context<'a>) -> Self {
        Self { ours: context.identity, registration_id: context.registration_id, theirs: context.peer_identity }
    }

    fn is_theirs(&self, identity: &ws::IdentityKey) -> bool {
        identity.public_key().public_key_bytes() == self.theirs.as_bytes()
    }

    fn save(&self, address: &ws::ProtocolAddress, identity: &ws::IdentityKey) -> EngineResult<ws::IdentityChange> {
        // The engine saves the identity of an archived session without asking whether it is trusted.
        if self.is_theirs(identity) {
            Ok(ws::IdentityChange::NewOrUnchanged)
        } else {
            Err(E::UntrustedIdentity(address.clone()))
        }
    }
}

#[async_trait]
impl ws::IdentityKeyStore for Identity<'_> {
    async fn get_identity_key_pair(&self) -> EngineResult<ws::IdentityKeyPair> {
        pair(self.ours).map(Into::into).map_err(|_| E::NoKeyTypeIdentifier)
    }

    async fn get_local_registration_id(&self) -> EngineResult<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        address: &ws::ProtocolAddress,
        identity: &ws::IdentityKey,
    ) -> EngineResult<ws::IdentityChange> {
        self.save(address, identity)
    }

    fn try_save_identity(
        &mut self,
        address: &ws::ProtocolAddress,
        identity: &ws::IdentityKey,
    ) -> Option<EngineResult<ws::IdentityChange>> {
        Some(self.save(address, identity))
    }

    async fn is_trusted_identity(
        &self,
        _: &ws::ProtocolAddress,
        identity: &ws::IdentityKey,
        _: ws::Direction,
    ) -> EngineResult<bool> {
        Ok(self.is_theirs(identity))
    }

    fn try_is_trusted_identity(
        &self,
        _: &ws::ProtocolAddress,
        identity: &ws::IdentityKey,
        _: ws::Direction,
    ) -> Option<EngineResult<bool>> {
        Some(Ok(self.is_theirs(identity)))
    }

    async fn get_identity(&self, _: &ws::ProtocolAddress) -> EngineResult<Option<ws::IdentityKey>> {
        key(&self.theirs).map(ws::IdentityKey::new).map(Some).map_err(|_| E::NoKeyTypeIdentifier)
    }
}

/// The pre-keys that a message names, and whether the engine asked for the signed one: it does when it builds a session.
#[derive(Clone)]
pub(crate) struct Keys<'a> {
    one_time: Option<(u32, ws::KeyPair)>,
    signed: Option<(u32, ws::KeyPair, [u8; 64])>,
    asked: &'a AtomicBool,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(keys: &PreKeys, asked: &'a AtomicBool) -> Result<Self, Error> {
        Ok(Self {
            one_time: keys.one_time.as_ref().map(|(id, k)| Ok::<_, Error>((*id, pair(k)?))).transpose()?,
            signed: keys.signed.as_ref().map(|(id, k, sig)| Ok::<_, Error>((*id, pair(k)?, *sig))).transpose()?,
            asked,
        })
    }
}

#[async_trait]
impl PreKeyStore for Keys<'_> {
    async fn get_pre_key(&self, id: ws::PreKeyId) -> EngineResult<ws::PreKeyRecord> {
        match &self.one_time {
            Some((have, pair)) if *have == u32::from(id) => Ok(ws::PreKeyRecord::new(id, pair)),
            _ => Err(E::InvalidPreKeyId),
        }
    }

    async fn save_pre_key(&mut self, _: ws::PreKeyId, _: &ws::PreKeyRecord) -> EngineResult<()> {
        Ok(())
    }

    async fn remove_pre_key(&mut self, _: ws::PreKeyId) -> EngineResult<()> {
        Ok(())
    }
}

#[async_trait]
impl SignedPreKeyStore for Keys<'_> {
    async fn get_signed_pre_key(&self, id: ws::SignedPreKeyId) -> EngineResult<ws::SignedPreKeyRecord> {
        self.asked.store(true, Ordering::Relaxed);
        match &self.signed {
            Some((have, pair, signature)) if *have == u32::from(id) => {
                Ok(ws::SignedPreKeyRecord::new(id, ws::Timestamp::from_epoch_millis(0), pair, signature))
            }
            _ => Err(E::InvalidSignedPreKeyId),
        }
    }

    async fn save_signed_pre_key(&mut self, _: ws::SignedPreKeyId, _: &ws::SignedPreKeyRecord) -> EngineResult<()> {
        Ok(())
    }
}

/// The sender-key record of one operation.
pub(crate) struct SenderKeys(Option<ws::SenderKeyRecord>);

impl SenderKeys {
    pub(crate) fn load(bytes: Option<&[u8]>) -> Result<Self, Error> {
        let Some(bytes) = bytes else { return Ok(Self(None)) };
        let mut record = ws::SenderKeyRecord::deserialize(bytes).map_err(|_| Error::Corrupt("sender key"))?;
        record.waive_counter_lease().map_err(|_| Error::Corrupt("sender key"))?;
        Ok(Self(Some(record)))
    }

    pub(crate) fn finish(self) -> Result<State, Error> {
        let record = self.0.ok_or(Error::Engine("no sender key stored"))?;
        Ok(Zeroizing::new(record.serialize().map_err(error)?))
    }
}

#[async_trait]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(&mut self, _: &ws::SenderKeyName, record: ws::SenderKeyRecord) -> EngineResult<()> {
        self.0 = Some(record);
        Ok(())
    }

    async fn load_sender_key(&self, _: &ws::SenderKeyName) -> EngineResult<Option<ws::SenderKeyRecord>> {
        Ok(self.0.clone())
    }
}

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

#[cfg(test)]
#[allow(clippy::panic, reason = "test code")]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_ends_at_the_adapter() {
        std::panic::set_hook(Box::new(|_| {}));
        let call = async { if true { panic!("as the engine might") } else { Ok(()) } };
        assert_eq!(guard(|| run(call)), Err(Error::Engine("panic in wacore-libsignal")));
        assert_eq!(run(core::future::pending::<EngineResult<()>>()), Err(Error::Engine("a call that waits")));
    }
}
