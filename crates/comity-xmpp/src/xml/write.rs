//! A tree to XML text (PROTOCOL §6.2).

use super::names::{is_ncname, is_text};
use super::{CONTROL_NS, STREAM_NS};
use crate::error::{Error, Limited};
use crate::limits::MAX_DEPTH_CEILING;
use crate::node::{Content, Node};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt::Write as _;

/// The stanza as XML text.
///
/// # Errors
/// As [`write()`].
pub fn to_string(node: &Node) -> Result<String, Error> {
    let mut out = String::new();
    write(node, &mut out)?;
    Ok(out)
}

/// Appends the stanza as XML text. After an error `out` is as before.
///
/// # Errors
/// [`Error::Limit`] if the tree is nested deeper than [`MAX_DEPTH_CEILING`]; [`Error::EmptyName`].
pub fn write(node: &Node, out: &mut String) -> Result<(), Error> {
    let start = out.len();
    let mut writer = Writer { out, control: false, stream: false, root_end: None };
    if let Err(e) = writer.node(node, 1) {
        out.truncate(start);
        return Err(e);
    }
    let (control, stream) = (writer.control, writer.stream);
    if let Some(at) = writer.root_end {
        if control {
            out.insert_str(at, &format!(" xmlns:c=\"{CONTROL_NS}\""));
        }
        if stream {
            out.insert_str(at, &format!(" xmlns:stream=\"{STREAM_NS}\""));
        }
    }
    Ok(())
}

struct Writer<'o> {
    out: &'o mut String,
    /// Whether the prefix `c` was used.
    control: bool,
    /// Whether the prefix `stream` was used.
    stream: bool,
    /// End of the root's name: where the prefixes are declared.
    root_end: Option<usize>,
}

impl Writer<'_> {
    fn node(&mut self, node: &Node, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH_CEILING {
            return Err(Error::Limit { what: Limited::Depth, max: MAX_DEPTH_CEILING });
        }
        if node.tag().is_empty() || node.attrs().iter().any(|attr| attr.name.is_empty()) {
            return Err(Error::EmptyName);
        }
        let stream = node.tag().strip_prefix("stream:").is_some_and(is_ncname);
        self.stream |= stream;
        let plain_name = stream || is_ncname(node.tag());
        let tag = if plain_name { node.tag() } else { "c:node" };
        self.out.push('<');
        self.out.push_str(tag);
        self.root_end.get_or_insert(self.out.len());
        if !plain_name {
            self.control("c:name", node.tag());
        }

        let mut control_attrs = 0;
        for attr in node.attrs() {
            let value = attr.value.as_str();
            if is_plain_attr(&attr.name) && is_text(&value) {
                self.attr(&attr.name, &value);
            } else {
                control_attrs += 1;
            }
        }

        let bytes = node.bytes().unwrap_or_default();
        let text = core::str::from_utf8(bytes).ok().filter(|text| is_text(text));
        if text.is_none() {
            self.control = true;
            self.attr("c:enc", "base64");
        }
        if bytes.is_empty() && node.children().is_empty() && control_attrs == 0 {
            self.out.push_str("/>");
            return Ok(());
        }
        self.out.push('>');
        if control_attrs > 0 {
            self.control_attrs(node);
        }
        match (node.content(), text) {
            (Content::Nodes(nodes), _) => nodes.iter().try_for_each(|child| self.node(child, depth + 1))?,
            (_, Some(text)) => self.escaped(text, false),
            (_, None) => STANDARD.encode_string(bytes, self.out),
        }
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
        Ok(())
    }

    /// The attributes that cannot stand in the tag.
    fn control_attrs(&mut self, node: &Node) {
        for attr in node.attrs() {
            let value = attr.value.as_str();
            if !(is_plain_attr(&attr.name) && is_text(&value)) {
                self.out.push_str("<c:attr");
                self.control("name", &attr.name);
                self.control("value", &value);
                self.out.push_str("/>");
            }
        }
    }

    /// An attribute of the control namespace, in base64 under `{name}64` if XML cannot carry its characters.
    fn control(&mut self, name: &str, value: &str) {
        self.control = true;
        if is_text(value) {
            self.attr(name, value);
        } else {
            let _infallible = write!(self.out, " {name}64=\"{}\"", STANDARD.encode(value));
        }
    }

    fn attr(&mut self, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        self.escaped(value, true);
        self.out.push('"');
    }

    fn escaped(&mut self, text: &str, in_attribute: bool) {
        let mut rest = text;
        let special =
            |b: u8| matches!(b, b'&' | b'<' | b'>' | b'\r') || in_attribute && matches!(b, b'"' | b'\t' | b'\n');
        while let Some(at) = rest.bytes().position(special) {
            let (plain, tail) = rest.split_at(at);
            self.out.push_str(plain);
            self.out.push_str(match tail.as_bytes().first() {
                Some(b'&') => "&amp;",
                Some(b'<') => "&lt;",
                Some(b'>') => "&gt;",
                Some(b'"') => "&quot;",
                Some(b'\t') => "&#9;",
                Some(b'\n') => "&#10;",
                _ => "&#13;",
            });
            rest = tail.get(1..).unwrap_or_default();
        }
        self.out.push_str(rest);
    }
}

/// Whether an attribute of that name can stand in a tag as it is.
fn is_plain_attr(name: &str) -> bool {
    matches!(name, "xml:lang" | "xml:space") || is_ncname(name)
}
