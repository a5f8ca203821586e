//! What can go wrong with a stanza (PROTOCOL §6).

use crate::stanza::StanzaError;
use comity_core::ErrorKind;

/// Why bytes are not a stanza, or a stanza cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The binary form is broken at byte `at` of the (inflated) body; the flags byte is not counted.
    #[error("byte {at}: {what} (PROTOCOL §6.1)")]
    Binary {
        /// Offset in the body.
        at: usize,
        /// What is wrong there.
        what: Malformed,
    },
    /// The XML form is broken at byte `at` of the stanza.
    #[error("XML byte {at}: {what} (PROTOCOL §6.2)")]
    Xml {
        /// Offset in the stanza's text.
        at: usize,
        /// What is wrong there.
        what: XmlFault,
    },
    /// A limit was reached.
    #[error("{what} (at most {max})")]
    Limit {
        /// Which one.
        what: Limited,
        /// Its value.
        max: usize,
    },
    /// A tree to be written has a node or an attribute without a name, which no reader takes.
    #[error("a node or attribute has no name (PROTOCOL §6.1)")]
    EmptyName,
    /// The tree is well-formed but not the stanza it was read as.
    #[error(transparent)]
    Stanza(#[from] StanzaError),
}

impl Error {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Binary { .. } | Self::Xml { .. } | Self::Stanza(_) => ErrorKind::PeerMisbehaved,
            Self::Limit { .. } => ErrorKind::LimitExceeded,
            Self::EmptyName => ErrorKind::ApiMisuse,
        }
    }
}

/// What is wrong with a binary stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes end within a value, or a list announces more than is left.
    #[error("the stanza is cut short")]
    Truncated,
    /// Bytes follow the stanza.
    #[error("bytes follow the stanza")]
    Trailing,
    /// A tag that is not assigned, or not where a list stands.
    #[error("tag {0} is not a list")]
    NotAList(u8),
    /// A tag that is not assigned, or not where a string stands.
    #[error("tag {0} is not a string")]
    NotAString(u8),
    /// A node of size 0.
    #[error("a node of size 0")]
    EmptyNode,
    /// An empty tag or attribute name.
    #[error("an empty name")]
    EmptyName,
    /// A JID where a name or a part of a JID stands.
    #[error("a JID where a string stands")]
    UnexpectedJid,
    /// An AD_JID of an unknown domain.
    #[error("domain {0} of an AD_JID is unknown")]
    Domain(u8),
    /// An FB_JID whose server is not `msgr`.
    #[error("the server of an FB_JID is not `msgr`")]
    FbServer,
    /// A JID_PAIR without a server.
    #[error("a JID without a server")]
    NoServer,
    /// A packed string with a nibble outside its alphabet.
    #[error("a packed string with a nibble outside its alphabet")]
    Nibble,
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    Utf8,
    /// An attribute given twice.
    #[error("an attribute is given twice")]
    DuplicateAttribute,
    /// The compressed body does not inflate.
    #[error("the compressed body does not inflate")]
    Zlib,
    /// Flag bits that are not assigned.
    #[error("flags {0:#04x} are not assigned")]
    Flags(u8),
}

/// What is wrong with an XML stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XmlFault {
    /// The text is not well-formed XML.
    #[error("not well-formed")]
    Syntax,
    /// A DTD, processing instruction, comment or CDATA section.
    #[error("a DTD, processing instruction, comment or CDATA section")]
    Forbidden,
    /// An entity other than the five, or a character reference to no XML character.
    #[error("an unknown entity or a reference to no character")]
    Entity,
    /// Bytes that are not UTF-8, or a character that XML forbids.
    #[error("not UTF-8, or a character that XML forbids")]
    Character,
    /// A name that is not an XML name, or a prefix that is not declared.
    #[error("not a name, or an undeclared prefix")]
    Name,
    /// An attribute given twice.
    #[error("an attribute is given twice")]
    DuplicateAttribute,
    /// An end tag that closes nothing, or another element.
    #[error("an end tag that does not match")]
    Mismatch,
    /// Text beside elements, outside the root, or a second root.
    #[error("text beside elements, or outside the stanza")]
    StrayText,
    /// The `c:` namespace used otherwise than defined.
    #[error("the `c:` namespace is used wrongly")]
    Control,
    /// The text ends within a stanza.
    #[error("the text ends within a stanza")]
    Truncated,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limited {
    /// Nodes are nested too deeply.
    #[error("nodes are nested too deeply")]
    Depth,
    /// Too many nodes.
    #[error("too many nodes")]
    Nodes,
    /// Too many attributes at one node.
    #[error("too many attributes")]
    Attributes,
    /// The frame is too long.
    #[error("the frame is too long")]
    Frame,
    /// The inflated body is too long.
    #[error("the inflated body is too long")]
    Inflated,
    /// The body inflates too far.
    #[error("the body inflates too far")]
    Ratio,
    /// The stanza's XML text is too long.
    #[error("the XML text is too long")]
    Xml,
    /// Too many namespace prefixes are declared.
    #[error("too many namespace prefixes")]
    Prefixes,
    /// A value is longer than the binary form can carry.
    #[error("a value is too long for the binary form")]
    Value,
}
