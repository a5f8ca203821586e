//! Notifications: the envelope; the payloads stand with their conversations (PROTOCOL §7).

use super::StanzaError;
use super::fields::{Fields, Rest, stanza};
use super::iq::Payload;
use crate::node::Node;
use crate::text::Text;
use comity_core::{Jid, Timestamp};

/// The `type` of each notification that PROTOCOL names.
pub mod notice {
    /// Low water of pre-keys, or an identity change (§8).
    pub const ENCRYPT: &str = "encrypt";
    /// A reachability ping (§13).
    pub const INTEROP: &str = "w:interop";
    /// A group's change (§14).
    pub const GROUP: &str = "w:gp2";
    /// The answer to media asked for again (§10).
    pub const MEDIA_RETRY: &str = "mediaretry";
}

/// `<notification>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its id.
    pub id: Text,
    /// From whom.
    pub from: Option<Jid>,
    /// To whom.
    pub to: Option<Jid>,
    /// What about; see [`notice`].
    pub kind: Text,
    /// When.
    pub t: Option<Timestamp>,
    /// Who did it, in groups.
    pub participant: Option<Jid>,
    /// Present (value opaque) if it waited.
    pub offline: Option<Text>,
    /// The payload; see [`Notification::payload`].
    pub children: Vec<Node>,
    /// What else stands there.
    pub rest: Rest,
}

stanza!(Notification, "notification", "§7");

impl Notification {
    /// A notification.
    pub fn new(id: impl Into<Text>, from: Jid, kind: &str, t: Timestamp, payload: impl Payload) -> Self {
        Self {
            id: id.into(),
            from: Some(from),
            to: None,
            kind: kind.into(),
            t: Some(t),
            participant: None,
            offline: None,
            children: payload.write(),
            rest: Rest::default(),
        }
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// Where and why it is not a `P`.
    pub fn payload<P: Payload>(&self) -> Result<P, StanzaError> {
        P::read(&mut Fields::of_children("notification", self.children.clone(), P::CLAUSE))
    }

    /// Whether the payload has a child of that tag.
    pub fn has(&self, tag: &str) -> bool {
        self.children.iter().any(|child| child.tag() == tag)
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: f.req("id")?,
            from: f.opt("from")?,
            to: f.opt("to")?,
            kind: f.req("type")?,
            t: f.opt("t")?,
            participant: f.opt("participant")?,
            offline: f.opt("offline")?,
            children: f.take_children(),
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let node = Node::new("notification")
            .with_attr("id", self.id)
            .with_opt_attr("from", self.from)
            .with_opt_attr("to", self.to)
            .with_attr("type", self.kind)
            .with_opt_attr("t", self.t)
            .with_opt_attr("participant", self.participant)
            .with_opt_attr("offline", self.offline)
            .with_children(self.children);
        self.rest.onto(node)
    }
}
