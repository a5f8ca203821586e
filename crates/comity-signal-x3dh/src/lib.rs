//! Suite v3 (X3DH and Double Ratchet, what WhatsApp speaks), an adapter over wacore-libsignal (PROTOCOL §8).
//!
//! The engine keeps its state in stores of its own traits; here each operation gives it a snapshot of one session and
//! takes the changed one out, if and only if the operation succeeded. Closed on the way, each with a test in
//! `tests/regress.rs`:
//! - a message on an archived session made the engine trust that session's older identity again;
//! - a loaded record skips up to 64 counters unless its lease is waived after **each** load;
//! - the used one-time pre-key is the caller's to delete (`comity-signal` does, in the same batch);
//! - the identity in a `pkmsg` is not compared with that of the session the message opens under;
//! - low-order public keys are taken, and addresses written into a message not looked at;
//! - any crate of the process can replace the engine's cryptography.
#![deny(unsafe_code)]

mod convert;
mod engine;

use bytes::Bytes;
use comity_core::CryptoRng;
use comity_signal::{
    Address, Bundle, Context, EncKind, Error, Initial, Opened, PreKeys, PublicKey, Sealed, State, Suite, wire,
};
use convert::{error, from_key};
use core::sync::atomic::AtomicBool;
use engine::{Identity, Keys, SenderKeys, Sessions, guard, run};
use wacore_libsignal::protocol as ws;
use zeroize::Zeroizing;

/// The message version.
pub const VERSION: u8 = 3;

/// The name a session or sender key has inside one operation; nothing of it reaches the wire.
const INSIDE: &str = "peer";

/// The suite of message version 3.
#[derive(Clone, Copy, Debug, Default)]
pub struct X3dh;

fn inside() -> ws::ProtocolAddress {
    ws::ProtocolAddress::new(INSIDE, 0.into())
}

impl Suite for X3dh {
    fn version(&self) -> u8 {
        VERSION
    }

    fn inspect(&self, peer: &Address, kind: EncKind, body: &[u8]) -> Result<Option<Initial>, Error> {
        let (initial, message) = wire::inspect(VERSION, kind, body)?;
        message.check_sender(peer)?;
        Ok(initial)
    }

    fn establish(
        &self,
        context: &Context<'_>,
        session: Option<&[u8]>,
        bundle: &Bundle,
        rng: &mut dyn CryptoRng,
    ) -> Result<State, Error> {
        guard(|| {
            let mut sessions = Sessions::load(session)?;
            let mut identity = Identity::new(context);
            let bundle = convert::bundle(bundle)?;
            let mut rng = rng;
            run(async {
                ws::process_prekey_bundle(
                    &inside(),
                    &mut sessions,
                    &mut identity,
                    &bundle,
                    &mut rng,
                    ws::UsePQRatchet::No,
                )
                .await
            })?;
            sessions.finish()
        })
    }

    fn encrypt(
        &self,
        context: &Context<'_>,
        session: &[u8],
        plaintext: &[u8],
        _rng: &mut dyn CryptoRng,
    ) -> Result<Sealed, Error> {
        guard(|| {
            let mut sessions = Sessions::load(Some(session))?;
            let mut identity = Identity::new(context);
            let message = run(async { ws::message_encrypt(plaintext, &inside(), &mut sessions, &mut identity).await })?;
            let kind = match message {
                ws::CiphertextMessage::PreKeySignalMessage(_) => EncKind::Pkmsg,
                ws::CiphertextMessage::SignalMessage(_) => EncKind::Msg,
                _ => return Err(Error::Engine("kind of message")),
            };
            Ok(Sealed { kind, body: Bytes::copy_from_slice(message.serialize()), session: sessions.finish()? })
        })
    }

