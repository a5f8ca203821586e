//! What opens, ends and keeps a session: success, failure, stream error, offline delivery, ping, passive (PROTOCOL §5.5, §7).

use super::StanzaError;
use super::fields::{Fields, Rest, stanza, words};
use super::iq::{Iq, IqType, Payload, Request};
use crate::node::Node;
use crate::text::Text;
use comity_core::{Jid, Server, Timestamp};

/// `<success>`: the login is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// The server's clock.
    pub t: Timestamp,
    /// What else stands there.
    pub rest: Rest,
}

stanza!(Success, "success", "§5.5");

impl Success {
    /// Says that it is `t`.
    pub fn new(t: Timestamp) -> Self {
        Self { t, rest: Rest::default() }
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self { t: f.req("t")?, rest: f.rest() })
    }

    fn write(self) -> Node {
        self.rest.onto(Node::new("success").with_attr("t", self.t))
    }
}

/// `<failure>`: the login is refused, and the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why; see [`failure`].
    pub reason: u16,
    /// Any short string.
    pub location: Text,
    /// A finer code.
    pub code: Option<Text>,
    /// Seconds that a ban lasts.
    pub expire: Option<u64>,
    /// Something for people.
    pub message: Option<Text>,
    /// What else stands there.
    pub rest: Rest,
}

/// The reasons of a [`Failure`].
pub mod failure {
    /// Nothing more is said.
    pub const GENERIC: u16 = 400;
    /// Not authorised: a bad or expired token.
    pub const NOT_AUTHORISED: u16 = 401;
    /// Banned for a time.
    pub const TEMPORARY_BAN: u16 = 402;
    /// Locked: blocked here.
    pub const LOCKED: u16 = 403;
    /// The version is too old.
    pub const VERSION: u16 = 405;
    /// Banned.
    pub const BANNED: u16 = 406;
    /// The user agent is refused.
    pub const USER_AGENT: u16 = 409;
    /// Not enlisted: enlist again.
    pub const NOT_ENLISTED: u16 = 415;
    /// Too many logins.
    pub const RATE_LIMITED: u16 = 429;
    /// The server failed.
    pub const INTERNAL: u16 = 500;
    /// Not implemented.
    pub const NOT_IMPLEMENTED: u16 = 501;
    /// Not available now.
    pub const UNAVAILABLE: u16 = 503;
}

stanza!(Failure, "failure", "§5.5");

impl Failure {
    /// A refusal.
    pub fn new(reason: u16, location: impl Into<Text>) -> Self {
        Self { reason, location: location.into(), code: None, expire: None, message: None, rest: Rest::default() }
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            reason: f.req("reason")?,
            location: f.req("location")?,
            code: f.opt("code")?,
            expire: f.opt("expire")?,
            message: f.opt("message")?,
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let node = Node::new("failure")
            .with_attr("reason", self.reason)
            .with_attr("location", self.location)
            .with_opt_attr("code", self.code)
            .with_opt_attr("expire", self.expire)
            .with_opt_attr("message", self.message);
        self.rest.onto(node)
    }
}

words! {
    /// Why another login ended this session.
    Conflict {
        /// A newer login took over: don't reconnect.
        Replaced = "replaced",
        /// The credentials are gone.
        DeviceRemoved = "device_removed",
    }
}

/// `<stream:error>`: the session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// 515: reconnect now; other 5xx: later.
    pub code: Option<u16>,
    /// Decides over `code` where it is given.
    pub conflict: Option<Conflict>,
    /// The server could not read what was sent.
    pub not_well_formed: bool,
    /// What else stands there.
    pub rest: Rest,
}

stanza!(StreamError, "stream:error", "§5.5");

impl StreamError {
    /// By a code alone.
    pub fn code(code: u16) -> Self {
        Self { code: Some(code), conflict: None, not_well_formed: false, rest: Rest::default() }
    }

    /// A newer login took over.
    pub fn replaced() -> Self {
        Self { code: None, conflict: Some(Conflict::Replaced), not_well_formed: false, rest: Rest::default() }
    }

    /// The credentials are gone.
    pub fn device_removed() -> Self {
        Self { code: Some(401), conflict: Some(Conflict::DeviceRemoved), ..Self::replaced() }
    }

    /// What was sent could not be read.
    pub fn not_well_formed() -> Self {
        Self { code: None, conflict: None, not_well_formed: true, rest: Rest::default() }
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            code: f.opt("code")?,
            conflict: f.child("conflict", |f| f.req("type"))?,
            not_well_formed: f.child("xml-not-well-formed", |_| Ok(()))?.is_some(),
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let conflict = self.conflict.map(|c| Node::new("conflict").with_attr("type", c));
        let node = Node::new("stream:error")
            .with_opt_attr("code", self.code)
            .with_children(conflict)
            .with_children(self.not_well_formed.then(|| Node::new("xml-not-well-formed")));
        self.rest.onto(node)
    }
}

