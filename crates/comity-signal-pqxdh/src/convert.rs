//! Our values as the engine's, and its errors as ours.

use comity_core::Timestamp;
use comity_signal::{Bundle, Error, KeyPair, PublicKey};
use core::time::Duration;
use libsignal_protocol as ls;
use libsignal_protocol::SignalProtocolError as E;
use std::time::SystemTime;

pub(crate) fn key(key: &PublicKey) -> Result<ls::PublicKey, Error> {
    ls::PublicKey::from_djb_public_key_bytes(key.as_bytes()).map_err(|_| Error::Malformed("public key"))
}

pub(crate) fn pair(pair: &KeyPair) -> Result<ls::KeyPair, Error> {
    let secret = ls::PrivateKey::deserialize(pair.expose_secret()).map_err(|_| Error::Corrupt("secret key"))?;
    Ok(ls::KeyPair::new(key(&pair.public())?, secret))
}

pub(crate) fn time(now: Timestamp) -> SystemTime {
    let since = Duration::from_millis(now.as_millis());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) fn bundle(bundle: &Bundle) -> Result<ls::PreKeyBundle, Error> {
    let one_time = match &bundle.one_time {
        Some(one_time) => Some((one_time.id.into(), key(&one_time.value)?)),
        None => None,
    };
    let pq = bundle.pq.as_ref().ok_or(Error::Misuse("a bundle without post-quantum pre-key"))?;
    ls::PreKeyBundle::new(
        bundle.registration_id,
        crate::engine::device()?,
        one_time,
        bundle.signed.id.into(),
        key(&bundle.signed.value)?,
        bundle.signed.signature.to_vec(),
        pq.id.into(),
        ls::kem::PublicKey::deserialize(&pq.value).map_err(|_| Error::Malformed("post-quantum pre-key"))?,
        pq.signature.to_vec(),
        ls::IdentityKey::new(key(&bundle.identity)?),
    )
    .map_err(error)
}

pub(crate) fn error(error: E) -> Error {
    match error {
        E::SessionNotFound(_) => Error::NoSession,
        E::UntrustedIdentity(_) => Error::UntrustedIdentity,
        E::InvalidPreKeyId | E::InvalidSignedPreKeyId | E::InvalidKyberPreKeyId => Error::MissingPreKey,
        E::DuplicatedMessage(..) => Error::Duplicate,
        E::InvalidMessage(_, "message from too far into the future") => Error::LimitExceeded("skipped messages"),
        E::InvalidMessage(..) => Error::NotAuthentic,
        E::SignatureValidationFailed => Error::BadSignature,
        E::NoSenderKeyState { .. } => Error::NoSenderKey,
        E::InvalidProtobufEncoding
        | E::CiphertextMessageTooShort(_)
        | E::LegacyCiphertextVersion(_)
        | E::UnrecognizedCiphertextVersion(_)
        | E::UnrecognizedMessageVersion(_)
        | E::NoKeyTypeIdentifier
        | E::BadKeyType(_)
        | E::BadKeyLength(..)
        | E::BadKEMKeyType(_)
        | E::WrongKEMKeyType(..)
        | E::BadKEMKeyLength(..)
        | E::BadKEMCiphertextLength(..) => Error::Malformed("message"),
        E::InvalidSessionStructure(_)
        | E::InvalidState(..)
        | E::InvalidSenderKeySession { .. }
        | E::InvalidMacKeyLength(_) => Error::Corrupt("engine state"),
        _ => Error::Engine("libsignal-protocol"),
    }
}
