//! The owned stanza tree (PROTOCOL §6.1).

use crate::text::Text;
use crate::value::Value;
use bytes::Bytes;
use comity_core::{Jid, Redacted};
use core::fmt;
use std::borrow::Cow;

/// A node of a stanza: a tag, attributes and content.
///
/// Equality is that of the wire: attribute order has no meaning, the forms of one text (token, packed, raw, JID) are equal,
/// and empty content is none.
#[derive(Clone)]
pub struct Node {
    pub(crate) tag: Text,
    pub(crate) attrs: Vec<Attr>,
    pub(crate) content: Content,
}

/// An attribute.
#[derive(Clone, PartialEq, Eq)]
pub struct Attr {
    /// Its name.
    pub name: Text,
    /// Its value.
    pub value: Value,
}

impl Attr {
    /// An attribute to be read into.
    pub(crate) const EMPTY: Self = Self { name: Text::EMPTY, value: Value::Str(Text::EMPTY) };
}

/// What a node holds.
#[derive(Clone, Default)]
pub enum Content {
    /// Nothing.
    #[default]
    Empty,
    /// Nodes.
    Nodes(Vec<Node>),
    /// Bytes.
    Bytes(Bytes),
    /// Text that was written as a token, packed or as a JID, and is written so again.
    Text(Text),
}

impl Content {
    /// The content as bytes; `None` for nodes and for none.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Text(text) => Some(text.as_bytes()),
            Self::Empty | Self::Nodes(_) => None,
        }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nodes(a), Self::Nodes(b)) => a == b,
            (Self::Nodes(nodes), rest) | (rest, Self::Nodes(nodes)) => {
                nodes.is_empty() && rest.bytes().is_none_or(<[u8]>::is_empty)
            }
            (a, b) => a.bytes().unwrap_or_default() == b.bytes().unwrap_or_default(),
        }
    }
}

impl Eq for Content {}

impl Node {
    /// A node to be read into.
    pub(crate) const EMPTY: Self = Self { tag: Text::EMPTY, attrs: Vec::new(), content: Content::Empty };

    /// A node without attributes and content.
    pub fn new(tag: impl Into<Text>) -> Self {
        Self { tag: tag.into(), attrs: Vec::new(), content: Content::Empty }
    }

    /// A node from its parts. The caller sees to it that no attribute is given twice.
    #[inline]
    pub(crate) const fn from_parts(tag: Text, attrs: Vec<Attr>, content: Content) -> Self {
        Self { tag, attrs, content }
    }

    /// Adds or replaces an attribute.
    #[must_use]
    pub fn with_attr(mut self, name: impl Into<Text>, value: impl Into<Value>) -> Self {
        self.set_attr(name, value);
        self
    }

    /// Adds or replaces an attribute, if there is a value.
    #[must_use]
    pub fn with_opt_attr(self, name: impl Into<Text>, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with_attr(name, value),
            None => self,
        }
    }

    /// Appends a child; replaces content that is not nodes.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.push_child(child);
        self
    }

    /// Appends children; replaces content that is not nodes.
    #[must_use]
    pub fn with_children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        for child in children {
            self.push_child(child);
        }
        self
    }

    /// Sets the content to bytes (of a text too).
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.content = Content::Bytes(bytes.into());
        self
    }

    /// Sets the content.
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Sets or replaces an attribute.
    pub fn set_attr(&mut self, name: impl Into<Text>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.attrs.iter_mut().find(|attr| attr.name == name) {
            Some(attr) => attr.value = value,
            None => self.attrs.push(Attr { name, value }),
        }
    }

    /// Removes an attribute and gives its value.
    pub fn remove_attr(&mut self, name: &str) -> Option<Value> {
        let at = self.attrs.iter().position(|attr| attr.name == name)?;
        Some(self.attrs.remove(at).value)
    }

    /// Appends a child; replaces content that is not nodes.
    pub fn push_child(&mut self, child: Self) {
        match &mut self.content {
            Content::Nodes(nodes) => nodes.push(child),
            content => *content = Content::Nodes(vec![child]),
        }
    }

    /// The tag.
    #[inline]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    #[inline]
    pub(crate) const fn tag_text(&self) -> &Text {
        &self.tag
    }

    pub(crate) fn set_tag(&mut self, tag: Text) {
        self.tag = tag;
    }

    pub(crate) const fn content_mut(&mut self) -> &mut Content {
        &mut self.content
    }

    /// An attribute's value.
    pub fn attr(&self, name: &str) -> Option<&Value> {
        self.attrs.iter().find(|attr| attr.name == name).map(|attr| &attr.value)
    }

    /// An attribute's value as text.
    pub fn attr_str(&self, name: &str) -> Option<Cow<'_, str>> {
        self.attr(name).map(Value::as_str)
    }

    /// An attribute's value as a JID; `None` also if it is none.
    pub fn attr_jid(&self, name: &str) -> Option<Jid> {
        self.attr(name)?.to_jid()
    }

    /// All attributes, in the order they were given.
    #[inline]
    pub fn attrs(&self) -> &[Attr] {
        &self.attrs
    }

    /// The content.
    #[inline]
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// The children; none if the content is not nodes.
    #[inline]
    pub fn children(&self) -> &[Self] {
        match &self.content {
            Content::Nodes(nodes) => nodes,
            _ => &[],
        }
    }

    /// The first child of that tag.
    pub fn child(&self, tag: &str) -> Option<&Self> {
        self.children().iter().find(|child| child.tag == tag)
    }

    /// The children of that tag.
    pub fn children_named<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Self> + 'a {
        self.children().iter().filter(move |child| child.tag == tag)
    }

    /// The content as bytes; `None` for nodes and for none.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.content.bytes()
    }

    /// The content as text, if it is UTF-8 bytes.
    pub fn text(&self) -> Option<&str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    /// Takes the node apart: tag, attributes, content.
    pub fn into_parts(self) -> (Text, Vec<Attr>, Content) {
        (self.tag, self.attrs, self.content)
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag
            && self.attrs.len() == other.attrs.len()
            && self.attrs.iter().all(|a| other.attr(&a.name) == Some(&a.value))
            && self.content == other.content
    }
}

impl Eq for Node {}

/// Attributes that say who somebody is, what a chat is about, or a secret.
const PERSONAL: [&str; 8] =
    ["name", "notify", "display_name", "external_id", "normalized_external_id", "subject", "auth", "username"];

/// The shape of the tree: JIDs and what names people redacted, contents by length.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.tag)?;
        for attr in &self.attrs {
            write!(f, " {attr:?}")?;
        }
        f.write_str(">")?;
        self.content.fmt(f)
    }
}

impl fmt::Debug for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Str(text) if PERSONAL.contains(&self.name.as_str()) || text.contains('@') => {
                write!(f, "{}={}", self.name, Redacted(text))
            }
            value => write!(f, "{}={value:?}", self.name),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Nodes(nodes) => f.debug_list().entries(nodes).finish(),
            Self::Bytes(bytes) => write!(f, "({} bytes)", bytes.len()),
            Self::Text(text) => write!(f, "({} bytes)", text.len()),
        }
    }
}
