//! Format 2 through the public API: any chunking, seeking, and a table of damage at every segment's edge.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use bytes::{Bytes, BytesMut};
use comity_media::format2::{
    Decryptor, Encryptor, Expected, HEADER_LEN, LARGE_FILE_LEN, LARGE_SEGMENT_LEN, SMALL_SEGMENT_LEN, SegmentReader,
    decrypt, encrypt, encrypted_length,
};
use comity_media::{Error, Limits, MediaKey, MediaKind};
use core::convert::Infallible;
use proptest::prelude::*;

const SEGMENT: usize = SMALL_SEGMENT_LEN as usize;
const TAG: usize = 16;
const KEY: [u8; 32] = [9; 32];

/// A counter: what is made with it can be told apart and made again.
struct Counter(u8);

impl rand_core::TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0 = self.0.wrapping_add(1);
        Ok(u32::from(self.0))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.try_next_u32().map(u64::from)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.iter_mut().for_each(|byte| {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        });
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counter {}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ (i >> 11) as u8).collect()
}

fn sealed(len: usize, seed: u8) -> (Vec<u8>, Bytes) {
    let plain = data(len);
    let (file, encrypted) = encrypt(MediaKind::Image, &KEY.into(), &plain, &mut Counter(seed)).unwrap();
    assert_eq!(encrypted.encrypted_length, file.len() as u64);
    assert_eq!(encrypted.encrypted_length, encrypted_length(len as u64));
    (plain, file)
}

fn chunks<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut parts) = (bytes, Vec::new());
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(rest.len().min(*cut));
        parts.push(now);
        rest = later;
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_chunking_gives_the_same_file(len in 0usize..300_000, cuts in prop::collection::vec(1usize..150_000, 1..40)) {
        let (plain, whole) = sealed(len, 0);
        let key = MediaKey::from(KEY);
        let limits = Limits::default();
        let mut encryptor = Encryptor::new(MediaKind::Image, &key, len as u64, &limits, &mut Counter(0)).unwrap();
        let mut file = BytesMut::new();
        for chunk in chunks(&plain, &cuts) {
            encryptor.update(chunk, &mut file).unwrap();
        }
        let encrypted = encryptor.finish(&mut file).unwrap();
        prop_assert_eq!(encrypted.file_sha256, None);
        prop_assert_eq!(&file[..], &whole[..]);

        let expected = Expected::of_length(len as u64);
        let mut decryptor = Decryptor::new(MediaKind::Image, &key, expected, &limits).unwrap();
        let mut out = BytesMut::new();
        for chunk in chunks(&file, &cuts) {
            decryptor.update(chunk, &mut out).unwrap();
        }
        prop_assert_eq!(decryptor.finish().unwrap().file_length(), len as u64);
        prop_assert_eq!(&out[..], &plain[..]);
    }
}

/// Bytes of `damaged` up to which nothing was changed: whole segments before them, and nothing else, may come out.
fn refused(plain: &[u8], file: &[u8], damaged: &[u8], stated: usize, what: &str) {
    let same = file.iter().zip(damaged).take_while(|(a, b)| a == b).count();
    let whole = if same < HEADER_LEN { 0 } else { same / SEGMENT };
    let authentic = (whole * (SEGMENT - TAG)).saturating_sub(HEADER_LEN);
    for step in [usize::MAX, 10_007] {
        let expected = Expected::of_length(stated as u64);
        let mut decryptor = Decryptor::new(MediaKind::Image, &KEY.into(), expected, &Limits::default()).unwrap();
        let mut out = BytesMut::new();
        let mut failed = None;
        for chunk in damaged.chunks(step.min(damaged.len().max(1))) {
            // Going on after an error must not help.
            if let Err(error) = decryptor.update(chunk, &mut out) {
                failed = Some(error);
            }
        }
        assert!(out.len() <= authentic, "{what}: {} bytes came out, {authentic} are authentic", out.len());
        assert!(plain.starts_with(&out), "{what}");
        let end = decryptor.finish();
        assert!(end.is_err(), "{what}: {failed:?} {end:?}");
    }
}

