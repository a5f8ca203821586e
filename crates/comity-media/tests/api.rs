//! Format 1 through the public API: round trips in any chunking, every cut, flip and extension refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use bytes::{Bytes, BytesMut};
use comity_media::{
    Decryptor, Encryptor, Error, Expected, Limits, MediaKey, MediaKind, SEGMENT_LEN, SegmentReader, Unverified,
    check_declared, decrypt, encrypt, encrypted_length, sniff,
};
use proptest::prelude::*;

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ (i >> 11) as u8).collect()
}

const KEY: [u8; 32] = [9; 32];

fn sealed(kind: MediaKind, len: usize) -> (Vec<u8>, Bytes, Expected) {
    let plain = data(len);
    let (file, encrypted) = encrypt(kind, &KEY.into(), &plain).unwrap();
    (plain, file, (&encrypted).into())
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_file(len in 0usize..200_000, cuts in prop::collection::vec(1usize..70_000, 1..40)) {
        let (plain, whole, expected) = sealed(MediaKind::Video, len);
        let key = MediaKey::from(KEY);
        let (mut encryptor, mut file) = (Encryptor::new(MediaKind::Video, &key), BytesMut::new());
        let mut rest = &plain[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (now, later) = rest.split_at(rest.len().min(*cut));
            encryptor.update(now, &mut file).unwrap();
            rest = later;
        }
        let encrypted = encryptor.finish(&mut file);
        prop_assert_eq!(&file[..], &whole[..]);
        prop_assert_eq!(Expected::from(&encrypted), expected);
        prop_assert_eq!(encrypted.encrypted_length, file.len() as u64);

        let mut decryptor = Decryptor::new(MediaKind::Video, &key, expected, &Limits::default()).unwrap();
        let mut out = Unverified::new();
        let mut rest = &file[..];
        for cut in cuts.iter().rev().cycle() {
            if rest.is_empty() { break }
            let (now, later) = rest.split_at(rest.len().min(*cut));
            decryptor.update(now, &mut out).unwrap();
            rest = later;
        }
        let proof = decryptor.finish(&mut out).unwrap();
        prop_assert_eq!(out.release(&proof), plain);
    }
}

#[test]
fn every_flip_cut_and_extension_is_refused_and_the_last_block_withheld() {
    for len in [0, 1, 15, 16, 17, 31, 32, 100] {
        let (_, file, expected) = sealed(MediaKind::Document, len);
        let refused = |bytes: &[u8]| {
            let mut decryptor = Decryptor::new(MediaKind::Document, &KEY.into(), expected, &Limits::default()).unwrap();
            let mut out = Unverified::new();
            let done = decryptor.update(bytes, &mut out).and_then(|()| decryptor.finish(&mut out));
            assert!(out.len() <= len / 16 * 16, "a byte of the last block got out");
            done.unwrap_err()
        };
        for at in 0..file.len() {
            assert!(matches!(refused(&file[..at]), Error::Truncated { .. }));
            let mut flipped = file.to_vec();
            flipped[at] ^= 1;
            assert_eq!(refused(&flipped), Error::EncHash);
        }
        let longer = [&file[..], b"x"].concat();
        assert!(matches!(refused(&longer), Error::Overlong { .. }));
    }
}

/// With a matching `fileEncSHA256` (the sender, or whoever forged the message, controls it) the MAC still decides.
#[test]
fn mac_and_plaintext_hash_are_checked_on_their_own() {
    use sha2::{Digest, Sha256};
    let (_, file, expected) = sealed(MediaKind::Image, 1000);
    let mut forged = file.to_vec();
    forged[0] ^= 1;
    let with_hash = Expected { file_enc_sha256: Sha256::digest(&forged).into(), ..expected };
    assert_eq!(decrypt(MediaKind::Image, &KEY.into(), with_hash, &forged).unwrap_err(), Error::Mac);
    assert_eq!(decrypt(MediaKind::Video, &KEY.into(), expected, &file).unwrap_err(), Error::Mac, "another kind's keys");
    assert_eq!(decrypt(MediaKind::Image, &[8; 32].into(), expected, &file).unwrap_err(), Error::Mac);
    let other_plain = Expected { file_sha256: [0; 32], ..expected };
    assert_eq!(decrypt(MediaKind::Image, &KEY.into(), other_plain, &file).unwrap_err(), Error::Hash);
    for file_length in [992, 999, 1001, 1007] {
        let other_length = Expected { file_length, ..expected };
        assert_eq!(decrypt(MediaKind::Image, &KEY.into(), other_length, &file).unwrap_err(), Error::Padding);
    }
}

