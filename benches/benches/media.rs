//! Media format 1 beside its bound: the four passes it cannot do without, each alone.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use aes::Aes256;
use bytes::BytesMut;
use cbc::cipher::{Array, BlockModeEncrypt, KeyIvInit};
use comity_media::{Decryptor, Encryptor, Expected, Limits, MediaKey, MediaKind, Unverified, encrypt};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::hint::black_box;

const LEN: usize = 4 << 20;
const CHUNK: usize = 256 << 10;

fn media(criterion: &mut Criterion) {
    let plain = vec![0x5a; LEN];
    let key = MediaKey::from([7; 32]);
    let mut group = criterion.benchmark_group("format1");
    group.throughput(Throughput::Bytes(LEN as u64)).sample_size(20);
    for kind in [MediaKind::Document, MediaKind::Video] {
        group.bench_function(format!("encrypt_{kind}"), |bencher| {
            let mut out = BytesMut::with_capacity(CHUNK + 64);
            bencher.iter(|| {
                let mut encryptor = Encryptor::new(kind, &key);
                for chunk in plain.chunks(CHUNK) {
                    out.clear();
                    encryptor.update(chunk, &mut out).unwrap();
                }
                encryptor.finish(&mut out)
            });
        });
    }
    let (file, encrypted) = encrypt(MediaKind::Document, &key, &plain).unwrap();
    let expected = Expected::from(&encrypted);
    group.bench_function("decrypt_document", |bencher| {
        let mut out = Unverified::new();
        bencher.iter(|| {
            let mut decryptor = Decryptor::new(MediaKind::Document, &key, expected, &Limits::default()).unwrap();
            for chunk in file.chunks(CHUNK) {
                out.clear();
                decryptor.update(chunk, &mut out).unwrap();
            }
            decryptor.finish(&mut out).unwrap()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("format1_passes");
    group.throughput(Throughput::Bytes(LEN as u64)).sample_size(20);
    let mut buffer = plain.clone();
    group.bench_function("aes256_cbc", |bencher| {
        let mut cbc = cbc::Encryptor::<Aes256>::new(&[1; 32].into(), &[2; 16].into());
        bencher.iter(|| cbc.encrypt_blocks(Array::slice_as_chunks_mut(&mut buffer).0));
    });
    group.bench_function("sha256", |bencher| bencher.iter(|| Sha256::digest(black_box(&plain))));
    group.bench_function("hmac_sha256", |bencher| {
        bencher.iter(|| {
            let mut mac = Hmac::<Sha256>::new(&[3; 64].into());
            mac.update(black_box(&plain));
            mac.finalize()
        });
    });
    group.finish();
}

criterion_group!(benches, media);
criterion_main!(benches);
