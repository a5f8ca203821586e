//! "Media gone" (PROTOCOL §10): what a recipient asks the sender, and what the sender answers, sealed under the file's
//! media key. The protobuf inside is the caller's.

use crate::{Error, MediaKey};
use aes_gcm::aead::KeyInit as _;
use aes_gcm::{AeadInOut as _, Aes256Gcm};
use bytes::{Bytes, BytesMut};
use comity_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Longest sealed message that is opened, in bytes.
pub const MAX_RETRY_LEN: usize = 4096;

const INFO: &[u8] = b"WhatsApp Media Retry Notification";
const TAG_LEN: usize = 16;

/// `<enc_p/>` and `<enc_iv/>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRetry {
    /// The protobuf, encrypted, and its tag.
    pub enc_p: Bytes,
    /// The iv.
    pub enc_iv: [u8; 12],
}

fn cipher(key: &MediaKey) -> Aes256Gcm {
    let mut retry_key = Zeroizing::new([0; 32]);
    let done = hkdf::Hkdf::<Sha256>::new(None, key.expose()).expand(INFO, retry_key.as_mut());
    debug_assert!(done.is_ok(), "32 bytes are within HKDF's 8,160");
    Aes256Gcm::new((&*retry_key).into())
}

/// Seals an encoded `ServerErrorReceipt` or `MediaRetryNotification` about the message `message_id`, with a fresh iv.
///
/// # Errors
/// [`Error::TooLarge`] past [`MAX_RETRY_LEN`].
pub fn seal_retry(
    key: &MediaKey,
    message_id: &str,
    encoded: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<SealedRetry, Error> {
    let too_large = Error::TooLarge { max: (MAX_RETRY_LEN - TAG_LEN) as u64 };
    if encoded.len() > MAX_RETRY_LEN - TAG_LEN {
        return Err(too_large);
    }
    let mut enc_iv = [0; 12];
    rng.fill_bytes(&mut enc_iv);
    let mut text = BytesMut::from(encoded);
    let tag = cipher(key).encrypt_inout_detached(&enc_iv.into(), message_id.as_bytes(), text.as_mut().into());
    text.extend_from_slice(&tag.map_err(|_| too_large)?);
    Ok(SealedRetry { enc_p: text.freeze(), enc_iv })
}

/// Opens what [`seal_retry`] sealed: the encoded protobuf.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Mac`] unless it was sealed with this key, for this message.
pub fn open_retry(key: &MediaKey, message_id: &str, sealed: &SealedRetry) -> Result<Zeroizing<Vec<u8>>, Error> {
    if sealed.enc_p.len() > MAX_RETRY_LEN {
        return Err(Error::TooLarge { max: MAX_RETRY_LEN as u64 });
    }
    let (text, tag) = sealed.enc_p.split_last_chunk::<TAG_LEN>().ok_or(Error::Mac)?;
    let mut text = Zeroizing::new(text.to_vec());
    let (nonce, buffer) = (sealed.enc_iv.into(), text.as_mut_slice().into());
    let opened = cipher(key).decrypt_inout_detached(&nonce, message_id.as_bytes(), buffer, tag.into());
    opened.map_err(|_| Error::Mac)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_nothing_else() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let key = MediaKey::from([7; 32]);
        let plain = b"\x0a\x043EB0\x12\x05/v/t1\x18\x01";
        let sealed = seal_retry(&key, "3EB0", plain, &mut rng).unwrap();
        assert_eq!(sealed.enc_p.len(), plain.len() + TAG_LEN);
        assert_eq!(open_retry(&key, "3EB0", &sealed).unwrap().as_slice(), plain);
        assert_ne!(seal_retry(&key, "3EB0", plain, &mut rng).unwrap().enc_iv, sealed.enc_iv);
        assert_eq!(open_retry(&key, "3EB1", &sealed), Err(Error::Mac), "another message's");
        assert_eq!(open_retry(&[8; 32].into(), "3EB0", &sealed), Err(Error::Mac), "another file's");
        for at in 0..sealed.enc_p.len() {
            let mut flipped = sealed.enc_p.to_vec();
            flipped[at] ^= 1;
            let flipped = SealedRetry { enc_p: flipped.into(), ..sealed };
            assert_eq!(open_retry(&key, "3EB0", &flipped), Err(Error::Mac));
            let cut = SealedRetry { enc_p: sealed.enc_p.slice(..at), ..sealed };
            assert_eq!(open_retry(&key, "3EB0", &cut), Err(Error::Mac));
        }
        assert!(seal_retry(&key, "3EB0", &[0; MAX_RETRY_LEN], &mut rng).is_err());
        let long = SealedRetry { enc_p: vec![0; MAX_RETRY_LEN + 1].into(), enc_iv: [0; 12] };
        assert!(matches!(open_retry(&key, "3EB0", &long), Err(Error::TooLarge { .. })));
    }

    /// Sealed by npm baileys 7.0.0-rc14 (`encryptMediaRetryRequest`) with a key of 32 sevens, about the message `3EB0ABC`.
    #[test]
    fn a_foreign_one_opens() {
        let unhex = |text: &str| -> Vec<u8> {
            text.as_bytes().chunks(2).map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 16).unwrap()).collect()
        };
        let sealed = SealedRetry {
            enc_p: unhex("9afd0c758e1d62de3a9a7cd50496dedeb3edbdb6e91586a843").into(),
            enc_iv: unhex("2e14750bff72eb6b4791a221").try_into().unwrap(),
        };
        let opened = open_retry(&MediaKey::from([7; 32]), "3EB0ABC", &sealed).unwrap();
        assert_eq!(opened.as_slice(), b"\x0a\x073EB0ABC", "a ServerErrorReceipt");
    }
}
