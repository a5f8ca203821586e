//! Typing and presence (PROTOCOL §7).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, Rest, shown_as_node, stanza};
use crate::node::Node;
use crate::text::Text;
use comity_core::Jid;

/// `<chatstate>`: the user is typing, or stopped. Never queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chatstate {
    /// To whom: written by clients.
    pub to: Option<Jid>,
    /// From whom, or from which group: set by the server.
    pub from: Option<Jid>,
    /// Who, in groups.
    pub participant: Option<Jid>,
    /// What.
    pub state: Typing,
    /// What else stands there.
    pub rest: Rest,
}

/// What a user is doing in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typing {
    /// `<composing/>`, of text, or of the medium named (`audio`).
    Composing {
        /// Of what, if not text.
        media: Option<Text>,
    },
    /// `<paused/>`.
    Paused,
}

stanza!(Chatstate, "chatstate", "§7");

impl Chatstate {
    /// One to `to`.
    pub fn new(to: Jid, state: Typing) -> Self {
        Self { to: Some(to), from: None, participant: None, state, rest: Rest::default() }
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let (to, from, participant) = (f.opt("to")?, f.opt("from")?, f.opt("participant")?);
        let state = match f.child("composing", |f| f.opt("media"))? {
            Some(media) => Typing::Composing { media },
            None => f.req_child("paused", |_| Ok(Typing::Paused)).map_err(|_| f.error(Problem::Missing))?,
        };
        Ok(Self { to, from, participant, state, rest: f.rest() })
    }

    fn write(self) -> Node {
        let state = match self.state {
            Typing::Composing { media } => Node::new("composing").with_opt_attr("media", media),
            Typing::Paused => Node::new("paused"),
        };
        let node = Node::new("chatstate")
            .with_opt_attr("to", self.to)
            .with_opt_attr("from", self.from)
            .with_opt_attr("participant", self.participant)
            .with_child(state);
        self.rest.onto(node)
    }
}

/// `<presence>`: passed through; interop has no online or last-seen.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// To whom.
    pub to: Option<Jid>,
    /// From whom.
    pub from: Option<Jid>,
    /// `available`, `unavailable`, `subscribe` and so on; none: available.
    pub kind: Option<Text>,
    /// A display name.
    pub name: Option<Text>,
    /// What else stands there.
    pub rest: Rest,
}

shown_as_node!(Presence::write);
stanza!(Presence, "presence", "§7");

impl Presence {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self { to: f.opt("to")?, from: f.opt("from")?, kind: f.opt("type")?, name: f.opt("name")?, rest: f.rest() })
    }

    fn write(self) -> Node {
        let node = Node::new("presence")
            .with_opt_attr("to", self.to)
            .with_opt_attr("from", self.from)
            .with_opt_attr("type", self.kind)
            .with_opt_attr("name", self.name);
        self.rest.onto(node)
    }
}
