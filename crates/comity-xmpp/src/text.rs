//! Strings of a stanza, owned and borrowed: a token, packed digits or raw text (PROTOCOL §6.1).

use crate::binary::tokens::Token;
use crate::limits::MAX_UNPACKED_CHARS;
use compact_str::CompactString;
use core::fmt;
use core::ops::Deref;

/// A string of an owned tree: a tag, an attribute's name or its value. Dereferences to `str`.
///
/// A token stays a token, so that reading and writing one copies no text.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Token(Token),
    Own(CompactString),
}

impl Text {
    pub(crate) const EMPTY: Self = Self(Repr::Own(CompactString::const_new("")));

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Token(token) => token.as_str(),
            Repr::Own(text) => text,
        }
    }

    #[inline]
    pub(crate) const fn from_token(token: Token) -> Self {
        Self(Repr::Token(token))
    }

    /// The token, if the text is known to be one without looking it up.
    #[inline]
    pub(crate) const fn known_token(&self) -> Option<Token> {
        match &self.0 {
            Repr::Token(token) => Some(*token),
            Repr::Own(_) => None,
        }
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Token(a), Repr::Token(b)) => a == b,
            _ => self.as_str() == other.as_str(),
        }
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<CompactString> for Text {
    fn from(text: CompactString) -> Self {
        Self(Repr::Own(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Repr::Own(text.into()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Repr::Own(text.into()))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A string as it stands in a frame, borrowed: compared, measured and shown without allocating.
#[derive(Clone, Copy)]
pub struct TextRef<'a>(pub(crate) TextRepr<'a>);

#[derive(Clone, Copy)]
pub(crate) enum TextRepr<'a> {
    Token(Token),
    Raw(&'a str),
    Packed(Packed<'a>),
}

impl<'a> TextRef<'a> {
    pub(crate) const EMPTY: Self = Self(TextRepr::Raw(""));

    /// The text, unless it is packed (then [`TextRef::write_to`] unpacks it).
    #[inline]
    pub fn as_str(&self) -> Option<&'a str> {
        match self.0 {
            TextRepr::Token(token) => Some(token.as_str()),
            TextRepr::Raw(text) => Some(text),
            TextRepr::Packed(_) => None,
        }
    }

    /// The text, unpacked into `buf` if it is packed.
    #[inline]
    pub fn write_to<'b>(&self, buf: &'b mut TextBuf) -> &'b str
    where
        'a: 'b,
    {
        match self.0 {
            TextRepr::Token(token) => token.as_str(),
            TextRepr::Raw(text) => text,
            TextRepr::Packed(packed) => packed.unpack(buf),
        }
    }

    /// Length of the text in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            TextRepr::Token(token) => token.as_str().len(),
            TextRepr::Raw(text) => text.len(),
            TextRepr::Packed(packed) => packed.len(),
        }
    }

    /// Whether the text is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self.0 {
            TextRepr::Token(_) => false, // none is
            TextRepr::Raw(text) => text.is_empty(),
            TextRepr::Packed(packed) => packed.len() == 0,
        }
    }

    /// The owned form.
    #[inline(always)]
    pub fn to_text(&self) -> Text {
        match self.0 {
            TextRepr::Token(token) => Text::from_token(token),
            TextRepr::Raw(text) => Text(Repr::Own(CompactString::from(text))),
            TextRepr::Packed(packed) => Text(Repr::Own(packed.to_compact())),
        }
    }
}

impl PartialEq<str> for TextRef<'_> {
    fn eq(&self, other: &str) -> bool {
        match self.0 {
            TextRepr::Token(token) => token.as_str() == other,
            TextRepr::Raw(text) => text == other,
            TextRepr::Packed(packed) => packed.len() == other.len() && packed.chars().eq(other.bytes()),
        }
    }
}

impl PartialEq<&str> for TextRef<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq for TextRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (TextRepr::Token(a), TextRepr::Token(b)) => a == b,
            (TextRepr::Packed(a), TextRepr::Packed(b)) => a.len() == b.len() && a.chars().eq(b.chars()),
            (_, TextRepr::Token(token)) => self == token.as_str(),
            (_, TextRepr::Raw(text)) => self == text,
            (_, TextRepr::Packed(_)) => other == self,
        }
    }
}

impl Eq for TextRef<'_> {}

