//! Reading the headers of tus 1.0.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

pub(crate) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(crate) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(crate) const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(crate) const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(crate) const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(crate) const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
pub(crate) const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub(crate) const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// The only version there is.
pub(crate) const VERSION: &str = "1.0.0";

/// The one value of a header, or none; a header that stands there twice is none.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()
}

pub(crate) fn is_our_version(headers: &HeaderMap) -> bool {
    single(headers, &TUS_RESUMABLE) == Some(VERSION)
}

/// A number in decimal digits and nothing else.
pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let text = single(headers, name)?;
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

pub(crate) fn is_offset_stream(headers: &HeaderMap) -> bool {
    single(headers, &CONTENT_TYPE).is_some_and(|value| value.eq_ignore_ascii_case("application/offset+octet-stream"))
}

pub(crate) fn method_override(headers: &HeaderMap) -> Option<&str> {
    single(headers, &METHOD_OVERRIDE)
}

/// What the body of a `PATCH` has to hash to.
#[derive(Debug)]
pub(crate) struct Checksum {
    hasher: Hasher,
    expected: Vec<u8>,
}

#[derive(Debug)]
enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Checksum {
    /// As the header says; `Ok(None)` without one, `Err` for one that is not understood.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ()> {
        if !headers.contains_key(&UPLOAD_CHECKSUM) {
            return Ok(None);
        }
        let (algorithm, sum) = single(headers, &UPLOAD_CHECKSUM).and_then(|value| value.split_once(' ')).ok_or(())?;
        let (hasher, len) = match algorithm {
            "sha1" => (Hasher::Sha1(Sha1::new()), 20),
            "sha256" => (Hasher::Sha256(Sha256::new()), 32),
            _ => return Err(()),
        };
        let expected = STANDARD.decode(sum).map_err(|_| ())?;
        if expected.len() == len { Ok(Some(Self { hasher, expected })) } else { Err(()) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn matches(self) -> bool {
        match self.hasher {
            Hasher::Sha1(hasher) => hasher.finalize().as_slice() == self.expected,
            Hasher::Sha256(hasher) => hasher.finalize().as_slice() == self.expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn numbers_are_digits() {
        for (values, found) in [
            (&["0"][..], Some(0)),
            (&["18446744073709551615"], Some(u64::MAX)),
            (&["18446744073709551616"], None),
            (&["+1"], None),
            (&["-1"], None),
            (&["1 "], None),
            (&["0x10"], None),
            (&[""], None),
            (&["1", "1"], None),
            (&["1, 1"], None),
            (&[], None),
        ] {
            assert_eq!(number(&headers(&UPLOAD_OFFSET, values), &UPLOAD_OFFSET), found, "{values:?}");
        }
    }

    #[test]
    fn checksums_are_checked() {
        let of = |value: &str| Checksum::of(&headers(&UPLOAD_CHECKSUM, &[value]));
        let hello = |mut sum: Checksum| {
            sum.update(b"hello ");
            sum.update(b"world");
            sum.matches()
        };
        assert!(hello(of("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").unwrap().unwrap()));
        assert!(!hello(of("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu4=").unwrap().unwrap()));
        assert!(hello(of("sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=").unwrap().unwrap()));
        for bad in [
            "",
            "sha1",
            "sha1 ",
            "sha1 !",
            "md5 XrY7u+Ae7tCTyyK7j1rNww==",
            "sha1 AAAA",
            "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(Checksum::of(&HeaderMap::new()).unwrap().is_none());
        assert!(Checksum::of(&headers(&UPLOAD_CHECKSUM, &["sha1 A", "sha1 A"])).is_err());
    }
}
