//! Device look-up (PROTOCOL §13).

use super::StanzaError;
use super::fields::{Fields, Rest};
use super::iq::{IqType, Payload, Reported, Request};
use crate::limits::{MAX_LIST_ITEMS, MAX_LOOKUP_USERS};
use crate::node::Node;
use crate::text::Text;
use comity_core::Jid;

/// Asks for the devices of users (get).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicesQuery {
    /// The query's own id.
    pub sid: Text,
    /// `query`.
    pub mode: Text,
    /// `message`.
    pub context: Text,
    /// Whose.
    pub users: Vec<Jid>,
    /// What else stands at `<usync>`.
    pub rest: Rest,
    /// What else is asked in `<query>`.
    pub query: Rest,
}

/// The devices of users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicesResult {
    /// One entry per user.
    pub users: Vec<UserDevices>,
    /// What else stands at `<usync>`.
    pub rest: Rest,
}

/// One user's devices; a partner user has device 0 alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDevices {
    /// Who.
    pub jid: Jid,
    /// The device numbers, or why there are none.
    pub devices: Result<Vec<u16>, Reported>,
    /// What else stands there.
    pub rest: Rest,
}

impl DevicesQuery {
    /// Asks for the devices of these users, before a message.
    pub fn new(sid: impl Into<Text>, users: impl IntoIterator<Item = Jid>) -> Self {
        Self {
            sid: sid.into(),
            mode: "query".into(),
            context: "message".into(),
            users: users.into_iter().collect(),
            rest: Rest::default(),
            query: Rest::default(),
        }
    }
}

impl Payload for DevicesQuery {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("usync", |f| {
            let query = f.req_child("query", |f| {
                f.req_child("devices", |_| Ok(()))?;
                Ok(f.rest())
            })?;
            Ok(Self {
                sid: f.req("sid")?,
                mode: f.req("mode")?,
                context: f.req("context")?,
                users: f.req_child("list", |f| f.children("user", MAX_LOOKUP_USERS, |f| f.req("jid")))?,
                query,
                rest: f.rest(),
            })
        })
    }

    fn write(self) -> Vec<Node> {
        let query = Node::new("query").with_child(Node::new("devices").with_attr("version", "2"));
        let users = self.users.into_iter().map(|jid| Node::new("user").with_attr("jid", jid));
        let node = Node::new("usync")
            .with_attr("sid", self.sid)
            .with_attr("mode", self.mode)
            .with_attr("context", self.context)
            .with_child(self.query.onto(query))
            .with_child(Node::new("list").with_children(users));
        vec![self.rest.onto(node)]
    }
}

impl Request for DevicesQuery {
    const XMLNS: &'static str = "usync";
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "usync";
}

impl Payload for DevicesResult {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("usync", |f| {
            Ok(Self {
                users: f.req_child("list", |f| f.children("user", MAX_LOOKUP_USERS, UserDevices::read))?,
                rest: f.rest(),
            })
        })
    }

    fn write(self) -> Vec<Node> {
        let list = Node::new("list").with_children(self.users.into_iter().map(UserDevices::write));
        vec![self.rest.onto(Node::new("usync").with_child(list))]
    }
}

impl UserDevices {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let devices = f.req_child("devices", |f| {
            if let Some(error) = f.child("error", Reported::read)? {
                return Ok(Err(error));
            }
            let list = |f: &mut Fields| f.children("device", MAX_LIST_ITEMS, |f| f.req("id"));
            f.req_child("device-list", list).map(Ok)
        })?;
        Ok(Self { jid: f.req("jid")?, devices, rest: f.rest() })
    }

    fn write(self) -> Node {
        let inner = match self.devices {
            Ok(ids) => Node::new("device-list")
                .with_children(ids.into_iter().map(|id| Node::new("device").with_attr("id", id))),
            Err(error) => error.write(),
        };
        let node = Node::new("user").with_attr("jid", self.jid).with_child(Node::new("devices").with_child(inner));
        self.rest.onto(node)
    }
}