/// `<ib>`: what the ends tell each other outside of chats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ib {
    /// From whom.
    pub from: Option<Jid>,
    /// What it says.
    pub body: IbBody,
    /// What else stands there.
    pub rest: Rest,
}

/// What an [`Ib`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IbBody {
    /// So many queued stanzas follow.
    OfflinePreview(OfflinePreview),
    /// The end of the queue; so many stanzas were in it.
    Offline {
        /// How many.
        count: u32,
    },
    /// Asks for so many more.
    OfflineBatch {
        /// How many.
        count: u32,
    },
    /// Something else: `<dirty>`, `<edge_routing>` and so on.
    Other(Vec<Node>),
}

/// The counts of the mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfflinePreview {
    /// All.
    pub count: u32,
    /// Messages.
    pub message: u32,
    /// Receipts.
    pub receipt: u32,
    /// Notifications.
    pub notification: u32,
    /// Calls.
    pub call: u32,
}

stanza!(Ib, "ib", "§7");

impl Ib {
    /// One without a sender.
    pub fn new(body: IbBody) -> Self {
        Self { from: None, body, rest: Rest::default() }
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let from = f.opt("from")?;
        let count = |f: &mut Fields| f.req("count");
        let body = if let Some(preview) = f.child("offline_preview", OfflinePreview::read)? {
            IbBody::OfflinePreview(preview)
        } else if let Some(count) = f.child("offline", count)? {
            IbBody::Offline { count }
        } else if let Some(count) = f.child("offline_batch", count)? {
            IbBody::OfflineBatch { count }
        } else {
            IbBody::Other(f.take_children())
        };
        Ok(Self { from, body, rest: f.rest() })
    }

    fn write(self) -> Node {
        let node = Node::new("ib").with_opt_attr("from", self.from);
        let node = match self.body {
            IbBody::OfflinePreview(preview) => node.with_child(preview.write()),
            IbBody::Offline { count } => node.with_child(Node::new("offline").with_attr("count", count)),
            IbBody::OfflineBatch { count } => node.with_child(Node::new("offline_batch").with_attr("count", count)),
            IbBody::Other(children) => node.with_children(children),
        };
        self.rest.onto(node)
    }
}

impl OfflinePreview {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            count: f.req("count")?,
            message: f.opt("message")?.unwrap_or(0),
            receipt: f.opt("receipt")?.unwrap_or(0),
            notification: f.opt("notification")?.unwrap_or(0),
            call: f.opt("call")?.unwrap_or(0),
        })
    }

    fn write(self) -> Node {
        Node::new("offline_preview")
            .with_attr("count", self.count)
            .with_attr("message", self.message)
            .with_attr("receipt", self.receipt)
            .with_attr("notification", self.notification)
            .with_attr("call", self.call)
    }
}

/// The client's keep-alive (get), with or without a `<ping/>` child; answered by [`Ping::pong`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping;

impl Payload for Ping {
    const CLAUSE: &'static str = "§5.5";

    fn read(_: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self)
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new("ping")]
    }
}

impl Request for Ping {
    const XMLNS: &'static str = "w:p";
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "";
}

impl Ping {
    /// The server's answer, with its clock.
    pub fn pong(request: &Iq, now: Timestamp) -> Iq {
        let from = Some(request.to.clone().unwrap_or(Jid::server_only(Server::Whatsapp)));
        Iq { t: Some(now), from, ..request.result_empty() }
    }
}

/// The server's ping (get, no payload); answered by [`ServerPing::pong`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerPing;

impl Payload for ServerPing {
    const CLAUSE: &'static str = "§5.5";

    fn read(_: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self)
    }

    fn write(self) -> Vec<Node> {
        Vec::new()
    }
}

impl Request for ServerPing {
    const XMLNS: &'static str = "urn:xmpp:ping";
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "";
}

impl ServerPing {
    /// The server's ping as it goes out: `from` instead of `to`.
    pub fn iq(id: impl Into<Text>) -> Iq {
        Iq { to: None, from: Some(Self::recipient()), ..Iq::request(id, Self) }
    }

    /// The client's answer.
    pub fn pong(request: &Iq) -> Iq {
        Iq { from: None, to: request.from.clone(), ..request.result_empty() }
    }
}

/// Starts or stops delivery (set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// `<active/>`: start.
    Active,
    /// `<passive/>`: stop.
    Passive,
}

impl Payload for Delivery {
    const CLAUSE: &'static str = "§5.5";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        if f.has_child("passive") {
            return Ok(Self::Passive);
        }
        f.req_child("active", |_| Ok(Self::Active))
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new(match self {
            Self::Active => "active",
            Self::Passive => "passive",
        })]
    }
}

impl Request for Delivery {
    const XMLNS: &'static str = "passive";
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "";
}
