//! A third suite, plugged in from outside: the Olm ratchet of vodozemac behind `comity_signal::Suite` (PROTOCOL §8).
//!
//! It shows what an engine of one's own has to bring, and speaks with nobody: message version 7 and the bodies' form
//! are made up here. A body is `0x77 ‖ Olm message`; in a `pkmsg` the id of our one-time pre-key, 4 bytes, stands
//! between, as Olm names the key by its value alone.
//!
//! It passes the `one_to_one` and `histories` groups of `comity_signal::suite_tests!`, and not the others, because Olm
//! - has no signed pre-key: a bundle without a one-time key makes no session;
//! - keeps 40 skipped keys of a chain and five chains of a peer, where Signal's engines keep 2,000 keys;
//! - takes no generator: key pairs come from the operating system, so that this suite is not deterministic;
//! - has Megolm for groups, another protocol than sender keys;
//! - has no post-quantum part.
//!
//! What Olm leaves to its user and the trait asks for is done here: several sessions with a peer, of which the one that
//! last opened a message sends; archived ones that only read; the identity each session belongs to; one encoding per
//! message. The pickles pass through JSON, whose copies of the secrets are not zeroized: good for tests.

use comity_core::CryptoRng;
use comity_signal::{
    Address, Bundle, Context, EncKind, Error, Initial, Opened, PreKeys, PublicKey, Sealed, State, Suite,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{
    Account, DecryptionError, Message, OlmMessage, PreKeyMessage, Session, SessionConfig, SessionCreationError,
    SessionPickle,
};
use zeroize::Zeroizing;

/// The message version, made up.
pub const VERSION: u8 = 7;

/// The first byte of each body: the version in both halves, as Signal's messages have it.
const FIRST: u8 = VERSION << 4 | VERSION;

/// Sessions kept with a peer; the one that was not used for longest goes first.
const MAX_SESSIONS: usize = 40;

/// The suite.
#[derive(Clone, Copy, Debug, Default)]
pub struct Olm;

/// A session, the identity it belongs to, and the pre-key of the peer that it began with.
struct Held {
    identity: PublicKey,
    one_time: u32,
    session: Session,
}

/// The sessions with one peer, the one used last first.
struct Sessions {
    /// Whether the first one sends; not if it is archived.
    sends: bool,
    held: Vec<Held>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    sends: bool,
    held: Vec<([u8; 32], u32, SessionPickle)>,
}

impl Sessions {
    fn load(state: Option<&[u8]>) -> Result<Self, Error> {
        let Some(state) = state else { return Ok(Self { sends: false, held: Vec::new() }) };
        let stored: Stored = serde_json::from_slice(state).map_err(|_| Error::Corrupt("session"))?;
        let held = stored.held.into_iter().map(|(identity, one_time, pickle)| {
            let identity = PublicKey::new(identity).map_err(|_| Error::Corrupt("session"))?;
            Ok(Held { identity, one_time, session: Session::from_pickle(pickle) })
        });
        Ok(Self { sends: stored.sends, held: held.collect::<Result<_, Error>>()? })
    }

    fn store(&self) -> Result<State, Error> {
        let held = self.held.iter().map(|h| (*h.identity.as_bytes(), h.one_time, h.session.pickle())).collect();
        let stored = Stored { sends: self.sends, held };
        serde_json::to_vec(&stored).map(Zeroizing::new).map_err(|_| Error::Engine("pickle"))
    }

    fn begin(&mut self, held: Held) {
        self.held.truncate(MAX_SESSIONS - 1);
        self.held.insert(0, held);
        self.sends = true;
    }

    /// Opens a message with one of the sessions that are there, which from then on is the one that sends.
    fn open(&mut self, of: impl Fn(&Held) -> bool, message: &OlmMessage) -> Result<Vec<u8>, Error> {
        let mut failed = Error::NoSession;
        for at in 0..self.held.len() {
            let Some(held) = self.held.get_mut(at).filter(|held| of(held)) else { continue };
            // vodozemac leaves a session as it was if it cannot open the message.
            match held.session.decrypt(message) {
                Ok(plaintext) => {
                    let held = self.held.remove(at);
                    self.begin(held);
                    return Ok(plaintext);
                }
                // Other sessions know nothing of a key that one of them has used.
                Err(error) if matches!(failed, Error::NoSession | Error::NotAuthentic) => failed = refused(&error),
                Err(_) => {}
            }
        }
        Err(failed)
    }
}

const fn refused(error: &DecryptionError) -> Error {
    match error {
        DecryptionError::MissingMessageKey(_) => Error::Duplicate,
        DecryptionError::TooBigMessageGap(..) => Error::LimitExceeded("skipped messages"),
        DecryptionError::NonContributoryKey => Error::LowOrderKey,
        _ => Error::NotAuthentic,
    }
}

fn theirs(key: &PublicKey) -> Curve25519PublicKey {
    Curve25519PublicKey::from_bytes(*key.as_bytes())
}

/// An Olm account with our identity and at most one one-time key: the engine has no other door for them.
fn account(context: &Context<'_>, one_time: Option<&[u8; 32]>) -> Result<Account, Error> {
    const WHAT: Error = Error::Engine("vodozemac account");
    let mut pickle = serde_json::to_value(Account::new().pickle()).map_err(|_| WHAT)?;
    let fields = pickle.as_object_mut().ok_or(WHAT)?;
    fields.insert("diffie_hellman_key".into(), json!(context.identity.expose_secret()));
    let private = one_time.map_or_else(|| json!({}), |secret| json!({ "0": secret }));
    fields.insert("one_time_keys".into(), json!({ "next_key_id": 1, "public_keys": {}, "private_keys": private }));
    Ok(Account::from_pickle(serde_json::from_value(pickle).map_err(|_| WHAT)?))
}

/// A parsed body, with the id of the one-time pre-key if it is a `pkmsg`.
fn parse(kind: EncKind, body: &[u8]) -> Result<(OlmMessage, Option<u32>), Error> {
    const WHAT: Error = Error::Malformed("Olm message");
    let (first, rest) = body.split_first().ok_or(WHAT)?;
    if *first != FIRST {
        return Err(Error::UnsupportedVersion(first >> 4));
    }
    match kind {
        EncKind::Msg => {
            let message = Message::from_bytes(rest).map_err(|_| WHAT)?;
            // The MAC is over what the parser understood, not over what came.
            if message.to_bytes() == rest { Ok((message.into(), None)) } else { Err(WHAT) }
        }
        EncKind::Pkmsg => {
            let (id, rest) = rest.split_first_chunk().ok_or(WHAT)?;
            let message = PreKeyMessage::from_bytes(rest).map_err(|_| WHAT)?;
            if message.to_bytes() != rest {
                return Err(WHAT);
            }
            Ok((message.into(), Some(u32::from_be_bytes(*id))))
        }
        EncKind::Skmsg => Err(Error::Misuse("a suite without groups")),
    }
}

/// Which ratchet key and counter sealed a body: no two bodies that left may have the same.
///
/// # Errors
/// [`Error::Malformed`], [`Error::UnsupportedVersion`].
pub fn position(kind: EncKind, body: &[u8]) -> Result<(PublicKey, u64), Error> {
    let (message, _) = parse(kind, body)?;
    let inner = match &message {
        OlmMessage::Normal(message) => message,
        OlmMessage::PreKey(message) => message.message(),
    };
    Ok((PublicKey::new(inner.ratchet_key().to_bytes())?, inner.chain_index()))
}

impl Suite for Olm {
    fn version(&self) -> u8 {
        VERSION
    }

    fn inspect(&self, _peer: &Address, kind: EncKind, body: &[u8]) -> Result<Option<Initial>, Error> {
        let (message, one_time) = parse(kind, body)?;
        position(kind, body)?;
        let OlmMessage::PreKey(message) = message else { return Ok(None) };
        PublicKey::new(message.one_time_key().to_bytes())?;
        Ok(Some(Initial {
            identity: PublicKey::new(message.identity_key().to_bytes())?,
            base_key: PublicKey::new(message.base_key().to_bytes())?,
            registration_id: 0,
            one_time,
            signed: None,
            pq: None,
        }))
    }

    fn establish(
        &self,
        context: &Context<'_>,
        session: Option<&[u8]>,
        bundle: &Bundle,
        _rng: &mut dyn CryptoRng,
    ) -> Result<State, Error> {
        let mut sessions = Sessions::load(session)?;
        let one_time = bundle.one_time.as_ref().ok_or(Error::Misuse("a bundle without one-time pre-key"))?;
        let (identity, value) = (theirs(&bundle.identity), theirs(&one_time.value));
        let session = account(context, None)?.create_outbound_session(SessionConfig::version_1(), identity, value);
        let session = session.map_err(|_| Error::LowOrderKey)?;
        sessions.begin(Held { identity: bundle.identity, one_time: one_time.id, session });
        sessions.store()
    }

    fn encrypt(
        &self,
        context: &Context<'_>,
        session: &[u8],
        plaintext: &[u8],
        _rng: &mut dyn CryptoRng,
    ) -> Result<Sealed, Error> {
        let mut sessions = Sessions::load(Some(session))?;
        let held = sessions.held.first_mut().filter(|_| sessions.sends).ok_or(Error::NoSession)?;
        if held.identity != context.peer_identity {
            return Err(Error::UntrustedIdentity);
        }
        let mut body = vec![FIRST];
        let kind = match held.session.encrypt(plaintext).map_err(|_| Error::LowOrderKey)? {
            OlmMessage::Normal(message) => {
                body.extend(message.to_bytes());
                EncKind::Msg
            }
            OlmMessage::PreKey(message) => {
                body.extend(held.one_time.to_be_bytes());
                body.extend(message.to_bytes());
                EncKind::Pkmsg
            }
        };
        Ok(Sealed { kind, body: body.into(), session: sessions.store()? })
    }

    fn decrypt(
        &self,
        context: &Context<'_>,
        session: Option<&[u8]>,
        keys: &PreKeys,
        kind: EncKind,
        body: &[u8],
        _rng: &mut dyn CryptoRng,
    ) -> Result<Opened, Error> {
        let mut sessions = Sessions::load(session)?;
        let (message, named) = parse(kind, body)?;
        let mut new_session = false;
        let plaintext = match &message {
            OlmMessage::Normal(_) => sessions.open(|_| true, &message)?,
            OlmMessage::PreKey(initial) => {
                let known = |held: &Held| held.session.session_keys() == initial.session_keys();
                if sessions.held.iter().any(known) {
                    sessions.open(known, &message)?
                } else {
                    let one_time = keys.one_time.as_ref().filter(|(id, _)| Some(*id) == named);
                    let (_, pair) = one_time.ok_or(Error::MissingPreKey)?;
                    let identity = theirs(&context.peer_identity);
                    let created = account(context, Some(pair.expose_secret()))?
                        .create_inbound_session(SessionConfig::version_1(), identity, initial)
                        .map_err(|error| match error {
                            SessionCreationError::MissingOneTimeKey(_) => Error::MissingPreKey,
                            SessionCreationError::MismatchedIdentityKey(..) => Error::UntrustedIdentity,
                            SessionCreationError::NonContributoryKey => Error::LowOrderKey,
                            SessionCreationError::Decryption(error) => refused(&error),
                            SessionCreationError::MismatchedSessionConfig { .. } => Error::Malformed("Olm message"),
                        })?;
                    let held = Held { identity: context.peer_identity, one_time: 0, session: created.session };
                    sessions.begin(held);
                    new_session = true;
                    created.plaintext
                }
            }
        };
        let plaintext = Zeroizing::new(plaintext);
        let identity = sessions.held.first().ok_or(Error::NoSession)?.identity;
        if identity != context.peer_identity {
            return Err(Error::UntrustedIdentity);
        }
        Ok(Opened { plaintext, session: sessions.store()?, identity, new_session })
    }

    fn archive(&self, session: &[u8]) -> Result<State, Error> {
        let mut sessions = Sessions::load(Some(session))?;
        sessions.sends = false;
        sessions.store()
    }
}
