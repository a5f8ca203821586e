//! The account: identity, registration id, and the pre-keys it publishes (PROTOCOL §4, §8).

use crate::Error;
use crate::bundle::{PqPreKeyPublic, PreKeyPublic, SignedPreKeyPublic};
use crate::codec::{Reader, Writer};
use crate::keys::{KeyPair, PublicKey};
use crate::limits::{
    MAX_PRE_KEY_ID, MAX_PRE_KEYS_PER_UPLOAD, MAX_PREVIOUS_SIGNED_PRE_KEYS, MAX_REMEMBERED_BASE_KEYS,
    MAX_STORED_PRE_KEYS, SIGNED_PRE_KEY_AGE, SIGNED_PRE_KEY_GRACE,
};
use crate::records::{Records, account_key, pq_pre_key_key, pre_key_key, signed_pre_key_key};
use crate::suite::{PqKeyPair, Suites};
use bytes::Bytes;
use comity_core::{Batch, RecordKey, RecordKind, Timestamp};
use core::cmp::Reverse;
use rand_core::CryptoRng;
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

const LAYOUT: u8 = 1;

/// A signed pre-key the account still holds: its id and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    id: u32,
    made: Timestamp,
}

/// As much of the account as an operation with a peer needs.
pub(crate) struct Us {
    pub(crate) identity: KeyPair,
    pub(crate) registration_id: u32,
    pub(crate) has_pq: bool,
}

impl Us {
    pub(crate) fn load(records: &Records) -> Result<Self, Error> {
        let mut r = Reader::new(records.account()?.value.as_ref().ok_or(Error::NoAccount)?.expose(), LAYOUT)?;
        let (identity, registration_id) = (read_pair(&mut r)?, r.u32()?);
        let _next_ids: [u8; 12] = r.array()?;
        Ok(Self { identity, registration_id, has_pq: r.u32()? != 0 })
    }
}

/// The account, as stored.
#[derive(Clone, Debug)]
pub struct Account {
    identity: KeyPair,
    registration_id: u32,
    next_one_time: u32,
    next_signed: u32,
    next_pq: u32,
    /// Newest last; never empty.
    signed: Vec<Held>,
    current: SignedPreKeyPublic,
    /// The last-resort post-quantum pre-key.
    pq_last: Option<u32>,
}

/// An account made elsewhere.
#[derive(Debug)]
pub struct Import {
    /// The identity key pair.
    pub identity: KeyPair,
    /// The registration id.
    pub registration_id: u32,
    /// The signed pre-key: id, pair, when it was made.
    pub signed: (u32, KeyPair, Timestamp),
    /// One-time pre-keys not yet used, up to [`MAX_STORED_PRE_KEYS`].
    pub one_time: Vec<(u32, KeyPair)>,
    /// The first id for new one-time pre-keys: after every id ever published, so that none of those above is among the
    /// [`MAX_PRE_KEYS_PER_UPLOAD`] ids from there on.
    pub next_one_time: u32,
}

/// The id after `id`: 24 bits, never 0 or 0xFFFFFF.
const fn next_id(id: u32) -> u32 {
    if id >= MAX_PRE_KEY_ID { 1 } else { id + 1 }
}

/// How many ids there are from `from` on to `to`, which may lie beyond the wrap.
const fn distance(from: u32, to: u32) -> u32 {
    if to >= from { to - from } else { MAX_PRE_KEY_ID - (from - to) }
}

impl Account {
    /// A new account: identity, 14-bit registration id, first signed pre-key and, if a suite is post-quantum, a
    /// last-resort post-quantum pre-key. Needs the account record, and fails if there is one.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is an account already, [`Error::NotLoaded`], [`Error::Engine`].
    pub fn generate(
        records: &Records,
        suites: &Suites,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Batch), Error> {
        let mut bytes = [0; 4];
        rng.fill_bytes(&mut bytes);
        // 1..=16380: the range the official clients draw from; 0 means "none" to some readers.
        let registration_id = u32::from_be_bytes(bytes) % 16380 + 1;
        let import = Import {
            identity: KeyPair::generate(rng),
            registration_id,
            signed: (1, KeyPair::generate(rng), now),
            one_time: Vec::new(),
            next_one_time: 1,
        };
        Self::import(records, suites, import, now, rng)
    }

