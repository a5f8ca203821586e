//! Bounds of the codec, checked before anything is allocated for what they bound (PROTOCOL §6.1).

/// Deepest nesting of nodes; the root has depth 1.
pub const MAX_DEPTH: usize = 32;

/// Ceiling of [`Limits::max_depth`]: the decoder and the tree's drop recurse, so a caller cannot raise it beyond what a
/// thread's stack holds.
pub const MAX_DEPTH_CEILING: usize = 1024;

/// Most nodes of one stanza.
pub const MAX_NODES: usize = 65_536;

/// Most attributes of one node; also the ceiling of [`Limits::max_attrs`].
pub const MAX_ATTRS: usize = 256;

/// Longest frame (flags byte and body), in bytes: what a u24 length can say.
pub const MAX_FRAME_LEN: usize = (1 << 24) - 1;

/// Longest body after inflating, in bytes.
pub const MAX_INFLATED_LEN: usize = 16 << 20;

/// Most inflated bytes per compressed byte, once the output exceeds [`INFLATE_RATIO_FLOOR`].
pub const MAX_INFLATE_RATIO: usize = 128;

/// Output up to this many bytes is not held against [`MAX_INFLATE_RATIO`].
pub const INFLATE_RATIO_FLOOR: usize = 64 << 10;

/// Bodies shorter than this are not compressed.
pub const MIN_DEFLATE_LEN: usize = 1 << 10;

/// Longest text or byte string that the binary form can carry in BINARY_20.
pub(crate) const MAX_BINARY_20: usize = (1 << 20) - 1;

/// Most characters that a writer packs.
pub const MAX_PACKED_CHARS: usize = 127;

/// Most characters that a reader unpacks: 127 bytes of two.
pub(crate) const MAX_UNPACKED_CHARS: usize = 254;

/// Longest stanza as XML text, in bytes: a frame of bytes in base64 and room for its tags.
pub const MAX_XML_STANZA_LEN: usize = 24 << 20;

/// Longest stream header (`<stream:stream …>`) as XML text, in bytes.
pub const MAX_XML_HEADER_LEN: usize = 16 << 10;

/// Most namespace prefixes that a stream's header, or the elements open at one time in a stanza, declare.
pub const MAX_XML_PREFIXES: usize = 64;

/// Most `<item>`s, keys or participants of one typed stanza's list where PROTOCOL names no other number.
pub const MAX_LIST_ITEMS: usize = 65_535;

/// Most ciphertexts directly in a `<message>`, or for one device of it.
pub const MAX_MESSAGE_ENCS: usize = 16;

/// Most message ids of one receipt: the one of its `id` and those of its list (PROTOCOL §7).
pub const MAX_RECEIPT_IDS: usize = 256;

/// Most one-time pre-keys of one upload (PROTOCOL §8).
pub const MAX_PRE_KEYS: usize = 812;

/// Most users of one key fetch (PROTOCOL §8).
pub const MAX_FETCH_USERS: usize = 256;

/// Most integrators of one list (PROTOCOL §13).
pub const MAX_INTEGRATORS: usize = 999;

/// Most users of one look-up (PROTOCOL §13).
pub const MAX_LOOKUP_USERS: usize = 256;

/// Most messages of one spam report (PROTOCOL §13).
pub const MAX_SPAM_MESSAGES: usize = 210;

/// Most digits of a group's id (PROTOCOL §14).
pub const MAX_GROUP_ID_LEN: usize = 20;

/// What a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deepest nesting; values above [`MAX_DEPTH_CEILING`] count as that.
    pub max_depth: usize,
    /// Most nodes of one stanza.
    pub max_nodes: usize,
    /// Most attributes of one node; values above [`MAX_ATTRS`] count as that.
    pub max_attrs: usize,
    /// Longest body after inflating, in bytes.
    pub max_inflated_len: usize,
    /// Most inflated bytes per compressed byte beyond [`INFLATE_RATIO_FLOOR`].
    pub max_inflate_ratio: usize,
    /// Longest frame, in bytes.
    pub max_frame_len: usize,
    /// Longest stanza as XML text, in bytes.
    pub max_xml_stanza_len: usize,
}

impl Limits {
    /// The defaults: the constants of this module.
    pub const DEFAULT: Self = Self {
        max_depth: MAX_DEPTH,
        max_nodes: MAX_NODES,
        max_attrs: MAX_ATTRS,
        max_inflated_len: MAX_INFLATED_LEN,
        max_inflate_ratio: MAX_INFLATE_RATIO,
        max_frame_len: MAX_FRAME_LEN,
        max_xml_stanza_len: MAX_XML_STANZA_LEN,
    };

    /// The same limits with another depth.
    #[must_use]
    pub const fn with_max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
