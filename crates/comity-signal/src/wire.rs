//! Just enough of the Signal messages' protobuf to know what a message names, before any engine sees it (PROTOCOL §8).
//!
//! The form is common to message versions 3 and 4. A repeated field is refused rather than merged or replaced, so that
//! no engine can read another value than the one checked here.

use crate::keys::PublicKey;
use crate::suite::{EncKind, Initial};
use crate::{Address, Error};

const MAC_LEN: usize = 8;
const SIGNATURE_LEN: usize = 64;
/// Kind, UUID and device.
const SERVICE_ADDRESS_LEN: usize = 18;
/// Field numbers above this are skipped without a look; below, each may stand once.
const TRACKED: u64 = 64;

/// A field of a message.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a protobuf message, each at most once.
struct Fields<'a> {
    rest: &'a [u8],
    seen: u64,
}

impl<'a> Fields<'a> {
    const fn new(rest: &'a [u8]) -> Self {
        Self { rest, seen: 0 }
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for i in 0..10_u32 {
            let b = *self.take(1)?.first()?;
            if i == 9 && b > 1 {
                return None;
            }
            n |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || u32::try_from(tag).is_err() {
            return None;
        }
        if number < TRACKED {
            let bit = 1 << number;
            if self.seen & bit != 0 {
                return None;
            }
            self.seen |= bit;
        }
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let n = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(n)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return None,
        };
        Some((number, field))
    }

    fn next(&mut self, what: &'static str) -> Result<Option<(u64, Field<'a>)>, Error> {
        if self.rest.is_empty() { Ok(None) } else { self.field().map(Some).ok_or(Error::Malformed(what)) }
    }
}

/// The 33-byte form of a key inside a message: type 5 is required here.
fn key(bytes: &[u8]) -> Result<PublicKey, Error> {
    if bytes.len() != 33 {
        return Err(Error::Malformed("public key"));
    }
    PublicKey::parse(bytes)
}

fn u32_of(n: u64) -> Result<u32, Error> {
    u32::try_from(n).map_err(|_| Error::Malformed("id or counter over 32 bits"))
}

/// The parts of a SignalMessage that are looked at.
#[derive(Clone, Copy, Debug)]
pub struct SignalMessage<'a> {
    /// The sender's ratchet key.
    pub ratchet_key: PublicKey,
    /// The counter within the chain.
    pub counter: u32,
    /// The post-quantum ratchet's message; empty in version 3.
    pub pq_ratchet: &'a [u8],
    /// Whom the message says it is from and for. Official clients since 0.91 write it where both names are UUIDs.
    pub addresses: Option<&'a [u8]>,
}

impl<'a> SignalMessage<'a> {
    /// Parses `version byte ‖ fields ‖ MAC`.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::LowOrderKey`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "msg";
        let end = body.len().checked_sub(MAC_LEN).ok_or(Error::Malformed(WHAT))?;
        let mut fields = Fields::new(body.get(1..end).ok_or(Error::Malformed(WHAT))?);
        let (mut ratchet_key, mut counter, mut pq_ratchet, mut ciphertext) = (None, None, &[][..], None);
        let mut addresses = None;
        while let Some((number, field)) = fields.next(WHAT)? {
            match (number, field) {
                (1, Field::Bytes(b)) => ratchet_key = Some(key(b)?),
                (2, Field::Varint(n)) => counter = Some(u32_of(n)?),
                (3, Field::Varint(n)) => _ = u32_of(n)?,
                (4, Field::Bytes(b)) => ciphertext = Some(b),
                (5, Field::Bytes(b)) => pq_ratchet = b,
                (6, Field::Bytes(b)) => addresses = Some(b),
                (1..=6, _) => return Err(Error::Malformed(WHAT)),
                _ => {}
            }
        }
        ciphertext.ok_or(Error::Malformed(WHAT))?;
        Ok(Self {
            ratchet_key: ratchet_key.ok_or(Error::Malformed(WHAT))?,
            counter: counter.ok_or(Error::Malformed(WHAT))?,
            pq_ratchet,
            addresses,
        })
    }

    /// Holds what the message says of its sender against whose session it comes by. The MAC covers that field, but
    /// engines older than it do not look. The recipient is bound by the identity keys under the MAC alone.
    ///
    /// # Errors
    /// [`Error::Misdirected`] if it names another sender, or a peer that is no UUID.
    pub fn check_sender(&self, peer: &Address) -> Result<(), Error> {
        let Some(addresses) = self.addresses else { return Ok(()) };
        // Kind, UUID and device of the sender, then those of the recipient; devices are counted from 1 there.
        let sender = addresses.get(..SERVICE_ADDRESS_LEN).filter(|_| addresses.len() == 2 * SERVICE_ADDRESS_LEN);
        let device = u8::try_from(peer.device().max(1)).ok();
        let expected = service_id(peer.name()).zip(device).map(|(id, device)| [&id[..], &[device]].concat());
        if sender.is_some() && sender == expected.as_deref() { Ok(()) } else { Err(Error::Misdirected) }
    }
}

