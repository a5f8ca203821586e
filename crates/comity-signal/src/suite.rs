//! What a session engine offers, and the registry of those at hand (PROTOCOL §8: versions are negotiated per peer).

use crate::keys::{KeyPair, PublicKey};
use crate::{Address, Bundle, Error};
use bytes::Bytes;
use comity_core::Timestamp;
use core::fmt;
use rand_core::CryptoRng;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The three forms of an encrypted payload: the `type` of an `<enc>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncKind {
    /// `pkmsg`: a message that also sets up the session.
    Pkmsg,
    /// `msg`: a message of an established session.
    Msg,
    /// `skmsg`: a message under a group sender key.
    Skmsg,
}

impl EncKind {
    /// The wire's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pkmsg => "pkmsg",
            Self::Msg => "msg",
            Self::Skmsg => "skmsg",
        }
    }

    /// The kind of that text.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pkmsg, Self::Msg, Self::Skmsg].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What every pairwise operation knows of both ends.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Our identity.
    pub identity: &'a KeyPair,
    /// Our registration id.
    pub registration_id: u32,
    /// The peer.
    pub peer: &'a Address,
    /// The only identity key the peer may have in this operation; a suite fails with [`Error::UntrustedIdentity`] where
    /// the session it uses, archived or not, has another.
    pub peer_identity: PublicKey,
    /// Now.
    pub now: Timestamp,
}

/// A stored engine state; zeroizes on drop.
pub type State = Zeroizing<Vec<u8>>;

/// What a `pkmsg` names, read without any key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initial {
    /// The sender's identity key, as it claims.
    pub identity: PublicKey,
    /// The sender's base key: names the session.
    pub base_key: PublicKey,
    /// The sender's registration id.
    pub registration_id: u32,
    /// Our one-time pre-key, if it used one.
    pub one_time: Option<u32>,
    /// Our signed pre-key; `None` in suites without.
    pub signed: Option<u32>,
    /// Our post-quantum pre-key; `None` in suites without.
    pub pq: Option<u32>,
}

/// The secret halves of the pre-keys that a `pkmsg` names, as far as they exist.
#[derive(Clone, Debug, Default)]
pub struct PreKeys {
    /// The one-time pre-key.
    pub one_time: Option<(u32, KeyPair)>,
    /// The signed pre-key and its signature.
    pub signed: Option<(u32, KeyPair, [u8; 64])>,
    /// The post-quantum pre-key.
    pub pq: Option<(u32, PqKeyPair)>,
}

/// A post-quantum key pair in the suite's own encoding.
#[derive(Clone)]
pub struct PqKeyPair {
    /// The public half, type byte included.
    pub public: Bytes,
    /// The secret half.
    pub secret: State,
}

impl fmt::Debug for PqKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PqKeyPair(..)")
    }
}

/// An encrypted message and the session after it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// `pkmsg` until the peer has answered, then `msg`.
    pub kind: EncKind,
    /// The body, version byte first.
    pub body: Bytes,
    /// The session after it: to be durable before the body leaves.
    pub session: State,
}

/// A decrypted message and the session after it.
#[derive(Clone)]
pub struct Opened {
    /// The plaintext, padding included.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The session after it.
    pub session: State,
    /// The identity of the session that opened it.
    pub identity: PublicKey,
    /// Whether the message set up a new session, using the pre-keys it names; `false` where the session was there.
    pub new_session: bool,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("identity", &self.identity).field("new_session", &self.new_session).finish()
    }
}

/// A session engine as a value: bytes and keys in, bytes and keys out; no I/O, no clock, no memory of its own.
///
/// A state is given as it was last returned. An operation that fails returns nothing to store, so that the caller's
/// state stays as it was. None of them panics.
pub trait Suite: Send + Sync + fmt::Debug {
    /// The message version: the high nibble of a body's first byte.
    fn version(&self) -> u8;

    /// Whether sessions are built from bundles with a post-quantum pre-key, and only from such.
    fn post_quantum(&self) -> bool {
        false
    }

    /// Parses a body from `peer` as far as it is readable without keys, and checks every public key in it. `Some` for
    /// `pkmsg`.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::LowOrderKey`], [`Error::UnsupportedVersion`]; [`Error::Misdirected`] for a body that
    /// names another sender.
    fn inspect(&self, peer: &Address, kind: EncKind, body: &[u8]) -> Result<Option<Initial>, Error>;

    /// A session from a bundle that [`Bundle::check`] has let pass; `session` is the one before, which is archived inside.
    /// The bundle's signatures are checked here, by the engine or by [`Bundle::verify`].
    ///
    /// # Errors
    /// [`Error::BadSignature`] and others.
    fn establish(
        &self,
        context: &Context<'_>,
        session: Option<&[u8]>,
        bundle: &Bundle,
        rng: &mut dyn CryptoRng,
    ) -> Result<State, Error>;

    /// Encrypts for the session's peer.
    ///
    /// # Errors
    /// [`Error::NoSession`] if the session is archived or too old, [`Error::UntrustedIdentity`], [`Error::Corrupt`].
    fn encrypt(
        &self,
        context: &Context<'_>,
        session: &[u8],
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Sealed, Error>;

    /// Decrypts a `pkmsg` or `msg` that [`Suite::inspect`] has let pass.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], [`Error::Duplicate`], [`Error::MissingPreKey`], [`Error::NoSession`],
    /// [`Error::UntrustedIdentity`] and others.
    fn decrypt(
        &self,
        context: &Context<'_>,
        session: Option<&[u8]>,
        keys: &PreKeys,
        kind: EncKind,
        body: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Opened, Error>;

    /// The session, still able to read what is under way but not to send.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    fn archive(&self, session: &[u8]) -> Result<State, Error>;

    /// A fresh post-quantum key pair; `None` in a suite without.
    ///
    /// # Errors
    /// [`Error::Engine`].
    fn generate_pq(&self, _rng: &mut dyn CryptoRng) -> Result<Option<PqKeyPair>, Error> {
        Ok(None)
    }

    /// Whether a sender-key distribution message is of this suite's form (both known forms begin with 0x33).
    fn owns_distribution(&self, _distribution: &[u8]) -> bool {
        false
    }

    /// A fresh sender key for `group`, and the message that distributes it.
    ///
    /// # Errors
    /// [`Error::Misuse`] in a suite without groups.
    fn group_create(&self, _group: &str, _rng: &mut dyn CryptoRng) -> Result<(State, Bytes), Error> {
        Err(Error::Misuse("a suite without groups"))
    }

    /// The message that distributes our sender key as it stands now.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    fn group_distribution(&self, _group: &str, _state: &[u8]) -> Result<Bytes, Error> {
        Err(Error::Misuse("a suite without groups"))
    }

    /// Adds a member's distributed sender key to what is known of that member.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::LowOrderKey`].
    fn group_process(&self, _group: &str, _state: Option<&[u8]>, _distribution: &[u8]) -> Result<State, Error> {
        Err(Error::Misuse("a suite without groups"))
    }

    /// Encrypts under our sender key.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    fn group_encrypt(
        &self,
        _group: &str,
        _state: &[u8],
        _plaintext: &[u8],
        _rng: &mut dyn CryptoRng,
    ) -> Result<(Bytes, State), Error> {
        Err(Error::Misuse("a suite without groups"))
    }

    /// Decrypts under a member's sender key.
    ///
    /// # Errors
    /// [`Error::NoSenderKey`], [`Error::BadSignature`], [`Error::Duplicate`], [`Error::NotAuthentic`] and others.
    fn group_decrypt(&self, _group: &str, _state: &[u8], _body: &[u8]) -> Result<(Zeroizing<Vec<u8>>, State), Error> {
        Err(Error::Misuse("a suite without groups"))
    }
}

