//! The strict parser: every event of a stanza's text, checked (PROTOCOL §6.2).

use super::names::{Attributes, entity, is_ncname, is_text, line_ends};
use super::parse::XmlVisitor;
use super::{CONTROL_NS, STREAM_NS};
use crate::error::{Error, Limited, XmlFault};
use crate::limits::{Limits, MAX_ATTRS, MAX_DEPTH_CEILING, MAX_XML_PREFIXES};
use crate::steps::step;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::events::Event;
use quick_xml::reader::Reader;
use std::borrow::Cow;

/// Attributes of a start tag that are not attributes of the tree: two declarations and two of `c:`.
const CONTROL_ATTRS: usize = 4;
const XML_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// What can go wrong: a fault of the text, or a limit.
pub(super) enum Fault {
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
                    Limited::Prefixes => MAX_XML_PREFIXES,
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

fn syntax(error: &quick_xml::Error) -> XmlFault {
    use quick_xml::errors::IllFormedError as Ill;
    match error {
        quick_xml::Error::IllFormed(Ill::MismatchedEndTag { .. } | Ill::UnmatchedEndTag(_)) => XmlFault::Mismatch,
        quick_xml::Error::IllFormed(Ill::MissingEndTag(_)) => XmlFault::Truncated,
        quick_xml::Error::IllFormed(Ill::UnclosedReference) => XmlFault::Entity,
        _ => XmlFault::Syntax,
    }
}

/// Shows a stanza's values to a visitor while it checks them.
pub(super) struct Parser<'a, 'l, V> {
    limits: &'l Limits,
    visitor: &'l mut V,
    nodes: usize,
    open: Vec<Open<'a>>,
    /// Names of the attributes of all open elements.
    names: Vec<Cow<'a, str>>,
    /// Prefixes that are declared outside.
    outer: &'l [String],
    /// Prefixes declared, with the depth of their element.
    prefixes: Vec<(usize, &'a str)>,
    done: bool,
}

/// An element being read.
struct Open<'a> {
    /// Of a `<c:attr>`, which is an attribute of the element around it: its name and value.
    attr: Option<(Cow<'a, str>, Cow<'a, str>)>,
    base64: bool,
    has_children: bool,
    /// Where its attributes begin in [`Parser::names`].
    names: usize,
    text: Cow<'a, str>,
}

impl<'a, 'l, V: XmlVisitor> Parser<'a, 'l, V> {
    pub(super) const fn new(limits: &'l Limits, outer: &'l [String], visitor: &'l mut V) -> Self {
        Self {
            limits,
            visitor,
            nodes: 0,
            open: Vec::new(),
            names: Vec::new(),
            outer,
            prefixes: Vec::new(),
            done: false,
        }
    }

    /// Reads a whole stanza.
    pub(super) fn document(mut self, text: &'a [u8]) -> Result<(), Error> {
        let limits = self.limits;
        if text.len() > limits.max_xml_stanza_len {
            return Err(Error::Limit { what: Limited::Xml, max: limits.max_xml_stanza_len });
        }
        let text =
            core::str::from_utf8(text).map_err(|e| Error::Xml { at: e.valid_up_to(), what: XmlFault::Character })?;
        if text.starts_with('\u{feff}') {
            return Err(Error::Xml { at: 0, what: XmlFault::StrayText }); // quick-xml would skip it
        }
        let mut reader = Reader::from_str(text);
        let mut at = 0;
        loop {
            let event = reader.read_event().map_err(|e| Error::Xml { at, what: syntax(&e) })?;
            let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let result = match event {
                Event::Eof if self.done => return Ok(()),
                Event::Eof => Err(XmlFault::Truncated.into()),
                event => self.event(&event, text.get(at..end).unwrap_or_default(), at),
            };
            result.map_err(|fault| fault.at(at, limits))?;
            at = end;
        }
    }

    /// Reads a start tag alone (without its angle brackets) and gives the prefixes that it declares.
    pub(super) fn start_tag(mut self, tag: &'a str) -> Result<Vec<String>, Error> {
        let name_len = tag.find(XML_SPACE).unwrap_or(tag.len());
        self.start(tag, name_len).map_err(|fault| fault.at(0, self.limits))?;
        Ok(self.prefixes.into_iter().map(|(_, prefix)| prefix.to_owned()).collect())
    }