/// Kind and UUID of a name in the official library's form: a UUID, after `PNI:` for the second kind.
fn service_id(name: &str) -> Option<[u8; 17]> {
    let (kind, text) = name.strip_prefix("PNI:").map_or((0, name), |text| (1, text));
    let uuid = text.bytes().enumerate().all(|(at, b)| match at {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    if text.len() != 36 || !uuid {
        return None;
    }
    let uuid = u128::from_str_radix(&text.replace('-', ""), 16).ok()?.to_be_bytes();
    let mut out = [kind; 17];
    out[1..].copy_from_slice(&uuid);
    Some(out)
}

/// A PreKeySignalMessage: what it names, and the message inside.
#[derive(Clone, Debug)]
pub struct PreKeyMessage<'a> {
    /// What it names.
    pub initial: Initial,
    /// The KEM ciphertext for the post-quantum pre-key, in version 4.
    pub pq_ciphertext: Option<&'a [u8]>,
    /// The inner message's bytes.
    pub inner: &'a [u8],
}

impl<'a> PreKeyMessage<'a> {
    /// Parses `version byte ‖ fields`; the inner message has to be of the same version.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::LowOrderKey`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "pkmsg";
        let (version, rest) = body.split_first().ok_or(Error::Malformed(WHAT))?;
        let mut fields = Fields::new(rest);
        let (mut registration_id, mut one_time, mut signed, mut pq) = (0, None, None, None);
        let (mut base_key, mut identity, mut inner, mut pq_ciphertext) = (None, None, None, None);
        while let Some((number, field)) = fields.next(WHAT)? {
            match (number, field) {
                (1, Field::Varint(n)) => one_time = Some(u32_of(n)?),
                (2, Field::Bytes(b)) => base_key = Some(key(b)?),
                (3, Field::Bytes(b)) => identity = Some(key(b)?),
                (4, Field::Bytes(b)) => inner = Some(b),
                (5, Field::Varint(n)) => registration_id = u32_of(n)?,
                (6, Field::Varint(n)) => signed = Some(u32_of(n)?),
                (7, Field::Varint(n)) => pq = Some(u32_of(n)?),
                (8, Field::Bytes(b)) => pq_ciphertext = Some(b),
                (1..=8, _) => return Err(Error::Malformed(WHAT)),
                _ => {}
            }
        }
        let inner = inner.ok_or(Error::Malformed(WHAT))?;
        if inner.first().map(|b| b >> 4) != Some(version >> 4) || signed.is_none() {
            return Err(Error::Malformed(WHAT));
        }
        Ok(Self {
            initial: Initial {
                identity: identity.ok_or(Error::Malformed(WHAT))?,
                base_key: base_key.ok_or(Error::Malformed(WHAT))?,
                registration_id,
                one_time,
                signed,
                pq,
            },
            pq_ciphertext,
            inner,
        })
    }
}

/// The [`Suite::inspect`](crate::Suite::inspect) of a suite whose messages have Signal's form, and the message (inner
/// or only) for further checks.
///
/// # Errors
/// [`Error::Malformed`], [`Error::LowOrderKey`], [`Error::UnsupportedVersion`].
pub fn inspect(version: u8, kind: EncKind, body: &[u8]) -> Result<(Option<Initial>, SignalMessage<'_>), Error> {
    let first = body.first().ok_or(Error::Malformed("empty ciphertext"))?;
    if first >> 4 != version {
        return Err(Error::UnsupportedVersion(first >> 4));
    }
    match kind {
        EncKind::Pkmsg => {
            let message = PreKeyMessage::parse(body)?;
            Ok((Some(message.initial), SignalMessage::parse(message.inner)?))
        }
        EncKind::Msg => Ok((None, SignalMessage::parse(body)?)),
        EncKind::Skmsg => Err(Error::Misuse("inspect is for pairwise messages")),
    }
}

/// A sender-key distribution message in either numbering: `{id, iteration, chainKey, signingKey}` from field 1
/// (WhatsApp's form) or, behind a UUID, from field 2 (the official library's).
///
/// # Errors
/// [`Error::Malformed`], [`Error::LowOrderKey`].
pub fn check_distribution(body: &[u8], first_field: u64) -> Result<(), Error> {
    const WHAT: &str = "sender-key distribution";
    let mut fields = Fields::new(body.get(1..).ok_or(Error::Malformed(WHAT))?);
    let mut have = 0;
    while let Some((number, field)) = fields.next(WHAT)? {
        match (number.wrapping_sub(first_field), field) {
            (0 | 1, Field::Varint(n)) => have += u32_of(n).map(|_| 1)?,
            (2, Field::Bytes(b)) if b.len() == 32 => have += 1,
            (3, Field::Bytes(b)) => have += key(b).map(|_| 1)?,
            (0..=3, _) => return Err(Error::Malformed(WHAT)),
            _ => {}
        }
    }
    if have == 4 { Ok(()) } else { Err(Error::Malformed(WHAT)) }
}

/// Checks the outer shape of a sender-key message: room for version byte and signature.
///
/// # Errors
/// [`Error::Malformed`].
pub fn check_sender_key_message(body: &[u8]) -> Result<(), Error> {
    if body.len() <= 1 + SIGNATURE_LEN { Err(Error::Malformed("skmsg")) } else { Ok(()) }
}