    fn decrypt(
        &self,
        context: &Context<'_>,
        session: Option<&[u8]>,
        keys: &PreKeys,
        kind: EncKind,
        body: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Opened, Error> {
        guard(|| {
            let message = match kind {
                EncKind::Pkmsg => ws::CiphertextMessage::PreKeySignalMessage(body.try_into().map_err(error)?),
                EncKind::Msg => ws::CiphertextMessage::SignalMessage(body.try_into().map_err(error)?),
                EncKind::Skmsg => return Err(Error::Misuse("a skmsg is for group_decrypt")),
            };
            let mut sessions = Sessions::load(session)?;
            let mut identity = Identity::new(context);
            let asked = AtomicBool::new(false);
            let signed = Keys::new(keys, &asked)?;
            let mut one_time = signed.clone();
            let mut rng = rng;
            let result = run(async {
                ws::message_decrypt(
                    &message,
                    &inside(),
                    &mut sessions,
                    &mut identity,
                    &mut one_time,
                    &signed,
                    &mut rng,
                    ws::UsePQRatchet::No,
                )
                .await
            })?;
            let opened_under = sessions.identity()?;
            Ok(Opened {
                plaintext: Zeroizing::new(result.plaintext),
                session: sessions.finish()?,
                identity: opened_under,
                new_session: asked.into_inner(),
            })
        })
    }

    fn archive(&self, session: &[u8]) -> Result<State, Error> {
        guard(|| {
            let mut sessions = Sessions::load(Some(session))?;
            sessions.archive()?;
            sessions.finish()
        })
    }

    fn owns_distribution(&self, distribution: &[u8]) -> bool {
        // Version 3, then field 1 as a varint: the chain id.
        matches!(distribution, [0x33, 0x08, ..])
    }

    fn group_create(&self, group: &str, rng: &mut dyn CryptoRng) -> Result<(State, Bytes), Error> {
        guard(|| {
            let mut keys = SenderKeys::load(None)?;
            let mut rng = rng;
            let message =
                run(async { ws::create_sender_key_distribution_message(&name(group), &mut keys, &mut rng).await })?;
            Ok((keys.finish()?, Bytes::copy_from_slice(message.serialized())))
        })
    }

    fn group_distribution(&self, group: &str, state: &[u8]) -> Result<Bytes, Error> {
        guard(|| {
            let mut keys = SenderKeys::load(Some(state))?;
            let message = run(async {
                ws::create_sender_key_distribution_message(&name(group), &mut keys, &mut engine::NoRng).await
            })?;
            Ok(Bytes::copy_from_slice(message.serialized()))
        })
    }

    fn group_process(&self, group: &str, state: Option<&[u8]>, distribution: &[u8]) -> Result<State, Error> {
        guard(|| {
            wire::check_distribution(distribution, 1)?;
            let message: ws::SenderKeyDistributionMessage = distribution.try_into().map_err(error)?;
            let mut keys = SenderKeys::load(state)?;
            run(async { ws::process_sender_key_distribution_message(&name(group), &message, &mut keys).await })?;
            keys.finish()
        })
    }

    fn group_encrypt(
        &self,
        group: &str,
        state: &[u8],
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Bytes, State), Error> {
        guard(|| {
            let mut keys = SenderKeys::load(Some(state))?;
            let mut rng = rng;
            let message = run(async { ws::group_encrypt(&mut keys, &name(group), plaintext, &mut rng).await })?;
            Ok((Bytes::copy_from_slice(message.serialized()), keys.finish()?))
        })
    }

    fn group_decrypt(&self, group: &str, state: &[u8], body: &[u8]) -> Result<(Zeroizing<Vec<u8>>, State), Error> {
        guard(|| {
            let mut keys = SenderKeys::load(Some(state))?;
            let plaintext = run(async { ws::group_decrypt(body, &mut keys, &name(group)).await })?;
            Ok((Zeroizing::new(plaintext), keys.finish()?))
        })
    }
}

fn name(group: &str) -> ws::SenderKeyName {
    ws::SenderKeyName::from_parts(group, INSIDE)
}

/// The identity of the session a record holds as current, as our key type.
fn identity_of(record: &ws::SessionRecord) -> Result<PublicKey, Error> {
    let state = record.session_state().ok_or(Error::Engine("no current session"))?;
    let key = state.remote_identity_key().map_err(|_| Error::Corrupt("session"))?;
    from_key(key.ok_or(Error::Corrupt("session"))?.public_key())
}
