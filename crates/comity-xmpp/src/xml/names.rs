//! Names, attributes, entities and characters of XML, strictly (PROTOCOL §6.2).

use crate::error::XmlFault;
use memchr::memchr;
use rxml_validation::{validate_cdata, validate_ncname};
use std::borrow::Cow;

/// Whether the text has only characters that XML allows.
pub(super) fn is_text(text: &str) -> bool {
    // Without a branch: only control characters, U+FFFE and U+FFFF (which begin with 0xef) are forbidden.
    let suspect = text.bytes().fold(false, |bad, b| bad | (b == 0xef) | (b < 0x20 && !matches!(b, 9 | 10 | 13)));
    !suspect || validate_cdata(text).is_ok()
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
    if memchr(b'\r', text.as_bytes()).is_some() {
        text.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        text.into()
    }
}

/// An attribute's value as it stands for the application: white space made blanks, references replaced.
fn value(raw: &str) -> Result<Cow<'_, str>, XmlFault> {
    if !is_text(raw) {
        return Err(XmlFault::Character);
    }
    let special = raw.bytes().fold(false, |found, b| found | (b < 0x20) | (b == b'<') | (b == b'&'));
    if !special {
        return Ok(Cow::Borrowed(raw));
    }
    if raw.contains('<') {
        return Err(XmlFault::Syntax);
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

const fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

/// The attributes of a start tag: what stands after its name.
pub(super) struct Attributes<'a>(pub(super) &'a str);

impl<'a> Attributes<'a> {
    /// Passes over white space; whether there was any.
    fn space(&mut self) -> bool {
        let len = self.0.bytes().take_while(|b| is_space(*b)).count();
        self.0 = self.0.get(len..).unwrap_or_default();
        len > 0
    }

    /// Up to `end`, which is passed over.
    fn up_to(&mut self, end: u8) -> Option<&'a str> {
        let (head, tail) = self.0.split_at_checked(memchr(end, self.0.as_bytes())?)?;
        self.0 = tail.get(1..)?;
        Some(head)
    }

    fn read(&mut self) -> Option<(&'a str, &'a str)> {
        let name = self.up_to(b'=')?.trim_ascii_end();
        self.space();
        let quote = *self.0.as_bytes().first().filter(|b| matches!(b, b'"' | b'\''))?;
        self.0 = self.0.get(1..)?;
        Some((name, self.up_to(quote)?))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(&'a str, Cow<'a, str>), XmlFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let spaced = self.space();
        if self.0.is_empty() {
            return None;
        }
        let read = if spaced { self.read() } else { None };
        Some(read.ok_or(XmlFault::Syntax).and_then(|(name, raw)| Ok((name, value(raw)?))))
    }
}
