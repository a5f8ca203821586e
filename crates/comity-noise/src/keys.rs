//! X25519 keys of the handshake, the certificates and the login.

use crate::provider::PrivateKey;
use crate::{Error, Provider};
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

    /// Whether this is a point of low order: one with which every agreement gives zero, or one of the twelve published
    /// encodings, some of which do so only where the ignored top bit is not ignored.
    pub fn is_low_order(&self) -> bool {
        // Every clamped scalar is a multiple of the cofactor, so any one of them tells.
        let probe = x25519_dalek::StaticSecret::from([1; KEY_LEN]);
        self.is_listed() || !probe.diffie_hellman(&x25519_dalek::PublicKey::from(self.0)).was_contributory()
    }

    pub(crate) fn is_listed(&self) -> bool {
        LOW_ORDER.contains(&self.0)
    }
}

/// The published list, as 256-bit numbers: 0, 1, the two of order 8, p − 1, p, p + 1, and the sums with p of those that
/// still fit.
const LOW_ORDER: [[u8; KEY_LEN]; 12] = {
    const fn ends(first: u8, fill: u8, last: u8) -> [u8; KEY_LEN] {
        with_ends([fill; KEY_LEN], first, last)
    }
    const fn with_ends(mut point: [u8; KEY_LEN], first: u8, last: u8) -> [u8; KEY_LEN] {
        let [head, .., tail] = &mut point;
        *head = first;
        *tail = last;
        point
    }
    const A: [u8; KEY_LEN] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    const B: [u8; KEY_LEN] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    [
        ends(0x00, 0x00, 0x00),
        ends(0x01, 0x00, 0x00),
        A,
        B,
        ends(0xec, 0xff, 0x7f),
        ends(0xed, 0xff, 0x7f),
        ends(0xee, 0xff, 0x7f),
        with_ends(A, 0xcd, 0x80),
        with_ends(B, 0x4c, 0xd7),
        ends(0xd9, 0xff, 0xff),
        ends(0xda, 0xff, 0xff),
        ends(0xdb, 0xff, 0xff),
    ]
};

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
    /// As the other provider keeps it, once it was asked for.
    #[cfg(feature = "aws-lc-rs")]
    aws_lc: std::sync::Arc<std::sync::OnceLock<Option<PrivateKey>>>,
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
        Self {
            secret,
            public,
            #[cfg(feature = "aws-lc-rs")]
            aws_lc: Default::default(),
        }
    }

    /// The 32 bytes, for storage.
    pub fn to_bytes(&self) -> Secret<[u8; KEY_LEN]> {
        Secret::new(self.secret.to_bytes())
    }

    /// Its public key.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn with(&self, provider: Provider) -> Option<PrivateKey> {
        match provider {
            Provider::RustCrypto => Some(PrivateKey::RustCrypto(self.secret.clone())),
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLc => self.aws_lc.get_or_init(|| PrivateKey::new(provider, self.expose())).clone(),
            #[cfg(fuzzing)]
            Provider::Null => PrivateKey::new(provider, self.expose()),
        }
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
