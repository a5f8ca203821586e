//! Block lists and reports (PROTOCOL §13).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, FromValue, Rest};
use super::iq::{IqType, Payload, Request};
use crate::limits::{MAX_LIST_ITEMS, MAX_SPAM_MESSAGES};
use crate::node::Node;
use crate::text::Text;
use crate::value::Value;
use bytes::Bytes;
use comity_core::{Jid, MessageId, Timestamp};

/// Asks for the block list (get).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlocklistQuery;

/// The block list: the answer to a query or a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklist {
    /// An opaque version of the list.
    pub dhash: Option<Text>,
    /// Whether the asker's version is this one (then `blocked` is left out).
    pub matched: bool,
    /// Who is blocked.
    pub blocked: Vec<Jid>,
    /// What else stands there.
    pub rest: Rest,
}

/// Block or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAction {
    /// Block.
    Block,
    /// Not any more.
    Unblock,
}

impl FromValue for BlockAction {
    fn from_value(value: Value) -> Result<Self, Problem> {
        match &*Text::from_value(value)? {
            "block" => Ok(Self::Block),
            "unblock" => Ok(Self::Unblock),
            _ => Err(Problem::Value),
        }
    }
}

impl From<BlockAction> for Value {
    fn from(action: BlockAction) -> Self {
        match action {
            BlockAction::Block => "block",
            BlockAction::Unblock => "unblock",
        }
        .into()
    }
}

/// A partner user's change of the block list (set): `<item>` without a wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockChange {
    /// What to do.
    pub action: BlockAction,
    /// With whom.
    pub jid: Jid,
    /// The version of the list that the client has.
    pub dhash: Option<Text>,
    /// What else stands there.
    pub rest: Rest,
}

/// A native user's change of the block list (set, under `w:interop`): `<item>` in `<blocklist>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeBlockChange {
    /// The change.
    pub change: BlockChange,
    /// What else stands at `<blocklist>`.
    pub rest: Rest,
}

impl From<BlockChange> for NativeBlockChange {
    fn from(change: BlockChange) -> Self {
        Self { change, rest: Rest::default() }
    }
}

/// A report (set); the server cannot verify it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpamReport {
    /// Who is reported.
    pub jid: Jid,
    /// Where in the application the report was made.
    pub spam_flow: Text,
    /// Messages as decrypted, at most [`MAX_SPAM_MESSAGES`].
    pub messages: Vec<ReportedMessage>,
    /// What else stands there.
    pub rest: Rest,
}

/// A message of a report. `Debug` shows no content.
#[derive(Clone, PartialEq, Eq)]
pub struct ReportedMessage {
    /// Its id.
    pub id: MessageId,
    /// Its sender.
    pub from: Jid,
    /// Its time.
    pub t: Timestamp,
    /// The decrypted `Message`.
    pub raw: Bytes,
    /// What else stands there.
    pub rest: Rest,
}

impl core::fmt::Debug for ReportedMessage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ReportedMessage({:?}, {} bytes)", self.id, self.raw.len())
    }
}

impl Payload for BlocklistQuery {
    const CLAUSE: &'static str = "§13";

    fn read(_: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self)
    }

    fn write(self) -> Vec<Node> {
        Vec::new()
    }
}

impl Request for BlocklistQuery {
    const XMLNS: &'static str = "blocklist";
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "";
}

impl Payload for Blocklist {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("list", |f| {
            Ok(Self {
                dhash: f.opt("dhash")?,
                matched: f.opt("matched")?.unwrap_or(false),
                blocked: f.children("item", MAX_LIST_ITEMS, |f| f.req("jid"))?,
                rest: f.rest(),
            })
        })
    }

    fn write(self) -> Vec<Node> {
        let node = Node::new("list")
            .with_opt_attr("matched", self.matched.then_some(true))
            .with_opt_attr("dhash", self.dhash)
            .with_children(self.blocked.into_iter().map(|jid| Node::new("item").with_attr("jid", jid)));
        vec![self.rest.onto(node)]
    }
}

impl BlockChange {
    fn read_item(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self { action: f.req("action")?, jid: f.req("jid")?, dhash: f.opt("dhash")?, rest: f.rest() })
    }

    fn write_item(self) -> Node {
        let node = Node::new("item")
            .with_attr("action", self.action)
            .with_attr("jid", self.jid)
            .with_opt_attr("dhash", self.dhash);
        self.rest.onto(node)
    }
}

impl Payload for BlockChange {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("item", Self::read_item)
    }

    fn write(self) -> Vec<Node> {
        vec![self.write_item()]
    }
}

impl Request for BlockChange {
    const XMLNS: &'static str = "blocklist";
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "item";
}

impl Payload for NativeBlockChange {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("blocklist", |f| Ok(Self { change: f.req_child("item", BlockChange::read_item)?, rest: f.rest() }))
    }

    fn write(self) -> Vec<Node> {
        vec![self.rest.onto(Node::new("blocklist").with_child(self.change.write_item()))]
    }
}

impl Request for NativeBlockChange {
    const XMLNS: &'static str = "w:interop";
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "blocklist";
}

impl Payload for SpamReport {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("spam_list", |f| {
            Ok(Self {
                jid: f.req("jid")?,
                spam_flow: f.req("spam_flow")?,
                messages: f.children("message", MAX_SPAM_MESSAGES, ReportedMessage::read)?,
                rest: f.rest(),
            })
        })
    }

    fn write(self) -> Vec<Node> {
        let node = Node::new("spam_list")
            .with_attr("jid", self.jid)
            .with_attr("spam_flow", self.spam_flow)
            .with_children(self.messages.into_iter().map(ReportedMessage::write));
        vec![self.rest.onto(node)]
    }
}

impl Request for SpamReport {
    const XMLNS: &'static str = "spam";
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "spam_list";
}

impl ReportedMessage {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: f.req("id")?,
            from: f.req("from")?,
            t: f.req("t")?,
            raw: f.req_child("raw", |f| f.bytes())?,
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let raw = Node::new("raw").with_attr("v", "2").with_bytes(self.raw);
        let node = Node::new("message")
            .with_attr("id", &self.id)
            .with_attr("from", self.from)
            .with_attr("t", self.t)
            .with_child(raw);
        self.rest.onto(node)
    }
}
