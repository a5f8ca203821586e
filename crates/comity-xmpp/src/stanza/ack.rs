//! Acknowledgements, of the server and of clients (PROTOCOL §7).

use super::StanzaError;
use super::fields::{Fields, Rest, stanza, words};
use crate::node::Node;
use crate::text::Text;
use comity_core::{Jid, Timestamp};

words! {
    /// What is acknowledged.
    AckClass {
        /// A message.
        Message = "message",
        /// A receipt.
        Receipt = "receipt",
        /// A notification.
        Notification = "notification",
        /// A call.
        Call = "call",
    }
}

/// Why a client refuses a stanza (`error` of an ack).
pub mod nack {
    /// No more new chats.
    pub const CHAT_CAP: u16 = 475;
    /// It does not parse.
    pub const PARSE: u16 = 487;
    /// An unknown stanza.
    pub const UNKNOWN_STANZA: u16 = 488;
    /// An unknown class.
    pub const UNKNOWN_CLASS: u16 = 489;
    /// An unknown type.
    pub const UNKNOWN_TYPE: u16 = 490;
    /// A bad protobuf or content.
    pub const BAD_CONTENT: u16 = 491;
    /// No message secret.
    pub const NO_SECRET: u16 = 495;
    /// An old counter.
    pub const OLD_COUNTER: u16 = 496;
    /// An unhandled error.
    pub const UNHANDLED: u16 = 500;
    /// The storage failed.
    pub const STORAGE: u16 = 552;
}

/// `<ack>`: taken, or with `error`, refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// What is acknowledged.
    pub class: AckClass,
    /// The stanza's id.
    pub id: Text,
    /// To whom: a client's, the stanza's `from`.
    pub to: Option<Jid>,
    /// From whom: the server's, the stanza's `to`.
    pub from: Option<Jid>,
    /// The stanza's.
    pub participant: Option<Jid>,
    /// The stanza's type; never on the server's ack of a message.
    pub kind: Option<Text>,
    /// When the server took it.
    pub t: Option<Timestamp>,
    /// Why it was refused; see [`nack`].
    pub error: Option<u16>,
    /// The server's hash over the group's devices, if it differs.
    pub phash: Option<Text>,
    /// What else stands there.
    pub rest: Rest,
}

stanza!(Ack, "ack", "§7");

impl Ack {
    /// A client's ack of a stanza it was delivered, copied from it; `None` if the stanza has no id.
    pub fn of(stanza: &Node) -> Option<Self> {
        let text = |name| stanza.attr_str(name).map(|s| Text::from(&*s));
        Some(Self {
            class: Text::from(stanza.tag()).into(),
            id: text("id")?,
            to: stanza.attr_jid("from"),
            from: None,
            participant: stanza.attr_jid("participant"),
            kind: text("type"),
            t: None,
            error: None,
            phash: None,
            rest: Rest::default(),
        })
    }

    /// The server's ack of a stanza that a client sent; `None` if the stanza has no id.
    pub fn by_server(stanza: &Node, t: Timestamp) -> Option<Self> {
        let of = Self::of(stanza)?;
        let kind = of.kind.filter(|_| of.class != AckClass::Message);
        Some(Self { from: stanza.attr_jid("to"), to: None, kind, t: Some(t), ..of })
    }

    /// The same with a refusal.
    #[must_use]
    pub fn with_error(mut self, error: u16) -> Self {
        self.error = Some(error);
        self
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            class: f.req("class")?,
            id: f.req("id")?,
            to: f.opt("to")?,
            from: f.opt("from")?,
            participant: f.opt("participant")?,
            kind: f.opt("type")?,
            t: f.opt("t")?,
            error: f.opt("error")?,
            phash: f.opt("phash")?,
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let node = Node::new("ack")
            .with_attr("class", self.class)
            .with_attr("id", self.id)
            .with_opt_attr("to", self.to)
            .with_opt_attr("from", self.from)
            .with_opt_attr("participant", self.participant)
            .with_opt_attr("type", self.kind)
            .with_opt_attr("t", self.t)
            .with_opt_attr("error", self.error)
            .with_opt_attr("phash", self.phash);
        self.rest.onto(node)
    }
}
