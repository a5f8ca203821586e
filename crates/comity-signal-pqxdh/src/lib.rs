//! Suite v4 (PQXDH and SPQR), an adapter over libsignal-protocol (PROTOCOL §8).
//!
//! The engine keeps its state in asynchronous stores; here each operation gives it a snapshot of one session, polls it
//! once, and takes the changed session out, if and only if the operation succeeded. Closed on the way, each with a test
//! in `tests/regress.rs`:
//! - its post-quantum ratchet panics on a message part `01 01 00`, before any MAC is checked: such parts do not get
//!   there ([`pq_ratchet_well_formed`]), and any panic ends at the adapter, as an error;
//! - a message without that part, which the ratchet would let pass, is refused (see [`Dangerous`]);
//! - its device ids start at 1, ours at 0: inside, every peer has device 1;
//! - its post-quantum key generation reads the clock; here it does not;
//! - low-order public keys are taken;
//! - it does not look at the addresses that newer official clients write into a message; here the sender's has to be the
//!   peer's.
//!
//! The engine derives up to 25,000 skipped keys, and any number for a message that shows our own identity, before it
//! looks at a MAC, and again for each archived session; here [`MAX_SKIPPED`] and [`MAX_SKIPPED_IN_ALL`] hold.
#![deny(unsafe_code)]

mod convert;
mod engine;
mod jump;
mod shape;

use bytes::Bytes;
use comity_core::CryptoRng;
use comity_signal::{
    Address, Bundle, Context, EncKind, Error, Initial, Opened, PqKeyPair, PreKeys, Sealed, State, Suite, wire,
};
use convert::error;
use engine::{Identity, Keys, Rng, SenderKeys, Sessions, address, guard, run};
pub use jump::{MAX_SKIPPED, MAX_SKIPPED_IN_ALL};
use libsignal_protocol as ls;
use sha2::{Digest, Sha256};
pub use shape::pq_ratchet_well_formed;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The message version.
pub const VERSION: u8 = 4;

/// The suite of message version 4.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pqxdh {
    accept_empty_ratchet: bool,
}

impl Pqxdh {
    /// The suite with every check on.
    pub const fn new() -> Self {
        Self { accept_empty_ratchet: false }
    }

    /// Choices that give up a guarantee.
    pub const fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }
}

/// Choices that give up a guarantee of [`Pqxdh`].
#[derive(Clone, Copy, Debug)]
pub struct Dangerous(Pqxdh);

impl Dangerous {
    /// Takes messages without a post-quantum ratchet part, as the oldest version 4 peers send them: their sessions are
    /// post-quantum at the start only.
    pub const fn accept_empty_ratchet(mut self) -> Pqxdh {
        self.0.accept_empty_ratchet = true;
        self.0
    }
}

impl Suite for Pqxdh {
    fn version(&self) -> u8 {
        VERSION
    }

    fn post_quantum(&self) -> bool {
        true
    }

