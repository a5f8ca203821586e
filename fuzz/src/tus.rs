//! What the partner's media host reads from a request's headers (PROTOCOL §10), against a second reading of them.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_partner::{FuzzedHeaders, fuzz_headers};

/// The values of a header, as they stand.
fn values<'a>(lines: &[(&'a [u8], &'a [u8])], name: &str) -> Vec<&'a [u8]> {
    lines.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| *value).collect()
}

fn number(values: &[&[u8]]) -> Option<u64> {
    let [digits] = values else { return None };
    if digits.is_empty() {
        return None;
    }
    let sum = |sum: u64, digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    };
    digits.iter().try_fold(0, sum)
}

/// Lines `name: value`, an empty line, a body. A file of as many bytes as the body is what a range is of.
pub fn headers(input: &[u8]) {
    let (head, body) = match input.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &b""[..]),
    };
    let lines: Vec<(&[u8], &[u8])> = head
        .split(|b| *b == b'\n')
        .filter_map(|line| line.iter().position(|b| *b == b':').map(|at| (&line[..at], &line[at + 1..])))
        .map(|(name, value)| (name, value.strip_prefix(b" ").unwrap_or(value)))
        .collect();
    // What is no header at all never comes this far.
    let Some(read) = fuzz_headers(&lines, body) else { return };
    let FuzzedHeaders { version, length, offset, offset_stream, checksum, range } = read;
    assert_eq!(version, values(&lines, "tus-resumable") == [b"1.0.0"]);
    assert_eq!(length, number(&values(&lines, "upload-length")));
    assert_eq!(offset, number(&values(&lines, "upload-offset")));
    let types = values(&lines, "content-type");
    assert_eq!(
        offset_stream,
        matches!(types[..], [kind] if kind.eq_ignore_ascii_case(b"application/offset+octet-stream"))
    );

    let sums = values(&lines, "upload-checksum");
    let ours = |name: &str, algorithm| format!("{name} {}", STANDARD.encode(digest::digest(algorithm, body)));
    let right = [ours("sha1", &digest::SHA1_FOR_LEGACY_USE_ONLY), ours("sha256", &digest::SHA256)];
    match (&sums[..], checksum) {
        ([], checksum) => assert_eq!(checksum, Ok(None)),
        ([sum], Ok(Some(matches))) => assert_eq!(matches, right.iter().any(|right| right.as_bytes() == *sum)),
        ([sum], Err(())) => assert!(right.iter().all(|right| right.as_bytes() != *sum), "a right one is refused"),
        (_, Err(())) => {}
        (sums, checksum) => panic!("{sums:?} gave {checksum:?}"),
    }

    if let Some((from, count)) = range {
        assert!(count >= 1 && from.checked_add(count).is_some_and(|end| end <= body.len() as u64));
    }
}
