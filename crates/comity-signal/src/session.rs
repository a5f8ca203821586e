//! Sessions as values: negotiate, establish, encrypt, decrypt, archive (PROTOCOL §8).
//!
//! Each operation takes the records it names and gives its output **and** one batch. The output must not reach the wire
//! or the application before the batch is durable. An operation that fails gives no batch.

use crate::account::{StoredPq, StoredSigned, Us, decode_pair, pre_key_keys};
use crate::codec::{Reader, Writer};
use crate::keys::PublicKey;
use crate::limits::{MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN};
use crate::records::{
    Records, account_key, identity_key, pq_pre_key_key, pre_key_key, session_key, signed_pre_key_key,
};
use crate::suite::{Context, EncKind, Initial, PreKeys, State, Suite, Suites};
use crate::{Address, Bundle, Error};
use bytes::Bytes;
use comity_core::{Batch, Record, RecordKey, RecordKind, Timestamp};
use core::fmt;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

const LAYOUT: u8 = 1;

/// What happens when a peer shows another identity key than the pinned one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityPolicy {
    /// Go on with the new key and tell the application, which shows a security notification.
    #[default]
    AcceptAndTell,
    /// Fail with [`Error::IdentityChanged`] until the application calls [`accept_identity`].
    Block,
}

/// A peer's identity key took the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityChange {
    /// The key pinned before.
    pub old: PublicKey,
    /// The key pinned now.
    pub new: PublicKey,
}

/// A session was built from a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The message version negotiated.
    pub version: u8,
    /// Set if the bundle brought another identity than the pinned one.
    pub identity_change: Option<IdentityChange>,
}

/// An encrypted payload for one `<enc>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// Its type.
    pub kind: EncKind,
    /// Its content.
    pub body: Bytes,
    /// The message version of the session (or sender key) used.
    pub version: u8,
}

/// A decrypted payload, bound to the session that opened it.
#[derive(Clone, PartialEq, Eq)]
pub struct Decrypted {
    /// The plaintext, padding included ([`unpad`](crate::unpad) takes it off for `enc v=2`).
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The address whose session (or sender key) opened it.
    pub sender: Address,
    /// The identity of that session: what the message proves about its sender.
    pub identity: PublicKey,
    /// The message version.
    pub version: u8,
    /// Whether the message set up a new session.
    pub new_session: bool,
    /// The one-time pre-key used up by it; deleted in the same batch.
    pub consumed_pre_key: Option<u32>,
    /// Set if the message brought another identity than the pinned one.
    pub identity_change: Option<IdentityChange>,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted")
            .field("sender", &self.sender)
            .field("version", &self.version)
            .field("new_session", &self.new_session)
            .field("identity_change", &self.identity_change)
            .finish_non_exhaustive()
    }
}

/// An engine's state: as it is stored, or a new one.
enum Held<'a> {
    Stored(&'a [u8]),
    New(State),
}

impl core::ops::Deref for Held<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Stored(state) => state,
            Self::New(state) => state,
        }
    }
}

/// The sessions with one peer: at most one engine state per message version, the highest first.
struct Sessions<'a> {
    read: &'a Record,
    states: Vec<(u8, Held<'a>)>,
}

impl<'a> Sessions<'a> {
    fn load(records: &'a Records, peer: &Address) -> Result<Self, Error> {
        let read = records.of_peer(RecordKind::Session, peer)?;
        let Some(bytes) = &read.value else { return Ok(Self { read, states: Vec::new() }) };
        let mut r = Reader::new(bytes.expose(), LAYOUT)?;
        let n = r.u8()?;
        let states = (0..n).map(|_| Ok((r.u8()?, Held::Stored(r.bytes()?)))).collect::<Result<_, Error>>()?;
        r.end()?;
        Ok(Self { read, states })
    }

    fn get(&self, version: u8) -> Option<&[u8]> {
        self.states.iter().find(|(v, _)| *v == version).map(|(_, state)| &**state)
    }

    fn set(&mut self, version: u8, state: State) {
        self.keep_only(|v| v != version);
        self.states.push((version, Held::New(state)));
        self.states.sort_by_key(|(v, _)| core::cmp::Reverse(*v));
    }

    fn keep_only(&mut self, keep: impl Fn(u8) -> bool) {
        self.states.retain(|(v, _)| keep(*v));
    }

    fn store(mut self, batch: &mut Batch) {
        if !self.states.is_empty() {
            let len = self.states.iter().map(|(_, state)| Writer::BYTES_OVERHEAD + 1 + state.len()).sum();
            let writer = Writer::with_room(LAYOUT, len).u8(u8::try_from(self.states.len()).unwrap_or(u8::MAX));
            batch.put(self.read, self.states.iter().fold(writer, |w, (v, state)| w.u8(*v).bytes(state)).finish());
            for (_, state) in &mut self.states {
                if let Held::New(state) = state {
                    state.clear(); // what is not in use is wiped as a whole, what is byte after byte
                }
            }
        } else if self.read.value.is_some() {
            batch.delete(self.read);
        }
    }
}

