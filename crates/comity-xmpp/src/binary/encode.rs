//! The binary encoder (PROTOCOL §6.1): packing and JID forms as official encoders choose them.

use super::inflate::deflate;
use super::tokens::{FIRST_DOUBLE, Token};
use super::{FLAG_ZLIB, tag};
use crate::error::{Error, Limited};
use crate::limits::{MAX_ATTRS, MAX_BINARY_20, MAX_DEPTH_CEILING, MAX_FRAME_LEN, MAX_PACKED_CHARS};
use crate::node::{Content, Node};
use crate::text::Text;
use crate::value::Value;
use bytes::BytesMut;
use comity_core::{Jid, Server};
use compact_str::ToCompactString as _;
use memchr::memchr;

/// How a stanza is written where the form leaves a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether an INTEROP_JID ends in the string `interop`. The official web encoder leaves it out, its decoder demands it.
    pub interop_server: bool,
    /// Whether a body of at least [`MIN_DEFLATE_LEN`](crate::limits::MIN_DEFLATE_LEN) bytes is compressed if that makes it
    /// shorter. Off by default: what is long is ciphertext.
    pub compress: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { interop_server: true, compress: false }
    }
}

/// Appends a stanza's frame (flags byte and body) to `out`, in one pass. After an error `out` is as before.
///
/// # Errors
/// [`Error::Limit`] if the tree is nested deeper than [`MAX_DEPTH_CEILING`], a node has more than [`MAX_ATTRS`]
/// attributes or 65 535 children, or the frame would exceed [`MAX_FRAME_LEN`]; [`Error::EmptyName`].
pub fn encode(node: &Node, out: &mut BytesMut, options: &EncodeOptions) -> Result<(), Error> {
    let start = out.len();
    let result = encode_at(node, out, options, start);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn encode_at(node: &Node, out: &mut BytesMut, options: &EncodeOptions, start: usize) -> Result<(), Error> {
    out.extend_from_slice(&[0]);
    let mut writer = Writer { out, interop_server: options.interop_server, limit: start + MAX_FRAME_LEN };
    writer.node(node, 1)?;
    if options.compress
        && let Some(zlib) = out.get(start + 1..).and_then(deflate)
    {
        out.truncate(start);
        out.extend_from_slice(&[FLAG_ZLIB]);
        out.extend_from_slice(&zlib);
    }
    if out.len() - start > MAX_FRAME_LEN {
        return Err(Error::Limit { what: Limited::Frame, max: MAX_FRAME_LEN });
    }
    Ok(())
}

struct Writer<'o> {
    out: &'o mut BytesMut,
    interop_server: bool,
    /// Length of `out` beyond which writing stops.
    limit: usize,
}