    fn inspect(&self, peer: &Address, kind: EncKind, body: &[u8]) -> Result<Option<Initial>, Error> {
        let (initial, message) = wire::inspect(VERSION, kind, body)?;
        message.check_sender(peer)?;
        if let Some(initial) = &initial
            && (initial.pq.is_none() || wire::PreKeyMessage::parse(body)?.pq_ciphertext.is_none())
        {
            return Err(Error::Malformed("pkmsg without post-quantum part"));
        }
        if message.pq_ratchet.is_empty() && !self.accept_empty_ratchet {
            return Err(Error::Malformed("message without post-quantum ratchet"));
        }
        if !pq_ratchet_well_formed(message.pq_ratchet) {
            return Err(Error::Malformed("post-quantum ratchet"));
        }
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
            let mut identity = Identity::new(context)?;
            let (bundle, address) = (convert::bundle(bundle)?, address()?);
            let now = convert::time(context.now);
            run(ls::process_prekey_bundle(&address, &mut sessions, &mut identity, &bundle, now, &mut Rng(rng)))?;
            Ok(sessions.finish()?.0)
        })
    }

    fn encrypt(
        &self,
        context: &Context<'_>,
        session: &[u8],
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Sealed, Error> {
        guard(|| {
            let mut sessions = Sessions::load(Some(session))?;
            let mut identity = Identity::new(context)?;
            let (address, now) = (address()?, convert::time(context.now));
            let mut rng = Rng(rng);
            let message = run(ls::message_encrypt(plaintext, &address, &mut sessions, &mut identity, now, &mut rng))?;
            let kind = match message {
                ls::CiphertextMessage::PreKeySignalMessage(_) => EncKind::Pkmsg,
                ls::CiphertextMessage::SignalMessage(_) => EncKind::Msg,
                _ => return Err(Error::Engine("kind of message")),
            };
            Ok(Sealed { kind, body: Bytes::copy_from_slice(message.serialize()), session: sessions.finish()?.0 })
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
            let (initial, inner) = wire::inspect(VERSION, kind, body)?;
            let owner = jump::check(session, initial.as_ref(), &inner)?;
            let message = match kind {
                EncKind::Pkmsg => ls::CiphertextMessage::PreKeySignalMessage(body.try_into().map_err(error)?),
                EncKind::Msg => ls::CiphertextMessage::SignalMessage(body.try_into().map_err(error)?),
                EncKind::Skmsg => return Err(Error::Misuse("a skmsg is for group_decrypt")),
            };
            let mut sessions = Sessions::load(owner.as_ref().map(|owner| owner.record.as_slice()).or(session))?;
            let mut identity = Identity::new(context)?;
            let signed = Keys::new(keys)?;
            let (mut one_time, mut pq) = (signed.clone(), signed.clone());
            let address = address()?;
            let mut rng = Rng(rng);
            let plaintext = run(ls::message_decrypt(
                &message,
                &address,
                &mut sessions,
                &mut identity,
                &mut one_time,
                &signed,
                &mut pq,
                &mut rng,
            ))?;
            let (session, identity) = sessions.finish()?;
            Ok(Opened {
                plaintext: Zeroizing::new(plaintext),
                identity,
                session: match owner {
                    Some(owner) => owner.rejoin(session),
                    None => session,
                },
                new_session: signed.was_asked(),
            })
        })
    }

    fn archive(&self, session: &[u8]) -> Result<State, Error> {
        guard(|| Sessions::archive(session))
    }

    fn generate_pq(&self, rng: &mut dyn CryptoRng) -> Result<Option<PqKeyPair>, Error> {
        guard(|| {
            let pair = ls::kem::KeyPair::generate(ls::kem::KeyType::Kyber1024, &mut Rng(rng));
            let secret = Zeroizing::new(pair.secret_key.serialize().into_vec());
            Ok(Some(PqKeyPair { public: pair.public_key.serialize().into_vec().into(), secret }))
        })
    }

    fn owns_distribution(&self, distribution: &[u8]) -> bool {
        // Version 3, then field 1 as 16 bytes: the distribution's UUID.
        matches!(distribution, [0x33, 0x0a, 16, ..])
    }

    fn group_create(&self, group: &str, rng: &mut dyn CryptoRng) -> Result<(State, Bytes), Error> {
        guard(|| {
            let id = distribution_id(group);
            let mut keys = SenderKeys::load(None, id)?;
            let (address, mut rng) = (address()?, Rng(rng));
            let message = run(ls::create_sender_key_distribution_message(&address, id, &mut keys, &mut rng))?;
            Ok((keys.finish()?, Bytes::copy_from_slice(message.serialized())))
        })
    }

    fn group_distribution(&self, group: &str, state: &[u8]) -> Result<Bytes, Error> {
        guard(|| {
            let id = distribution_id(group);
            let mut keys = SenderKeys::load(Some(state), id)?;
            let (address, mut none) = (address()?, engine::NoRng);
            let mut rng = Rng(&mut none);
            let message = run(ls::create_sender_key_distribution_message(&address, id, &mut keys, &mut rng))?;
            Ok(Bytes::copy_from_slice(message.serialized()))
        })
    }

    fn group_process(&self, group: &str, state: Option<&[u8]>, distribution: &[u8]) -> Result<State, Error> {
        guard(|| {
            wire::check_distribution(distribution, 2)?;
            let message: ls::SenderKeyDistributionMessage = distribution.try_into().map_err(error)?;
            let id = distribution_id(group);
            if message.distribution_id().map_err(error)? != id {
                return Err(Error::Malformed("distribution for another group"));
            }
            let mut keys = SenderKeys::load(state, id)?;
            let address = address()?;
            run(ls::process_sender_key_distribution_message(&address, &message, &mut keys))?;
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
            let id = distribution_id(group);
            let mut keys = SenderKeys::load(Some(state), id)?;
            let (address, mut rng) = (address()?, Rng(rng));
            let message = run(ls::group_encrypt(&mut keys, &address, id, plaintext, &mut rng))?;
            Ok((Bytes::copy_from_slice(message.serialized()), keys.finish()?))
        })
    }

    fn group_decrypt(&self, group: &str, state: &[u8], body: &[u8]) -> Result<(Zeroizing<Vec<u8>>, State), Error> {
        guard(|| {
            let mut keys = SenderKeys::load(Some(state), distribution_id(group))?;
            let address = address()?;
            let plaintext = run(ls::group_decrypt(body, &mut keys, &address))?;
            Ok((Zeroizing::new(plaintext), keys.finish()?))
        })
    }
}

/// The distribution id of a group: its text if that is a UUID, else one made of the text's SHA-256.
fn distribution_id(group: &str) -> Uuid {
    group.parse().unwrap_or_else(|_| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(Sha256::digest(group).split_at(16).0);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    })
}