/// The suites at hand, one per message version.
#[derive(Clone, Debug, Default)]
pub struct Suites(Vec<Arc<dyn Suite>>);

impl Suites {
    /// No suite: nothing can be encrypted.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a suite in place of one of the same version.
    #[must_use]
    pub fn with(mut self, suite: impl Suite + 'static) -> Self {
        self.0.retain(|s| s.version() != suite.version());
        self.0.push(Arc::new(suite));
        self.0.sort_by_key(|s| s.version());
        self
    }

    /// Those without post-quantum keys.
    #[must_use]
    pub fn without_post_quantum(mut self) -> Self {
        self.0.retain(|suite| !suite.post_quantum());
        self
    }

    /// Whether one of them takes part in post-quantum key agreement.
    pub fn post_quantum(&self) -> bool {
        self.newest(true).is_some()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The suite of message version `version`.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`].
    pub fn get(&self, version: u8) -> Result<&dyn Suite, Error> {
        self.iter().find(|s| s.version() == version).ok_or(Error::UnsupportedVersion(version))
    }

    /// The suite of a `pkmsg` or `msg` body: the high nibble of its first byte decides, no second one is tried.
    ///
    /// # Errors
    /// [`Error::Malformed`] for an empty body, [`Error::UnsupportedVersion`].
    pub fn of_body(&self, body: &[u8]) -> Result<&dyn Suite, Error> {
        self.get(body.first().ok_or(Error::Malformed("empty ciphertext"))? >> 4)
    }

    /// The newest suite that builds sessions with (`pq`) or without a post-quantum pre-key.
    pub(crate) fn newest(&self, pq: bool) -> Option<&dyn Suite> {
        self.iter().filter(|s| s.post_quantum() == pq).last()
    }

    /// All suites, lowest version first.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Suite> {
        self.0.iter().map(|s| &**s)
    }
}
