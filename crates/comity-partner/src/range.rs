//! A single byte range (RFC 9110 §14).

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The whole: no range, one that does not parse, or several (a server may ignore those).
    All,
    /// `count` ≥ 1 bytes from `from`.
    Part { from: u64, count: u64 },
    /// Nothing that there is: 416.
    Nothing,
}

pub(crate) fn parse(header: &str, len: u64) -> Wanted {
    fn number(s: &str) -> Option<u64> {
        if s.bytes().all(|b| b.is_ascii_digit()) { s.parse().ok() } else { None }
    }
    let Some((unit, spec)) = header.split_once('=') else { return Wanted::All };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    let (from, to) = match (number(first), number(last)) {
        (Some(from), Some(to)) if from <= to => (from, to),
        (Some(from), None) if last.is_empty() => (from, u64::MAX),
        (None, Some(0)) if first.is_empty() => return Wanted::Nothing,
        (None, Some(suffix)) if first.is_empty() => (len.saturating_sub(suffix), u64::MAX),
        _ => return Wanted::All,
    };
    if from >= len { Wanted::Nothing } else { Wanted::Part { from, count: to.min(len - 1) - from + 1 } }
}

#[cfg(test)]
mod tests {
    use super::{Wanted, parse};

    #[test]
    fn ranges() {
        let part = |from, count| Wanted::Part { from, count };
        let table = [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=0-", 10, part(0, 10)),
            ("bytes=3-5", 10, part(3, 3)),
            ("bytes=3-500", 10, part(3, 7)),
            ("bytes=3-18446744073709551615", 10, part(3, 7)),
            ("bytes=-4", 10, part(6, 4)),
            ("bytes=-40", 10, part(0, 10)),
            ("Bytes = 9-9", 10, part(9, 1)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=10-12", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-0", 0, Wanted::Nothing),
            ("bytes=-5", 0, Wanted::Nothing),
            ("bytes=5-3", 10, Wanted::All),
            ("bytes=0-1,4-5", 10, Wanted::All),
            ("bytes=-", 10, Wanted::All),
            ("bytes=a-b", 10, Wanted::All),
            ("bytes=+1-2", 10, Wanted::All),
            ("bytes=18446744073709551616-", 10, Wanted::All),
            ("items=0-1", 10, Wanted::All),
            ("", 10, Wanted::All),
        ];
        for (header, len, wanted) in table {
            assert_eq!(parse(header, len), wanted, "{header} of {len}");
        }
    }
}
