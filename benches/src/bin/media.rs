//! Our side of `cargo xtask bench media`: for each line `{"cmd":"encrypt","path"}` encrypts that file into another one
//! and answers the nanoseconds; for `{"bench"}` those of format 2 over 4 MiB, or of its bare AEAD over as many segments; of format 1 over
//! 16 MiB in memory, or the least that its passes can take on two cores.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a program that measures time"
)]

use aes_gcm::aead::KeyInit as _;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm};
use bytes::BytesMut;
use cbc::cipher::{Array, BlockModeEncrypt as _, KeyIvInit as _};
use comity_benches::side::{Answer, time};
use comity_media::format2::{Decryptor, Encryptor, encrypt};
use comity_media::transfer::{Progress, encrypt_file, encrypt_parallel};
use comity_media::{Limits, MediaKey, MediaKind};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let temp = tempfile::tempdir()?;
    for line in std::io::stdin().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        if let Some(bench) = request.get("bench").and_then(Value::as_str) {
            let ns = match bench {
                "format1" => nanoseconds(format1()),
                "format1_bound" => format1_bound(),
                _ => nanoseconds(format2(bench)?),
            };
            println!("{}", json!({"ns": ns}));
            continue;
        }
        let path = Path::new(request.get("path").and_then(Value::as_str).ok_or("no path")?);
        let (key, kind) = (MediaKey::from([7; 32]), Some(MediaKind::Document));
        let start = Instant::now();
        let work = encrypt_file(path, kind, key, temp.path(), Limits::default(), Progress::none());
        let file = runtime.block_on(work)?;
        let ns = start.elapsed().as_nanos();
        drop(file);
        println!("{}", json!({"ns": u64::try_from(ns)?}));
    }
    Ok(())
}

fn nanoseconds(answer: Answer) -> f64 {
    let Answer::Nanoseconds(ns) = answer else { unreachable!("a time") };
    ns
}

const FORMAT1_LEN: usize = 16 << 20;
/// As long as every pass over it finds it in the nearest cache.
const PIECE_LEN: usize = 16 << 10;

fn format1() -> Answer {
    let (plain, key) = (vec![0x5a; FORMAT1_LEN], MediaKey::from([7; 32]));
    time(|| {
        let mut rest = &plain[..];
        let read = |chunk: &mut [u8]| {
            let (head, tail) = rest.split_at(chunk.len().min(rest.len()));
            chunk[..head.len()].copy_from_slice(head);
            rest = tail;
            Ok(head.len())
        };
        let write = |sealed: &[u8]| {
            std::hint::black_box(sealed);
            Ok(())
        };
        encrypt_parallel(MediaKind::Document, &key, Limits::default(), read, write).expect("small");
    })
}

/// CBC encryption, a MAC and two hashes: together they take two cores half their sum, and CBC encryption is serial.
fn format1_bound() -> f64 {
    let mut piece = vec![0x5a; PIECE_LEN];
    let pieces = (FORMAT1_LEN / PIECE_LEN) as f64;
    let mut cbc = cbc::Encryptor::<aes::Aes256>::new(&[1; 32].into(), &[2; 16].into());
    let seal = nanoseconds(time(|| cbc.encrypt_blocks(Array::slice_as_chunks_mut(&mut piece).0)));
    let mut hash = Sha256::new();
    let hash = nanoseconds(time(|| hash.update(&piece)));
    let mut mac = Hmac::<Sha256>::new(&[3; 64].into());
    let mac = nanoseconds(time(|| mac.update(&piece)));
    pieces * seal.max((seal + mac + 2.0 * hash) / 2.0)
}

/// Plaintext of one call: 64 segments, but for header and tags.
const FILE_LEN: usize = 4 << 20;
const SEGMENT_LEN: usize = 64 << 10;
/// What a reader of files hands over at once.
const CHUNK_LEN: usize = 256 << 10;

fn format2(bench: &str) -> Result<Answer, Box<dyn Error>> {
    let (key, limits) = (MediaKey::from([7; 32]), Limits::default());
    let mut rng = rand::rng();
    let plain = vec![0x5a; FILE_LEN];
    let bare = Aes256Gcm::new(&[7; 32].into());
    let mut buffer = plain.clone();
    Ok(match bench {
        "encrypt" => {
            let mut out = BytesMut::new();
            time(|| {
                let len = FILE_LEN as u64;
                let mut encryptor = Encryptor::new(MediaKind::Document, &key, len, &limits, &mut rng).expect("small");
                for chunk in plain.chunks(CHUNK_LEN) {
                    out.clear();
                    encryptor.update(chunk, &mut out).expect("as stated");
                }
                encryptor.finish(&mut out).expect("as stated");
            })
        }
        "decrypt" => {
            let (file, facts) = encrypt(MediaKind::Document, &key, &plain, &mut rng)?;
            let expected = comity_media::format2::Expected::of_length(facts.file_length);
            let mut out = BytesMut::new();
            time(|| {
                let mut decryptor = Decryptor::new(MediaKind::Document, &key, expected, &limits).expect("small");
                for chunk in file.chunks(CHUNK_LEN) {
                    out.clear();
                    decryptor.update(chunk, &mut out).expect("ours");
                }
                let _whole = decryptor.finish().expect("ours");
            })
        }
        "encrypt_bare" => time(|| {
            for segment in buffer.chunks_mut(SEGMENT_LEN) {
                bare.encrypt_inout_detached(&[1; 12].into(), &[], segment.into()).expect("short");
            }
        }),
        "decrypt_bare" => {
            let mut sealed = buffer.clone();
            let tags: Vec<_> = sealed
                .chunks_mut(SEGMENT_LEN)
                .map(|segment| bare.encrypt_inout_detached(&[1; 12].into(), &[], segment.into()).expect("short"))
                .collect();
            time(|| {
                // From one buffer into the other, so that the next call finds the same.
                let pairs = sealed.chunks(SEGMENT_LEN).zip(buffer.chunks_mut(SEGMENT_LEN)).zip(&tags);
                for ((from, to), tag) in pairs {
                    let both = InOutBuf::new(from, to).expect("as long");
                    bare.decrypt_inout_detached(&[1; 12].into(), &[], both, tag).expect("ours");
                }
            })
        }
        _ => return Err("no such bench".into()),
    })
}
