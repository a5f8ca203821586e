//! One complete stanza's text to a tree (PROTOCOL §6.2).

use super::names::{Attributes, entity, is_ncname, is_text, line_ends};
use super::{CONTROL_NS, STREAM_NS};
use crate::error::{Error, Limited, XmlFault};
use crate::limits::{Limits, MAX_ATTRS, MAX_DEPTH_CEILING};
use crate::node::{Attr, Content, Node};
use crate::text::Text;
use crate::value::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use comity_core::{Jid, Server};
use quick_xml::events::Event;
use quick_xml::reader::Reader;

/// Reads one stanza: one element, with nothing but white space (and an XML declaration) around it.
///
/// # Errors
/// [`Error::Xml`] if the text is not well-formed or has what stanzas must not have; [`Error::Limit`] beyond `limits`.
pub fn parse(text: &[u8], limits: &Limits) -> Result<Node, Error> {
    parse_in(text, limits, &[])
}

/// As [`parse`], with prefixes that a stream's header declared.
pub(super) fn parse_in(text: &[u8], limits: &Limits, prefixes: &[String]) -> Result<Node, Error> {
    if text.len() > limits.max_xml_stanza_len {
        return Err(Error::Limit { what: Limited::Xml, max: limits.max_xml_stanza_len });
    }
    let text = core::str::from_utf8(text).map_err(|e| Error::Xml { at: e.valid_up_to(), what: XmlFault::Character })?;
    let mut parser = Parser::new(limits, prefixes);
    let mut reader = Reader::from_str(text);
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = reader.read_event().map_err(|e| Error::Xml { at, what: syntax(&e) })?;
        if matches!(event, Event::Eof) {
            return parser.finish().map_err(|fault| fault.at(at, limits));
        }
        parser.event(&event, at).map_err(|fault| fault.at(at, limits))?;
    }
}

/// The header of a stream, a start tag alone: its tag and attributes, and the prefixes it declares.
pub(super) fn header(tag: &str, limits: &Limits) -> Result<(Node, Vec<String>), Error> {
    let mut parser = Parser::new(limits, &[]);
    let end = tag.find(|c: char| c.is_ascii_whitespace()).unwrap_or(tag.len());
    let (name, attrs) = tag.split_at(end);
    parser.start(name, attrs).map_err(|fault| fault.at(0, limits))?;
    let prefixes = parser.prefixes.into_iter().map(|(_, prefix)| prefix).collect();
    match parser.open.pop() {
        Some(open) => Ok((Node::from_parts(open.tag, open.attrs, Content::Empty), prefixes)),
        None => Err(Error::Xml { at: 0, what: XmlFault::Syntax }),
    }
}

fn syntax(error: &quick_xml::Error) -> XmlFault {
    use quick_xml::errors::IllFormedError as Ill;
    match error {
        quick_xml::Error::IllFormed(Ill::MismatchedEndTag { .. } | Ill::UnmatchedEndTag(_)) => XmlFault::Mismatch,
        quick_xml::Error::IllFormed(Ill::MissingEndTag(_)) => XmlFault::Truncated,
        quick_xml::Error::IllFormed(Ill::UnclosedReference) => XmlFault::Entity,
        _ => XmlFault::Syntax,
    }
}

/// What can go wrong: a fault of the text, or a limit.
enum Fault {
    Xml(XmlFault),
    Limit(Limited),
}

impl Fault {
    fn at(self, at: usize, limits: &Limits) -> Error {
        match self {
            Self::Xml(what) => Error::Xml { at, what },
            Self::Limit(what) => Error::Limit {
                what,
                max: match what {
                    Limited::Depth => limits.max_depth.min(MAX_DEPTH_CEILING),
                    Limited::Attributes => limits.max_attrs.min(MAX_ATTRS),
                    _ => limits.max_nodes,
                },
            },
        }
    }
}

impl From<XmlFault> for Fault {
    fn from(fault: XmlFault) -> Self {
        Self::Xml(fault)
    }
}

struct Parser<'l> {
    limits: &'l Limits,
    nodes: usize,
    open: Vec<Open>,
    /// Prefixes declared, with the depth of their element.
    prefixes: Vec<(usize, String)>,
    root: Option<Node>,
}

/// An element being read.
struct Open {
    tag: Text,
    /// `<c:attr>`: an attribute of the element around it.
    is_attr: bool,
    base64: bool,
    attrs: Vec<Attr>,
    children: Vec<Node>,
    text: String,
}

impl<'l> Parser<'l> {
    fn new(limits: &'l Limits, prefixes: &[String]) -> Self {
        let prefixes = prefixes.iter().map(|prefix| (0, prefix.clone())).collect();
        Self { limits, nodes: 0, open: Vec::new(), prefixes, root: None }
    }

