//! What is said after the log-in (PROTOCOL §7): a router over one file per conversation.

mod ack;
pub(crate) mod alias;
mod blocklist;
mod interop;
mod keys;
mod login;
mod media;
mod message;
pub(crate) mod notice;
mod receipt;
mod stanza;
mod typing;
mod usync;

pub(crate) use login::{LogIn, Refusal, authenticate};

use crate::site::Site;
use crate::store::User;
use comity_core::{Redacted, StoreError};
use comity_xmpp::Node;
use futures_util::future::BoxFuture;
use stanza::{iq_error, iq_result, nack, queue_id};
use std::sync::Arc;

/// Who speaks on a connection.
pub(crate) struct Session {
    pub(crate) site: Arc<Site>,
    pub(crate) user: User,
}

/// What a handled stanza leads to.
#[derive(Default)]
pub(crate) struct Done {
    /// Sent back, in order.
    pub(crate) nodes: Vec<Node>,
    /// Queued stanzas that the client has answered with it.
    pub(crate) answered: u32,
    /// What changes for the connection.
    pub(crate) then: Then,
}

/// A change of the connection's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Then {
    #[default]
    Nothing,
    /// Delivery begins, or stops.
    Active(bool),
    /// The client pulls that many more queued stanzas.
    Pull(u32),
    /// The client is leaving, or its account is gone.
    End,
}

impl Done {
    fn nothing() -> Self {
        Self::default()
    }

    fn answer(node: Node) -> Self {
        Self { nodes: vec![node], ..Self::default() }
    }
}

/// An answer now, or when a commit has returned.
pub(crate) enum Reply {
    Ready(Done),
    Later(BoxFuture<'static, Done>),
}

impl From<Done> for Reply {
    fn from(done: Done) -> Self {
        Self::Ready(done)
    }
}

impl From<Node> for Reply {
    fn from(node: Node) -> Self {
        Self::Ready(Done::answer(node))
    }
}

/// Whether a stanza may be handled while earlier ones still wait for their commit: its effects are ordered by the store's
/// writer alone. All others see what came before them.
pub(crate) fn is_pipelined(node: &Node) -> bool {
    matches!(node.tag(), "message" | "receipt" | "ack" | "call" | "notification")
}

/// Handles one stanza of the client. Never fatal: what is wrong is answered.
pub(crate) async fn handle(session: &Session, node: Node) -> Reply {
    match node.tag() {
        "message" | "call" => message::handle(session, node).await,
        "notification" if node.attr_str("type").as_deref() == Some("mediaretry") => {
            message::handle(session, node).await
        }
        "receipt" => receipt::handle(session, node).await,
        "ack" => ack::handle(session, &node).await,
        "iq" => iq(session, &node).await.into(),
        "chatstate" => typing::handle(session, node).await.into(),
        "ib" => ib(&node).into(),
        "presence" => Done::nothing().into(), // there is no online or last-seen here
        "xmlstreamend" | "stream:error" => Done { then: Then::End, ..Done::default() }.into(),
        _ if queue_id(&node).is_some() => nack(&node, 488).into(),
        tag => {
            tracing::debug!(tag, "stanza without id ignored");
            Done::nothing().into()
        }
    }
}

async fn iq(session: &Session, node: &Node) -> Done {
    if queue_id(node).is_none() {
        return Done::nothing();
    }
    let set = match node.attr_str("type").as_deref() {
        Some("get") => false,
        Some("set") => true,
        Some("result" | "error") => return Done::nothing(), // the answer to a ping of ours
        _ => return Done::answer(iq_error(node, 400)),
    };
    let answered = match node.attr_str("xmlns").as_deref() {
        Some("w:p" | "urn:xmpp:ping") if !set => {
            let t = session.site.clock.now().as_secs();
            Ok(Done::answer(iq_result(node).with_attr("t", t)))
        }
        Some("passive") if set => Ok(passive(node)),
        Some("encrypt") => keys::handle(session, node, set).await,
        Some("w:interop") => interop::handle(session, node, set).await,
        Some("blocklist") => blocklist::handle(session, node, set).await,
        Some("usync") if !set => usync::handle(session, node).await,
        Some("w:m") => media::connection(session, node),
        Some("spam") if set => interop::report(session, node).await,
        Some("w:p" | "urn:xmpp:ping" | "passive" | "usync" | "spam") => Err(Fault::Code(405)),
        _ => Err(Fault::Code(501)),
    };
    answered.unwrap_or_else(|fault| Done::answer(iq_error(node, fault.code())))
}

fn passive(node: &Node) -> Done {
    let active = match node.children().first().map(Node::tag) {
        Some("active") => true,
        Some("passive") => false,
        _ => return Done::answer(iq_error(node, 400)),
    };
    Done { then: Then::Active(active), ..Done::answer(iq_result(node)) }
}

fn ib(node: &Node) -> Done {
    let count = node.child("offline_batch").and_then(|batch| batch.attr_str("count")?.parse().ok());
    Done { then: count.map_or(Then::Nothing, Then::Pull), ..Done::default() }
}

/// Why an iq is answered by an error.
#[derive(Debug)]
enum Fault {
    Code(u16),
    Store(StoreError),
}

impl Fault {
    fn code(&self) -> u16 {
        match self {
            Self::Code(code) => *code,
            Self::Store(error) => {
                tracing::error!(%error, "store");
                500
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

type Answer = Result<Done, Fault>;

/// A store failure while a message was handled: no acknowledgement goes out, and the client sends it again.
fn failed(session_account: &comity_core::Jid, error: &StoreError) -> Done {
    tracing::error!(account = %Redacted(session_account), %error, "store");
    Done { then: Then::End, ..Done::default() }
}
