//! Our values as the engine's, and its errors as ours.

use comity_signal::{Bundle, Error, KeyPair, PublicKey};
use wacore_libsignal::protocol as ws;
use wacore_libsignal::protocol::SignalProtocolError as E;

pub(crate) fn key(key: &PublicKey) -> Result<ws::PublicKey, Error> {
    ws::PublicKey::from_djb_public_key_bytes(key.as_bytes()).map_err(|_| Error::Malformed("public key"))
}

pub(crate) fn from_key(key: &ws::PublicKey) -> Result<PublicKey, Error> {
    PublicKey::parse(key.public_key_bytes())
}

pub(crate) fn pair(pair: &KeyPair) -> Result<ws::KeyPair, Error> {
    let secret = ws::PrivateKey::deserialize(pair.expose_secret()).map_err(|_| Error::Corrupt("secret key"))?;
    Ok(ws::KeyPair::new(key(&pair.public())?, secret))
}

pub(crate) fn bundle(bundle: &Bundle) -> Result<ws::PreKeyBundle, Error> {
    let one_time = match &bundle.one_time {
        Some(one_time) => Some((one_time.id.into(), key(&one_time.value)?)),
        None => None,
    };
    ws::PreKeyBundle::new(
        bundle.registration_id,
        0.into(),
        one_time,
        bundle.signed.id.into(),
        key(&bundle.signed.value)?,
        bundle.signed.signature.to_vec(),
        ws::IdentityKey::new(key(&bundle.identity)?),
    )
    .map_err(error)
}

pub(crate) fn error(error: E) -> Error {
    match error {
        E::SessionNotFound(_) => Error::NoSession,
        E::UntrustedIdentity(_) => Error::UntrustedIdentity,
        E::InvalidPreKeyId | E::InvalidSignedPreKeyId => Error::MissingPreKey,
        E::DuplicatedMessage(..) => Error::Duplicate,
        E::InvalidMessage(_, "message from too far into the future") => Error::LimitExceeded("skipped messages"),
        E::BadMac(_) | E::InvalidMessage(..) => Error::NotAuthentic,
        E::SignatureValidationFailed => Error::BadSignature,
        E::NoSenderKeyState(_) => Error::NoSenderKey,
        E::InvalidProtobufEncoding
        | E::CiphertextMessageTooShort(_)
        | E::LegacyCiphertextVersion(_)
        | E::UnrecognizedCiphertextVersion(_)
        | E::UnrecognizedMessageVersion(_)
        | E::NoKeyTypeIdentifier
        | E::BadKeyType(_)
        | E::BadKeyLength(..) => Error::Malformed("message"),
        E::InvalidSessionStructure(_)
        | E::InvalidState(..)
        | E::InvalidSenderKeySession
        | E::InvalidMacKeyLength(_) => Error::Corrupt("engine state"),
        _ => Error::Engine("wacore-libsignal"),
    }
}