#[test]
fn no_byte_of_damage_comes_out() {
    let edge = SEGMENT - TAG; // plaintext of a segment; the header is in the first
    for len in [0, 1, 17, edge - HEADER_LEN - 1, edge - HEADER_LEN, edge - HEADER_LEN + 1, 2 * edge, 3 * edge + 1000] {
        let (plain, file) = sealed(len, 0);
        let (_, other) = sealed(len, 77);
        let mut tried = 0;
        let mut refuse = |damaged: &[u8], what: String| {
            refused(&plain, &file, damaged, len, &what);
            tried += 1;
        };
        let mut edges: Vec<usize> = vec![0, HEADER_LEN, file.len()];
        edges.extend((1..=file.len() / SEGMENT).map(|n| n * SEGMENT));
        edges.sort_unstable();
        for at in edges.iter().copied() {
            for distance in -16isize..=16 {
                let Some(at) = at.checked_add_signed(distance).filter(|at| *at <= file.len()) else { continue };
                if at < file.len() {
                    refuse(&file[..at], format!("{len}: cut at {at}"));
                    let mut flipped = file.to_vec();
                    flipped[at] ^= 0x10;
                    refuse(&flipped, format!("{len}: flip at {at}"));
                    let gap = [&file[..at], &file[at + 1..]].concat();
                    refuse(&gap, format!("{len}: without {at}"));
                }
                let more = [&file[..at], b"\x01", &file[at..]].concat();
                refuse(&more, format!("{len}: a byte more at {at}"));
            }
        }
        for more in 1..=16 {
            refuse(&[&file[..], &vec![0; more]].concat(), format!("{len}: {more} bytes appended"));
        }
        refuse(&[&file[..], &file[..]].concat(), format!("{len}: twice"));
        refuse(&[&other[..HEADER_LEN], &file[HEADER_LEN..]].concat(), format!("{len}: another file's header"));
        let segments: Vec<&[u8]> = file.chunks(SEGMENT).collect();
        for (a, b) in (0..segments.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let mut swapped = segments.clone();
            swapped.swap(a, b);
            refuse(&swapped.concat(), format!("{len}: segments {a} and {b} swapped"));
            let mut copied = segments.clone();
            copied[a] = segments[b];
            refuse(&copied.concat(), format!("{len}: segment {b} for {a}"));
            let mut foreign = file.to_vec();
            let at = a * SEGMENT;
            let end = (at + SEGMENT).min(file.len());
            foreign[at..end].copy_from_slice(&other[at..end]);
            refuse(&foreign, format!("{len}: segment {a} of another file"));
        }
        assert!(tried >= 100, "{tried}");
    }
}

/// The length that the message states is authenticated too: no other fits the file, not even one at a segment's end.
#[test]
fn another_stated_length_is_refused() {
    let edge = SEGMENT - TAG;
    let len = 3 * edge + 1000;
    let (plain, file) = sealed(len, 0);
    for n in 1..=3 {
        let (stated, cut) = (n * edge - HEADER_LEN, n * SEGMENT);
        let mut decryptor =
            Decryptor::new(MediaKind::Image, &KEY.into(), Expected::of_length(stated as u64), &Limits::default())
                .unwrap();
        let mut out = BytesMut::new();
        assert_eq!(decryptor.update(&file[..cut], &mut out), Err(Error::Mac), "cut at segment {n}");
        assert_eq!(out.len(), ((n - 1) * edge).saturating_sub(HEADER_LEN));
        assert!(plain.starts_with(&out));
        assert_eq!(decryptor.finish(), Err(Error::Mac));
    }
    for stated in [0, 1, len - 1, len + 1, 4 * edge, len + edge] {
        let expected = Expected::of_length(stated as u64);
        assert!(decrypt(MediaKind::Image, &KEY.into(), expected, &file).is_err(), "{stated}");
    }
}

#[test]
fn another_kind_key_or_hash_is_refused() {
    let (plain, file) = sealed(1000, 0);
    let expected = Expected::of_length(1000);
    assert_eq!(decrypt(MediaKind::Sticker, &KEY.into(), expected, &file), Err(Error::Mac));
    assert_eq!(decrypt(MediaKind::Image, &[8; 32].into(), expected, &file), Err(Error::Mac));
    assert_eq!(decrypt(MediaKind::Image, &KEY.into(), expected, &file).unwrap(), plain);
    let wrong = Expected { file_sha256: Some([0; 32]), ..expected };
    assert_eq!(decrypt(MediaKind::Image, &KEY.into(), wrong, &file), Err(Error::Hash));
    let wrong = Expected { file_enc_sha256: Some([0; 32]), ..expected };
    assert_eq!(decrypt(MediaKind::Image, &KEY.into(), wrong, &file), Err(Error::EncHash));
    let mut header = file.to_vec();
    header[0] = 39;
    assert_eq!(decrypt(MediaKind::Image, &KEY.into(), expected, &header), Err(Error::Header));
}

