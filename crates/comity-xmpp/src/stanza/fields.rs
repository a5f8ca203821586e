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
    clause: &'static str,
    rest: Rest,
}

/// Attributes and content that a typed stanza does not know: they survive a parse and a build.
///
/// It also keeps, unseen, what stands at the children that the type does know but has no `rest` for, such as `<list>` in a
/// receipt or `<id>` in a key. That comes back where it was: at the child of that tag, of several at the one of that place.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rest {
    /// Unknown attributes.
    pub attrs: Vec<Attr>,
    /// Unknown children, or content of a node that should have none.
    pub content: Content,
    within: Vec<Within>,
}

/// What is left at the known children of one tag.
#[derive(Clone, PartialEq, Eq)]
struct Within {
    tag: Text,
    /// By place among the children of that tag, ascending.
    rests: Vec<(usize, Rest)>,
    /// Whether it is a wrapper, which is not written when it holds nothing known.
    wrapper: bool,
}

/// Names and sizes alone: nobody knows what the values are.
impl core::fmt::Debug for Rest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let attrs = self.attrs.iter().map(|attr| &attr.name);
        f.debug_list().entries(attrs).finish()?;
        match &self.content {
            Content::Nodes(nodes) => f.debug_list().entries(nodes.iter().map(Node::tag)).finish(),
            content => content.fmt(f),
        }
    }
}

impl Rest {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.attrs.is_empty() && self.content == Content::Empty && self.within.is_empty()
    }

    /// Puts the rest onto a node that was built from the known fields, which win.
    #[must_use]
    pub fn onto(mut self, mut node: Node) -> Node {
        self.attrs.retain(|attr| node.attr(&attr.name).is_none());
        for attr in self.attrs {
            node.set_attr(attr.name, attr.value);
        }
        let (tag, attrs, mut content) = node.into_parts();
        if let Content::Nodes(nodes) = &mut content {
            self.within.retain_mut(|within| !within.put(nodes));
        }
        let created = self.within.into_iter().filter_map(Within::create);
        let node = Node::from_parts(tag, attrs, content).with_children(created);
        match self.content {
            Content::Nodes(nodes) => node.with_children(nodes),
            content if *node.content() == Content::Empty => node.with_content(content),
            _ => node,
        }
    }

    /// As [`Rest::onto`], for nodes that stand in an IQ.
    pub(super) fn beside(self, nodes: Vec<Node>) -> Vec<Node> {
        match self.onto(Node::new("iq").with_children(nodes)).into_parts().2 {
            Content::Nodes(nodes) => nodes,
            _ => Vec::new(),
        }
    }
}

impl Within {
    /// Puts the rests onto the children of the tag, in one pass; `false` if there are none.
    fn put(&mut self, nodes: &mut [Node]) -> bool {
        let mut rests = core::mem::take(&mut self.rests).into_iter().peekable();
        let mut place = 0;
        for node in nodes.iter_mut().filter(|node| node.tag() == &*self.tag) {
            if let Some((_, rest)) = rests.next_if(|(at, _)| *at == place) {
                let mut built = core::mem::replace(node, Node::new(""));
                // An attribute that we write always the same, such as `v="2"`, stays as it was read.
                for attr in &rest.attrs {
                    built.remove_attr(&attr.name);
                }
                *node = rest.onto(built);
            }
            place += 1;
        }
        self.rests = rests.collect();
        place > 0
    }

    fn create(self) -> Option<Node> {
        let (_, rest) = self.rests.into_iter().next().filter(|_| self.wrapper)?;
        Some(rest.onto(Node::new(self.tag)))
    }
}

impl Fields {
    /// A node to be read by `clause`.
    pub fn new(node: Node, clause: &'static str) -> Self {
        let (tag, attrs, content) = node.into_parts();
        Self { tag, clause, rest: Rest { attrs, content, within: Vec::new() } }
    }

