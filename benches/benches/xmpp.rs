//! The stanza codec over the wire data: borrowed and owned decoding, encoding, XML both ways.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use bytes::{Bytes, BytesMut};
use comity_benches::stanzas::{LIMITS, Sum, corpus};
use comity_xmpp::{EncodeOptions, decode, decode_bytes, encode, visit, xml};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn codec(criterion: &mut Criterion) {
    for (name, frame) in corpus() {
        let frame = Bytes::from(frame);
        let node = decode(&frame, &LIMITS).unwrap();
        let text = xml::to_string(&node).unwrap();
        let mut group = criterion.benchmark_group(format!("stanza/{name}"));
        group.throughput(Throughput::Bytes(frame.len() as u64)).sample_size(20);
        group.bench_function("decode_borrowed", |bencher| {
            bencher.iter(|| {
                let mut sum = Sum(0);
                visit(black_box(frame.get(1..).unwrap()), &LIMITS, &mut sum).unwrap();
                sum.0
            });
        });
        group.bench_function("decode_owned", |bencher| bencher.iter(|| decode_bytes(&frame, &LIMITS).unwrap()));
        group.bench_function("encode", |bencher| {
            let mut out = BytesMut::new();
            bencher.iter(|| {
                out.clear();
                encode(black_box(&node), &mut out, &EncodeOptions::default()).unwrap();
            });
        });
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("xml_parse", |bencher| bencher.iter(|| xml::parse(text.as_bytes(), &LIMITS).unwrap()));
        group.bench_function("xml_write", |bencher| bencher.iter(|| xml::to_string(black_box(&node)).unwrap()));
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
