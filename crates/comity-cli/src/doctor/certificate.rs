//! The dates of a TLS certificate (RFC 5280 §4.1.2.5), and no more of it.

/// From when until when, in seconds since 1970.
pub(super) fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?; // TBSCertificate
    // version (if it is there), serialNumber, signature, issuer; then validity.
    let mut before = 3;
    if rest.first() == Some(&0xa0) {
        before += 1;
    }
    for _ in 0..before {
        rest = element(rest)?.2;
    }
    let (0x30, dates, _) = element(rest)? else { return None };
    let (kind, from, rest) = element(dates)?;
    let (until_kind, until, _) = element(rest)?;
    Some((time(kind, from)?, time(until_kind, until)?))
}

/// Tag, content and what follows of the first element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0_usize, |len, b| len << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` (UTCTime) or `YYYYMMDDHHMMSSZ` (GeneralizedTime).
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        0x18 => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    Some(seconds(year, month, day) + hour * 3600 + minute * 60 + second)
}

/// Midnight of a date of the Gregorian calendar, with years that begin in March.
pub(super) fn seconds(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468) * 86_400
}

/// The time of an HTTP `Date` header (RFC 9110 §5.6.7, the form that servers must send).
pub(super) fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let mut word = || words.next();
    let (day, month, year, time) = (word()?, word()?, word()?, word()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let mut time = time.split(':').map(|part| part.parse::<i64>().ok());
    let mut part = || time.next().flatten();
    let at = part()? * 3600 + part()? * 60 + part()?;
    Some(seconds(year.parse().ok()?, i64::try_from(month).ok()?, day.parse().ok()?) + at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::{http_date, validity};

    #[test]
    fn dates_of_a_certificate_are_read() {
        let mut params = rcgen::CertificateParams::new(["partner.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2061, 12, 31);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(validity(certificate.der()), Some((1_709_164_800, 2_903_212_800)));
        for len in 0..certificate.der().len().min(120) {
            assert_eq!(validity(&certificate.der()[..len]), None);
        }
    }

    #[test]
    fn an_http_date_is_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("yesterday"), None);
    }
}
