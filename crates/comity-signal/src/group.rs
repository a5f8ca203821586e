//! Group sender keys (PROTOCOL §8, §14).
//!
//! A member's sender key is bound to the identity of the session that brought it: if that member's pinned identity
//! changes, its messages need a new distribution.

use crate::codec::{Reader, Writer};
use crate::keys::PublicKey;
use crate::limits::{MAX_CIPHERTEXT_LEN, MAX_GROUP_ID_LEN, MAX_PLAINTEXT_LEN};
use crate::records::{Records, identity_key, sender_key_key};
use crate::session::{Decrypted, Encrypted, pinned_identity};
use crate::suite::{EncKind, State, Suites};
use crate::wire::check_sender_key_message;
use crate::{Address, Error};
use bytes::Bytes;
use comity_core::{Batch, RecordKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

const LAYOUT: u8 = 1;

/// A stored sender key: the suite that owns it and, of a member's, the identity that distributed it.
struct Stored {
    version: u8,
    identity: Option<PublicKey>,
    state: State,
}

impl Stored {
    fn load(records: &Records, key: &RecordKey) -> Result<Option<Self>, Error> {
        let Some(bytes) = records.value(key)? else { return Ok(None) };
        let mut r = Reader::new(bytes, LAYOUT)?;
        let (version, raw) = (r.u8()?, r.array()?);
        // All zero, a low-order key, stands for "ours".
        let identity = if raw == [0; 32] { None } else { Some(PublicKey::new(raw)) };
        let identity = identity.transpose().map_err(|_| Error::Corrupt("sender key"))?;
        let state = Zeroizing::new(r.bytes()?.to_vec());
        r.end()?;
        Ok(Some(Self { version, identity, state }))
    }

    fn store(&self, records: &Records, key: &RecordKey) -> Result<Batch, Error> {
        let identity = self.identity.map_or([0; 32], |key| *key.as_bytes());
        let mut batch = Batch::new();
        let value = Writer::new(LAYOUT).u8(self.version).raw(&identity).bytes(&self.state).finish();
        batch.put(records.get(key)?, value);
        Ok(batch)
    }
}

fn check_group(group: &str) -> Result<(), Error> {
    if group.len() > MAX_GROUP_ID_LEN { Err(Error::LimitExceeded("group id")) } else { Ok(()) }
}

/// The records of the group operations with `sender`'s sender key: the key and the sender's pinned identity.
pub fn keys_for_group(group: &str, sender: &Address) -> Vec<RecordKey> {
    vec![sender_key_key(group, sender), identity_key(sender)]
}

/// The message that distributes our sender key in `group` as it stands, after creating one of message form `version` if
/// there is none. `me` is our own address. Needs [`keys_for_group`].
///
/// # Errors
/// [`Error::UnsupportedVersion`], [`Error::NotLoaded`], [`Error::Corrupt`].
pub fn group_distribution(
    records: &Records,
    suites: &Suites,
    version: u8,
    group: &str,
    me: &Address,
    rng: &mut dyn CryptoRng,
) -> Result<(Bytes, Batch), Error> {
    check_group(group)?;
    let key = sender_key_key(group, me);
    if let Some(stored) = Stored::load(records, &key)? {
        return Ok((suites.get(stored.version)?.group_distribution(group, &stored.state)?, Batch::new()));
    }
    let (state, distribution) = suites.get(version)?.group_create(group, rng)?;
    Ok((distribution, Stored { version, identity: None, state }.store(records, &key)?))
}

/// Forgets our sender key in `group`, so that the next distribution makes a new one: due when a member leaves or is
/// removed. Needs [`keys_for_group`].
///
/// # Errors
/// [`Error::NotLoaded`].
pub fn group_rotate(records: &Records, group: &str, me: &Address) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    batch.delete(records.get(&sender_key_key(group, me))?);
    Ok(batch)
}

/// Takes in a member's sender key. `sender` and `identity` are those of the [`Decrypted`] whose plaintext held the
/// distribution. Needs [`keys_for_group`].
///
/// # Errors
/// [`Error::Malformed`], [`Error::LowOrderKey`], [`Error::UnsupportedVersion`].
pub fn group_process(
    records: &Records,
    suites: &Suites,
    group: &str,
    sender: &Address,
    identity: PublicKey,
    distribution: &[u8],
) -> Result<Batch, Error> {
    check_group(group)?;
    let suite = suites.iter().find(|s| s.owns_distribution(distribution)).ok_or(Error::Malformed("distribution"))?;
    let key = sender_key_key(group, sender);
    // Chains of another identity or suite are not continued.
    let before = Stored::load(records, &key)?
        .filter(|stored| stored.version == suite.version() && stored.identity == Some(identity));
    let state = suite.group_process(group, before.as_ref().map(|stored| stored.state.as_slice()), distribution)?;
    Stored { version: suite.version(), identity: Some(identity), state }.store(records, &key)
}

/// Encrypts for `group` under our sender key. Needs [`keys_for_group`] of `me`. As with
/// [`encrypt`](crate::encrypt), the batch comes before the body.
///
/// # Errors
/// [`Error::NoSenderKey`]: call [`group_distribution`] first.
pub fn group_encrypt(
    records: &Records,
    suites: &Suites,
    group: &str,
    me: &Address,
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<(Encrypted, Batch), Error> {
    check_group(group)?;
    if plaintext.len() > MAX_PLAINTEXT_LEN {
        return Err(Error::LimitExceeded("plaintext"));
    }
    let key = sender_key_key(group, me);
    let stored = Stored::load(records, &key)?.ok_or(Error::NoSenderKey)?;
    let (body, state) = suites.get(stored.version)?.group_encrypt(group, &stored.state, plaintext, rng)?;
    let version = stored.version;
    let batch = Stored { state, ..stored }.store(records, &key)?;
    Ok((Encrypted { kind: EncKind::Skmsg, body, version }, batch))
}

/// Decrypts a `skmsg` of `sender` in `group`. Needs [`keys_for_group`].
///
/// # Errors
/// [`Error::NoSenderKey`]; [`Error::UntrustedIdentity`] if the sender's identity changed since the distribution;
/// [`Error::BadSignature`], [`Error::Duplicate`] and others. No failure changes a record.
pub fn group_decrypt(
    records: &Records,
    suites: &Suites,
    group: &str,
    sender: &Address,
    body: &[u8],
) -> Result<(Decrypted, Batch), Error> {
    check_group(group)?;
    if body.len() > MAX_CIPHERTEXT_LEN {
        return Err(Error::LimitExceeded("ciphertext"));
    }
    check_sender_key_message(body)?;
    let key = sender_key_key(group, sender);
    let stored = Stored::load(records, &key)?.ok_or(Error::NoSenderKey)?;
    let identity = stored.identity.ok_or(Error::NoSenderKey)?;
    if pinned_identity(records, sender)? != Some(identity) {
        return Err(Error::UntrustedIdentity);
    }
    let (plaintext, state) = suites.get(stored.version)?.group_decrypt(group, &stored.state, body)?;
    let version = stored.version;
    let batch = Stored { state, ..stored }.store(records, &key)?;
    let decrypted = Decrypted {
        plaintext,
        sender: sender.clone(),
        identity,
        version,
        new_session: false,
        consumed_pre_key: None,
        identity_change: None,
    };
    Ok((decrypted, batch))
}