    /// Takes an account over from elsewhere. Needs the account record, and fails if there is one.
    ///
    /// # Errors
    /// As [`Account::generate`]; [`Error::Malformed`] for an id of 0 or over 24 bits, for one that stands twice, and where
    /// the next upload would overwrite a key; [`Error::LimitExceeded`] for too many keys.
    pub fn import(
        records: &Records,
        suites: &Suites,
        import: Import,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Batch), Error> {
        let read = records.get(&account_key())?;
        if read.value.is_some() {
            return Err(Error::Misuse("there is an account already"));
        }
        let (signed_id, pair, made) = import.signed;
        let ids = import.one_time.iter().map(|(id, _)| *id).chain([signed_id, import.next_one_time]);
        if ids.into_iter().any(|id| id == 0 || id > MAX_PRE_KEY_ID) {
            return Err(Error::Malformed("pre-key id"));
        }
        if import.one_time.len() > MAX_STORED_PRE_KEYS {
            return Err(Error::LimitExceeded("imported pre-keys"));
        }
        let mut ids = BTreeSet::new();
        let upload = u32::try_from(MAX_PRE_KEYS_PER_UPLOAD).unwrap_or(u32::MAX);
        if import.one_time.iter().any(|(id, _)| !ids.insert(*id) || distance(import.next_one_time, *id) < upload) {
            return Err(Error::Malformed("pre-key id"));
        }
        let mut batch = Batch::new();
        for (id, pair) in import.one_time {
            batch.put_owned(pre_key_key(id), encode_pair(&pair));
        }
        let current = sign_pre_key(&import.identity, signed_id, &pair, rng);
        batch.put_owned(signed_pre_key_key(signed_id), StoredSigned::new(pair, current.signature).encode());
        let mut account = Self {
            identity: import.identity,
            registration_id: import.registration_id,
            next_one_time: import.next_one_time,
            next_signed: next_id(signed_id),
            next_pq: 1,
            signed: vec![Held { id: signed_id, made }],
            current,
            pq_last: None,
        };
        if let Some((public, value)) = account.generate_pq(suites, true, now, rng)? {
            batch.put_owned(pq_pre_key_key(public.id), value);
            account.pq_last = Some(public.id);
        }
        batch.put(read, account.encode());
        Ok((account, batch))
    }

    /// The account of loaded records; needs [`account_key`].
    ///
    /// # Errors
    /// [`Error::NoAccount`], [`Error::NotLoaded`], [`Error::Corrupt`].
    pub fn load(records: &Records) -> Result<Self, Error> {
        Self::decode(records.value(&account_key())?.ok_or(Error::NoAccount)?)
    }

    /// The identity public key.
    pub const fn identity(&self) -> PublicKey {
        self.identity.public()
    }

    /// The registration id.
    pub const fn registration_id(&self) -> u32 {
        self.registration_id
    }

    /// The current signed pre-key, as enlistment, upload, digest and rotate send it.
    pub const fn signed_pre_key(&self) -> &SignedPreKeyPublic {
        &self.current
    }

    /// The id of the last-resort post-quantum pre-key: its presence is our willingness to speak version 4.
    pub const fn pq_last_resort(&self) -> Option<u32> {
        self.pq_last
    }

    /// Whether the signed pre-key is old enough to be replaced.
    pub fn rotation_due(&self, now: Timestamp) -> bool {
        self.signed.last().is_none_or(|held| now.since(held.made) >= SIGNED_PRE_KEY_AGE)
    }

