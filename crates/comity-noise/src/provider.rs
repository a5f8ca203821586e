//! Where the primitives come from: a value, chosen by the caller, with one AEAD interface over all of them.

use crate::Error;
use crate::limits::TAG;
use aes_gcm::aead::KeyInit as _;
use aes_gcm::{AeadInOut as _, Aes256Gcm};
#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs::agreement;
#[cfg(feature = "aws-lc-rs")]
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// Bytes of an AES-256 key.
pub(crate) const CIPHER_KEY: usize = 32;

/// An implementation of the primitives: AES-256-GCM, SHA-256 and X25519. All of them give the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// Pure Rust: `aes-gcm`, `sha2`, `x25519-dalek`.
    #[default]
    RustCrypto,
    /// `aws-lc-rs`: several times faster on bulk data.
    #[cfg(feature = "aws-lc-rs")]
    AwsLc,
    /// None: for a fuzzer, to reach what stands behind the ciphers. To agree is to add public keys, to seal is to append
    /// zeros.
    #[cfg(fuzzing)]
    Null,
}

/// An X25519 private key as its provider keeps it: taken in once, not at each agreement. Zeroized on drop.
#[derive(Clone)]
pub(crate) enum PrivateKey {
    RustCrypto(StaticSecret),
    #[cfg(feature = "aws-lc-rs")]
    AwsLc(Arc<agreement::PrivateKey>),
    /// The public half.
    #[cfg(fuzzing)]
    Null([u8; 32]),
}

impl PrivateKey {
    pub(crate) fn new(provider: Provider, private: &[u8; 32]) -> Option<Self> {
        match provider {
            Provider::RustCrypto => Some(Self::RustCrypto(StaticSecret::from(*private))),
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLc => {
                let private = agreement::PrivateKey::from_private_key(&agreement::X25519, private).ok()?;
                Some(Self::AwsLc(Arc::new(private)))
            }
            #[cfg(fuzzing)]
            Provider::Null => Some(Self::Null(x25519_dalek::PublicKey::from(&StaticSecret::from(*private)).to_bytes())),
        }
    }

    /// The public half.
    pub(crate) fn public(&self) -> Option<[u8; 32]> {
        match self {
            Self::RustCrypto(private) => Some(x25519_dalek::PublicKey::from(private).to_bytes()),
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLc(private) => private.compute_public_key().ok()?.as_ref().try_into().ok(),
            #[cfg(fuzzing)]
            Self::Null(public) => Some(*public),
        }
    }

    /// The X25519 agreement; `None` if it is zero, as it is with every low-order point.
    pub(crate) fn agree(&self, theirs: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = match self {
            Self::RustCrypto(private) => {
                Zeroizing::new(private.diffie_hellman(&x25519_dalek::PublicKey::from(*theirs)).to_bytes())
            }
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLc(private) => {
                let theirs = agreement::UnparsedPublicKey::new(&agreement::X25519, theirs);
                agreement::agree(private, theirs, (), |shared| shared.try_into().map(Zeroizing::new).map_err(|_| ()))
                    .ok()?
            }
            #[cfg(fuzzing)]
            Self::Null(public) => {
                let mut sum = Zeroizing::new(*public);
                sum.iter_mut().zip(theirs).for_each(|(a, b)| *a = a.wrapping_add(*b));
                sum
            }
        };
        if bool::from(shared.ct_eq(&[0; 32])) { None } else { Some(shared) }
    }
}

/// An expanded AES-256-GCM key; zeroized on drop.
pub(crate) enum AeadKey {
    RustCrypto(Box<Aes256Gcm>),
    #[cfg(feature = "aws-lc-rs")]
    AwsLc(Box<aws_lc_rs::aead::LessSafeKey>),
    #[cfg(fuzzing)]
    Null,
}

/// The tag is wrong, or the text longer than the mode allows.
pub(crate) struct AeadFailure;

