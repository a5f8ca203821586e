//! The binary stanza form (PROTOCOL §6.1).

mod encode;
mod inflate;
mod node_ref;
mod owned;
mod reader;
mod token_table;
pub(crate) mod tokens;
mod trace;
mod visit;

pub use encode::{EncodeOptions, encode};
pub use inflate::body;
pub use node_ref::{AttrsRef, ChildrenRef, ContentRef, NodeRef};
pub use owned::{decode, decode_bytes};
pub use trace::{Piece, Role, trace};
pub use visit::{Visitor, visit};

/// Flag of the first byte: the rest is zlib.
pub(crate) const FLAG_ZLIB: u8 = 0x02;

/// The assigned tags that are not tokens.
pub(crate) mod tag {
    pub(crate) const LIST_EMPTY: u8 = 0;
    pub(crate) const DICTIONARY_0: u8 = 236;
    pub(crate) const DICTIONARY_3: u8 = 239;
    pub(crate) const INTEROP_JID: u8 = 245;
    pub(crate) const FB_JID: u8 = 246;
    pub(crate) const AD_JID: u8 = 247;
    pub(crate) const LIST_8: u8 = 248;
    pub(crate) const LIST_16: u8 = 249;
    pub(crate) const JID_PAIR: u8 = 250;
    pub(crate) const HEX_8: u8 = 251;
    pub(crate) const BINARY_8: u8 = 252;
    pub(crate) const BINARY_20: u8 = 253;
    pub(crate) const BINARY_32: u8 = 254;
    pub(crate) const NIBBLE_8: u8 = 255;
    /// Token 3, `s.whatsapp.net`: the commonest server.
    pub(crate) const S_WHATSAPP_NET: u8 = 3;
}