impl fmt::Display for TextRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write_to(&mut TextBuf::new()))
    }
}

impl fmt::Debug for TextRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.write_to(&mut TextBuf::new()), f)
    }
}

/// Room for the longest packed text, for [`TextRef::write_to`].
#[repr(align(16))]
pub struct TextBuf([u8; UNPACK_ROOM]);

const UNPACK_ROOM: usize = MAX_UNPACKED_CHARS.next_multiple_of(32);

impl TextBuf {
    /// An empty buffer.
    #[inline]
    pub const fn new() -> Self {
        Self([0; UNPACK_ROOM])
    }
}

impl Default for TextBuf {
    fn default() -> Self {
        Self::new()
    }
}

/// Two characters a byte, checked when it was read.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    bytes: &'a [u8],
    odd: bool,
    hex: bool,
}

const NIBBLE_CHARS: [u8; 16] = *b"0123456789-.\0\0\0\0";
const HEX_CHARS: [u8; 16] = *b"0123456789ABCDEF";

static NIBBLE_PAIRS: [[u8; 2]; 256] = pairs(NIBBLE_CHARS);
static HEX_PAIRS: [[u8; 2]; 256] = pairs(HEX_CHARS);

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn pairs(alphabet: [u8; 16]) -> [[u8; 2]; 256] {
    let mut table = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [alphabet[i >> 4], alphabet[i & 15]];
        i += 1;
    }
    table
}

impl<'a> Packed<'a> {
    /// Checks the nibbles; `None` if one is outside the alphabet, or an odd string does not end in 15.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], odd: bool, hex: bool) -> Option<Self> {
        let body = if odd {
            let (&last, body) = bytes.split_last()?;
            if last & 15 != 15 || (!hex && last >> 4 > 11) {
                return None;
            }
            body
        } else {
            bytes
        };
        // Adding 4 carries out of a nibble exactly if it is above 11.
        let clean = hex || body.iter().fold(0, |bad, b| bad | ((b & 15) + 4) | ((b >> 4) + 4)) & 16 == 0;
        clean.then_some(Self { bytes, odd, hex })
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() * 2 - usize::from(self.odd)
    }

    #[inline]
    fn table(&self) -> &'static [[u8; 2]; 256] {
        if self.hex { &HEX_PAIRS } else { &NIBBLE_PAIRS }
    }

    fn chars(&self) -> impl Iterator<Item = u8> + use<'a> {
        let table = self.table();
        let pairs = self.bytes.iter().flat_map(move |b| table.get(usize::from(*b)).copied().unwrap_or_default());
        pairs.take(self.len())
    }

    /// The characters, eight a step: `buf` is a multiple of 8 long and holds them all; what follows them is any ASCII.
    #[inline]
    fn fill(&self, buf: &mut [u8]) {
        let above_9 = if self.hex { i64::from(b'A' - b'9' - 1) } else { i64::from(b'-') - i64::from(b'9' + 1) };
        let expand = |four: [u8; 4]| {
            let word = u64::from(u32::from_be_bytes(four));
            let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
            let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
            let word = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
            let letters = (word + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
            // No byte carries into the next: the results are characters.
            let chars = word + 0x3030_3030_3030_3030;
            chars.wrapping_add(letters.wrapping_mul(above_9.cast_unsigned())).to_be_bytes()
        };
        let (fours, rest) = self.bytes.as_chunks::<4>();
        let mut slots = buf.as_chunks_mut::<8>().0.iter_mut();
        for (four, slot) in fours.iter().zip(slots.by_ref()) {
            *slot = expand(*four);
        }
        let last = match *rest {
            [a, b, c] => [a, b, c, 0],
            [a, b] => [a, b, 0, 0],
            [a] => [a, 0, 0, 0],
            _ => return,
        };
        if let Some(slot) = slots.next() {
            *slot = expand(last);
        }
    }

    #[inline]
    fn unpack<'b>(&self, buf: &'b mut TextBuf) -> &'b str {
        self.fill(&mut buf.0);
        buf.0.get(..self.len()).and_then(smoothutf8::from_utf8).unwrap_or("")
    }

    #[inline]
    pub(crate) fn to_compact(self) -> CompactString {
        CompactString::from(self.unpack(&mut TextBuf::new()))
    }
}
