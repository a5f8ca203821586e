//! Values off the wire: strings, JIDs, lists and nodes, checked as they are read (PROTOCOL §6.1).

use super::tag;
use super::tokens::{Token, key};
use crate::error::{Error, Limited, Malformed};
use crate::limits::{Limits, MAX_ATTRS, MAX_DEPTH_CEILING};
use crate::steps::step;
use crate::text::{Packed, TextRef, TextRepr};
use crate::value::{JidRef, ServerRef, ValueRef};
use comity_core::Server;

/// Fewest bytes of a node: list tag, size, tag.
const MIN_NODE: usize = 3;
/// Fewest bytes of an attribute: two tokens.
const MIN_ATTR: usize = 2;
/// Up to so many attributes, their names are compared in a small table.
const FEW_ATTRS: usize = 8;

/// An [`Error`] without drop glue, so that the way through a frame stays short.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Binary { at: usize, what: Malformed },
    Limit { what: Limited, max: usize },
}

impl From<Fault> for Error {
    #[cold]
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Binary { at, what } => Self::Binary { at, what },
            Fault::Limit { what, max } => Self::Limit { what, max },
        }
    }
}

/// What becomes of the values read: the owned tree, a visitor's calls, or nothing at all.
pub(super) trait Build<'a> {
    /// Where a node is read to. Values are written where they stay: moving what was just written in parts stalls.
    type Slot<'s>;

    fn open(&mut self, slot: &mut Self::Slot<'_>, tag: TextRef<'a>, attrs: usize);
    fn attr(&mut self, slot: &mut Self::Slot<'_>, name: TextRef<'a>, value: ValueRef<'a>);
    fn bytes(&mut self, slot: &mut Self::Slot<'_>, bytes: &'a [u8]);
    fn text(&mut self, slot: &mut Self::Slot<'_>, value: ValueRef<'a>);
    /// The slots of the node's children.
    fn list<'s: 's>(slot: Self::Slot<'s>, count: usize) -> impl Iterator<Item = Self::Slot<'s>>;
    fn close(&mut self);
}

/// Checks and keeps nothing.
pub(super) struct Check;

impl<'a> Build<'a> for Check {
    type Slot<'s> = ();

    fn open(&mut self, (): &mut (), _: TextRef<'a>, _: usize) {}
    fn attr(&mut self, (): &mut (), _: TextRef<'a>, _: ValueRef<'a>) {}
    fn bytes(&mut self, (): &mut (), _: &'a [u8]) {}
    fn text(&mut self, (): &mut (), _: ValueRef<'a>) {}
    fn list<'s: 's>((): (), count: usize) -> impl Iterator<Item = ()> {
        core::iter::repeat_n((), count)
    }
    fn close(&mut self) {}
}

/// Marks the key of a name that is no token.
const UNKNOWN: u16 = 0x8000;

/// What follows a node's attributes.
#[derive(Clone, Copy)]
pub(super) enum ContentHead<'a> {
    Nodes(usize),
    Bytes(&'a [u8]),
    Text(ValueRef<'a>),
}

/// A cursor over a body.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
    /// Bytes that the nodes announced and not yet read need at least: so that lists inside lists cannot announce more
    /// together than the body holds.
    owed: usize,
    nodes_left: usize,
    max_nodes: usize,
    max_depth: usize,
    max_attrs: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8], limits: &Limits) -> Self {
        Self {
            rest: body,
            total: body.len(),
            owed: 0,
            nodes_left: limits.max_nodes,
            max_nodes: limits.max_nodes,
            max_depth: limits.max_depth.min(MAX_DEPTH_CEILING),
            max_attrs: limits.max_attrs.min(MAX_ATTRS),
        }
    }

    #[inline]
    pub(super) const fn offset(&self) -> usize {
        self.total - self.rest.len()
    }

    #[cold]
    fn fail<T>(&self, what: Malformed) -> Result<T, Fault> {
        Err(Fault::Binary { at: self.offset(), what })
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        step(1); // everything begins with a byte
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                Ok(byte)
            }
            None => self.fail(Malformed::Truncated),
        }
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, Fault> {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u16::from_be_bytes(*bytes))
            }
            None => self.fail(Malformed::Truncated),
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        match self.rest.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => self.fail(Malformed::Truncated),
        }
    }

    /// The bytes of BINARY_8, BINARY_20 or BINARY_32, its tag read.
    #[inline]
    fn binary(&mut self, kind: u8) -> Result<&'a [u8], Fault> {
        let len = match kind {
            tag::BINARY_8 => usize::from(self.u8()?),
            tag::BINARY_20 => {
                let high = self.u8()? & 0x0f;
                usize::from(high) << 16 | usize::from(self.u16()?)
            }
            _ => usize::from(self.u16()?) << 16 | usize::from(self.u16()?),
        };
        self.take(len)
    }

    /// A token, packed or raw string, its tag read. Tokens and short raw strings are read in place: they are most of
    /// every stanza, and a call would move the result through memory.
    #[inline(always)]
    fn text(&mut self, kind: u8) -> Result<TextRef<'a>, Fault> {
        match kind {
            1..tag::DICTIONARY_0 => Ok(TextRef(TextRepr::Token(Token::single(kind)))),
            tag::BINARY_8 => Ok(TextRef(TextRepr::Raw(self.raw(kind)?))),
            _ => self.other_text(kind),
        }
    }

    #[inline(always)]
    fn double(&mut self, kind: u8) -> Result<Token, Fault> {
        Ok(Token::double(kind - tag::DICTIONARY_0, self.u8()?))
    }

    #[inline(always)]
    fn raw(&mut self, kind: u8) -> Result<&'a str, Fault> {
        let at = self.offset();
        smoothutf8::from_utf8(self.binary(kind)?).ok_or(Fault::Binary { at, what: Malformed::Utf8 })
    }

    #[inline(always)]
    fn packed(&mut self, kind: u8) -> Result<Packed<'a>, Fault> {
        let at = self.offset();
        let head = self.u8()?;
        let bytes = self.take(usize::from(head & 0x7f))?;
        Packed::new(bytes, head & 0x80 != 0, kind == tag::HEX_8).ok_or(Fault::Binary { at, what: Malformed::Nibble })
    }

    #[inline(never)]
    fn other_text(&mut self, kind: u8) -> Result<TextRef<'a>, Fault> {
        match kind {
            tag::DICTIONARY_0..=tag::DICTIONARY_3 => Ok(TextRef(TextRepr::Token(self.double(kind)?))),
            tag::BINARY_20 | tag::BINARY_32 => Ok(TextRef(TextRepr::Raw(self.raw(kind)?))),
            tag::NIBBLE_8 | tag::HEX_8 => Ok(TextRef(TextRepr::Packed(self.packed(kind)?))),
            tag::AD_JID | tag::JID_PAIR | tag::FB_JID | tag::INTEROP_JID => self.fail(Malformed::UnexpectedJid),
            _ => self.fail(Malformed::NotAString(kind)),
        }
    }

    /// A tag or an attribute's name.
    #[inline(always)]
    pub(super) fn name(&mut self) -> Result<TextRef<'a>, Fault> {
        let kind = self.u8()?;
        if kind == tag::LIST_EMPTY {
            return self.fail(Malformed::EmptyName);
        }
        let name = self.text(kind)?;
        if name.is_empty() { self.fail(Malformed::EmptyName) } else { Ok(name) }
    }

    /// A string or a JID, its tag read.
    #[inline(always)]
    fn value_of(&mut self, kind: u8) -> Result<ValueRef<'a>, Fault> {
        match kind {
            tag::JID_PAIR | tag::AD_JID | tag::FB_JID | tag::INTEROP_JID => self.jid(kind).map(ValueRef::Jid),
            tag::LIST_EMPTY => Ok(ValueRef::Str(TextRef::EMPTY)),
            _ => self.text(kind).map(ValueRef::Str),
        }
    }

    /// An attribute's value.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<ValueRef<'a>, Fault> {
        let kind = self.u8()?;
        self.value_of(kind)
    }

    /// The user part of a JID: a string, never another JID.
    #[inline]
    fn user(&mut self) -> Result<TextRef<'a>, Fault> {
        match self.u8()? {
            tag::LIST_EMPTY => Ok(TextRef::EMPTY),
            kind => self.text(kind),
        }
    }

    fn jid(&mut self, kind: u8) -> Result<JidRef<'a>, Fault> {
        match kind {
            tag::JID_PAIR => {
                let user = self.user()?;
                Ok(JidRef { user, server: self.server()?, device: 0, integrator: 0 })
            }
            tag::AD_JID => {
                let server = match self.u8()? {
                    0 => Server::Whatsapp,
                    1 => Server::Lid,
                    128 => Server::Hosted,
                    129 => Server::HostedLid,
                    domain => return self.fail(Malformed::Domain(domain)),
                };
                let device = u16::from(self.u8()?);
                Ok(JidRef { user: self.user()?, server: ServerRef::Known(server), device, integrator: 0 })
            }
            tag::FB_JID => {
                let user = self.user()?;
                let device = self.u16()?;
                let kind = self.u8()?;
                if self.text(kind)? != *"msgr" {
                    return self.fail(Malformed::FbServer);
                }
                Ok(JidRef { user, server: ServerRef::Known(Server::Msgr), device, integrator: 0 })
            }
            _ => {
                let user = self.user()?;
                let device = self.u16()?;
                let integrator = self.u16()?;
                // Some writers leave the server out.
                if let Some(rest) = self.rest.strip_prefix(b"\xfc\x07interop") {
                    self.rest = rest;
                }
                Ok(JidRef { user, server: ServerRef::Known(Server::Interop), device, integrator })
            }
        }
    }

    #[inline]
    fn server(&mut self) -> Result<ServerRef<'a>, Fault> {
        let kind = self.u8()?;
        if kind == tag::S_WHATSAPP_NET {
            return Ok(ServerRef::Known(Server::Whatsapp));
        }
        if kind == tag::LIST_EMPTY {
            return self.fail(Malformed::NoServer);
        }
        let text = self.text(kind)?;
        if text.is_empty() {
            return self.fail(Malformed::NoServer);
        }
        let known = match text.0 {
            TextRepr::Token(token) => token.server(),
            TextRepr::Raw(text) => Server::parse(text),
            TextRepr::Packed(_) => None,
        };
        Ok(known.map_or(ServerRef::Other(text), ServerRef::Known))
    }

    #[inline]
    fn list_size(&mut self, kind: u8) -> Result<usize, Fault> {
        match kind {
            tag::LIST_8 => self.u8().map(usize::from),
            tag::LIST_16 => self.u16().map(usize::from),
            tag::LIST_EMPTY => Ok(0),
            _ => self.fail(Malformed::NotAList(kind)),
        }
    }

    /// The size that a node begins with.
    #[inline]
    pub(super) fn size(&mut self) -> Result<usize, Fault> {
        let kind = self.u8()?;
        match self.list_size(kind)? {
            0 => self.fail(Malformed::EmptyNode),
            size => Ok(size),
        }
    }

    /// A node's tag, its number of attributes and whether it has content.
    #[inline(always)]
    pub(super) fn head(&mut self) -> Result<(TextRef<'a>, usize, bool), Fault> {
        let size = self.size()?;
        let name = self.name()?;
        Ok((name, (size - 1) / 2, size % 2 == 0))
    }

    /// Reads a value, its tag read, and hands it on. Each form has a hand-over of its own: joined into one value first,
    /// it would go through memory.
    #[inline(always)]
    fn value_to(&mut self, kind: u8, mut take: impl FnMut(ValueRef<'a>)) -> Result<(), Fault> {
        let text = |repr| ValueRef::Str(TextRef(repr));
        match kind {
            1..tag::DICTIONARY_0 => take(text(TextRepr::Token(Token::single(kind)))),
            tag::DICTIONARY_0..=tag::DICTIONARY_3 => take(text(TextRepr::Token(self.double(kind)?))),
            tag::BINARY_8 => take(text(TextRepr::Raw(self.raw(kind)?))),
            tag::NIBBLE_8 | tag::HEX_8 => take(text(TextRepr::Packed(self.packed(kind)?))),
            tag::JID_PAIR | tag::AD_JID | tag::FB_JID | tag::INTEROP_JID => take(ValueRef::Jid(self.jid(kind)?)),
            _ => take(self.other_value(kind)?),
        }
        Ok(())
    }

    #[inline(never)]
    fn other_value(&mut self, kind: u8) -> Result<ValueRef<'a>, Fault> {
        self.value_of(kind)
    }

    #[inline(always)]
    pub(super) fn attribute(&mut self) -> Result<(TextRef<'a>, ValueRef<'a>), Fault> {
        let name = self.name()?;
        Ok((name, self.value()?))
    }

    #[inline]
    pub(super) fn content(&mut self) -> Result<ContentHead<'a>, Fault> {
        match self.u8()? {
            kind @ (tag::LIST_EMPTY | tag::LIST_8 | tag::LIST_16) => self.list_size(kind).map(ContentHead::Nodes),
            kind @ tag::BINARY_8..=tag::BINARY_32 => self.binary(kind).map(ContentHead::Bytes),
            kind => self.value_of(kind).map(ContentHead::Text),
        }
    }

    /// Reads one whole node into a slot; the root has depth 1.
    pub(super) fn node<B: Build<'a>>(
        &mut self,
        build: &mut B,
        mut slot: B::Slot<'_>,
        depth: usize,
    ) -> Result<(), Fault> {
        if depth > self.max_depth {
            return Err(Fault::Limit { what: Limited::Depth, max: self.max_depth });
        }
        let Some(left) = self.nodes_left.checked_sub(1) else {
            return Err(Fault::Limit { what: Limited::Nodes, max: self.max_nodes });
        };
        self.nodes_left = left;

        let (tag, attrs, has_content) = self.head()?;
        if attrs > self.max_attrs {
            return Err(Fault::Limit { what: Limited::Attributes, max: self.max_attrs });
        }
        if attrs * MIN_ATTR + self.owed > self.rest.len() {
            return self.fail(Malformed::Truncated);
        }
        build.open(&mut slot, tag, attrs);
        if attrs <= FEW_ATTRS {
            self.attributes::<B, FEW_ATTRS, 4>(build, &mut slot, attrs)?;
        } else {
            self.many_attributes(build, &mut slot, attrs)?;
        }

        if has_content {
            match self.u8()? {
                kind @ (tag::LIST_EMPTY | tag::LIST_8 | tag::LIST_16) => {
                    let count = self.list_size(kind)?;
                    self.owed += count * MIN_NODE;
                    if self.owed > self.rest.len() {
                        return self.fail(Malformed::Truncated);
                    }
                    if count > self.nodes_left {
                        return Err(Fault::Limit { what: Limited::Nodes, max: self.max_nodes });
                    }
                    for child in B::list(slot, count) {
                        self.owed -= MIN_NODE;
                        self.node(build, child, depth + 1)?;
                    }
                }
                kind @ tag::BINARY_8..=tag::BINARY_32 => build.bytes(&mut slot, self.binary(kind)?),
                kind => self.value_to(kind, |value| build.text(&mut slot, value))?,
            }
        }
        build.close();
        Ok(())
    }

    /// Reads `count` attributes, at most `N`, and refuses a repeated name. `W` words note which keys were met, so that
    /// few names are compared with the ones before.
    #[inline]
    fn attributes<B: Build<'a>, const N: usize, const W: usize>(
        &mut self,
        build: &mut B,
        slot: &mut B::Slot<'_>,
        count: usize,
    ) -> Result<(), Fault> {
        let start = *self;
        let mut seen = [0u16; N];
        let mut met = [0u64; W];
        for i in 0..count {
            let name = match self.u8()? {
                kind @ 1..tag::DICTIONARY_0 => TextRepr::Token(Token::single(kind)),
                kind @ tag::DICTIONARY_0..=tag::DICTIONARY_3 => TextRepr::Token(self.double(kind)?),
                kind @ tag::BINARY_8 => TextRepr::Raw(self.raw(kind)?),
                _ => return self.attributes_exactly(build, slot, start, i, count),
            };
            // As with values: each form has its own way.
            match name {
                TextRepr::Token(token) if new_key(&mut seen, &mut met, i, token.key()) => {
                    let kind = self.u8()?;
                    self.value_to(kind, |value| build.attr(slot, TextRef(TextRepr::Token(token)), value))?;
                }
                TextRepr::Raw(text) if !text.is_empty() && new_key(&mut seen, &mut met, i, key(text.as_bytes())) => {
                    let kind = self.u8()?;
                    self.value_to(kind, |value| build.attr(slot, TextRef(TextRepr::Raw(text)), value))?;
                }
                _ => return self.attributes_exactly(build, slot, start, i, count),
            }
        }
        Ok(())
    }

    /// As [`Reader::attributes`], more than a few.
    #[inline(never)]
    fn many_attributes<B: Build<'a>>(
        &mut self,
        build: &mut B,
        slot: &mut B::Slot<'_>,
        count: usize,
    ) -> Result<(), Fault> {
        self.attributes::<B, MAX_ATTRS, 64>(build, slot, count)
    }

    /// Reads `count` attributes from `start`, of which `built` were read before, and compares names by what they are:
    /// for the few nodes with packed names, or with two names of one key.
    #[cold]
    #[inline(never)]
    fn attributes_exactly<B: Build<'a>>(
        &mut self,
        build: &mut B,
        slot: &mut B::Slot<'_>,
        start: Self,
        built: usize,
        count: usize,
    ) -> Result<(), Fault> {
        *self = start;
        let mut seen = [0u16; MAX_ATTRS];
        let mut suspect = false;
        for i in 0..count {
            let (name, value) = self.attribute()?;
            let key = match name.0 {
                TextRepr::Token(token) => token.index(),
                TextRepr::Raw(text) => Token::find(text).map_or_else(|| UNKNOWN | key(text.as_bytes()), Token::index),
                // Rare enough to be compared with all others.
                TextRepr::Packed(_) => {
                    suspect |= count > 1;
                    0
                }
            };
            if let Some((before, [entry, ..])) = seen.split_at_mut_checked(i) {
                step(i / 8); // eight keys at once
                if before.contains(&key) {
                    if key != 0 && key & UNKNOWN == 0 {
                        return self.fail(Malformed::DuplicateAttribute);
                    }
                    suspect = true;
                }
                *entry = key;
            }
            if i >= built {
                build.attr(slot, name, value);
            }
        }
        if suspect { self.distinct(start, count) } else { Ok(()) }
    }

    /// Compares the names of `count` attributes from `start` with each other: for the few nodes with packed names, or
    /// with two names that are no tokens but hash alike. At most 256 names, so the work stays linear in the body.
    #[cold]
    fn distinct(&self, mut start: Self, count: usize) -> Result<(), Fault> {
        let mut names = [TextRef::EMPTY; MAX_ATTRS];
        for i in 0..count {
            let (name, _) = start.attribute()?;
            step(i);
            if names.iter().take(i).any(|seen| *seen == name) {
                return self.fail(Malformed::DuplicateAttribute);
            }
            if let Some(slot) = names.get_mut(i) {
                *slot = name;
            }
        }
        Ok(())
    }

    /// Passes over a node that was checked before.
    pub(super) fn skip_node(&mut self) -> Result<(), Fault> {
        self.node(&mut Check, (), 1)
    }

    /// The body must end here.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { self.fail(Malformed::Trailing) }
    }
}

/// Notes the key of name `i`; `false` if it was met before.
#[inline(always)]
fn new_key<const N: usize, const W: usize>(seen: &mut [u16; N], met: &mut [u64; W], i: usize, key: u16) -> bool {
    let bit = 1 << (key & 63);
    if let Some(word) = met.get_mut(usize::from(key >> 6) % W) {
        if *word & bit != 0 && seen.iter().take(i).any(|k| *k == key) {
            return false;
        }
        *word |= bit;
    }
    if let Some(entry) = seen.get_mut(i) {
        *entry = key;
    }
    true
}