    /// `count` new one-time pre-keys for an upload or a retry receipt. Needs the account record. Ids go on where the
    /// last ones ended, over restarts, and are never given out twice before all 24 bits are used up.
    ///
    /// Commit before anything is published.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] over [`MAX_PRE_KEYS_PER_UPLOAD`], [`Error::NoAccount`] and others.
    pub fn new_pre_keys(
        records: &Records,
        count: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<PreKeyPublic>, Batch), Error> {
        if count > MAX_PRE_KEYS_PER_UPLOAD {
            return Err(Error::LimitExceeded("one-time pre-keys of one upload"));
        }
        let mut account = Self::load(records)?;
        let mut batch = Batch::new();
        let mut out = Vec::with_capacity(count);
        for _ in 0..count {
            let pair = KeyPair::generate(rng);
            let id = account.next_one_time;
            account.next_one_time = next_id(id);
            out.push(PreKeyPublic { id, value: pair.public() });
            batch.put_owned(pre_key_key(id), encode_pair(&pair));
        }
        batch.put(records.get(&account_key())?, account.encode());
        Ok((out, batch))
    }

    /// `count` new one-time post-quantum pre-keys; none if no suite has such. Needs the account record.
    ///
    /// # Errors
    /// As [`Account::new_pre_keys`]; [`Error::Engine`].
    pub fn new_pq_pre_keys(
        records: &Records,
        suites: &Suites,
        count: usize,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<PqPreKeyPublic>, Batch), Error> {
        if count > MAX_PRE_KEYS_PER_UPLOAD {
            return Err(Error::LimitExceeded("one-time pre-keys of one upload"));
        }
        let mut account = Self::load(records)?;
        let mut batch = Batch::new();
        let mut out = Vec::new();
        for _ in 0..count {
            let Some((public, value)) = account.generate_pq(suites, false, now, rng)? else { break };
            batch.put_owned(pq_pre_key_key(public.id), value);
            out.push(public);
        }
        batch.put(records.get(&account_key())?, account.encode());
        Ok((out, batch))
    }