#[test]
fn segments_open_alone_and_in_any_order() {
    let edge = SEGMENT - TAG;
    for len in [0, 1, edge - HEADER_LEN, edge - HEADER_LEN + 1, 2 * edge, 3 * edge + 5] {
        let (plain, file) = sealed(len, 0);
        let header = file.first_chunk().unwrap();
        let reader = SegmentReader::new(MediaKind::Image, &KEY.into(), header, len as u64, &Limits::default()).unwrap();
        let mut at = file.len();
        for n in (0..reader.segments()).rev() {
            let range = reader.encrypted_range(n).unwrap();
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert_eq!(range.end, at, "segments stand one after the other");
            at = range.start;
            let opened = reader.open(n, &file[range.clone()]).unwrap();
            let within = reader.plain_range(n).unwrap();
            assert_eq!(opened, plain[within.start as usize..within.end as usize]);
            for offset in within {
                assert_eq!(reader.segment_at(offset), n);
            }
            for at in [range.start, range.end - 1] {
                let mut forged = file.to_vec();
                forged[at] ^= 0x80;
                assert_eq!(reader.open(n, &forged[range.clone()]), Err(Error::Mac));
            }
            assert!(reader.open(n + 1, &file[range]).is_err());
        }
        assert_eq!(at, HEADER_LEN);
        assert_eq!(reader.open(reader.segments(), b""), Err(Error::Segment));
        assert_eq!(reader.open(0, b""), Err(Error::Segment));
    }
}

/// A large file moves through in buffers that do not grow; its segments are the large ones.
#[test]
fn large_files_have_large_segments_and_small_buffers() {
    let len = LARGE_FILE_LEN + 12_345;
    let key = MediaKey::from(KEY);
    let mut encryptor =
        Encryptor::new(MediaKind::Video, &key, len, &Limits::default(), &mut Counter(3)).unwrap().with_hashes();
    let mut file = Vec::new();
    let (chunk, mut left, mut out) = (vec![0x5a; 100_000], len as usize, BytesMut::new());
    while left > 0 {
        let now = left.min(chunk.len());
        encryptor.update(&chunk[..now], &mut out).unwrap();
        assert!(out.len() <= LARGE_SEGMENT_LEN as usize + chunk.len());
        file.extend_from_slice(&out);
        out.clear();
        left -= now;
    }
    let encrypted = encryptor.finish(&mut out).unwrap();
    file.extend_from_slice(&out);
    assert_eq!(file.len() as u64, encrypted_length(len));
    assert_eq!(encrypted_length(len), len + HEADER_LEN as u64 + 65 * TAG as u64);
    let mut decryptor = Decryptor::new(MediaKind::Video, &key, encrypted.expected(), &Limits::default()).unwrap();
    let (mut total, mut out) = (0, BytesMut::new());
    for part in file.chunks(100_000) {
        decryptor.update(part, &mut out).unwrap();
        assert!(out.capacity() <= 2 * LARGE_SEGMENT_LEN as usize);
        assert!(out.iter().all(|byte| *byte == 0x5a));
        total += out.len() as u64;
        out.clear();
    }
    assert_eq!(decryptor.finish().unwrap().file_length(), len);
    assert_eq!(total, len);
}

#[test]
fn stated_lengths_hold() {
    let (key, limits) = (MediaKey::from(KEY), Limits::default().with_max_file_len(10));
    let new = |len: u64, limits: &Limits| Encryptor::new(MediaKind::Image, &key, len, limits, &mut Counter(0));
    assert_eq!(new(11, &limits).err(), Some(Error::TooLarge { max: 10 }));
    let all = Limits::default().with_max_file_len(u64::MAX);
    assert!(matches!(new(u64::MAX, &all), Err(Error::TooLarge { .. })), "segments are counted in 32 bits");
    let (mut encryptor, mut out) = (new(10, &limits).unwrap(), BytesMut::new());
    assert_eq!(encryptor.update(&[0; 11], &mut out), Err(Error::FileLength { stated: 10, actual: 11 }));
    encryptor.update(&[0; 9], &mut out).unwrap();
    assert_eq!(encryptor.finish(&mut out).unwrap_err(), Error::FileLength { stated: 10, actual: 9 });
    for stated in [11, u64::MAX] {
        let hostile = Expected::of_length(stated);
        assert!(matches!(Decryptor::new(MediaKind::Image, &key, hostile, &limits), Err(Error::TooLarge { .. })));
    }
}
