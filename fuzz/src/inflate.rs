//! Bodies for comity-xmpp: compressed frames.

use super::alloc::cost;
use super::xmpp::{SLACK, linear};
use comity_xmpp::limits::INFLATE_RATIO_FLOOR;
use comity_xmpp::{Error, Limits};
use flate2::{Compress, Compression, FlushCompress};

/// A body inflates to what was compressed, exactly if the caps allow it, and costs no more memory than its caps say. The
/// first byte says whether the rest is zlib, or choices and a text to compress.
pub fn inflate(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    if kind % 2 == 0 {
        let limits = Limits::DEFAULT;
        if let Ok(plain) = inflated(rest, &limits) {
            assert!(inflated(&rest[..rest.len() - 1], &limits).is_err());
            assert!(inflated(&[rest, &[0]].concat(), &limits).is_err());
            assert!(plain.len() <= cap(rest.len(), &limits));
            assert_eq!(inflated(&deflated(&plain, 9), &Limits { max_inflate_ratio: 2000, ..limits }), Ok(plain));
        }
        return;
    }
    let Some(([level, times, ratio, shift, damage, at], plain)) = rest.split_first_chunk() else { return };
    let limits =
        Limits { max_inflate_ratio: usize::from(*ratio), max_inflated_len: 1 << (shift % 22), ..Limits::DEFAULT };
    let times = 1 << (times % 9);
    let plain = plain.get(..plain.len().min(512)).unwrap_or_default().repeat(times);
    let mut zlib = deflated(&plain, u32::from(level % 10));
    let fits = plain.len() <= cap(zlib.len(), &limits);
    match inflated(&zlib, &limits) {
        Ok(out) => assert!(fits && out == plain),
        Err(e) => assert!(!fits && matches!(e, Error::Limit { .. }), "{e}"),
    }
    let at = usize::from(*at) % zlib.len();
    zlib[at] ^= damage;
    if let Ok(out) = inflated(&zlib, &limits) {
        assert!(out.len() <= cap(zlib.len(), &limits));
    }
    zlib.truncate(at);
    assert!(inflated(&zlib, &limits).is_err());
}

const fn cap(len: usize, limits: &Limits) -> usize {
    let by_ratio = len * limits.max_inflate_ratio;
    let by_ratio = if by_ratio > INFLATE_RATIO_FLOOR { by_ratio } else { INFLATE_RATIO_FLOOR };
    if by_ratio < limits.max_inflated_len { by_ratio } else { limits.max_inflated_len }
}

fn inflated(zlib: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    let frame = [&[2], zlib].concat();
    let (result, _, peak) = cost(|| comity_xmpp::body(&frame, limits).map(|body| body.into_owned()));
    let len = result.as_ref().map_or(0, Vec::len);
    assert!(peak <= len + SLACK, "{peak} bytes for {len}");
    if result.is_ok() {
        let _ = linear(len, || comity_xmpp::decode(&frame, limits));
    }
    result
}

fn deflated(plain: &[u8], level: u32) -> Vec<u8> {
    let mut zlib = Compress::new(Compression::new(level), true);
    let mut out = Vec::with_capacity(plain.len() + plain.len() / 8 + 256);
    let status = zlib.compress_vec(plain, &mut out, FlushCompress::Finish).expect("a fresh stream");
    assert_eq!(status, flate2::Status::StreamEnd);
    out
}
