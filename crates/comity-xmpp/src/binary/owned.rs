//! The owned decoder (PROTOCOL §6.1).

use super::inflate::{body, flags};
use super::reader::{Build, Reader};
use crate::error::Error;
use crate::limits::Limits;
use crate::node::{Attr, Content, Node};
use crate::text::TextRef;
use crate::value::{Value, ValueRef};
use bytes::Bytes;

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
    if flags(frame, limits)?.0 {
        return decode(frame, limits);
    }
    let body = frame.slice(1..);
    read(&body, Some(&body), limits)
}

fn read(body: &[u8], shared: Option<&Bytes>, limits: &Limits) -> Result<Node, Error> {
    let mut reader = Reader::new(body, limits);
    let node = reader.node(&mut Tree { shared }, 1)?;
    reader.end()?;
    Ok(node)
}

struct Tree<'s> {
    /// The body that byte contents share; without one they are copied.
    shared: Option<&'s Bytes>,
}

/// A node being read; it becomes a [`Node`] when it is closed.
pub(super) struct OpenNode<'a> {
    tag: TextRef<'a>,
    attrs: Vec<Attr>,
    content: Content,
}

impl<'a> Build<'a> for Tree<'_> {
    type Node = Node;
    type Open = OpenNode<'a>;

    #[inline]
    fn open(&mut self, tag: TextRef<'a>, attrs: usize) -> OpenNode<'a> {
        OpenNode { tag, attrs: Vec::with_capacity(attrs), content: Content::Empty }
    }

    #[inline]
    fn attr(&mut self, open: &mut OpenNode<'a>, name: TextRef<'a>, value: ValueRef<'a>) {
        let name = name.to_text();
        open.attrs.push(match value {
            ValueRef::Str(text) => Attr { name, value: Value::Str(text.to_text()) },
            ValueRef::Jid(_) => Attr { name, value: value.to_value() },
        });
    }

    #[inline]
    fn bytes(&mut self, open: &mut OpenNode<'a>, bytes: &'a [u8]) {
        open.content = Content::Bytes(match self.shared {
            Some(body) => body.slice_ref(bytes),
            None => Bytes::copy_from_slice(bytes),
        });
    }

    fn text(&mut self, open: &mut OpenNode<'a>, value: ValueRef<'a>) {
        open.content = Content::Text(match value.to_value() {
            Value::Str(text) => text,
            Value::Jid(jid) => jid.to_string().into(),
        });
    }

    #[inline]
    fn list(&mut self, open: &mut OpenNode<'a>, count: usize) {
        open.content = Content::Nodes(Vec::with_capacity(count));
    }

    #[inline]
    fn child(&mut self, open: &mut OpenNode<'a>, child: Node) {
        if let Content::Nodes(nodes) = &mut open.content {
            nodes.push(child);
        }
    }

    #[inline]
    fn close(&mut self, open: OpenNode<'a>) -> Node {
        Node::from_parts(open.tag.to_text(), open.attrs, open.content)
    }
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
