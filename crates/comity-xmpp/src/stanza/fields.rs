//! Taking a node apart, and what is left of it.

use super::error::{Problem, StanzaError};
use crate::node::{Attr, Content, Node};
use crate::text::Text;
use crate::value::Value;
use bytes::Bytes;
use comity_core::{Jid, MessageId, Timestamp};

/// A node being read: each attribute and child is taken out once, and what nobody took is the [`Rest`].
#[derive(Debug)]
pub struct Fields {
    tag: Text,
    attrs: Vec<Attr>,
    content: Content,
    clause: &'static str,
}

/// Attributes and content that a typed stanza does not know: they survive a parse and a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Unknown attributes.
    pub attrs: Vec<Attr>,
    /// Unknown children, or content of a node that should have none.
    pub content: Content,
}

impl Rest {
    /// The unknown children alone.
    pub(super) fn into_children(self) -> Vec<Node> {
        match self.content {
            Content::Nodes(nodes) => nodes,
            _ => Vec::new(),
        }
    }

    /// Puts the rest onto a node that was built from the known fields.
    #[must_use]
    pub fn onto(self, mut node: Node) -> Node {
        for attr in self.attrs {
            if node.attr(&attr.name).is_none() {
                node.set_attr(attr.name, attr.value);
            }
        }
        match self.content {
            Content::Nodes(nodes) => node.with_children(nodes),
            Content::Empty => node,
            content if matches!(node.content(), Content::Empty) => node.with_content(content),
            _ => node,
        }
    }
}

impl Fields {
    /// A node to be read by `clause`.
    pub fn new(node: Node, clause: &'static str) -> Self {
        let (tag, attrs, content) = node.into_parts();
        Self { tag, attrs, content, clause }
    }

    /// The children alone, as those of a node `tag`.
    pub(super) fn of_children(tag: &str, children: Vec<Node>, clause: &'static str) -> Self {
        Self { tag: tag.into(), attrs: Vec::new(), content: Content::Nodes(children), clause }
    }

    /// The node's tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// An error at this node.
    pub fn error(&self, problem: Problem) -> StanzaError {
        StanzaError { path: self.tag.to_string(), problem, clause: self.clause }
    }

    /// An error at an attribute of this node.
    pub fn error_at(&self, attr: &str, problem: Problem) -> StanzaError {
        StanzaError { path: format!("{}@{attr}", self.tag), problem, clause: self.clause }
    }

    /// Refuses the node unless it has this tag.
    ///
    /// # Errors
    /// [`Problem::Unexpected`].
    pub fn expect(&self, tag: &str) -> Result<(), StanzaError> {
        if self.tag == tag { Ok(()) } else { Err(self.error(Problem::Unexpected)) }
    }

    /// Takes an attribute.
    ///
    /// # Errors
    /// If it is there and not a `T`.
    pub fn opt<T: FromValue>(&mut self, name: &str) -> Result<Option<T>, StanzaError> {
        let Some(at) = self.attrs.iter().position(|attr| attr.name == name) else { return Ok(None) };
        T::from_value(self.attrs.remove(at).value).map(Some).map_err(|problem| self.error_at(name, problem))
    }

    /// Takes an attribute that must be there.
    ///
    /// # Errors
    /// If it is missing or not a `T`.
    pub fn req<T: FromValue>(&mut self, name: &str) -> Result<T, StanzaError> {
        self.opt(name)?.ok_or_else(|| self.error_at(name, Problem::Missing))
    }

    /// Takes the first child of that tag, read by `read`.
    ///
    /// # Errors
    /// If `read` refuses it.
    pub fn child<T>(
        &mut self,
        tag: &str,
        read: impl FnOnce(Self) -> Result<T, StanzaError>,
    ) -> Result<Option<T>, StanzaError> {
        let Content::Nodes(nodes) = &mut self.content else { return Ok(None) };
        let Some(at) = nodes.iter().position(|node| node.tag() == tag) else { return Ok(None) };
        let child = nodes.remove(at);
        read(Self::new(child, self.clause)).map(Some).map_err(|e| self.above(e, None))
    }