/// What is pinned of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pin {
    identity: PublicKey,
    /// The highest message version ever spoken under this identity.
    version: u8,
}

/// The pin as read.
struct Pinned<'a> {
    read: &'a Record,
    pin: Option<Pin>,
}

impl<'a> Pinned<'a> {
    fn load(records: &'a Records, peer: &Address) -> Result<Self, Error> {
        let read = records.of_peer(RecordKind::PeerIdentity, peer)?;
        let Some(bytes) = &read.value else { return Ok(Self { read, pin: None }) };
        let mut r = Reader::new(bytes.expose(), LAYOUT)?;
        let pin = Pin { identity: PublicKey::stored(r.array()?), version: r.u8()? };
        r.end()?;
        Ok(Self { read, pin: Some(pin) })
    }

    fn store(&self, pin: Pin, batch: &mut Batch) {
        if self.pin != Some(pin) {
            batch.put(self.read, Writer::new(LAYOUT).raw(pin.identity.as_bytes()).u8(pin.version).finish());
        }
    }

    /// The pin after `identity` has spoken `version`, and the change that this is.
    fn next(
        &self,
        identity: PublicKey,
        version: u8,
        policy: IdentityPolicy,
    ) -> Result<(Pin, Option<IdentityChange>), Error> {
        let next = Pin { identity, version };
        match self.pin {
            None => Ok((next, None)),
            Some(pin) if pin.identity == identity => {
                if version < pin.version {
                    return Err(Error::Downgrade { had: pin.version, got: version });
                }
                Ok((next, None))
            }
            Some(_) if policy == IdentityPolicy::Block => Err(Error::IdentityChanged { identity }),
            Some(pin) => Ok((next, Some(IdentityChange { old: pin.identity, new: identity }))),
        }
    }
}

/// The identity pinned for `peer`, if any; needs [`identity_key`].
///
/// # Errors
/// [`Error::NotLoaded`], [`Error::Corrupt`].
pub fn pinned_identity(records: &Records, peer: &Address) -> Result<Option<PublicKey>, Error> {
    Ok(Pinned::load(records, peer)?.pin.map(|pin| pin.identity))
}

/// The records that every operation with `peer` needs: account, pinned identity, session.
pub fn keys_for_peer(peer: &Address) -> Vec<RecordKey> {
    vec![account_key(), identity_key(peer), session_key(peer)]
}

/// The records that [`encrypt`] and [`establish`] need.
pub fn keys_for_encrypt(peer: &Address) -> Vec<RecordKey> {
    keys_for_peer(peer)
}

/// Whether there is a session record with `peer`. It may be archived: only [`encrypt`] tells.
///
/// # Errors
/// [`Error::NotLoaded`], [`Error::Corrupt`].
pub fn has_session(records: &Records, peer: &Address) -> Result<bool, Error> {
    Ok(!Sessions::load(records, peer)?.states.is_empty())
}

fn context<'a>(us: &'a Us, peer: &'a Address, peer_identity: PublicKey, now: Timestamp) -> Context<'a> {
    Context { identity: &us.identity, registration_id: us.registration_id, peer, peer_identity, now }
}

/// Builds a session from a fetched bundle, or one of a retry receipt, and archives the session before. Version 4 where
/// the bundle and our account both have a post-quantum pre-key, else version 3.
///
/// Needs [`keys_for_encrypt`].
///
/// # Errors
/// [`Error::BadSignature`]; [`Error::Downgrade`] if the peer has spoken a higher version under the same identity;
/// [`Error::IdentityChanged`] under [`IdentityPolicy::Block`]; [`Error::UnsupportedVersion`] without a fitting suite.
pub fn establish(
    records: &Records,
    suites: &Suites,
    policy: IdentityPolicy,
    peer: &Address,
    bundle: &Bundle,
    now: Timestamp,
    rng: &mut dyn CryptoRng,
) -> Result<(Established, Batch), Error> {
    let us = Us::load(records)?;
    let before = Pinned::load(records, peer)?;
    let mut sessions = Sessions::load(records, peer)?;
    bundle.check()?;
    let pq = bundle.pq.is_some() && us.has_pq;
    let suite = pq.then(|| suites.newest(true)).flatten().or_else(|| suites.newest(false));
    let suite = suite.ok_or(Error::UnsupportedVersion(if bundle.pq.is_some() { 4 } else { 3 }))?;
    let version = suite.version();
    if bundle.pq.is_some() && !suite.post_quantum() {
        bundle.verify()?; // the suite does not look at that part
    }
    let (pin, identity_change) = before.next(bundle.identity, version, policy)?;
    let context = context(&us, peer, bundle.identity, now);
    let state = suite.establish(&context, sessions.get(version), bundle, rng)?;
    if identity_change.is_some() {
        sessions.keep_only(|v| v == version);
    }
    sessions.set(version, state);
    let mut batch = Batch::new();
    sessions.store(&mut batch);
    before.store(pin, &mut batch);
    Ok((Established { version, identity_change }, batch))
}

