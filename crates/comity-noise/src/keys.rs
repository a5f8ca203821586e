//! X25519 keys of the handshake, the certificates and the login.

use crate::Error;
use comity_core::{CryptoRng, Secret};
use core::fmt;
use core::str::FromStr;
use zeroize::Zeroizing;

/// Bytes of a key, public or private.
pub const KEY_LEN: usize = 32;

/// An X25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Whether this is one of the twelve encodings of a point of low order, with which every agreement gives zero.
    pub fn is_low_order(&self) -> bool {
        // Every clamped scalar is a multiple of the cofactor, so any one of them tells.
        let probe = x25519_dalek::StaticSecret::from([1; KEY_LEN]);
        !probe.diffie_hellman(&x25519_dalek::PublicKey::from(self.0)).was_contributory()
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::Key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    /// Parses 64 hexadecimal digits.
    fn from_str(s: &str) -> Result<Self, Error> {
        let mut bytes = [0; KEY_LEN];
        let (pairs, rest) = s.as_bytes().as_chunks::<2>();
        if pairs.len() != KEY_LEN || !rest.is_empty() {
            return Err(Error::Key);
        }
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(Error::Key);
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

/// An X25519 private key that lives longer than one handshake; zeroized on drop.
#[derive(Clone)]
pub struct StaticKey {
    secret: x25519_dalek::StaticSecret,
    public: PublicKey,
}

impl StaticKey {
    /// Draws a new key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(bytes.as_mut());
        Self::from_bytes(*bytes)
    }

    /// From 32 bytes, clamped at use.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        let secret = x25519_dalek::StaticSecret::from(bytes);
        let public = PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// The 32 bytes, for storage.
    pub fn to_bytes(&self) -> Secret<[u8; KEY_LEN]> {
        Secret::new(self.secret.to_bytes())
    }

    /// Its public key.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        self.secret.as_bytes()
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticKey(.., {})", self.public)
    }
}
