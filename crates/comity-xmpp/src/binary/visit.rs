//! One pass over a body, value by value, without allocating (PROTOCOL §6.1).

use super::reader::{Build, Reader};
use crate::error::Error;
use crate::limits::Limits;
use crate::text::TextRef;
use crate::value::ValueRef;

/// Takes the values of a stanza in the order of the wire: each node's tag, its attributes, its content, its end.
///
/// What was seen before an error counts for nothing.
pub trait Visitor<'a> {
    /// A node begins; so many attributes follow.
    fn start(&mut self, tag: TextRef<'a>, attrs: usize);
    /// An attribute.
    fn attr(&mut self, name: TextRef<'a>, value: ValueRef<'a>);
    /// The node's content is these bytes.
    fn bytes(&mut self, bytes: &'a [u8]);
    /// The node's content is a string or JID, which means its text's bytes.
    fn text(&mut self, value: ValueRef<'a>);
    /// The node ends.
    fn end(&mut self);
}

/// Reads a body (see [`body`](super::body)), checks all of it, and shows every value to `visitor`: one pass, no
/// allocation.
///
/// # Errors
/// [`Error::Binary`] if the body is malformed, [`Error::Limit`] if it exceeds `limits`.
pub fn visit<'a>(body: &'a [u8], limits: &Limits, visitor: &mut impl Visitor<'a>) -> Result<(), Error> {
    let mut reader = Reader::new(body, limits);
    reader.node(&mut Visit(visitor), (), 1)?;
    Ok(reader.end()?)
}

struct Visit<'v, V>(&'v mut V);

impl<'a, V: Visitor<'a>> Build<'a> for Visit<'_, V> {
    type Slot<'s> = ();

    #[inline]
    fn open(&mut self, (): &mut (), tag: TextRef<'a>, attrs: usize) {
        self.0.start(tag, attrs);
    }

    #[inline]
    fn attr(&mut self, (): &mut (), name: TextRef<'a>, value: ValueRef<'a>) {
        self.0.attr(name, value);
    }

    #[inline]
    fn bytes(&mut self, (): &mut (), bytes: &'a [u8]) {
        self.0.bytes(bytes);
    }

    #[inline]
    fn text(&mut self, (): &mut (), value: ValueRef<'a>) {
        self.0.text(value);
    }

    #[inline]
    fn list<'s: 's>((): (), count: usize) -> impl Iterator<Item = ()> {
        core::iter::repeat_n((), count)
    }

    #[inline]
    fn close(&mut self) {
        self.0.end();
    }
}
