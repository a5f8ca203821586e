//! The XML text form (PROTOCOL §6.2).
//!
//! What plain XML cannot say stands in the namespace [`CONTROL_NS`], prefix `c`:
//! - `c:enc="base64"`: the element's content is these bytes;
//! - `<c:node c:name="0">`: an element whose tag is no XML name (`c:name64`: in base64, if no XML character either);
//! - `<c:attr name="0" value="x"/>` before all other content: an attribute whose name is no XML name, or (`name64`,
//!   `value64`) whose text has characters that XML forbids.
//!
//! Prefixes `c`, `stream` and `xml` are always declared. White space beside elements is not content.

mod check;
mod names;
mod parse;
mod stream;
mod write;

pub use parse::{XmlVisitor, parse, visit};
pub use stream::{XmlEvent, XmlStream};
pub use write::{to_string, write};

/// Namespace of what plain XML cannot say.
pub const CONTROL_NS: &str = "urn:comity:stanza:1";

/// Namespace of `stream:stream` and `stream:error` (RFC 6120).
pub const STREAM_NS: &str = "http://etherx.jabber.org/streams";
