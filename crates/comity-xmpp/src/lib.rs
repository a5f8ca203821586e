//! Stanzas of the interop protocol: tree, typed stanzas, binary codec, XML codec (PROTOCOL §6, §7).
//!
//! - [`Node`] is the owned tree, [`NodeRef`] and [`visit`] read a frame's bytes in place without allocating.
//! - [`decode`] and [`encode`] translate the binary form, [`Dialect`] under a profile.
//! - [`xml`] translates the text form, of one stanza or of a stream.
//! - [`stanza`] has a type for every stanza of the protocol; each parses from a [`Node`] and builds one.
//!
//! No I/O: bytes in, bytes out.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod binary;
mod dialect;
mod error;
pub mod limits;
mod node;
pub mod stanza;
#[doc(hidden)]
pub mod steps;
mod text;
mod value;
pub mod xml;

pub use binary::{
    AttrsRef, ChildrenRef, ContentRef, EncodeOptions, NodeRef, Piece, Role, Visitor, body, decode, decode_bytes,
    encode, trace, visit,
};
pub use dialect::Dialect;
pub use error::{Error, Limited, Malformed, XmlFault};
pub use limits::Limits;
pub use node::{Attr, Content, Node};
pub use stanza::StanzaError;
pub use text::{Text, TextBuf, TextRef};
pub use value::{JidRef, Value, ValueRef};
