//! A body piece by piece, with offsets, for people who debug a wire (PROTOCOL §6.1).

use super::reader::{ContentHead, Reader};
use super::tag;
use crate::error::{Error, Limited};
use crate::limits::{Limits, MAX_DEPTH_CEILING};

/// What a piece of a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// A node's size.
    Size,
    /// A node's tag.
    Tag,
    /// An attribute's name.
    Name,
    /// An attribute's value.
    Value,
    /// The number of a node's children.
    Children,
    /// A node's content.
    Content,
}

/// A piece of a body.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// Offset in the body.
    pub at: usize,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Depth of its node; the root has depth 1.
    pub depth: usize,
    /// What it is for.
    pub role: Role,
    /// The name of its form: `token`, `NIBBLE_8`, `JID_PAIR` and so on.
    pub form: &'static str,
    /// Its meaning: the text, or a number.
    pub text: String,
}

/// Walks over a body and shows each piece to `show`, up to the end or the first fault.
///
/// # Errors
/// [`Error::Binary`] or [`Error::Limit`], as the decoder's (a repeated attribute is not noticed here).
pub fn trace<'a>(body: &'a [u8], limits: &Limits, show: &mut dyn FnMut(Piece<'a>)) -> Result<(), Error> {
    let mut trace = Trace { body, reader: Reader::new(body, limits), nodes: 0, limits, show };
    trace.node(1)?;
    Ok(trace.reader.end()?)
}

struct Trace<'a, 'f> {
    body: &'a [u8],
    reader: Reader<'a>,
    nodes: usize,
    limits: &'f Limits,
    show: &'f mut dyn FnMut(Piece<'a>),
}

impl Trace<'_, '_> {
    fn node(&mut self, depth: usize) -> Result<(), Error> {
        let max = self.limits.max_depth.min(MAX_DEPTH_CEILING);
        if depth > max {
            return Err(Error::Limit { what: Limited::Depth, max });
        }
        self.nodes += 1;
        if self.nodes > self.limits.max_nodes {
            return Err(Error::Limit { what: Limited::Nodes, max: self.limits.max_nodes });
        }
        let at = self.reader.offset();
        let size = self.reader.size()?;
        self.show(at, depth, Role::Size, size.to_string());

        let at = self.reader.offset();
        let name = self.reader.name()?;
        self.show(at, depth, Role::Tag, name.to_string());
        for _ in 0..(size - 1) / 2 {
            let at = self.reader.offset();
            let name = self.reader.name()?;
            self.show(at, depth, Role::Name, name.to_string());
            let at = self.reader.offset();
            let value = self.reader.value()?;
            self.show(at, depth, Role::Value, value.to_string());
        }
        if size % 2 == 1 {
            return Ok(());
        }
        let at = self.reader.offset();
        match self.reader.content()? {
            ContentHead::Nodes(count) => {
                self.show(at, depth, Role::Children, count.to_string());
                for _ in 0..count {
                    self.node(depth + 1)?;
                }
            }
            ContentHead::Bytes(bytes) => self.show(at, depth, Role::Content, format!("{} bytes", bytes.len())),
            ContentHead::Text(value) => self.show(at, depth, Role::Content, value.to_string()),
        }
        Ok(())
    }

    fn show(&mut self, at: usize, depth: usize, role: Role, text: String) {
        let bytes = self.body.get(at..self.reader.offset()).unwrap_or_default();
        let form = form(bytes.first().copied().unwrap_or(0));
        (self.show)(Piece { at, bytes, depth, role, form, text });
    }
}

/// The name of a form by its tag.
const fn form(first: u8) -> &'static str {
    match first {
        tag::LIST_EMPTY => "LIST_EMPTY",
        1..tag::DICTIONARY_0 => "token",
        tag::DICTIONARY_0..=tag::DICTIONARY_3 => "dictionary",
        240..tag::INTEROP_JID => "unassigned",
        tag::INTEROP_JID => "INTEROP_JID",
        tag::FB_JID => "FB_JID",
        tag::AD_JID => "AD_JID",
        tag::LIST_8 => "LIST_8",
        tag::LIST_16 => "LIST_16",
        tag::JID_PAIR => "JID_PAIR",
        tag::HEX_8 => "HEX_8",
        tag::BINARY_8 => "BINARY_8",
        tag::BINARY_20 => "BINARY_20",
        tag::BINARY_32 => "BINARY_32",
        tag::NIBBLE_8 => "NIBBLE_8",
    }
}
