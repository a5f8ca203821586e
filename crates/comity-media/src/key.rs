//! The key of one file and what is derived from it (PROTOCOL §10, format 1).

use crate::{Error, MediaKind};
use aes::Aes256;
use cbc::cipher::KeyIvInit;
use comity_core::{CryptoRng, Secret};
use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) type HmacSha256 = Hmac<Sha256>;

/// Bytes of a MAC as it stands in the file and in the sidecar.
pub(crate) const MAC_LEN: usize = 10;
/// AES's block.
pub(crate) const BLOCK_LEN: usize = 16;

/// The 32 secret bytes that travel in the message and open one file. Never used for a second file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaKey(Secret<[u8; 32]>);

impl MediaKey {
    /// Draws a fresh key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(Secret::new(*bytes))
    }

    /// A key that came with a message.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(|bytes| Self(Secret::new(bytes))).map_err(|_| Error::KeyLength)
    }

    /// The bytes, for the message's `mediaKey`.
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl From<[u8; 32]> for MediaKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }
}

/// iv ‖ cipher key ‖ MAC key ‖ reference key. The last one is derived by others and used by nobody.
pub(crate) struct Derived(Zeroizing<[u8; 112]>);

impl Derived {
    pub(crate) fn new(kind: MediaKind, key: &MediaKey) -> Self {
        let mut okm = Zeroizing::new([0; 112]);
        let done = hkdf::Hkdf::<Sha256>::new(None, key.expose()).expand(kind.hkdf_info().as_bytes(), okm.as_mut());
        debug_assert!(done.is_ok(), "112 bytes are within HKDF's 8,160");
        Self(okm)
    }

    pub(crate) fn iv(&self) -> [u8; BLOCK_LEN] {
        self.part(0)
    }

    fn cipher_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.part(16))
    }

    fn part<const N: usize>(&self, from: usize) -> [u8; N] {
        let mut part = [0; N];
        part.iter_mut().zip(self.0.iter().skip(from)).for_each(|(to, from)| *to = *from);
        part
    }

    pub(crate) fn encryptor(&self) -> cbc::Encryptor<Aes256> {
        cbc::Encryptor::new((&*self.cipher_key()).into(), &self.iv().into())
    }

    /// A decryptor that starts after `previous`: the iv, or the cipher block before the first one.
    pub(crate) fn decryptor(&self, previous: [u8; BLOCK_LEN]) -> cbc::Decryptor<Aes256> {
        cbc::Decryptor::new((&*self.cipher_key()).into(), &previous.into())
    }

    /// HMAC under the MAC key, nothing fed yet. (HMAC pads a short key with zeros to the hash's block.)
    pub(crate) fn mac(&self) -> HmacSha256 {
        let mut padded = Zeroizing::new([0; 64]);
        padded.iter_mut().zip(self.part::<32>(48)).for_each(|(to, from)| *to = from);
        HmacSha256::new((&*padded).into())
    }
}

/// The first bytes of a finished MAC.
pub(crate) fn tag(mac: HmacSha256) -> [u8; MAC_LEN] {
    use hmac::Mac;
    let full = mac.finalize().into_bytes();
    let mut tag = [0; MAC_LEN];
    tag.iter_mut().zip(full).for_each(|(to, from)| *to = from);
    tag
}