    fn event(&mut self, event: &Event<'_>, at: usize) -> Result<(), Fault> {
        match event {
            Event::Start(tag) => self.start(tag.name().as_ref(), tag.attributes_raw()),
            Event::Empty(tag) => {
                self.start(tag.name().as_ref(), tag.attributes_raw())?;
                self.end()
            }
            Event::End(_) => self.end(),
            Event::Text(text) => {
                if text.contains("]]>") {
                    return Err(XmlFault::Syntax.into());
                }
                self.text(text)
            }
            Event::CData(text) => self.text(text),
            Event::GeneralRef(reference) => {
                let c = entity(reference)?;
                match self.open.last_mut() {
                    Some(open) => open.text.push(c),
                    None => return Err(XmlFault::StrayText.into()),
                }
                Ok(())
            }
            Event::Decl(declaration) if at == 0 => declared(declaration.get(3..).unwrap_or_default()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => Err(XmlFault::Forbidden.into()),
            Event::Eof => Ok(()),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        if !is_text(text) {
            return Err(XmlFault::Character.into());
        }
        match self.open.last_mut() {
            Some(open) => open.text.push_str(&line_ends(text)),
            None if text.trim_matches(XML_SPACE).is_empty() => {}
            None => return Err(XmlFault::StrayText.into()),
        }
        Ok(())
    }

    fn start(&mut self, name: &str, attributes: &str) -> Result<(), Fault> {
        if self.root.is_some() {
            return Err(XmlFault::StrayText.into()); // a second root
        }
        let depth = self.open.len() + 1;
        let is_attr = name == "c:attr";
        if depth > self.limits.max_depth.min(MAX_DEPTH_CEILING) + usize::from(is_attr) {
            return Err(Fault::Limit(Limited::Depth));
        }
        if !is_attr {
            self.nodes += 1;
            if self.nodes > self.limits.max_nodes {
                return Err(Fault::Limit(Limited::Nodes));
            }
        }
        let mut open = Open {
            tag: name.into(),
            is_attr,
            base64: false,
            attrs: Vec::new(),
            children: Vec::new(),
            text: String::new(),
        };
        let mut real_name = None;
        let mut prefixed = false;
        for (i, attribute) in Attributes(attributes).enumerate() {
            // Beside attributes of the tree: two declarations and two of `c:`.
            if i >= self.limits.max_attrs.min(MAX_ATTRS) + 4 {
                return Err(Fault::Limit(Limited::Attributes));
            }
            let (key, value) = attribute?;
            match key.split_once(':') {
                None if is_ncname(key) => {}
                None => return Err(XmlFault::Name.into()),
                Some(("c", "enc")) if value == "base64" && !is_attr && !open.base64 => {
                    open.base64 = true;
                    continue;
                }
                Some(("c", "name")) if name == "c:node" && real_name.is_none() => {
                    real_name = Some(value.into_owned());
                    continue;
                }
                Some(("c", "name64")) if name == "c:node" && real_name.is_none() => {
                    real_name = Some(text_of_base64(&value)?);
                    continue;
                }
                Some(("c", _)) => return Err(XmlFault::Control.into()),
                Some(("xmlns", "c")) if value == CONTROL_NS => continue,
                Some(("xmlns", "stream")) if value == STREAM_NS => continue,
                Some(("xmlns", "c")) => return Err(XmlFault::Control.into()),
                Some(("xmlns", prefix)) => {
                    if matches!(prefix, "stream" | "xml" | "xmlns") || !is_ncname(prefix) || value.is_empty() {
                        return Err(XmlFault::Name.into());
                    }
                    self.prefixes.push((depth, prefix.to_owned()));
                }
                Some(("xml", "lang" | "space")) => {}
                Some(_) => prefixed = true, // its prefix may be declared after it
            }
            push(&mut open.attrs, self.limits, key.into(), attr_value(&value))?;
        }
        if prefixed {
            for attr in &open.attrs {
                if let Some((prefix, local)) = attr.name.split_once(':')
                    && !matches!(prefix, "xmlns" | "xml")
                {
                    self.declared(prefix, local)?;
                }
            }
        }
        match (name.split_once(':'), real_name) {
            (None, None) if is_ncname(name) => {}
            (Some(("c", "node")), Some(real)) if !real.is_empty() => open.tag = real.into(),
            (Some(("c", "attr")), None) if depth > 1 && self.open.last().is_some_and(|parent| !parent.is_attr) => {}
            (Some(("c", _)), _) => return Err(XmlFault::Control.into()),
            (Some(("stream", local)), None) if is_ncname(local) => {}
            (Some((prefix, local)), None) => self.declared(prefix, local)?,
            _ => return Err(XmlFault::Name.into()),
        }
        self.open.push(open);
        Ok(())
    }

    fn declared(&self, prefix: &str, local: &str) -> Result<(), Fault> {
        let known = self.prefixes.iter().any(|(_, declared)| declared == prefix);
        if known && is_ncname(local) { Ok(()) } else { Err(XmlFault::Name.into()) }
    }

    fn end(&mut self) -> Result<(), Fault> {
        let depth = self.open.len();
        while self.prefixes.pop_if(|(at, _)| *at == depth).is_some() {}
        let open = self.open.pop().ok_or(XmlFault::Mismatch)?;
        if open.is_attr {
            let parent = self.open.last_mut().ok_or(XmlFault::Control)?;
            let (name, value) = open.into_attr()?;
            return push(&mut parent.attrs, self.limits, name, value);
        }
        let node = open.into_node()?;
        match self.open.last_mut() {
            Some(parent) if parent.is_attr => Err(XmlFault::Control.into()),
            Some(parent) => {
                parent.children.push(node);
                Ok(())
            }
            None => {
                self.root = Some(node);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Node, Fault> {
        if self.open.is_empty() {
            self.root.ok_or(Fault::Xml(XmlFault::Truncated))
        } else {
            Err(XmlFault::Truncated.into())
        }
    }
}

const XML_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

impl Open {
    fn into_node(self) -> Result<Node, XmlFault> {
        let content = if !self.children.is_empty() {
            if self.base64 {
                return Err(XmlFault::Control);
            }
            if !self.text.trim_matches(XML_SPACE).is_empty() {
                return Err(XmlFault::StrayText);
            }
            Content::Nodes(self.children)
        } else if self.base64 {
            Content::Bytes(STANDARD.decode(self.text).map_err(|_| XmlFault::Control)?.into())
        } else if self.text.is_empty() {
            Content::Empty
        } else {
            Content::Bytes(Bytes::from(self.text))
        };
        Ok(Node::from_parts(self.tag, self.attrs, content))
    }

    fn into_attr(self) -> Result<(Text, Value), XmlFault> {
        let (mut name, mut value) = (None, None);
        for attr in self.attrs {
            let text = attr.value.as_str();
            match &*attr.name {
                "name" if name.is_none() => name = Some(text.into_owned()),
                "name64" if name.is_none() => name = Some(text_of_base64(&text)?),
                "value" if value.is_none() => value = Some(text.into_owned()),
                "value64" if value.is_none() => value = Some(text_of_base64(&text)?),
                _ => return Err(XmlFault::Control),
            }
        }
        match (name, value) {
            (Some(name), Some(value)) if !name.is_empty() && self.text.is_empty() && self.children.is_empty() => {
                Ok((name.into(), attr_value(&value)))
            }
            _ => Err(XmlFault::Control),
        }
    }
}

/// Adds an attribute, once, within the limit.
fn push(attrs: &mut Vec<Attr>, limits: &Limits, name: Text, value: Value) -> Result<(), Fault> {
    if attrs.len() >= limits.max_attrs.min(MAX_ATTRS) {
        return Err(Fault::Limit(Limited::Attributes));
    }
    if attrs.iter().any(|attr| attr.name == name) {
        return Err(XmlFault::DuplicateAttribute.into());
    }
    attrs.push(Attr { name, value });
    Ok(())
}

/// A value that names a server which can be nothing else is the JID; users are made JIDs when they are written.
fn attr_value(text: &str) -> Value {
    match text {
        "s.whatsapp.net" => Value::Jid(Jid::server_only(Server::Whatsapp)),
        "g.us" => Value::Jid(Jid::server_only(Server::Group)),
        _ => text.into(),
    }
}

fn text_of_base64(base64: &str) -> Result<String, XmlFault> {
    let bytes = STANDARD.decode(base64).map_err(|_| XmlFault::Control)?;
    String::from_utf8(bytes).map_err(|_| XmlFault::Control)
}

/// `<?xml version="1.0" encoding="UTF-8"?>`, the only declaration there can be.
fn declared(pseudo_attributes: &str) -> Result<(), Fault> {
    for attribute in Attributes(pseudo_attributes) {
        let ok = match attribute? {
            ("version", value) => value == "1.0",
            ("encoding", value) => value.eq_ignore_ascii_case("utf-8"),
            ("standalone", value) => value == "yes" || value == "no",
            _ => false,
        };
        if !ok {
            return Err(XmlFault::Forbidden.into());
        }
    }
    Ok(())
}
