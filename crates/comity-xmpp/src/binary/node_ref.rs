//! The borrowed tree: a checked body, read again in place where it is asked for (PROTOCOL §6.1).

use super::reader::{Check, ContentHead, Reader};
use crate::error::Error;
use crate::limits::Limits;
use crate::node::{Attr, Content, Node};
use crate::text::TextRef;
use crate::value::{JidRef, ValueRef};
use bytes::Bytes;
use core::fmt;

/// A node of a body that was checked as a whole. Nothing is allocated, neither to read it nor to look at it.
///
/// Children are found by skipping over the ones before them: take them in order with [`NodeRef::children`]. To see every
/// value of a stanza once, [`visit`](super::visit) is the shorter way.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    tag: TextRef<'a>,
    attrs: usize,
    has_content: bool,
    /// After the tag.
    reader: Reader<'a>,
}

/// What a borrowed node holds.
#[derive(Clone, Copy, Debug)]
pub enum ContentRef<'a> {
    /// Nothing.
    Empty,
    /// Nodes.
    Nodes(ChildrenRef<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A string or JID, which means its text's bytes.
    Text(ValueRef<'a>),
}

impl<'a> NodeRef<'a> {
    /// Checks a whole body (see [`body`](super::body)) and gives its root.
    ///
    /// # Errors
    /// [`Error::Binary`] if the body is malformed, [`Error::Limit`] if it exceeds `limits`.
    pub fn parse(body: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let start = Reader::new(body, limits);
        let mut reader = start;
        reader.node(&mut Check, (), 1)?;
        reader.end()?;
        Self::at(start)
    }

    fn at(mut reader: Reader<'a>) -> Result<Self, Error> {
        let (tag, attrs, has_content) = reader.head()?;
        Ok(Self { tag, attrs, has_content, reader })
    }

    /// The tag.
    pub const fn tag(&self) -> TextRef<'a> {
        self.tag
    }

    /// The attributes, in the order of the wire.
    pub const fn attrs(&self) -> AttrsRef<'a> {
        AttrsRef { left: self.attrs, reader: self.reader }
    }

    /// An attribute's value.
    pub fn attr(&self, name: &str) -> Option<ValueRef<'a>> {
        self.attrs().find(|(n, _)| *n == *name).map(|(_, value)| value)
    }

    /// An attribute's value, if it was written as a JID.
    pub fn attr_jid(&self, name: &str) -> Option<JidRef<'a>> {
        match self.attr(name)? {
            ValueRef::Jid(jid) => Some(jid),
            ValueRef::Str(_) => None,
        }
    }

    /// The content.
    pub fn content(&self) -> ContentRef<'a> {
        if !self.has_content {
            return ContentRef::Empty;
        }
        let mut attrs = self.attrs();
        for _ in attrs.by_ref() {}
        let mut reader = attrs.reader;
        match reader.content() {
            Ok(ContentHead::Nodes(left)) => ContentRef::Nodes(ChildrenRef { left, reader }),
            Ok(ContentHead::Bytes(bytes)) => ContentRef::Bytes(bytes),
            Ok(ContentHead::Text(value)) => ContentRef::Text(value),
            Err(_) => ContentRef::Empty, // not after the check
        }
    }

    /// The children; none if the content is not nodes.
    pub fn children(&self) -> ChildrenRef<'a> {
        match self.content() {
            ContentRef::Nodes(children) => children,
            _ => ChildrenRef { left: 0, reader: self.reader },
        }
    }

    /// The first child of that tag.
    pub fn child(&self, tag: &str) -> Option<Self> {
        self.children().find(|child| child.tag == *tag)
    }

    /// The owned tree.
    pub fn to_node(&self) -> Node {
        let attrs = self.attrs().map(|(name, value)| Attr { name: name.to_text(), value: value.to_value() }).collect();
        let content = match self.content() {
            ContentRef::Empty => Content::Empty,
            ContentRef::Nodes(children) => Content::Nodes(children.map(|child| child.to_node()).collect()),
            ContentRef::Bytes(bytes) => Content::Bytes(Bytes::copy_from_slice(bytes)),
            ContentRef::Text(value) => Content::Text(value.to_value().as_str().into_owned().into()),
        };
        Node::from_parts(self.tag.to_text(), attrs, content)
    }

    /// The content, if it was written as bytes.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.content() {
            ContentRef::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The shape of the tree: JIDs redacted, contents by length.
impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.tag)?;
        for (name, value) in self.attrs() {
            write!(f, " {name}={value:?}")?;
        }
        f.write_str(">")?;
        match self.content() {
            ContentRef::Empty => Ok(()),
            ContentRef::Nodes(nodes) => f.debug_list().entries(nodes).finish(),
            ContentRef::Bytes(bytes) => write!(f, "({} bytes)", bytes.len()),
            ContentRef::Text(_) => f.write_str("(text)"),
        }
    }
}

/// The attributes of a [`NodeRef`].
#[derive(Clone, Copy)]
pub struct AttrsRef<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for AttrsRef<'a> {
    type Item = (TextRef<'a>, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.reader.attribute().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for AttrsRef<'_> {}

/// The children of a [`NodeRef`].
#[derive(Clone, Copy)]
pub struct ChildrenRef<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for ChildrenRef<'a> {
    type Item = NodeRef<'a>;

    fn next(&mut self) -> Option<NodeRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let child = NodeRef::at(self.reader).ok();
        self.reader.skip_node().ok()?;
        child
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ChildrenRef<'_> {}

impl fmt::Debug for ChildrenRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}
