//! The framer: bytes of a stream in any split, stanzas out (PROTOCOL §6.2, framing of RFC 6120).

use super::parse::{XmlVisitor, header, parse_in, visit_in};
use crate::error::{Error, Limited, XmlFault};
use crate::limits::{Limits, MAX_DEPTH_CEILING, MAX_XML_HEADER_LEN};
use crate::node::Node;
use memchr::memchr;

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum XmlEvent<T = Node> {
    /// `<stream:stream …>`: the stream begins; the node has its attributes.
    Open(Node),
    /// A stanza.
    Stanza(T),
    /// `</stream:stream>`: the other end is done.
    Close,
}

/// Cuts a stream of bytes into stanzas, whatever the pieces they come in.
///
/// Holds at most one incomplete stanza, never more than the limit; each byte is looked at once here and once by the
/// parser. After an error the stream is dead and gives the same error again.
#[derive(Clone, Debug)]
pub struct XmlStream {
    limits: Limits,
    buf: Vec<u8>,
    state: State,
    depth: usize,
    phase: Phase,
    prefixes: Vec<String>,
    failed: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before all: the one place of an XML declaration.
    Start,
    Header,
    Stanzas,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After `<`.
    Tag,
    /// In a start tag; the quote that is open, or 0; whether the last byte was `/`.
    Start {
        quote: u8,
        slash: bool,
    },
    /// In an end tag.
    End,
    /// In `<![CDATA[`, so many bytes of it matched after `<!`.
    Bang(usize),
    /// In a CDATA section, after so many `]`.
    Cdata(u8),
    /// In the XML declaration.
    Decl,
}

/// What a byte completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Nothing,
    Declaration,
    Header,
    Stanza,
    Close,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const CDATA: &[u8] = b"[CDATA[";