impl Writer<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.extend_from_slice(&bytes);
    }

    fn node(&mut self, node: &Node, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH_CEILING {
            return Err(Error::Limit { what: Limited::Depth, max: MAX_DEPTH_CEILING });
        }
        let attrs = node.attrs();
        if attrs.len() > MAX_ATTRS {
            return Err(Error::Limit { what: Limited::Attributes, max: MAX_ATTRS });
        }
        let empty = match node.content() {
            Content::Empty => true,
            Content::Nodes(nodes) => nodes.is_empty(),
            Content::Bytes(bytes) => bytes.is_empty(),
            Content::Text(text) => text.is_empty(),
        };
        self.list(1 + 2 * attrs.len() + usize::from(!empty))?;
        self.name(node.tag_text())?;
        for attr in attrs {
            self.name(&attr.name)?;
            match &attr.value {
                Value::Str(text) => self.value(text)?,
                Value::Jid(jid) => self.jid(jid)?,
            }
        }
        if empty {
            return Ok(());
        }
        match node.content() {
            Content::Empty => Ok(()),
            Content::Bytes(bytes) => self.raw(bytes),
            Content::Text(text) => self.text(text),
            Content::Nodes(nodes) => {
                self.list(nodes.len())?;
                nodes.iter().try_for_each(|child| self.node(child, depth + 1))
            }
        }
    }

    #[inline]
    fn list(&mut self, size: usize) -> Result<(), Error> {
        if let Ok(size) = u8::try_from(size) {
            self.put([tag::LIST_8, size]);
        } else if let Ok(size) = u16::try_from(size) {
            let [high, low] = size.to_be_bytes();
            self.put([tag::LIST_16, high, low]);
        } else {
            return Err(Error::Limit { what: Limited::Nodes, max: usize::from(u16::MAX) });
        }
        Ok(())
    }

    #[inline]
    fn token(&mut self, token: Token) {
        match token.index().checked_sub(FIRST_DOUBLE) {
            None => self.put([token.index().to_le_bytes()[0]]),
            Some(double) => {
                let [dictionary, index] = double.to_be_bytes();
                self.put([tag::DICTIONARY_0 + dictionary, index]);
            }
        }
    }

    /// A tag or an attribute's name.
    #[inline]
    fn name(&mut self, name: &Text) -> Result<(), Error> {
        match name.known_token() {
            Some(token) => self.token(token),
            None if name.is_empty() => return Err(Error::EmptyName),
            None => self.str(name)?,
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, text: &Text) -> Result<(), Error> {
        match text.known_token() {
            Some(token) => {
                self.token(token);
                Ok(())
            }
            None => self.str(text),
        }
    }

    /// An attribute's value: a JID where the text is exactly what a JID prints as.
    #[inline]
    fn value(&mut self, text: &Text) -> Result<(), Error> {
        if text.known_token().is_none()
            && memchr(b'@', text.as_bytes()).is_some()
            && let Ok(jid) = text.parse::<Jid>()
            && is_canonical(&jid, text)
        {
            return self.jid(&jid);
        }
        self.text(text)
    }

    /// A string: its token, packed, or raw.
    #[inline]
    fn str(&mut self, text: &str) -> Result<(), Error> {
        if let Some(token) = Token::find(text) {
            self.token(token);
            return Ok(());
        }
        self.plain(text)
    }

    /// A string that is no token: packed or raw.
    fn plain(&mut self, text: &str) -> Result<(), Error> {
        let bytes = text.as_bytes();
        let class = if (1..=MAX_PACKED_CHARS).contains(&bytes.len()) { class(bytes) } else { 0 };
        if class & NIBBLE != 0 {
            self.packed(tag::NIBBLE_8, bytes);
        } else if class & HEX != 0 {
            self.packed(tag::HEX_8, bytes);
        } else {
            self.raw(bytes)?;
        }
        Ok(())
    }

    /// `{integrator}-` and a user that is no number: no token is like it, and the dash is in one alphabet only.
    fn opaque_user(&mut self, head: &str, user: &str) -> Result<(), Error> {
        if class(user.as_bytes()) & NIBBLE != 0 {
            return self.plain(&[head, user].concat());
        }
        self.raw_len(head.len() + user.len())?;
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(user.as_bytes());
        Ok(())
    }

    /// At most [`MAX_PACKED_CHARS`] characters of one alphabet, two a byte.
    fn packed(&mut self, kind: u8, bytes: &[u8]) {
        let nibble = |b: u8| CLASS.get(usize::from(b)).map_or(0, |c| c & 0xf);
        let mut packed = [0u8; 2 + MAX_PACKED_CHARS.div_ceil(2)];
        let (pairs, odd) = bytes.as_chunks::<2>();
        let mut len = pairs.len();
        if let Some((head, body)) = packed.split_first_chunk_mut::<2>() {
            for (slot, [high, low]) in body.iter_mut().zip(pairs) {
                *slot = nibble(*high) << 4 | nibble(*low);
            }
            let mut flag = 0;
            if let ([last], Some(slot)) = (odd, body.get_mut(len)) {
                *slot = nibble(*last) << 4 | 0xf;
                len += 1;
                flag = 0x80;
            }
            *head = [kind, flag | (len & 0x7f) as u8];
        }
        self.out.extend_from_slice(packed.get(..2 + len).unwrap_or_default());
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.raw_len(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// What stands before so many raw bytes.
    #[inline]
    fn raw_len(&mut self, len: usize) -> Result<(), Error> {
        if let Ok(len) = u8::try_from(len) {
            self.put([tag::BINARY_8, len]);
        } else if let Some(len32) = u32::try_from(len).ok().filter(|_| self.out.len() + len <= self.limit) {
            let [a, b, c, d] = len32.to_be_bytes();
            if len <= MAX_BINARY_20 {
                self.put([tag::BINARY_20, b, c, d]);
            } else {
                self.put([tag::BINARY_32, a, b, c, d]);
            }
        } else {
            return Err(Error::Limit { what: Limited::Frame, max: MAX_FRAME_LEN });
        }
        Ok(())
    }

    fn jid(&mut self, jid: &Jid) -> Result<(), Error> {
        let domain = match jid.server() {
            Server::Whatsapp => Some(0),
            Server::Lid => Some(1),
            Server::Hosted => Some(128),
            Server::HostedLid => Some(129),
            _ => None,
        };
        match (jid.server(), jid.device(), domain) {
            (Server::Interop, 0, _) if jid.integrator() != 0 && !is_number(jid.user()) => {
                // INTEROP_JID takes digits only.
                self.put([tag::JID_PAIR]);
                let mut user = jid.integrator().to_compact_string();
                user.push('-');
                self.opaque_user(&user, jid.user())?;
                self.server(Server::Interop)?;
            }
            (Server::Interop, device, _) if jid.integrator() != 0 || device != 0 => {
                self.put([tag::INTEROP_JID]);
                self.user(jid.user())?;
                let ([a, b], [c, d]) = (device.to_be_bytes(), jid.integrator().to_be_bytes());
                self.put([a, b, c, d]);
                if self.interop_server {
                    self.server(Server::Interop)?;
                }
            }
            (server, 0, _) => {
                self.put([tag::JID_PAIR]);
                self.user(jid.user())?;
                self.server(server)?;
            }
            (_, device @ 1..=255, Some(domain)) => {
                self.put([tag::AD_JID, domain, device.to_le_bytes()[0]]);
                self.user(jid.user())?;
            }
            (Server::Msgr, device, _) => {
                self.put([tag::FB_JID]);
                self.user(jid.user())?;
                self.put(device.to_be_bytes());
                self.server(Server::Msgr)?;
            }
            // No binary form has this device.
            _ => self.raw(jid.to_string().as_bytes())?,
        }
        Ok(())
    }

    #[inline]
    fn server(&mut self, server: Server) -> Result<(), Error> {
        match server_bytes(server) {
            Some(bytes) => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
            None => self.str(server.as_str()),
        }
    }

    #[inline]
    fn user(&mut self, user: &str) -> Result<(), Error> {
        if user.is_empty() {
            self.put([tag::LIST_EMPTY]);
            return Ok(());
        }
        self.str(user)
    }
}

fn is_number(user: &str) -> bool {
    !user.is_empty() && user.bytes().all(|b| b.is_ascii_digit())
}

/// Whether the JID, parsed from `text`, prints as `text` again, or `text` only adds the device 0: `x.0:1@lid` is a JID
/// too, but other text.
fn is_canonical(jid: &Jid, text: &str) -> bool {
    let printed = jid.to_compact_string();
    printed == text
        || jid.device() == 0
            && printed
                .split_once('@')
                .zip(text.split_once(":0@"))
                .is_some_and(|((user, server), (text_user, text_server))| user == text_user && server == text_server)
}

/// The commonest servers as written, so that they need no look-up.
const fn server_bytes(server: Server) -> Option<&'static [u8]> {
    match server {
        Server::Whatsapp => Some(&[tag::S_WHATSAPP_NET]),
        Server::Lid => Some(&[118]),
        Server::Group => Some(&[28]),
        Server::Interop => Some(b"\xfc\x07interop"),
        _ => None,
    }
}

const NIBBLE: u8 = 0x10;
const HEX: u8 = 0x20;

/// The alphabets that all of the bytes are in.
fn class(bytes: &[u8]) -> u8 {
    bytes.iter().fold(NIBBLE | HEX, |class, b| class & CLASS.get(usize::from(*b)).map_or(0, |c| c & !0xf))
}

/// For each byte: the alphabets it is in, and its nibble.
static CLASS: [u8; 256] = classes();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 10 {
        table[b'0' as usize + i as usize] = NIBBLE | HEX | i;
        i += 1;
    }
    while i < 16 {
        table[(b'A' - 10 + i) as usize] = HEX | i;
        i += 1;
    }
    table[b'-' as usize] = NIBBLE | 10;
    table[b'.' as usize] = NIBBLE | 11;
    table
}