/// Encrypts for `peer`. Needs [`keys_for_encrypt`]. The body may be sent once the batch is durable, not before: a
/// counter used twice is a key used twice.
///
/// # Errors
/// [`Error::NoSession`]: fetch a bundle, [`establish`], try again. [`Error::LimitExceeded`] and others.
pub fn encrypt(
    records: &Records,
    suites: &Suites,
    peer: &Address,
    plaintext: &[u8],
    now: Timestamp,
    rng: &mut dyn CryptoRng,
) -> Result<(Encrypted, Batch), Error> {
    if plaintext.len() > MAX_PLAINTEXT_LEN {
        return Err(Error::LimitExceeded("plaintext"));
    }
    let us = Us::load(records)?;
    let mut sessions = Sessions::load(records, peer)?;
    let (version, state) = sessions.states.first().ok_or(Error::NoSession)?;
    let version = *version;
    let pin = Pinned::load(records, peer)?.pin.ok_or(Error::Corrupt("session without pinned identity"))?;
    let sealed = suites.get(version)?.encrypt(&context(&us, peer, pin.identity, now), state, plaintext, rng)?;
    sessions.set(version, sealed.session);
    let mut batch = Batch::new();
    sessions.store(&mut batch);
    Ok((Encrypted { kind: sealed.kind, body: sealed.body, version }, batch))
}

/// Looks at a body: its suite and what it names.
fn inspect<'a>(
    suites: &'a Suites,
    peer: &Address,
    kind: EncKind,
    body: &[u8],
) -> Result<(&'a dyn Suite, Option<Initial>), Error> {
    if kind == EncKind::Skmsg {
        return Err(Error::Misuse("a skmsg is for group_decrypt"));
    }
    if body.len() > MAX_CIPHERTEXT_LEN {
        return Err(Error::LimitExceeded("ciphertext"));
    }
    let suite = suites.of_body(body)?;
    let initial = suite.inspect(peer, kind, body)?;
    if initial.is_some() != (kind == EncKind::Pkmsg) {
        return Err(Error::Engine("inspect"));
    }
    Ok((suite, initial))
}

/// The records that [`decrypt`] of this body needs: those of the peer and the pre-keys it names.
///
/// # Errors
/// [`Error::Malformed`], [`Error::LowOrderKey`], [`Error::UnsupportedVersion`], [`Error::LimitExceeded`].
pub fn keys_for_decrypt(suites: &Suites, peer: &Address, kind: EncKind, body: &[u8]) -> Result<Vec<RecordKey>, Error> {
    let (_, initial) = inspect(suites, peer, kind, body)?;
    let mut keys = keys_for_peer(peer);
    keys.extend(initial.iter().flat_map(pre_key_keys));
    Ok(keys)
}

/// Decrypts a `pkmsg` or `msg` from `peer`. Needs [`keys_for_decrypt`].
///
/// The batch holds the advanced session, the pinned identity and the deletion of the pre-keys used up: all of it or
/// nothing. The plaintext may be shown, and the message acknowledged, once it is durable.
///
/// # Errors
/// See [`Error`]; [`Error::retry_code`] says which ask for a retry receipt. No failure changes a record or uses a key up.
#[expect(clippy::too_many_arguments, reason = "values, not a context object that could go stale")]
pub fn decrypt(
    records: &Records,
    suites: &Suites,
    policy: IdentityPolicy,
    peer: &Address,
    kind: EncKind,
    body: &[u8],
    now: Timestamp,
    rng: &mut dyn CryptoRng,
) -> Result<(Decrypted, Batch), Error> {
    let (suite, initial) = inspect(suites, peer, kind, body)?;
    let version = suite.version();
    let us = Us::load(records)?;
    let before = Pinned::load(records, peer)?;
    let mut sessions = Sessions::load(records, peer)?;
    let (pin, identity_change) = match &initial {
        Some(initial) => before.next(initial.identity, version, IdentityPolicy::AcceptAndTell)?,
        // A version below the pinned one is one that was under way when the session was upgraded.
        None => (before.pin.ok_or(Error::NoSession)?, None),
    };
    if initial.is_none() && sessions.get(version).is_none() {
        return Err(Error::NoSession);
    }
    let (keys, mut signed) = load_pre_keys(records, initial.as_ref())?;
    let context = context(&us, peer, pin.identity, now);
    let opened = suite.decrypt(&context, sessions.get(version), &keys, kind, body, rng)?;
    if opened.identity != pin.identity {
        return Err(Error::UntrustedIdentity);
    }
    // Not before the message has shown that it comes from the new identity.
    if identity_change.is_some() && policy == IdentityPolicy::Block {
        return Err(Error::IdentityChanged { identity: pin.identity });
    }

    let mut batch = Batch::new();
    let mut consumed_pre_key = None;
    if let Some(initial) = initial.filter(|_| opened.new_session) {
        consumed_pre_key = use_up(records, &initial, &mut signed, &mut batch)?;
    }
    if identity_change.is_some() {
        sessions.keep_only(|v| v == version);
    }
    sessions.set(version, opened.session);
    sessions.store(&mut batch);
    before.store(pin, &mut batch);
    let decrypted = Decrypted {
        plaintext: opened.plaintext,
        sender: peer.clone(),
        identity: opened.identity,
        version,
        new_session: opened.new_session,
        consumed_pre_key,
        identity_change,
    };
    Ok((decrypted, batch))
}

