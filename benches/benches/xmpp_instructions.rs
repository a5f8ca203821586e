//! Instructions per stanza, counted by valgrind: the regression gate of `cargo xtask bench xmpp`.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark")]

use bytes::{Bytes, BytesMut};
use comity_benches::stanzas::{LIMITS, Sum, corpus};
use comity_xmpp::{EncodeOptions, Node, decode, decode_bytes, encode, visit, xml};
use gungraun::{library_benchmark, library_benchmark_group, main};
use std::hint::black_box;

fn frames() -> Vec<Bytes> {
    corpus().into_iter().map(|(_, frame)| Bytes::from(frame)).collect()
}

fn texts() -> Vec<String> {
    nodes().into_iter().filter_map(|(node, _)| xml::to_string(&node).ok()).collect()
}

fn nodes() -> Vec<(Node, BytesMut)> {
    let node = |frame: Bytes| decode(&frame, &LIMITS).ok();
    frames().into_iter().filter_map(node).map(|node| (node, BytesMut::with_capacity(1 << 17))).collect()
}

#[library_benchmark]
#[benches::stanza(iter = frames())]
fn decode_borrowed(frame: Bytes) -> usize {
    let mut sum = Sum(0);
    visit(black_box(frame.get(1..).expect("flags")), &LIMITS, &mut sum).expect("a stanza");
    sum.0
}

#[library_benchmark]
#[benches::stanza(iter = frames())]
fn decode_owned(frame: Bytes) -> Node {
    decode_bytes(black_box(&frame), &LIMITS).expect("a stanza")
}

#[library_benchmark]
#[benches::stanza(iter = nodes())]
fn encoded((node, mut out): (Node, BytesMut)) -> BytesMut {
    encode(black_box(&node), &mut out, &EncodeOptions::default()).expect("a stanza");
    out
}

#[library_benchmark]
#[benches::stanza(iter = texts())]
fn xml_parsed(text: String) -> Node {
    xml::parse(black_box(text.as_bytes()), &LIMITS).expect("a stanza")
}

library_benchmark_group!(name = codec, benchmarks = [decode_borrowed, decode_owned, encoded, xml_parsed]);
main!(library_benchmark_groups = codec);