    /// The children alone, as those of a node `tag`.
    pub(super) fn of_children(tag: &str, children: Vec<Node>, clause: &'static str) -> Self {
        Self::new(Node::from_parts(tag.into(), Vec::new(), Content::Nodes(children)), clause)
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

    /// An error at a child of this node.
    fn error_in(&self, child: &str, problem: Problem) -> StanzaError {
        StanzaError { path: format!("{}/{child}", self.tag), problem, clause: self.clause }
    }

    /// Refuses the node unless it has this tag.
    ///
    /// # Errors
    /// [`Problem::Unexpected`].
    pub fn expect(&self, tag: &str) -> Result<(), StanzaError> {
        if self.tag == tag {
            return Ok(());
        }
        // The path is what was asked for: the other's tag may be anything.
        Err(StanzaError { path: tag.to_owned(), problem: Problem::Unexpected, clause: self.clause })
    }

    /// Takes an attribute.
    ///
    /// # Errors
    /// If it is there and not a `T`.
    pub fn opt<T: FromValue>(&mut self, name: &str) -> Result<Option<T>, StanzaError> {
        let Some(at) = self.rest.attrs.iter().position(|attr| attr.name == name) else { return Ok(None) };
        T::from_value(self.rest.attrs.remove(at).value).map(Some).map_err(|problem| self.error_at(name, problem))
    }

    /// Takes an attribute that must be there.
    ///
    /// # Errors
    /// If it is missing or not a `T`.
    pub fn req<T: FromValue>(&mut self, name: &str) -> Result<T, StanzaError> {
        self.opt(name)?.ok_or_else(|| self.error_at(name, Problem::Missing))
    }

    /// Takes an attribute that must be there and have this value.
    ///
    /// # Errors
    /// [`Problem::Missing`] or [`Problem::Value`].
    pub fn word(&mut self, name: &str, word: &str) -> Result<(), StanzaError> {
        if self.req::<Text>(name)? == word { Ok(()) } else { Err(self.error_at(name, Problem::Value)) }
    }

    /// Takes the first child of that tag, read by `read`; what that leaves is kept in this node's rest.
    ///
    /// # Errors
    /// If `read` refuses it.
    pub fn child<T>(
        &mut self,
        tag: &str,
        read: impl FnOnce(&mut Self) -> Result<T, StanzaError>,
    ) -> Result<Option<T>, StanzaError> {
        let Content::Nodes(nodes) = &mut self.rest.content else { return Ok(None) };
        let Some(at) = nodes.iter().position(|node| node.tag() == tag) else { return Ok(None) };
        let mut child = Self::new(nodes.remove(at), self.clause);
        let value = read(&mut child).map_err(|e| self.above(e, None))?;
        self.keep(tag, 0, child.rest());
        Ok(Some(value))
    }

    /// Takes the first child of that tag, which must be there.
    ///
    /// # Errors
    /// If it is missing or `read` refuses it.
    pub fn req_child<T>(
        &mut self,
        tag: &str,
        read: impl FnOnce(&mut Self) -> Result<T, StanzaError>,
    ) -> Result<T, StanzaError> {
        self.child(tag, read)?.ok_or_else(|| self.error_in(tag, Problem::Missing))
    }

    /// Takes all children of that tag, at most `max`, each read by `read`; what that leaves is kept in this node's rest.
    ///
    /// # Errors
    /// If there are more than `max`, or `read` refuses one.
    pub fn children<T>(
        &mut self,
        tag: &str,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, StanzaError>,
    ) -> Result<Vec<T>, StanzaError> {
        let Content::Nodes(nodes) = &mut self.rest.content else { return Ok(Vec::new()) };
        let count = nodes.iter().filter(|node| node.tag() == tag).count();
        if count > max {
            return Err(self.error_in(tag, Problem::TooMany));
        }
        let (taken, left): (Vec<_>, Vec<_>) = core::mem::take(nodes).into_iter().partition(|node| node.tag() == tag);
        *nodes = left;
        let mut all = Vec::with_capacity(count);
        for (i, node) in taken.into_iter().enumerate() {
            let mut child = Self::new(node, self.clause);
            all.push(read(&mut child).map_err(|e| self.above(e, Some(i)))?);
            self.keep(tag, i, child.rest());
        }
        Ok(all)
    }

    /// Takes the children `tag` of the child `wrapper`, as [`Fields::children`]; none if there is no such child.
    ///
    /// # Errors
    /// As [`Fields::children`].
    pub fn list<T>(
        &mut self,
        wrapper: &str,
        tag: &str,
        max: usize,
        read: impl FnMut(&mut Self) -> Result<T, StanzaError>,
    ) -> Result<Vec<T>, StanzaError> {
        let all = self.child(wrapper, |f| f.children(tag, max, read))?;
        let another = all.is_some() && self.has_child(wrapper);
        match self.rest.within.last_mut().filter(|within| within.tag == wrapper) {
            Some(within) => within.wrapper = true,
            // Which must not come into its place.
            None if another => {
                let rests = vec![(0, Rest::default())];
                self.rest.within.push(Within { tag: wrapper.into(), rests, wrapper: true });
            }
            None => {}
        }
        Ok(all.unwrap_or_default())
    }

    fn keep(&mut self, tag: &str, place: usize, rest: Rest) {
        if rest.is_empty() {
            return;
        }
        let last = self.rest.within.last_mut().filter(|within| within.tag == tag);
        match last.filter(|within| within.rests.last().is_some_and(|(last, _)| *last < place)) {
            Some(within) => within.rests.push((place, rest)),
            None => self.rest.within.push(Within { tag: tag.into(), rests: vec![(place, rest)], wrapper: false }),
        }
    }

    /// Whether there is a child of that tag.
    pub fn has_child(&self, tag: &str) -> bool {
        matches!(&self.rest.content, Content::Nodes(nodes) if nodes.iter().any(|node| node.tag() == tag))
    }

    /// Takes all children that are left.
    pub fn take_children(&mut self) -> Vec<Node> {
        match core::mem::take(&mut self.rest.content) {
            Content::Nodes(nodes) => nodes,
            other => {
                self.rest.content = other;
                Vec::new()
            }
        }
    }

    /// Takes the content as bytes; none if there is no content.
    ///
    /// # Errors
    /// [`Problem::Length`] if the content is nodes.
    pub fn bytes(&mut self) -> Result<Bytes, StanzaError> {
        match core::mem::take(&mut self.rest.content) {
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
    pub fn rest(&mut self) -> Rest {
        core::mem::take(&mut self.rest)
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
        let secs = u64::from_value(value)?;
        Some(Self::from_secs(secs)).filter(|t| t.as_secs() == secs).ok_or(Problem::Number)
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
                let mut fields = $crate::stanza::Fields::new(node, $clause);
                fields.expect($tag)?;
                Self::read(&mut fields)
            }

            #[doc = concat!("Builds the `<", $tag, ">`.")]
            pub fn into_node(self) -> $crate::Node {
                self.write()
            }
        }
    };
}
pub(crate) use stanza;

/// Shows a stanza that names people or has content as the tree that it builds, which redacts them.
macro_rules! shown_as_node {
    ($($name:ident::$write:ident),+) => {
        $(impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), Self::$write(self.clone()))
            }
        })+
    };
}
pub(crate) use shown_as_node;
