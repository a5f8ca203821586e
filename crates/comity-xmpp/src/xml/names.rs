//! Names, attributes, entities and characters of XML, strictly (PROTOCOL §6.2).

use crate::error::XmlFault;
use rxml_validation::{validate_cdata, validate_ncname};
use std::borrow::Cow;

/// Whether the text has only characters that XML allows.
pub(super) fn is_text(text: &str) -> bool {
    // Printable ASCII, the common case, without decoding.
    text.bytes().all(|b| matches!(b, 0x20..=0x7e)) || validate_cdata(text).is_ok()
}

/// Whether this is a name without a prefix.
pub(super) fn is_ncname(name: &str) -> bool {
    match name.as_bytes() {
        [b'a'..=b'z' | b'A'..=b'Z' | b'_', rest @ ..]
            if rest.iter().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.')) =>
        {
            true
        }
        _ => validate_ncname(name).is_ok(),
    }
}

/// The character of `amp`, `#10`, `#xA` and so on: what stands between `&` and `;`.
pub(super) fn entity(name: &str) -> Result<char, XmlFault> {
    let digits = |text: &str, radix| {
        // `from_str_radix` would take a sign.
        let plain = text.len() <= 8 && text.chars().all(|c| c.is_digit(radix));
        u32::from_str_radix(text, radix).ok().filter(|_| plain).and_then(char::from_u32)
    };
    let found = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(hex), _) => digits(hex, 16),
            (None, Some(decimal)) => digits(decimal, 10),
            _ => None,
        },
    };
    found.filter(|c| is_text(c.encode_utf8(&mut [0; 4]))).ok_or(XmlFault::Entity)
}

/// Text with line ends made one.
pub(super) fn line_ends(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

/// An attribute's value as it stands for the application: white space made blanks, references replaced.
fn value(raw: &str) -> Result<Cow<'_, str>, XmlFault> {
    if raw.contains('<') {
        return Err(XmlFault::Syntax);
    }
    if !is_text(raw) {
        return Err(XmlFault::Character);
    }
    if !raw.bytes().any(|b| matches!(b, b'&' | b'\t' | b'\n' | b'\r')) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let lines = line_ends(raw);
    let mut rest = &*lines;
    while let Some((plain, after)) = rest.split_once('&') {
        let (name, tail) = after.split_once(';').ok_or(XmlFault::Entity)?;
        out.extend(plain.chars().map(blank));
        out.push(entity(name)?);
        rest = tail;
    }
    out.extend(rest.chars().map(blank));
    Ok(Cow::Owned(out))
}

const fn blank(c: char) -> char {
    if matches!(c, '\t' | '\n') { ' ' } else { c }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The attributes of a start tag: what stands after its name.
pub(super) struct Attributes<'a>(pub(super) &'a str);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(&'a str, Cow<'a, str>), XmlFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches(is_space);
        if rest.is_empty() {
            return None;
        }
        let spaced = rest.len() < self.0.len();
        let mut read = || {
            let (name, after) = rest.split_once('=').filter(|_| spaced).ok_or(XmlFault::Syntax)?;
            let after = after.trim_start_matches(is_space);
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(XmlFault::Syntax)?;
            let (raw, tail) = after.get(1..).and_then(|a| a.split_once(quote)).ok_or(XmlFault::Syntax)?;
            self.0 = tail;
            Ok((name.trim_end_matches(is_space), value(raw)?))
        };
        Some(read())
    }
}
