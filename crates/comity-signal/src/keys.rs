//! Curve25519 keys as the wire and the records carry them (PROTOCOL §4, §8).

use crate::Error;
use core::fmt;
use rand_core::CryptoRng;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// The type byte of a Curve25519 key.
pub const KEY_TYPE: u8 = 5;

/// The twelve encodings known to make the shared secret independent of the secret key.
pub(crate) const LOW_ORDER: [[u8; 32]; 12] = {
    const fn filled(first: u8, fill: u8, last: u8) -> [u8; 32] {
        let mut key = [fill; 32];
        key[0] = first;
        key[31] = last;
        key
    }
    const A: [u8; 32] = *b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00";
    const B: [u8; 32] = *b"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57";
    const fn ends(mut key: [u8; 32], first: u8, last: u8) -> [u8; 32] {
        key[0] = first;
        key[31] = last;
        key
    }
    [
        filled(0, 0, 0),
        filled(1, 0, 0),
        A,
        B,
        filled(0xec, 0xff, 0x7f),
        filled(0xed, 0xff, 0x7f),
        filled(0xee, 0xff, 0x7f),
        ends(A, 0xcd, 0x80),
        ends(B, 0x4c, 0xd7),
        filled(0xd9, 0xff, 0xff),
        filled(0xda, 0xff, 0xff),
        filled(0xdb, 0xff, 0xff),
    ]
};

/// A Curve25519 public key in its one canonical encoding, not of low order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From the 32 raw bytes.
    ///
    /// # Errors
    /// [`Error::LowOrderKey`] for the twelve low-order encodings, with or without the unused top bit;
    /// [`Error::Malformed`] for a second encoding of a key: what names a session would not name it alone.
    pub fn new(bytes: [u8; 32]) -> Result<Self, Error> {
        let mut masked = bytes;
        masked[31] &= 0x7f;
        // One byte tells most keys from all of the list.
        let suspect = LOW_ORDER.iter().any(|point| point[1] == bytes[1]);
        if suspect && (LOW_ORDER.contains(&bytes) || LOW_ORDER.contains(&masked)) {
            return Err(Error::LowOrderKey);
        }
        let [first, middle @ .., last] = &masked;
        if masked != bytes || (*first >= 0xed && *last == 0x7f && middle.iter().all(|b| *b == 0xff)) {
            return Err(Error::Malformed("public key not in canonical form"));
        }
        Ok(Self(bytes))
    }

    /// From a record of ours, which holds none that was not checked before.
    pub(crate) const fn stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 32 raw bytes, or 33 with the type byte 5 before them.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another length or type, else as [`PublicKey::new`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw = match bytes {
            [KEY_TYPE, raw @ ..] if raw.len() == 32 => raw,
            raw => raw,
        };
        Self::new(raw.try_into().map_err(|_| Error::Malformed("public key"))?)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 33 bytes: type 5, then the raw ones.
    pub fn with_type(&self) -> [u8; 33] {
        let mut out = [KEY_TYPE; 33];
        out[1..].copy_from_slice(&self.0);
        out
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PublicKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// A Curve25519 key pair; the secret zeroizes on drop and is silent in `Debug`.
#[derive(Clone)]
pub struct KeyPair {
    secret: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl KeyPair {
    /// A fresh pair.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        loop {
            let mut secret = Zeroizing::new([0; 32]);
            rng.fill_bytes(secret.as_mut());
            // A clamped scalar times the base point is never of low order; the loop only spares a panic path.
            if let Ok(pair) = Self::from_secret(*secret) {
                return pair;
            }
        }
    }

    /// The pair of a stored or imported secret, which is clamped.
    ///
    /// # Errors
    /// [`Error::LowOrderKey`], which no secret gives.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, Error> {
        let mut secret = Zeroizing::new(secret);
        let [first, .., last] = &mut *secret;
        *first &= 248;
        *last = (*last & 127) | 64;
        let public = x25519_dalek::PublicKey::from(&StaticSecret::from(*secret));
        Ok(Self { public: PublicKey::new(public.to_bytes())?, secret })
    }

    /// A stored pair, taken as it is.
    pub(crate) fn from_parts(secret: [u8; 32], public: PublicKey) -> Self {
        Self { secret: Zeroizing::new(secret), public }
    }

    /// The public half.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// The secret half. Every call is a place to look at in review.
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Signs `message` with XEdDSA.
    pub fn sign(&self, message: &[u8], rng: &mut dyn CryptoRng) -> [u8; 64] {
        crate::xeddsa::sign(&self.secret, message, rng)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?})", self.public)
    }
}