    /// Takes the first child of that tag, which must be there.
    ///
    /// # Errors
    /// If it is missing or `read` refuses it.
    pub fn req_child<T>(
        &mut self,
        tag: &str,
        read: impl FnOnce(Self) -> Result<T, StanzaError>,
    ) -> Result<T, StanzaError> {
        self.child(tag, read)?.ok_or_else(|| StanzaError {
            path: format!("{}/{tag}", self.tag),
            problem: Problem::Missing,
            clause: self.clause,
        })
    }

    /// Takes all children of that tag, at most `max`, each read by `read`.
    ///
    /// # Errors
    /// If there are more than `max`, or `read` refuses one.
    pub fn children<T>(
        &mut self,
        tag: &str,
        max: usize,
        mut read: impl FnMut(Self) -> Result<T, StanzaError>,
    ) -> Result<Vec<T>, StanzaError> {
        let Content::Nodes(nodes) = &mut self.content else { return Ok(Vec::new()) };
        let count = nodes.iter().filter(|node| node.tag() == tag).count();
        if count > max {
            return Err(StanzaError {
                path: format!("{}/{tag}", self.tag),
                problem: Problem::TooMany,
                clause: self.clause,
            });
        }
        let (taken, left): (Vec<_>, Vec<_>) = core::mem::take(nodes).into_iter().partition(|node| node.tag() == tag);
        *nodes = left;
        let mut all = Vec::with_capacity(count);
        for (i, node) in taken.into_iter().enumerate() {
            all.push(read(Self::new(node, self.clause)).map_err(|e| self.above(e, Some(i)))?);
        }
        Ok(all)
    }

    /// Whether there is a child of that tag.
    pub fn has_child(&self, tag: &str) -> bool {
        matches!(&self.content, Content::Nodes(nodes) if nodes.iter().any(|node| node.tag() == tag))
    }

    /// Takes all children that are left.
    pub fn take_children(&mut self) -> Vec<Node> {
        match core::mem::take(&mut self.content) {
            Content::Nodes(nodes) => nodes,
            other => {
                self.content = other;
                Vec::new()
            }
        }
    }

    /// Takes the content as bytes; none if there is no content.
    ///
    /// # Errors
    /// [`Problem::Length`] if the content is nodes.
    pub fn bytes(&mut self) -> Result<Bytes, StanzaError> {
        match core::mem::take(&mut self.content) {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Content::Empty => Ok(Bytes::new()),
            Content::Nodes(nodes) if nodes.is_empty() => Ok(Bytes::new()),
            Content::Nodes(_) => Err(self.error(Problem::Length)),
        }
    }

    /// Takes the content as exactly `N` bytes.
    ///
    /// # Errors
    /// [`Problem::Length`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], StanzaError> {
        let bytes = self.bytes()?;
        <[u8; N]>::try_from(&bytes[..]).map_err(|_| self.error(Problem::Length))
    }

    /// Takes the content as a big-endian number of exactly `N` bytes (at most 4).
    ///
    /// # Errors
    /// [`Problem::Length`].
    pub fn number<const N: usize>(&mut self) -> Result<u32, StanzaError> {
        Ok(self.array::<N>()?.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    /// Takes the content as text.
    ///
    /// # Errors
    /// [`Problem::Text`].
    pub fn text(&mut self) -> Result<Text, StanzaError> {
        let bytes = self.bytes()?;
        core::str::from_utf8(&bytes).map(Text::from).map_err(|_| self.error(Problem::Text))
    }

    /// What was not taken.
    pub fn rest(self) -> Rest {
        let content = match self.content {
            Content::Nodes(nodes) if nodes.is_empty() => Content::Empty,
            content => content,
        };
        Rest { attrs: self.attrs, content }
    }

    fn above(&self, error: StanzaError, index: Option<usize>) -> StanzaError {
        let path = match (index, error.path.find(['/', '@'])) {
            (None, _) => format!("{}/{}", self.tag, error.path),
            (Some(i), None) => format!("{}/{}[{i}]", self.tag, error.path),
            (Some(i), Some(at)) => {
                let (head, tail) = error.path.split_at(at);
                format!("{}/{head}[{i}]{tail}", self.tag)
            }
        };
        StanzaError { path, ..error }
    }
}

/// What an attribute's value can be read as.
pub trait FromValue: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong with it.
    fn from_value(value: Value) -> Result<Self, Problem>;
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, Problem> {
        Ok(value)
    }
}

