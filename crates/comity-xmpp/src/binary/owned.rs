//! The owned decoder (PROTOCOL §6.1).

use super::inflate::{body, flags};
use super::reader::{Build, Reader};
use crate::error::Error;
use crate::limits::Limits;
use crate::node::{Attr, Content, Node};
use crate::text::{Text, TextRef, TextRepr};
use crate::value::{Value, ValueRef};
use bytes::Bytes;
use core::iter::repeat_with;

/// Reads a frame (flags byte and body) into a tree.
///
/// Byte contents are copied one by one (of a compressed frame they share the inflated body). The tree takes at most 32 times the (inflated) body and 64 KiB.
///
/// # Errors
/// [`Error::Binary`] if the frame is malformed, [`Error::Limit`] if it exceeds `limits`.
pub fn decode(frame: &[u8], limits: &Limits) -> Result<Node, Error> {
    let (compressed, plain) = flags(frame, limits)?;
    if !compressed {
        return read(plain, None, limits);
    }
    let body = Bytes::from(body(frame, limits)?.into_owned());
    read(&body, Some(&body), limits)
}

/// As [`decode`], from a buffer that the tree's byte contents go on sharing: nothing is copied.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(frame: &Bytes, limits: &Limits) -> Result<Node, Error> {
    let (compressed, plain) = flags(frame, limits)?;
    if compressed { decode(frame, limits) } else { read(plain, Some(frame), limits) }
}

fn read(body: &[u8], shared: Option<&Bytes>, limits: &Limits) -> Result<Node, Error> {
    let mut reader = Reader::new(body, limits);
    let mut root = Node::EMPTY;
    reader.node(&mut Tree { shared }, Slot { node: &mut root, attrs: 0 }, 1)?;
    reader.end()?;
    Ok(root)
}

struct Tree<'s> {
    /// The buffer of the body, which byte contents share; without one they are copied.
    shared: Option<&'s Bytes>,
}

/// A node being read, empty at first, and how many of its attributes were.
struct Slot<'s> {
    node: &'s mut Node,
    attrs: usize,
}

impl<'a> Build<'a> for Tree<'_> {
    type Slot<'s> = Slot<'s>;

    #[inline]
    fn open(&mut self, slot: &mut Slot<'_>, tag: TextRef<'a>, attrs: usize) {
        match tag.0 {
            TextRepr::Token(token) => put(&mut slot.node.tag, Text::from_token(token)),
            _ => put(&mut slot.node.tag, tag.to_text()),
        }
        put(&mut slot.node.attrs, repeat_with(|| Attr::EMPTY).take(attrs).collect());
    }

    #[inline(always)]
    fn attr(&mut self, slot: &mut Slot<'_>, name: TextRef<'a>, value: ValueRef<'a>) {
        let Some(attr) = slot.node.attrs.get_mut(slot.attrs) else { return };
        slot.attrs += 1;
        match name.0 {
            TextRepr::Token(token) => put(&mut attr.name, Text::from_token(token)),
            _ => put(&mut attr.name, name.to_text()),
        }
        match value {
            ValueRef::Str(text) => put(&mut attr.value, Value::Str(text.to_text())),
            ValueRef::Jid(jid) => match jid.to_jid() {
                Some(jid) => put(&mut attr.value, Value::Jid(jid)),
                None => put(&mut attr.value, value.to_value()),
            },
        }
    }

    #[inline]
    fn bytes(&mut self, slot: &mut Slot<'_>, bytes: &'a [u8]) {
        slot.node.content = Content::Bytes(match self.shared {
            Some(buffer) => buffer.slice_ref(bytes),
            None => Bytes::copy_from_slice(bytes),
        });
    }

    fn text(&mut self, slot: &mut Slot<'_>, value: ValueRef<'a>) {
        slot.node.content = Content::Text(match value {
            ValueRef::Str(text) => text.to_text(),
            ValueRef::Jid(jid) => jid.to_value().as_str().into_owned().into(),
        });
    }

    #[inline]
    fn list<'s: 's>(slot: Slot<'s>, count: usize) -> impl Iterator<Item = Slot<'s>> {
        slot.node.content = Content::Nodes(repeat_with(|| Node::EMPTY).take(count).collect());
        let nodes = match &mut slot.node.content {
            Content::Nodes(nodes) => nodes.iter_mut(),
            _ => [].iter_mut(),
        };
        nodes.map(|node| Slot { node, attrs: 0 })
    }

    #[inline]
    fn close(&mut self) {}
}

/// Puts a value in place of an empty one, which owns nothing that had to be dropped.
#[inline(always)]
fn put<T>(place: &mut T, value: T) {
    core::mem::forget(core::mem::replace(place, value));
}

#[cfg(test)]
mod tests {
    use super::{Attr, Node};

    /// What holds a tree to 32 times its frame: a node needs 3 bytes there, an attribute 2.
    #[test]
    fn sizes() {
        assert!(size_of::<Node>() <= 88, "{}", size_of::<Node>());
        assert!(size_of::<Attr>() <= 56, "{}", size_of::<Attr>());
    }
}