/// The pre-keys that a first message names, as far as they exist.
fn load_pre_keys(records: &Records, initial: Option<&Initial>) -> Result<(PreKeys, Option<StoredSigned>), Error> {
    let Some(initial) = initial else { return Ok((PreKeys::default(), None)) };
    let mut keys = PreKeys::default();
    if let Some(id) = initial.one_time
        && let Some(bytes) = records.value(&pre_key_key(id))?
    {
        keys.one_time = Some((id, decode_pair(bytes)?));
    }
    let mut signed = None;
    if let Some(id) = initial.signed
        && let Some(bytes) = records.value(&signed_pre_key_key(id))?
    {
        let stored = StoredSigned::decode(bytes)?;
        keys.signed = Some((id, stored.pair.clone(), stored.signature));
        signed = Some(stored);
    }
    if let Some(id) = initial.pq
        && let Some(bytes) = records.value(&pq_pre_key_key(id))?
    {
        keys.pq = Some((id, StoredPq::decode(bytes)?.pair));
    }
    Ok((keys, signed))
}

/// Deletes the one-time pre-keys that a new session used. A session begun without one is remembered by its base key: its
/// messages do not begin it again once it is gone.
fn use_up(
    records: &Records,
    initial: &Initial,
    signed: &mut Option<StoredSigned>,
    batch: &mut Batch,
) -> Result<Option<u32>, Error> {
    if let Some(id) = initial.one_time {
        batch.delete(records.get(&pre_key_key(id))?);
    } else if let (Some(id), Some(signed)) = (initial.signed, signed) {
        if signed.was_used(&initial.base_key) {
            // This message, or another of that session: only a retry can tell, and it brings the keys for a new session.
            return Err(Error::NoSession);
        }
        signed.remember(initial.base_key);
        batch.put(records.get(&signed_pre_key_key(id))?, signed.encode());
    }
    if let Some(id) = initial.pq {
        let key = pq_pre_key_key(id);
        if !StoredPq::decode(records.value(&key)?.ok_or(Error::MissingPreKey)?)?.last_resort {
            batch.delete(records.get(&key)?);
        }
    }
    Ok(initial.one_time)
}

/// Ends sending on the sessions with `peer`, keeping what is under way readable: for an identity-change notification
/// and for a rebuild after retry receipts. Needs [`keys_for_peer`].
///
/// # Errors
/// [`Error::NotLoaded`], [`Error::Corrupt`], [`Error::UnsupportedVersion`].
pub fn archive(records: &Records, suites: &Suites, peer: &Address) -> Result<Batch, Error> {
    let mut sessions = Sessions::load(records, peer)?;
    for (version, state) in &mut sessions.states {
        *state = Held::New(suites.get(*version)?.archive(state)?);
    }
    let mut batch = Batch::new();
    sessions.store(&mut batch);
    Ok(batch)
}

/// Pins `identity`, as [`Error::IdentityChanged`] showed it, for `peer` and drops the sessions with the one before; the
/// next message is decrypted, or the next bundle used, under the new identity. Needs [`keys_for_peer`].
///
/// # Errors
/// [`Error::NotLoaded`], [`Error::Corrupt`].
pub fn accept_identity(records: &Records, peer: &Address, identity: PublicKey) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    let before = Pinned::load(records, peer)?;
    let mut sessions = Sessions::load(records, peer)?;
    if before.pin.is_none_or(|pin| pin.identity != identity) {
        before.store(Pin { identity, version: 0 }, &mut batch);
        sessions.keep_only(|_| false);
        sessions.store(&mut batch);
    }
    Ok(batch)
}