    /// An event and the text that it stands for.
    fn event(&mut self, event: &Event<'_>, text: &'a str, at: usize) -> Result<(), Fault> {
        match event {
            Event::Start(tag) => {
                let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).ok_or(XmlFault::Syntax)?;
                self.start(inner, tag.name().as_ref().len())
            }
            Event::Empty(tag) => {
                let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix("/>")).ok_or(XmlFault::Syntax)?;
                self.start(inner, tag.name().as_ref().len())?;
                self.end()
            }
            Event::End(_) => self.end(),
            Event::Text(_) if text.contains(']') && text.contains("]]>") => Err(XmlFault::Syntax.into()),
            Event::Text(_) => self.text(text),
            Event::CData(_) => {
                let inner = text.strip_prefix("<![CDATA[").and_then(|t| t.strip_suffix("]]>"));
                self.text(inner.ok_or(XmlFault::Syntax)?)
            }
            Event::GeneralRef(reference) => {
                let c = entity(reference)?;
                self.open.last_mut().ok_or(XmlFault::StrayText)?.text.to_mut().push(c);
                Ok(())
            }
            Event::Decl(declaration) if at == 0 => declared(declaration.get(3..).unwrap_or_default()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => Err(XmlFault::Forbidden.into()),
            Event::Eof => Ok(()),
        }
    }

    fn text(&mut self, text: &'a str) -> Result<(), Fault> {
        if !is_text(text) {
            return Err(XmlFault::Character.into());
        }
        match self.open.last_mut() {
            Some(open) if open.text.is_empty() => open.text = line_ends(text),
            Some(open) => open.text.to_mut().push_str(&line_ends(text)),
            None if is_blank(text) => {}
            None => return Err(XmlFault::StrayText.into()),
        }
        Ok(())
    }

    /// A start tag, without its angle brackets.
    fn start(&mut self, tag: &'a str, name_len: usize) -> Result<(), Fault> {
        let (name, attributes) = tag.split_at_checked(name_len).ok_or(XmlFault::Syntax)?;
        if self.done {
            return Err(XmlFault::StrayText.into()); // a second root
        }
        let depth = self.open.len() + 1;
        if name == "c:attr" {
            return self.start_attr(attributes);
        }
        if depth > self.limits.max_depth.min(MAX_DEPTH_CEILING) {
            return Err(Fault::Limit(Limited::Depth));
        }
        self.nodes += 1;
        if self.nodes > self.limits.max_nodes {
            return Err(Fault::Limit(Limited::Nodes));
        }
        if let Some(parent) = self.open.last_mut() {
            if parent.attr.is_some() || parent.base64 {
                return Err(XmlFault::Control.into());
            }
            parent.no_text()?;
            parent.text = Cow::Borrowed("");
            parent.has_children = true;
        }
        if name == "c:node" {
            self.visitor.start(&real_name(attributes)?);
        } else {
            self.visitor.start(name);
        }

        let names = self.names.len();
        let mut base64 = false;
        let mut prefixed = false;
        for (i, attribute) in Attributes(attributes).enumerate() {
            if i >= self.max_attrs() + CONTROL_ATTRS {
                return Err(Fault::Limit(Limited::Attributes));
            }
            let (key, value) = attribute?;
            match key.split_once(':') {
                None if is_ncname(key) => {}
                None => return Err(XmlFault::Name.into()),
                Some(("c", "enc")) if value == "base64" && !base64 => {
                    base64 = true;
                    continue;
                }
                Some(("c", "name" | "name64")) if name == "c:node" => continue,
                Some(("c", _)) => return Err(XmlFault::Control.into()),
                Some(("xmlns", "c")) if value == CONTROL_NS => continue,
                Some(("xmlns", "stream")) if value == STREAM_NS => continue,
                Some(("xmlns", "c")) => return Err(XmlFault::Control.into()),
                Some(("xmlns", prefix)) => {
                    if matches!(prefix, "stream" | "xml" | "xmlns") || !is_ncname(prefix) || value.is_empty() {
                        return Err(XmlFault::Name.into());
                    }
                    if self.prefixes.len() >= MAX_XML_PREFIXES {
                        return Err(Fault::Limit(Limited::Prefixes));
                    }
                    self.prefixes.push((depth, prefix));
                }
                Some(("xml", "lang" | "space")) => {}
                Some(_) => prefixed = true, // its prefix may be declared after it
            }
            self.attr(names, Cow::Borrowed(key), &value)?;
        }
        if prefixed {
            for name in self.names.get(names..).unwrap_or_default() {
                if let Some((prefix, local)) = name.split_once(':')
                    && !matches!(prefix, "xmlns" | "xml")
                {
                    self.declared(prefix, local)?;
                }
            }
        }
        match name.split_once(':') {
            None if is_ncname(name) => {}
            None => return Err(XmlFault::Name.into()),
            Some(("c", "node")) => {}
            Some(("c", _)) => return Err(XmlFault::Control.into()),
            Some(("stream", local)) if is_ncname(local) => {}
            Some((prefix, local)) => self.declared(prefix, local)?,
        }
        self.open.push(Open { attr: None, base64, has_children: false, names, text: Cow::Borrowed("") });
        Ok(())
    }

