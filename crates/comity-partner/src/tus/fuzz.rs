//! For the fuzzer: what is read from a request's headers.

use super::headers::{Checksum, UPLOAD_LENGTH, UPLOAD_OFFSET, is_offset_stream, is_our_version, number};
use crate::range::{self, Wanted};
use axum::http::header::{HeaderMap, HeaderName, HeaderValue, RANGE};

/// What the headers say.
#[derive(Debug)]
#[doc(hidden)]
pub struct FuzzedHeaders {
    /// `Tus-Resumable` is ours.
    pub version: bool,
    /// `Upload-Length`.
    pub length: Option<u64>,
    /// `Upload-Offset`.
    pub offset: Option<u64>,
    /// `Content-Type` is that of a `PATCH`.
    pub offset_stream: bool,
    /// Whether `Upload-Checksum` is that of the body; an error if it is not understood.
    pub checksum: Result<Option<bool>, ()>,
    /// `Range`: its first byte and how many, of a file as long as the body.
    pub range: Option<(u64, u64)>,
}

/// Reads the headers; `None` if one of them is none.
#[doc(hidden)]
pub fn fuzz_headers(lines: &[(&[u8], &[u8])], body: &[u8]) -> Option<FuzzedHeaders> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().take(64) {
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    if lines.len() > 64 {
        return None;
    }
    let checksum = Checksum::of(&headers).map(|checksum| {
        checksum.map(|mut checksum| {
            let (first, rest) = body.split_at(body.len() / 2);
            checksum.update(first);
            checksum.update(rest);
            checksum.matches()
        })
    });
    let range = headers.get(RANGE).and_then(|range| match range::parse(range.to_str().ok()?, body.len() as u64) {
        Wanted::Part { from, count } => Some((from, count)),
        Wanted::All | Wanted::Nothing => None,
    });
    Some(FuzzedHeaders {
        version: is_our_version(&headers),
        length: number(&headers, &UPLOAD_LENGTH),
        offset: number(&headers, &UPLOAD_OFFSET),
        offset_stream: is_offset_stream(&headers),
        checksum,
        range,
    })
}