    /// Deletes stored one-time pre-keys, of each sort all but the newest [`MAX_STORED_PRE_KEYS`]: such as were stored and
    /// never uploaded, or handed out and never used. `stored` are the keys of the store's `PreKey` and `PqPreKey` records;
    /// others in it are left alone, and so are the last-resort key and what is newer. Needs the account record.
    ///
    /// # Errors
    /// [`Error::NoAccount`], [`Error::NotLoaded`], [`Error::Corrupt`].
    pub fn prune<'a>(records: &Records, stored: impl IntoIterator<Item = &'a RecordKey>) -> Result<Batch, Error> {
        let account = Self::load(records)?;
        let (mut one_time, mut pq) = (BTreeMap::new(), BTreeMap::new());
        for key in stored {
            let (next, found) = match key.kind {
                RecordKind::PreKey => (account.next_one_time, &mut one_time),
                RecordKind::PqPreKey => (account.next_pq, &mut pq),
                _ => continue,
            };
            let id: u32 = key.id.parse().map_err(|_| Error::Corrupt("key of a pre-key"))?;
            if key.kind != RecordKind::PqPreKey || account.pq_last != Some(id) {
                // The newest, just below the next id, is the farthest ahead of it.
                found.insert(Reverse(distance(next, id)), key);
            }
        }
        let mut batch = Batch::new();
        for found in [one_time, pq] {
            for key in found.into_values().skip(MAX_STORED_PRE_KEYS) {
                batch.delete_owned(key.clone());
            }
        }
        Ok(batch)
    }

    /// The public half of a stored one-time pre-key, as the digest hashes it; needs its record.
    ///
    /// # Errors
    /// [`Error::MissingPreKey`] if there is none, [`Error::NotLoaded`], [`Error::Corrupt`].
    pub fn pre_key(records: &Records, id: u32) -> Result<PreKeyPublic, Error> {
        let pair = decode_pair(records.value(&pre_key_key(id))?.ok_or(Error::MissingPreKey)?)?;
        Ok(PreKeyPublic { id, value: pair.public() })
    }

    /// The public half of a stored post-quantum pre-key, such as the last-resort one; needs its record.
    ///
    /// # Errors
    /// [`Error::MissingPreKey`] if there is none, [`Error::NotLoaded`], [`Error::Corrupt`].
    pub fn pq_pre_key(records: &Records, id: u32) -> Result<PqPreKeyPublic, Error> {
        let stored = StoredPq::decode(records.value(&pq_pre_key_key(id))?.ok_or(Error::MissingPreKey)?)?;
        Ok(PqPreKeyPublic { id, value: stored.pair.public, signature: stored.signature })
    }

    /// Replaces the signed pre-key. The one before is kept for [`SIGNED_PRE_KEY_GRACE`], as one of
    /// [`MAX_PREVIOUS_SIGNED_PRE_KEYS`]; older ones are deleted. Needs the account record.
    ///
    /// # Errors
    /// [`Error::NoAccount`], [`Error::NotLoaded`], [`Error::Corrupt`].
    pub fn rotate(
        records: &Records,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<(SignedPreKeyPublic, Batch), Error> {
        let mut account = Self::load(records)?;
        let mut batch = Batch::new();
        let id = account.next_signed;
        account.next_signed = next_id(id);
        let pair = KeyPair::generate(rng);
        account.current = sign_pre_key(&account.identity, id, &pair, rng);
        account.signed.push(Held { id, made: now });
        let newest = account.signed.len() - 1;
        // A key was replaced when the next one was made.
        let replaced: Vec<_> = account.signed.iter().skip(1).map(|held| held.made).collect();
        let mut index = 0;
        account.signed.retain(|held| {
            let keep = index == newest
                || (newest - index <= MAX_PREVIOUS_SIGNED_PRE_KEYS
                    && replaced.get(index).is_some_and(|at| now.since(*at) < SIGNED_PRE_KEY_GRACE));
            if !keep && held.id != id {
                batch.delete_owned(signed_pre_key_key(held.id));
            }
            index += 1;
            keep
        });
        batch.put_owned(signed_pre_key_key(id), StoredSigned::new(pair, account.current.signature).encode());
        batch.put(records.get(&account_key())?, account.encode());
        Ok((account.current, batch))
    }

    fn generate_pq(
        &mut self,
        suites: &Suites,
        last_resort: bool,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Option<(PqPreKeyPublic, Vec<u8>)>, Error> {
        let Some(suite) = suites.newest(true) else { return Ok(None) };
        let Some(pair) = suite.generate_pq(rng)? else { return Ok(None) };
        let id = self.next_pq;
        self.next_pq = next_id(id);
        let signature = self.identity.sign(&pair.public, rng);
        let public = PqPreKeyPublic { id, value: pair.public.clone(), signature };
        Ok(Some((public, StoredPq { pair, signature, last_resort, made: now }.encode())))
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(LAYOUT)
            .raw(self.identity.expose_secret())
            .raw(self.identity.public().as_bytes())
            .u32(self.registration_id)
            .u32(self.next_one_time)
            .u32(self.next_signed)
            .u32(self.next_pq)
            .u32(self.pq_last.unwrap_or(0))
            .u32(self.current.id)
            .raw(self.current.value.as_bytes())
            .raw(&self.current.signature)
            .u8(u8::try_from(self.signed.len()).unwrap_or(u8::MAX));
        for held in &self.signed {
            writer = writer.u32(held.id).u64(held.made.as_millis());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes, LAYOUT)?;
        let identity = read_pair(&mut r)?;
        let registration_id = r.u32()?;
        let (next_one_time, next_signed, next_pq) = (r.u32()?, r.u32()?, r.u32()?);
        let pq_last = Some(r.u32()?).filter(|id| *id != 0);
        let current = SignedPreKeyPublic { id: r.u32()?, value: read_public(&mut r)?, signature: r.array()? };
        let signed = (0..r.u8()?)
            .map(|_| Ok(Held { id: r.u32()?, made: Timestamp::from_millis(r.u64()?) }))
            .collect::<Result<Vec<_>, Error>>()?;
        r.end()?;
        Ok(Self { identity, registration_id, next_one_time, next_signed, next_pq, signed, current, pq_last })
    }
}

fn sign_pre_key(identity: &KeyPair, id: u32, pair: &KeyPair, rng: &mut dyn CryptoRng) -> SignedPreKeyPublic {
    let signature = identity.sign(&pair.public().with_type(), rng);
    SignedPreKeyPublic { id, value: pair.public(), signature }
}

fn read_public(r: &mut Reader<'_>) -> Result<PublicKey, Error> {
    r.array().map(PublicKey::stored)
}

fn read_pair(r: &mut Reader<'_>) -> Result<KeyPair, Error> {
    let secret = Zeroizing::new(r.array()?);
    Ok(KeyPair::from_parts(*secret, read_public(r)?))
}

/// The record of a one-time pre-key.
fn encode_pair(pair: &KeyPair) -> Vec<u8> {
    Writer::new(LAYOUT).raw(pair.expose_secret()).raw(pair.public().as_bytes()).finish()
}

/// Reads the record of a one-time pre-key.
pub(crate) fn decode_pair(bytes: &[u8]) -> Result<KeyPair, Error> {
    let mut r = Reader::new(bytes, LAYOUT)?;
    let pair = read_pair(&mut r)?;
    r.end()?;
    Ok(pair)
}

/// The record of a signed pre-key, with the base keys of the first messages that used it without a one-time key: such
/// a message could otherwise be played again once its session is gone.
pub(crate) struct StoredSigned {
    pub(crate) pair: KeyPair,
    pub(crate) signature: [u8; 64],
    used: Vec<PublicKey>,
}

impl StoredSigned {
    const fn new(pair: KeyPair, signature: [u8; 64]) -> Self {
        Self { pair, signature, used: Vec::new() }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes, LAYOUT)?;
        let (pair, signature) = (read_pair(&mut r)?, r.array()?);
        let n = r.u32()?;
        if usize::try_from(n).map_or(true, |n| n > MAX_REMEMBERED_BASE_KEYS) {
            return Err(Error::Corrupt("signed pre-key"));
        }
        let used = (0..n).map(|_| read_public(&mut r)).collect::<Result<_, _>>()?;
        r.end()?;
        Ok(Self { pair, signature, used })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let writer = Writer::new(LAYOUT).raw(self.pair.expose_secret()).raw(self.pair.public().as_bytes());
        let n = u32::try_from(self.used.len()).unwrap_or(u32::MAX);
        self.used.iter().fold(writer.raw(&self.signature).u32(n), |w, key| w.raw(key.as_bytes())).finish()
    }

    pub(crate) fn was_used(&self, base_key: &PublicKey) -> bool {
        self.used.contains(base_key)
    }

    pub(crate) fn remember(&mut self, base_key: PublicKey) {
        if self.used.len() >= MAX_REMEMBERED_BASE_KEYS {
            self.used.remove(0);
        }
        self.used.push(base_key);
    }
}