impl AeadKey {
    pub(crate) fn new(provider: Provider, key: &[u8; CIPHER_KEY]) -> Result<Self, Error> {
        match provider {
            Provider::RustCrypto => Ok(Self::RustCrypto(Box::new(Aes256Gcm::new(key.into())))),
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLc => aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, key)
                .map(|key| Self::AwsLc(Box::new(aws_lc_rs::aead::LessSafeKey::new(key))))
                .map_err(|_| Error::Bug("cipher key")),
            #[cfg(fuzzing)]
            Provider::Null => Ok(Self::Null),
        }
    }

    /// Encrypts `text` in place and gives its tag.
    pub(crate) fn seal(&self, counter: u64, aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG], AeadFailure> {
        self.seal_with(nonce(counter), aad, text)
    }

    /// Decrypts `sealed`, text and tag, in place; the text's length. After a failure the content is unspecified.
    pub(crate) fn open(&self, counter: u64, aad: &[u8], sealed: &mut [u8]) -> Result<usize, AeadFailure> {
        self.open_with(nonce(counter), aad, sealed)
    }

    fn seal_with(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG], AeadFailure> {
        match self {
            Self::RustCrypto(key) => {
                key.encrypt_inout_detached(&nonce.into(), aad, text.into()).map(Into::into).map_err(|_| AeadFailure)
            }
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| AeadFailure)?;
                tag.as_ref().try_into().map_err(|_| AeadFailure)
            }
            #[cfg(fuzzing)]
            Self::Null => Ok([0; TAG]),
        }
    }

    fn open_with(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Result<usize, AeadFailure> {
        let len = sealed.len().checked_sub(TAG).ok_or(AeadFailure)?;
        match self {
            Self::RustCrypto(key) => {
                let (text, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(AeadFailure)?;
                key.decrypt_inout_detached(&nonce.into(), aad, text.into(), (&*tag).into()).map_err(|_| AeadFailure)?;
            }
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| AeadFailure)?;
            }
            // The first byte of the tag alone decides, so that both ways are easily found.
            #[cfg(fuzzing)]
            Self::Null if sealed.get(len) == Some(&0) => {}
            #[cfg(fuzzing)]
            Self::Null => return Err(AeadFailure),
        }
        Ok(len)
    }
}

/// Four zero bytes and the counter, big-endian (PROTOCOL §5.2).
fn nonce(counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_be_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let text = if text == "-" { "" } else { text };
        text.as_bytes().chunks(2).map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 16).unwrap()).collect()
    }

    fn fields(line: &str) -> Vec<&str> {
        line.split(' ').collect()
    }

    fn providers() -> Vec<Provider> {
        vec![
            Provider::RustCrypto,
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLc,
        ]
    }

    #[test]
    fn wycheproof_x25519() {
        let tests = include_str!("../tests/data/wycheproof/x25519.txt").lines().skip(1).map(fields);
        let mut zero = 0;
        for (test, provider) in tests.flat_map(|t| providers().into_iter().map(move |p| (t.clone(), p))) {
            let [private, public, shared] = [2, 3, 4].map(|n| <[u8; 32]>::try_from(unhex(test[n])).unwrap());
            let agreed = PrivateKey::new(provider, &private).unwrap().agree(&public);
            if test[5].contains("ZeroSharedSecret") {
                assert!(agreed.is_none(), "{test:?}");
                assert!(crate::PublicKey::from_bytes(public).is_low_order(), "{test:?}");
                zero += 1;
            } else {
                assert_eq!(*agreed.unwrap(), shared, "{test:?}");
            }
        }
        assert_eq!(zero, 31 * providers().len());
    }

    /// The nonces are not counters there, so the AEAD under the counter is what is tried.
    #[test]
    fn wycheproof_aes_gcm() {
        for test in include_str!("../tests/data/wycheproof/aes256gcm.txt").lines().skip(1).map(fields) {
            let [key, iv, aad, text, sealed, tag] = [2, 3, 4, 5, 6, 7].map(|n| unhex(test[n]));
            let (key, iv) = (<[u8; 32]>::try_from(key).unwrap(), <[u8; 12]>::try_from(iv).unwrap());
            for provider in providers() {
                let aead = AeadKey::new(provider, &key).unwrap();
                let mut buf = [&sealed[..], &tag].concat();
                let opened = aead.open_with(iv, &aad, &mut buf);
                if test[1] == "valid" {
                    assert_eq!(opened.ok().map(|n| buf[..n].to_vec()), Some(text.clone()), "{test:?}");
                    let mut buf = text.clone();
                    let made = aead.seal_with(iv, &aad, &mut buf).ok();
                    assert_eq!((made.map(|t| t.to_vec()), buf), (Some(tag.clone()), sealed.clone()), "{test:?}");
                } else {
                    assert!(opened.is_err(), "{test:?}");
                }
            }
        }
    }
}