#[test]
fn limits_hold_before_anything_is_read() {
    let small = Limits::default().with_max_file_len(10);
    let mut out = BytesMut::new();
    let mut encryptor = Encryptor::new(MediaKind::Image, &KEY.into()).with_limits(small);
    encryptor.update(&[0; 10], &mut out).unwrap();
    assert_eq!(encryptor.update(&[0], &mut out), Err(Error::TooLarge { max: 10 }));
    assert_eq!(encryptor.finish(&mut out).file_length, 10);
    let hostile = Expected { file_sha256: [0; 32], file_enc_sha256: [0; 32], file_length: u64::MAX };
    assert!(matches!(
        Decryptor::new(MediaKind::Image, &KEY.into(), hostile, &Limits::default()),
        Err(Error::TooLarge { .. })
    ));
    let all = Limits::default().with_max_file_len(u64::MAX);
    assert!(Decryptor::new(MediaKind::Image, &KEY.into(), hostile, &all).is_ok(), "no overflow");
}

#[test]
fn segments_open_alone_and_in_any_order() {
    let step = usize::try_from(SEGMENT_LEN).unwrap();
    for len in [0, 1, 16, step - 17, step - 16, step - 11, step - 1, step, step + 1, 3 * step - 16, 3 * step + 5] {
        let plain = data(len);
        let key = MediaKey::from(KEY);
        let (file, encrypted) = encrypt(MediaKind::Video, &key, &plain).unwrap();
        let sidecar = encrypted.sidecar.unwrap();
        let limits = Limits::default();
        let reader = SegmentReader::new(MediaKind::Video, &key, sidecar.clone(), len as u64, &limits).unwrap();
        let mut parts = Vec::new();
        for n in (0..reader.segments()).rev() {
            let range = reader.encrypted_range(n).unwrap();
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            parts.push(reader.open(n, &file[range.clone()]).unwrap());
            for at in [range.start, range.end - 1] {
                let mut forged = file.to_vec();
                forged[at] ^= 0x80;
                assert_eq!(reader.open(n, &forged[range.clone()]), Err(Error::Mac));
            }
        }
        parts.reverse();
        assert_eq!(parts.concat(), plain);
        assert_eq!(reader.open(reader.segments(), b""), Err(Error::Segment));
        assert_eq!(reader.open(0, b""), Err(Error::Segment));
        let short = sidecar.slice(..sidecar.len() - 1);
        assert!(SegmentReader::new(MediaKind::Video, &key, short, len as u64, &limits).is_err());
    }
}

#[test]
fn kinds_follow_their_table() {
    for kind in MediaKind::ALL {
        assert_eq!(kind.mms_type().parse(), Ok(kind));
        let (_, encrypted) = encrypt(kind, &KEY.into(), b"x").unwrap();
        assert_eq!(encrypted.sidecar.is_some(), kind == MediaKind::Video);
    }
    assert!("voice".parse::<MediaKind>().is_err());
    assert_eq!(encrypted_length(0), 26);
    assert_eq!(encrypted_length(16), 42);
}

#[test]
fn a_key_is_32_bytes_and_silent() {
    assert_eq!(MediaKey::from_slice(&[1; 31]), Err(Error::KeyLength));
    assert_eq!(MediaKey::from_slice(&[1; 32]).unwrap(), MediaKey::from([1; 32]));
    assert!(!format!("{:?}", MediaKey::from([1; 32])).contains('1'));
}

#[test]
fn files_are_known_by_their_first_bytes() {
    let cases: [(&[u8], &str, MediaKind, bool); 9] = [
        (b"\xff\xd8\xff\xe0", "image/jpeg", MediaKind::Image, false),
        (b"\x89PNG\r\n\x1a\n", "image/png", MediaKind::Image, false),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", MediaKind::Image, false),
        (b"\0\0\0\x20ftypisom", "video/mp4", MediaKind::Video, false),
        (b"OggS\0\0OpusHead", "audio/ogg; codecs=opus", MediaKind::Audio, false),
        (b"ID3\x04", "audio/mpeg", MediaKind::Audio, false),
        (b"%PDF-1.7", "application/pdf", MediaKind::Document, false),
        (b"\x7fELF\x02", "application/x-executable", MediaKind::Document, true),
        (b"", "application/octet-stream", MediaKind::Document, false),
    ];
    for (head, mime, kind, executable) in cases {
        let sniffed = sniff(head);
        assert_eq!((sniffed.mime, sniffed.kind, sniffed.executable), (mime, kind, executable));
    }
}

#[test]
fn programs_come_under_their_own_name_or_not_at_all() {
    for head in [&b"MZ\x90"[..], b"\x7fELF\x02", b"\xcf\xfa\xed\xfe", b"#!/bin/sh"] {
        let program = sniff(head);
        assert_eq!(check_declared(program.mime, &program), Ok(()));
        for declared in ["image/jpeg", "application/pdf", "application/octet-stream", "", "text/plain"] {
            assert_eq!(check_declared(declared, &program), Err(Error::Disguised), "{declared}");
        }
    }
    assert_eq!(check_declared("image/png", &sniff(b"\xff\xd8\xff")), Ok(()), "careless, not dangerous");
    assert_eq!(check_declared("Text/X-ShellScript; charset=utf-8", &sniff(b"#!/bin/sh")), Ok(()));
}