impl XmlStream {
    /// A stream at its beginning.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            buf: Vec::new(),
            state: State::Text,
            depth: 0,
            phase: Phase::Start,
            prefixes: Vec::new(),
            failed: None,
        }
    }

    /// Takes bytes from the front of `input` up to the next event; `None` when all are taken and none is complete.
    ///
    /// # Errors
    /// [`Error::Xml`] or [`Error::Limit`]; the stream is dead then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<XmlEvent>, Error> {
        self.next_with(input, parse_in)
    }

    /// As [`XmlStream::next`], showing a stanza's values to `visitor` instead of building a tree.
    ///
    /// # Errors
    /// As [`XmlStream::next`].
    pub fn visit_next(
        &mut self,
        input: &mut &[u8],
        visitor: &mut impl XmlVisitor,
    ) -> Result<Option<XmlEvent<()>>, Error> {
        self.next_with(input, |text, limits, prefixes| visit_in(text, limits, prefixes, visitor))
    }

    fn next_with<T>(
        &mut self,
        input: &mut &[u8],
        mut parse: impl FnMut(&[u8], &Limits, &[String]) -> Result<T, Error>,
    ) -> Result<Option<XmlEvent<T>>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = loop {
            match self.piece(input) {
                Ok(None) => break Ok(None),
                Ok(Some((len, done))) => {
                    let (piece, rest) = input.split_at_checked(len).unwrap_or((input, &[]));
                    *input = rest;
                    let mut joined = core::mem::take(&mut self.buf);
                    let slice = if joined.is_empty() {
                        piece
                    } else {
                        joined.extend_from_slice(piece);
                        &joined
                    };
                    let event = self.complete(slice, done, &mut parse);
                    joined.clear();
                    self.buf = joined;
                    if !matches!(event, Ok(None)) {
                        break event;
                    }
                }
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buf = Vec::new();
        }
        result
    }

    /// How much of the input completes what, or `None` after all of it was put aside.
    fn piece(&mut self, input: &mut &[u8]) -> Result<Option<(usize, Done)>, Error> {
        // Between stanzas, white space is kept by nobody.
        if self.buf.is_empty() && self.state == State::Text && self.depth == 0 {
            let spaces = input.iter().take_while(|b| is_space(**b)).count();
            *input = input.get(spaces..).unwrap_or_default();
        }
        let max = self.max_len();
        let bytes = input.get(..max.saturating_sub(self.buf.len())).unwrap_or(input);
        let mut i = 0;
        while let Some(rest) = bytes.get(i..).filter(|rest| !rest.is_empty()) {
            // Most bytes change nothing.
            let skip = match self.state {
                State::Text if self.depth > 0 => memchr(b'<', rest),
                State::Start { quote, .. } if quote != 0 => memchr(quote, rest),
                State::Cdata(0) => memchr(b']', rest),
                _ => Some(0),
            };
            i += skip.unwrap_or(rest.len());
            let Some(byte) = bytes.get(i) else { break };
            let done = self.byte(*byte).map_err(|what| self.at(i, what))?;
            i += 1;
            if self.depth > self.limits.max_depth.min(MAX_DEPTH_CEILING) + 1 {
                return Err(Error::Limit { what: Limited::Depth, max: self.limits.max_depth });
            }
            if done != Done::Nothing {
                return Ok(Some((i, done)));
            }
        }
        if input.len() > bytes.len() {
            return Err(Error::Limit { what: Limited::Xml, max });
        }
        self.buf.extend_from_slice(bytes);
        *input = &[];
        Ok(None)
    }

    const fn at(&self, i: usize, what: XmlFault) -> Error {
        Error::Xml { at: self.buf.len() + i, what }
    }

    fn max_len(&self) -> usize {
        match self.phase {
            Phase::Stanzas => self.limits.max_xml_stanza_len,
            Phase::Start | Phase::Header | Phase::Closed => MAX_XML_HEADER_LEN,
        }
    }

    fn byte(&mut self, byte: u8) -> Result<Done, XmlFault> {
        let mut done = Done::Nothing;
        self.state = match (self.state, byte) {
            (State::Text, b'<') if self.phase == Phase::Closed => return Err(XmlFault::StrayText),
            (State::Text, b'<') => State::Tag,
            (State::Text, _) if self.depth > 0 || is_space(byte) => State::Text,
            (State::Text, _) => return Err(XmlFault::StrayText),
            (State::Tag, b'/') => State::End,
            (State::Tag, b'!') if self.depth > 0 => State::Bang(0),
            (State::Tag, b'?') if self.phase == Phase::Start => State::Decl,
            (State::Tag, b'!' | b'?') => return Err(XmlFault::Forbidden),
            (State::Tag, b'>' | b'<') => return Err(XmlFault::Syntax),
            (State::Tag, _) => State::Start { quote: 0, slash: false },
            (State::Start { quote: 0, slash }, b'>') => {
                if matches!(self.phase, Phase::Start | Phase::Header) {
                    done = Done::Header;
                } else if !slash {
                    self.depth += 1;
                } else if self.depth == 0 {
                    done = Done::Stanza;
                }
                State::Text
            }
            (State::Start { quote: 0, .. }, b'"' | b'\'') => State::Start { quote: byte, slash: false },
            (State::Start { quote: 0, .. }, b'<') => return Err(XmlFault::Syntax),
            (State::Start { quote: 0, .. }, _) => State::Start { quote: 0, slash: byte == b'/' },
            (State::Start { quote, .. }, _) if byte == quote => State::Start { quote: 0, slash: false },
            (State::Start { quote, .. }, _) => State::Start { quote, slash: false },
            (State::End, b'>') => {
                done = match (self.phase, self.depth) {
                    (Phase::Stanzas, 0) => Done::Close,
                    (Phase::Stanzas, 1) => Done::Stanza,
                    (Phase::Stanzas, _) => Done::Nothing,
                    _ => return Err(XmlFault::Mismatch),
                };
                self.depth = self.depth.saturating_sub(1);
                State::Text
            }
            (State::End, b'<') => return Err(XmlFault::Syntax),
            (State::End, _) => State::End,
            (State::Bang(matched), _) if CDATA.get(matched) == Some(&byte) => {
                if matched + 1 == CDATA.len() {
                    State::Cdata(0)
                } else {
                    State::Bang(matched + 1)
                }
            }
            (State::Bang(_), _) => return Err(XmlFault::Forbidden),
            (State::Cdata(2), b'>') => State::Text,
            (State::Cdata(n), b']') => State::Cdata((n + 1).min(2)),
            (State::Cdata(_), _) => State::Cdata(0),
            (State::Decl, b'>') => {
                done = Done::Declaration;
                State::Text
            }
            (State::Decl, _) => State::Decl,
        };
        Ok(done)
    }

    fn complete<T>(
        &mut self,
        slice: &[u8],
        done: Done,
        parse: &mut impl FnMut(&[u8], &Limits, &[String]) -> Result<T, Error>,
    ) -> Result<Option<XmlEvent<T>>, Error> {
        let syntax = |what| Error::Xml { at: 0, what };
        match done {
            Done::Nothing => Ok(None),
            Done::Declaration => {
                // Checked by the parser, before an element of its own.
                if !slice.starts_with(b"<?xml ") || !slice.ends_with(b"?>") {
                    return Err(syntax(XmlFault::Forbidden));
                }
                self.phase = Phase::Header;
                parse_in(&[slice, b"<x/>"].concat(), &self.limits, &[]).map(|_| None)
            }
            Done::Header => {
                let text = core::str::from_utf8(slice).map_err(|_| syntax(XmlFault::Character))?;
                let tag = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).ok_or(syntax(XmlFault::Syntax))?;
                let (node, prefixes) = header(tag, &self.limits)?;
                if node.tag() != "stream:stream" {
                    return Err(syntax(XmlFault::Name));
                }
                self.prefixes = prefixes;
                self.phase = Phase::Stanzas;
                Ok(Some(XmlEvent::Open(node)))
            }
            Done::Stanza => parse(slice, &self.limits, &self.prefixes).map(|stanza| Some(XmlEvent::Stanza(stanza))),
            Done::Close => {
                let name = slice.strip_prefix(b"</stream:stream").and_then(|rest| rest.strip_suffix(b">"));
                if !name.is_some_and(|rest| rest.trim_ascii().is_empty()) {
                    return Err(syntax(XmlFault::Mismatch));
                }
                self.phase = Phase::Closed;
                Ok(Some(XmlEvent::Close))
            }
        }
    }
}