    /// `<c:attr>`.
    fn start_attr(&mut self, attributes: &'a str) -> Result<(), Fault> {
        let parent = self.open.last_mut().filter(|parent| parent.attr.is_none() && !parent.has_children);
        let parent = parent.ok_or(XmlFault::Control)?;
        parent.no_text()?;
        parent.text = Cow::Borrowed("");
        let (mut name, mut content) = (None, None);
        for attribute in Attributes(attributes) {
            let (key, value) = attribute?;
            let (slot, value) = match key {
                "name" => (&mut name, value),
                "value" => (&mut content, value),
                "name64" => (&mut name, text_of_base64(&value)?.into()),
                "value64" => (&mut content, text_of_base64(&value)?.into()),
                _ => return Err(XmlFault::Control.into()),
            };
            if slot.replace(value).is_some() {
                return Err(XmlFault::Control.into());
            }
        }
        let attr = name.filter(|name| !name.is_empty()).zip(content).ok_or(XmlFault::Control)?;
        let names = self.names.len();
        self.open.push(Open { attr: Some(attr), base64: false, has_children: false, names, text: Cow::Borrowed("") });
        Ok(())
    }

    fn max_attrs(&self) -> usize {
        self.limits.max_attrs.min(MAX_ATTRS)
    }

    /// An attribute of the element whose names begin at `names`: once, within the limit.
    fn attr(&mut self, names: usize, name: Cow<'a, str>, value: &str) -> Result<(), Fault> {
        let before = self.names.get(names..).unwrap_or_default();
        if before.len() >= self.max_attrs() {
            return Err(Fault::Limit(Limited::Attributes));
        }
        step(before.len());
        if before.contains(&name) {
            return Err(XmlFault::DuplicateAttribute.into());
        }
        self.visitor.attr(&name, value);
        self.names.push(name);
        Ok(())
    }

    fn declared(&self, prefix: &str, local: &str) -> Result<(), Fault> {
        step(self.outer.len() + self.prefixes.len());
        let known = self.outer.iter().any(|outer| outer == prefix) || self.prefixes.iter().any(|(_, p)| *p == prefix);
        if known && is_ncname(local) { Ok(()) } else { Err(XmlFault::Name.into()) }
    }

    fn end(&mut self) -> Result<(), Fault> {
        let depth = self.open.len();
        while self.prefixes.pop_if(|(at, _)| *at == depth).is_some() {}
        let open = self.open.pop().ok_or(XmlFault::Mismatch)?;
        if let Some((name, value)) = open.attr {
            if !open.text.is_empty() {
                return Err(XmlFault::Control.into());
            }
            let names = self.open.last().ok_or(XmlFault::Control)?.names;
            return self.attr(names, name, &value);
        }
        self.names.truncate(open.names);
        if open.has_children {
            open.no_text()?;
        } else if open.base64 {
            let bytes = STANDARD.decode(open.text.as_bytes()).map_err(|_| XmlFault::Control)?;
            if !bytes.is_empty() {
                self.visitor.bytes(bytes.into());
            }
        } else if !open.text.is_empty() {
            self.visitor.bytes(match open.text {
                Cow::Borrowed(text) => text.as_bytes().into(),
                Cow::Owned(text) => text.into_bytes().into(),
            });
        }
        self.visitor.end();
        self.done = self.open.is_empty();
        Ok(())
    }
}

impl Open<'_> {
    /// Beside elements there is only white space.
    fn no_text(&self) -> Result<(), XmlFault> {
        step(self.text.len());
        if is_blank(&self.text) { Ok(()) } else { Err(XmlFault::StrayText) }
    }
}

fn is_blank(text: &str) -> bool {
    text.trim_matches(XML_SPACE).is_empty()
}

/// The tag of a `<c:node>`.
fn real_name(attributes: &str) -> Result<String, XmlFault> {
    let mut real = None;
    for attribute in Attributes(attributes) {
        let name = match attribute? {
            ("c:name", value) => value.into_owned(),
            ("c:name64", value) => text_of_base64(&value)?,
            _ => continue,
        };
        if name.is_empty() || real.replace(name).is_some() {
            return Err(XmlFault::Control);
        }
    }
    real.ok_or(XmlFault::Control)
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
