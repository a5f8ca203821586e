//! Call signalling (PROTOCOL §15).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, Rest, stanza};
use crate::node::Node;
use crate::text::Text;
use comity_core::{Jid, Timestamp};

/// What a call stanza does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallAction {
    /// Rings.
    Offer,
    /// Is ringing.
    Preaccept,
    /// Takes it.
    Accept,
    /// Carries candidates.
    Transport,
    /// Does not take it.
    Reject,
    /// Ends it.
    Terminate,
}

impl CallAction {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Offer, Self::Preaccept, Self::Accept, Self::Transport, Self::Reject, Self::Terminate];

    /// The tag.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Preaccept => "preaccept",
            Self::Accept => "accept",
            Self::Transport => "transport",
            Self::Reject => "reject",
            Self::Terminate => "terminate",
        }
    }
}

/// `<call>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id.
    pub id: Text,
    /// To whom: written by clients.
    pub to: Option<Jid>,
    /// From whom: set by the server.
    pub from: Option<Jid>,
    /// When the server took it.
    pub t: Option<Timestamp>,
    /// Present (value opaque) if it waited.
    pub offline: Option<Text>,
    /// What it does.
    pub action: CallAction,
    /// The call's id.
    pub call_id: Text,
    /// Who started the call.
    pub call_creator: Jid,
    /// What the action carries: sealed keys, media, candidates.
    pub body: Rest,
    /// What else stands there.
    pub rest: Rest,
}

stanza!(Call, "call", "§15");

impl Call {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let (id, to, from, t, offline) = (f.req("id")?, f.opt("to")?, f.opt("from")?, f.opt("t")?, f.opt("offline")?);
        let Some(action) = CallAction::ALL.into_iter().find(|action| f.has_child(action.as_str())) else {
            return Err(f.error(Problem::Missing));
        };
        let (call_id, call_creator, body) =
            f.req_child(action.as_str(), |f| Ok((f.req("call-id")?, f.req("call-creator")?, f.rest())))?;
        Ok(Self { id, to, from, t, offline, action, call_id, call_creator, body, rest: f.rest() })
    }

    fn write(self) -> Node {
        let action = Node::new(self.action.as_str())
            .with_attr("call-id", self.call_id)
            .with_attr("call-creator", self.call_creator);
        let node = Node::new("call")
            .with_attr("id", self.id)
            .with_opt_attr("to", self.to)
            .with_opt_attr("from", self.from)
            .with_opt_attr("t", self.t)
            .with_opt_attr("offline", self.offline)
            .with_child(self.body.onto(action));
        self.rest.onto(node)
    }
}
