//! One complete stanza's text to a tree or to a visitor (PROTOCOL §6.2).

use super::check::Parser;
use crate::error::{Error, XmlFault};
use crate::limits::Limits;
use crate::node::{Attr, Content, Node};
use crate::text::Text;
use crate::value::Value;
use bytes::Bytes;
use comity_core::{Jid, Server};
use std::borrow::Cow;

/// Takes what a stanza's text says, in its order: each element's tag, its attributes, its content, its end.
///
/// What was seen before an error counts for nothing.
pub trait XmlVisitor {
    /// An element begins.
    fn start(&mut self, tag: &str);
    /// An attribute.
    fn attr(&mut self, name: &str, value: &str);
    /// The element's content is these bytes, at least one: its text, or what that means in base64.
    fn bytes(&mut self, bytes: Cow<'_, [u8]>);
    /// The element ends.
    fn end(&mut self);
}

/// Reads one stanza: one element, with nothing but white space (and an XML declaration) around it.
///
/// # Errors
/// [`Error::Xml`] if the text is not well-formed or has what stanzas must not have; [`Error::Limit`] beyond `limits`.
pub fn parse(text: &[u8], limits: &Limits) -> Result<Node, Error> {
    parse_in(text, limits, &[])
}

/// As [`parse`], showing every value to `visitor` instead of building a tree.
///
/// # Errors
/// As [`parse`].
pub fn visit(text: &[u8], limits: &Limits, visitor: &mut impl XmlVisitor) -> Result<(), Error> {
    visit_in(text, limits, &[], visitor)
}

/// As [`parse`], with prefixes that a stream's header declared.
pub(super) fn parse_in(text: &[u8], limits: &Limits, prefixes: &[String]) -> Result<Node, Error> {
    let mut tree = Tree::default();
    visit_in(text, limits, prefixes, &mut tree)?;
    tree.root.ok_or(Error::Xml { at: 0, what: XmlFault::Truncated })
}

pub(super) fn visit_in(
    text: &[u8],
    limits: &Limits,
    prefixes: &[String],
    visitor: &mut impl XmlVisitor,
) -> Result<(), Error> {
    Parser::new(limits, prefixes, visitor).document(text)
}

/// The header of a stream, a start tag alone: its tag and attributes, and the prefixes it declares.
pub(super) fn header(tag: &str, limits: &Limits) -> Result<(Node, Vec<String>), Error> {
    let mut tree = Tree::default();
    let prefixes = Parser::new(limits, &[], &mut tree).start_tag(tag)?;
    tree.end();
    tree.root.map(|node| (node, prefixes)).ok_or(Error::Xml { at: 0, what: XmlFault::Syntax })
}

/// Builds the tree.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
}

struct Open {
    tag: Text,
    attrs: Vec<Attr>,
    content: Content,
}

impl XmlVisitor for Tree {
    fn start(&mut self, tag: &str) {
        self.open.push(Open { tag: tag.into(), attrs: Vec::new(), content: Content::Empty });
    }

    fn attr(&mut self, name: &str, value: &str) {
        if let Some(open) = self.open.last_mut() {
            open.attrs.push(Attr { name: name.into(), value: attr_value(value) });
        }
    }

    fn bytes(&mut self, bytes: Cow<'_, [u8]>) {
        if let Some(open) = self.open.last_mut() {
            open.content = Content::Bytes(match bytes {
                Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
                Cow::Owned(bytes) => Bytes::from(bytes),
            });
        }
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let node = Node::from_parts(open.tag, open.attrs, open.content);
        match self.open.last_mut() {
            Some(Open { content: Content::Nodes(nodes), .. }) => nodes.push(node),
            Some(parent) => parent.content = Content::Nodes(vec![node]),
            None => self.root = Some(node),
        }
    }
}

/// A value that names a server which can be nothing else is the JID; users are made JIDs when they are written.
fn attr_value(text: &str) -> Value {
    match text {
        "s.whatsapp.net" => Value::Jid(Jid::server_only(Server::Whatsapp)),
        "g.us" => Value::Jid(Jid::server_only(Server::Group)),
        _ => text.into(),
    }
}
