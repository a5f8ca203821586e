//! Message encryption for Web Push: RFC 8291 over the `aes128gcm` content coding of RFC 8188, one record.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use comity_core::Secret;

/// The record size that is stated; the one record is shorter.
const RECORD_SIZE: u32 = 4096;

/// Whether these are an uncompressed point of P-256.
pub(crate) fn is_public_key(bytes: &[u8]) -> bool {
    bytes.len() == 65
        && bytes.first() == Some(&4)
        && ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, bytes)).is_ok()
}

/// Encrypts `plaintext` for the device with the public key `p256dh` and the secret `auth`, under a key pair and a salt that are
/// used this once.
pub(crate) fn encrypt(
    plaintext: &[u8],
    p256dh: &[u8; 65],
    auth: &Secret<[u8; 16]>,
    sender: &PrivateKey,
    salt: [u8; 16],
) -> Result<Vec<u8>, Unspecified> {
    let sender_public = sender.compute_public_key()?;
    let sender_public = sender_public.as_ref();
    // RFC 8291 §3.4.
    let info = [b"WebPush: info\0".as_slice(), p256dh, sender_public];
    let mut ikm = Secret::new([0; 32]);
    agree(sender, UnparsedPublicKey::new(&ECDH_P256, p256dh), Unspecified, |shared| {
        derive(auth.expose(), shared, &info, &mut ikm)
    })?;
    // RFC 8188 §2.2, §2.3.
    let (mut key, mut nonce) = (Secret::new([0; 16]), Secret::new([0; 12]));
    derive(&salt, ikm.expose(), &[b"Content-Encoding: aes128gcm\0"], &mut key)?;
    derive(&salt, ikm.expose(), &[b"Content-Encoding: nonce\0"], &mut nonce)?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.expose())?);
    let mut record = [plaintext, &[2]].concat(); // 2: the last record
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(*nonce.expose()), Aad::empty(), &mut record)?;
    let id_len = u8::try_from(sender_public.len()).map_err(|_| Unspecified)?;
    Ok([&salt, RECORD_SIZE.to_be_bytes().as_slice(), &[id_len], sender_public, &record].concat())
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(
    salt: &[u8],
    ikm: &[u8],
    info: &[&[u8]],
    out: &mut Secret<[u8; N]>,
) -> Result<(), Unspecified> {
    let mut bytes = [0; N];
    Salt::new(HKDF_SHA256, salt).extract(ikm).expand(info, Len(N))?.fill(&mut bytes)?;
    *out = Secret::new(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn vector(name: &str) -> Vec<u8> {
        let all = include_str!("../../tests/data/rfc8291/example.txt");
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(line).unwrap()
    }

    /// RFC 8291, appendix A.
    #[test]
    fn the_example_of_the_rfc() {
        let sender = PrivateKey::from_private_key(&ECDH_P256, &vector("as_private")).unwrap();
        assert_eq!(sender.compute_public_key().unwrap().as_ref(), vector("as_public"));
        let (p256dh, auth) = (vector("ua_public").try_into().unwrap(), vector("auth").try_into().unwrap());
        let salt = vector("salt").try_into().unwrap();
        let sealed = encrypt(&vector("plaintext"), &p256dh, &Secret::new(auth), &sender, salt).unwrap();
        assert_eq!(sealed, vector("message"));
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        let good = vector("ua_public");
        assert!(is_public_key(&good));
        let mut bad = good.clone();
        bad[64] ^= 1;
        for bad in [bad, good[..64].to_vec(), [&good[..], &[0]].concat(), vec![0; 65], vec![4; 65], Vec::new()] {
            assert!(!is_public_key(&bad));
            let Ok(bad) = bad.try_into() else { continue };
            let sender = PrivateKey::generate(&ECDH_P256).unwrap();
            assert!(encrypt(b"x", &bad, &Secret::new([0; 16]), &sender, [0; 16]).is_err());
        }
    }
}
