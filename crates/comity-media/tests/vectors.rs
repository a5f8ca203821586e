//! Format 1 against files that a foreign implementation has encrypted.
#![allow(clippy::unwrap_used, reason = "tests")]

use comity_media::{Expected, MediaKey, MediaKind, decrypt, encrypt};
use serde_json::Value;

#[test]
fn foreign_files_come_out_the_same() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("data/baileys/format1.json")).unwrap();
    assert_eq!(vectors.len(), 35);
    for vector in vectors {
        let text = |name: &str| vector.get(name).unwrap().as_str().unwrap();
        let bytes = |name: &str| -> Vec<u8> {
            text(name)
                .as_bytes()
                .chunks(2)
                .map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 16).unwrap())
                .collect()
        };
        let kind: MediaKind = text("kind").parse().unwrap();
        let key = MediaKey::from_slice(&bytes("media_key")).unwrap();
        let length = vector.get("length").unwrap().as_u64().unwrap();
        let plain: Vec<u8> = (0..length).map(|i| (i * 7 + (i >> 8)) as u8).collect();

        let (file, encrypted) = encrypt(kind, &key, &plain).unwrap();
        assert_eq!(encrypted.file_enc_sha256.to_vec(), bytes("file_enc_sha256"), "{kind} of {length} bytes");
        assert_eq!(encrypted.file_sha256.to_vec(), bytes("file_sha256"));
        assert!(file.ends_with(&bytes("mac")));

        let expected = Expected {
            file_sha256: bytes("file_sha256").try_into().unwrap(),
            file_enc_sha256: bytes("file_enc_sha256").try_into().unwrap(),
            file_length: length,
        };
        assert!(decrypt(kind, &key, expected, &file).unwrap() == plain);
    }
}
