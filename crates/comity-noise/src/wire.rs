//! Handshake messages as frame bodies: protobuf with the Noise pieces apart, or the Noise message itself (PROTOCOL §5.2).

use crate::frame::write_frame;
use crate::limits::{MAX_FRAME, MAX_HANDSHAKE_FRAME, TAG};
use crate::{Error, Profile};
use bytes::{Bytes, BytesMut};
use comity_proto::Codec as _;
use comity_proto::handshake::{ClientFinish, ClientHello, HandshakeMessage, ServerHello};

const KEY: usize = 32;
const SEALED_KEY: usize = KEY + TAG;

/// What the frame after a ClientHello may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// With the server's static key: XX or XXfallback.
    WithStatic,
    /// Without: IK.
    WithoutStatic,
    /// The form does not tell.
    Either,
}

/// Writes an XX or IK ClientHello from its Noise message.
pub(crate) fn write_client_hello(profile: &Profile, noise: &[u8], out: &mut BytesMut) -> Result<(), Error> {
    let message = |e: &[u8], rest: &[u8]| {
        let (key, payload) = match rest.split_at_checked(SEALED_KEY) {
            Some((key, payload)) => (Some(copy(key)), Some(copy(payload))),
            None => (None, None),
        };
        let hello = ClientHello { ephemeral: Some(copy(e)), r#static: key, payload };
        HandshakeMessage { client_hello: Some(hello), ..HandshakeMessage::default() }
    };
    write(profile, noise, KEY, message, out)
}

/// Writes a ServerHello from its Noise message.
pub(crate) fn write_server_hello(
    profile: &Profile,
    with_static: bool,
    noise: &[u8],
    out: &mut BytesMut,
) -> Result<(), Error> {
    let message = |e: &[u8], rest: &[u8]| {
        let (key, payload) = match rest.split_at_checked(SEALED_KEY) {
            Some((key, payload)) if with_static => (Some(copy(key)), payload),
            _ => (None, rest),
        };
        let hello = ServerHello { ephemeral: Some(copy(e)), r#static: key, payload: Some(copy(payload)) };
        HandshakeMessage { server_hello: Some(hello), ..HandshakeMessage::default() }
    };
    write(profile, noise, KEY, message, out)
}

/// Writes a ClientFinish from its Noise message.
pub(crate) fn write_client_finish(profile: &Profile, noise: &[u8], out: &mut BytesMut) -> Result<(), Error> {
    let message = |key: &[u8], payload: &[u8]| {
        let finish = ClientFinish { r#static: Some(copy(key)), payload: Some(copy(payload)) };
        HandshakeMessage { client_finish: Some(finish), ..HandshakeMessage::default() }
    };
    write(profile, noise, SEALED_KEY, message, out)
}

fn write(
    profile: &Profile,
    noise: &[u8],
    first: usize,
    message: impl FnOnce(&[u8], &[u8]) -> HandshakeMessage,
    out: &mut BytesMut,
) -> Result<(), Error> {
    match profile {
        Profile::Plain { .. } => write_frame(noise, out),
        Profile::WhatsApp => {
            let (first, rest) = noise.split_at_checked(first).ok_or(Error::Bug("short Noise message"))?;
            write_frame(&message(first, rest).encode_to_vec(), out)
        }
    }
}

/// The Noise message of a ClientHello, and whether it is IK's.
pub(crate) fn read_client_hello(profile: &Profile, body: &[u8]) -> Result<(Vec<u8>, bool), Error> {
    check(body)?;
    if let Profile::Plain { .. } = profile {
        return match body.len() {
            KEY => Ok((body.to_vec(), false)),
            n if n >= KEY + SEALED_KEY + TAG => Ok((body.to_vec(), true)),
            _ => Err(Error::Malformed("length")),
        };
    }
    let hello = decode(body)?.client_hello.ok_or(Error::Malformed("no ClientHello"))?;
    let e = part(hello.ephemeral, KEY, KEY, "ephemeral")?;
    match (hello.r#static, hello.payload) {
        (None, None) => Ok((e.to_vec(), false)),
        (key @ Some(_), payload) => {
            let key = part(key, SEALED_KEY, SEALED_KEY, "static")?;
            let payload = part(payload, TAG, MAX_FRAME, "payload")?;
            Ok(([e, key, payload].concat(), true))
        }
        (None, Some(_)) => Err(Error::Malformed("a payload without static")),
    }
}

/// The Noise message of a ServerHello, and which pattern's it is.
pub(crate) fn read_server_hello(profile: &Profile, body: &[u8]) -> Result<(Vec<u8>, Reply), Error> {
    check(body)?;
    if let Profile::Plain { .. } = profile {
        return Ok((body.to_vec(), Reply::Either));
    }
    let hello = decode(body)?.server_hello.ok_or(Error::Malformed("no ServerHello"))?;
    let e = part(hello.ephemeral, KEY, KEY, "ephemeral")?;
    let payload = part(hello.payload, TAG, MAX_FRAME, "payload")?;
    match hello.r#static {
        None => Ok(([e, payload].concat(), Reply::WithoutStatic)),
        key => {
            let key = part(key, SEALED_KEY, SEALED_KEY, "static")?;
            Ok(([e, key, payload].concat(), Reply::WithStatic))
        }
    }
}

/// The Noise message of a ClientFinish.
pub(crate) fn read_client_finish(profile: &Profile, body: &[u8]) -> Result<Vec<u8>, Error> {
    check(body)?;
    if let Profile::Plain { .. } = profile {
        return Ok(body.to_vec());
    }
    let finish = decode(body)?.client_finish.ok_or(Error::Malformed("no ClientFinish"))?;
    let key = part(finish.r#static, SEALED_KEY, SEALED_KEY, "static")?;
    let payload = part(finish.payload, TAG, MAX_FRAME, "payload")?;
    Ok([key, payload].concat())
}

fn check(body: &[u8]) -> Result<(), Error> {
    if body.len() > MAX_HANDSHAKE_FRAME {
        return Err(Error::FrameTooLong { len: body.len(), limit: MAX_HANDSHAKE_FRAME });
    }
    Ok(())
}

fn decode(body: &[u8]) -> Result<HandshakeMessage, Error> {
    HandshakeMessage::decode(body).map_err(|_| Error::Malformed("protobuf"))
}

fn part(bytes: Option<Bytes>, min: usize, max: usize, name: &'static str) -> Result<Bytes, Error> {
    bytes.filter(|b| (min..=max).contains(&b.len())).ok_or(Error::Malformed(name))
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