/// The record of a post-quantum pre-key.
pub(crate) struct StoredPq {
    pub(crate) pair: PqKeyPair,
    signature: [u8; 64],
    pub(crate) last_resort: bool,
    made: Timestamp,
}

impl StoredPq {
    fn encode(&self) -> Vec<u8> {
        Writer::new(LAYOUT)
            .u8(u8::from(self.last_resort))
            .u64(self.made.as_millis())
            .raw(&self.signature)
            .bytes(&self.pair.public)
            .bytes(&self.pair.secret)
            .finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes, LAYOUT)?;
        let last_resort = r.u8()? != 0;
        let made = Timestamp::from_millis(r.u64()?);
        let signature = r.array()?;
        let public = Bytes::copy_from_slice(r.bytes()?);
        let secret = Zeroizing::new(r.bytes()?.to_vec());
        r.end()?;
        Ok(Self { pair: PqKeyPair { public, secret }, signature, last_resort, made })
    }
}

/// The records of the pre-keys that a first message names.
pub(crate) fn pre_key_keys(initial: &crate::suite::Initial) -> impl Iterator<Item = RecordKey> {
    let one_time = initial.one_time.map(pre_key_key);
    one_time.into_iter().chain(initial.signed.map(signed_pre_key_key)).chain(initial.pq.map(pq_pre_key_key))
}