impl FromValue for Text {
    fn from_value(value: Value) -> Result<Self, Problem> {
        Ok(match value {
            Value::Str(text) => text,
            Value::Jid(jid) => jid.to_string().into(),
        })
    }
}

impl FromValue for Jid {
    fn from_value(value: Value) -> Result<Self, Problem> {
        match value {
            Value::Str(text) => text.parse().map_err(|_| Problem::Jid),
            Value::Jid(jid) => Ok(jid),
        }
    }
}

impl FromValue for MessageId {
    fn from_value(value: Value) -> Result<Self, Problem> {
        Text::from_value(value)?.parse().map_err(|_| Problem::Id)
    }
}

impl FromValue for u64 {
    fn from_value(value: Value) -> Result<Self, Problem> {
        let Value::Str(text) = value else { return Err(Problem::Number) };
        // `parse` would take a plus sign.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Problem::Number);
        }
        text.parse().map_err(|_| Problem::Number)
    }
}

impl FromValue for u32 {
    fn from_value(value: Value) -> Result<Self, Problem> {
        u64::from_value(value)?.try_into().map_err(|_| Problem::Number)
    }
}

impl FromValue for u16 {
    fn from_value(value: Value) -> Result<Self, Problem> {
        u64::from_value(value)?.try_into().map_err(|_| Problem::Number)
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, Problem> {
        match &*Text::from_value(value)? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Problem::Value),
        }
    }
}

/// Unix seconds.
impl FromValue for Timestamp {
    fn from_value(value: Value) -> Result<Self, Problem> {
        u64::from_value(value).map(Self::from_secs)
    }
}

impl From<Timestamp> for Value {
    fn from(t: Timestamp) -> Self {
        t.as_secs().into()
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        if flag { "true" } else { "false" }.into()
    }
}

/// Defines an enum of the words of an attribute; other words are kept as they are.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// Another word.
            Other($crate::Text),
        }

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<$crate::Text> for $name {
            fn from(word: $crate::Text) -> Self {
                match &*word {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word),
                }
            }
        }

        impl $crate::stanza::FromValue for $name {
            fn from_value(value: $crate::Value) -> Result<Self, $crate::stanza::Problem> {
                $crate::Text::from_value(value).map(Self::from)
            }
        }

        impl From<$name> for $crate::Value {
            fn from(word: $name) -> Self {
                match word {
                    $name::Other(word) => word.into(),
                    known => known.as_str().into(),
                }
            }
        }
    };
}
pub(crate) use words;

/// Gives a typed stanza `parse`, `from_node` and `into_node` over its private `read` and `write`.
macro_rules! stanza {
    ($name:ident, $tag:literal, $clause:literal) => {
        impl $name {
            #[doc = concat!("Reads a `<", $tag, ">` (PROTOCOL ", $clause, ").")]
            ///
            /// # Errors
            /// Where and why it is none.
            pub fn parse(node: &$crate::Node) -> Result<Self, $crate::StanzaError> {
                Self::from_node(node.clone())
            }

            /// As `parse`, without a copy.
            ///
            /// # Errors
            /// As `parse`.
            pub fn from_node(node: $crate::Node) -> Result<Self, $crate::StanzaError> {
                let fields = $crate::stanza::Fields::new(node, $clause);
                fields.expect($tag)?;
                Self::read(fields)
            }

            #[doc = concat!("Builds the `<", $tag, ">`.")]
            pub fn into_node(self) -> $crate::Node {
                self.write()
            }
        }
    };
}
pub(crate) use stanza;
