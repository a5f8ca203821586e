//! Groups (PROTOCOL §14).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, Rest, shown_as_node};
use super::iq::{IqType, Payload, Request};
use crate::limits::{MAX_GROUP_ID_LEN, MAX_LIST_ITEMS};
use crate::node::Node;
use crate::text::Text;
use comity_core::{Jid, Server, Timestamp};

const XMLNS: &str = "w:g2";

/// Creates a group (set, to `g.us`).
#[derive(Clone, PartialEq, Eq)]
pub struct GroupCreate {
    /// Its subject.
    pub subject: Text,
    /// Its members beside the creator.
    pub participants: Vec<Jid>,
    /// What else stands there.
    pub rest: Rest,
}

/// A group as it is: the answer to a creation or a query.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// The part of its JID before `@g.us`: 1 to [`MAX_GROUP_ID_LEN`] digits.
    pub id: Text,
    /// Who created it.
    pub creator: Jid,
    /// When.
    pub creation: Timestamp,
    /// Its subject.
    pub subject: Text,
    /// Its members.
    pub participants: Vec<GroupMember>,
    /// What else stands there.
    pub rest: Rest,
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Who.
    pub jid: Jid,
    /// Whether an admin.
    pub admin: bool,
    /// The display name.
    pub display_name: Option<Text>,
    /// What else stands there.
    pub rest: Rest,
}

/// Changes a group (set, to the group), or tells that it was changed.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupChange {
    /// How.
    pub action: GroupAction,
    /// What else stands there.
    pub rest: Rest,
}

/// How a group changes.
#[derive(Clone, PartialEq, Eq)]
pub enum GroupAction {
    /// It was created (notification only).
    Created(GroupInfo),
    /// Members come.
    Add(Vec<GroupMember>),
    /// Members are removed.
    Remove(Vec<GroupMember>),
    /// Members leave (notification only).
    Leave(Vec<GroupMember>),
    /// The subject changes.
    Subject(Text),
}

/// Leaves a group (set, to `g.us`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLeave {
    /// Which ones.
    pub groups: Vec<Jid>,
    /// What else stands there.
    pub rest: Rest,
}

/// Asks what a group is (get, to the group).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupQuery;

shown_as_node!(GroupCreate::write, GroupInfo::write, GroupMember::write, GroupChange::write);

impl core::fmt::Debug for GroupAction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        GroupChange::from(self.clone()).fmt(f)
    }
}

impl GroupMember {
    /// A plain member.
    pub fn new(jid: Jid) -> Self {
        Self { jid, admin: false, display_name: None, rest: Rest::default() }
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let kind = f.opt::<Text>("type")?;
        let mut member = Self {
            jid: f.req("jid")?,
            admin: kind.as_deref() == Some("admin"),
            display_name: f.opt("display_name")?,
            rest: f.rest(),
        };
        if let Some(other) = kind.filter(|_| !member.admin) {
            member.rest.attrs.push(crate::Attr { name: "type".into(), value: other.into() });
        }
        Ok(member)
    }

    fn write(self) -> Node {
        let node = Node::new("participant")
            .with_attr("jid", self.jid)
            .with_opt_attr("type", self.admin.then_some("admin"))
            .with_opt_attr("display_name", self.display_name);
        self.rest.onto(node)
    }
}

fn group_id(f: &mut Fields) -> Result<Text, StanzaError> {
    let id: Text = f.req("id")?;
    let valid = (1..=MAX_GROUP_ID_LEN).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
    if valid { Ok(id) } else { Err(f.error_at("id", Problem::Id)) }
}

fn group_jid(f: &mut Fields) -> Result<Jid, StanzaError> {
    let jid: Jid = f.req("id")?;
    if jid.server() == Server::Group { Ok(jid) } else { Err(f.error_at("id", Problem::Jid)) }
}

fn members(f: &mut Fields) -> Result<Vec<GroupMember>, StanzaError> {
    f.children("participant", MAX_LIST_ITEMS, GroupMember::read)
}

impl GroupInfo {
    fn read_group(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: group_id(f)?,
            creator: f.req("creator")?,
            creation: f.req("creation")?,
            subject: f.req("subject")?,
            participants: members(f)?,
            rest: f.rest(),
        })
    }

    fn write_group(self) -> Node {
        let node = Node::new("group")
            .with_attr("id", self.id)
            .with_attr("creator", self.creator)
            .with_attr("creation", self.creation)
            .with_attr("subject", self.subject)
            .with_children(self.participants.into_iter().map(GroupMember::write));
        self.rest.onto(node)
    }
}

impl Payload for GroupInfo {
    const CLAUSE: &'static str = "§14";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("group", Self::read_group)
    }

    fn write(self) -> Vec<Node> {
        vec![self.write_group()]
    }
}

impl Payload for GroupCreate {
    const CLAUSE: &'static str = "§14";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("create", |f| {
            Ok(Self {
                subject: f.req("subject")?,
                participants: f.children("participant", MAX_LIST_ITEMS, |f| f.req("jid"))?,
                rest: f.rest(),
            })
        })
    }

    fn write(self) -> Vec<Node> {
        let members = self.participants.into_iter().map(|jid| Node::new("participant").with_attr("jid", jid));
        vec![self.rest.onto(Node::new("create").with_attr("subject", self.subject).with_children(members))]
    }
}

impl Request for GroupCreate {
    const XMLNS: &'static str = XMLNS;
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "create";

    fn recipient() -> Jid {
        Jid::server_only(Server::Group)
    }
}

impl From<GroupAction> for GroupChange {
    fn from(action: GroupAction) -> Self {
        Self { action, rest: Rest::default() }
    }
}

impl Payload for GroupChange {
    const CLAUSE: &'static str = "§14";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        type Read = fn(&mut Fields) -> Result<GroupAction, StanzaError>;
        let kinds: [(&str, Read); 5] = [
            ("add", |f| members(f).map(GroupAction::Add)),
            ("remove", |f| members(f).map(GroupAction::Remove)),
            ("leave", |f| members(f).map(GroupAction::Leave)),
            ("subject", |f| f.text().map(GroupAction::Subject)),
            ("create", |f| f.req_child("group", GroupInfo::read_group).map(GroupAction::Created)),
        ];
        for (tag, read) in kinds {
            if let Some(change) = f.child(tag, |f| Ok(Self { action: read(f)?, rest: f.rest() }))? {
                return Ok(change);
            }
        }
        Err(f.error(Problem::Missing))
    }

    fn write(self) -> Vec<Node> {
        let list = |tag: &str, members: Vec<GroupMember>| {
            Node::new(tag).with_children(members.into_iter().map(GroupMember::write))
        };
        vec![self.rest.onto(match self.action {
            GroupAction::Created(group) => Node::new("create").with_child(group.write_group()),
            GroupAction::Add(members) => list("add", members),
            GroupAction::Remove(members) => list("remove", members),
            GroupAction::Leave(members) => list("leave", members),
            GroupAction::Subject(subject) => Node::new("subject").with_bytes(subject.to_string()),
        })]
    }
}

/// Goes to the group: set the recipient.
impl Request for GroupChange {
    const XMLNS: &'static str = XMLNS;
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "";

    fn recipient() -> Jid {
        Jid::server_only(Server::Group)
    }
}

impl Payload for GroupLeave {
    const CLAUSE: &'static str = "§14";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("leave", |f| Ok(Self { groups: f.children("group", MAX_LIST_ITEMS, group_jid)?, rest: f.rest() }))
    }

    fn write(self) -> Vec<Node> {
        let groups = self.groups.into_iter().map(|jid| Node::new("group").with_attr("id", jid));
        vec![self.rest.onto(Node::new("leave").with_children(groups))]
    }
}

impl Request for GroupLeave {
    const XMLNS: &'static str = XMLNS;
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "leave";

    fn recipient() -> Jid {
        Jid::server_only(Server::Group)
    }
}

impl Payload for GroupQuery {
    const CLAUSE: &'static str = "§14";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("query", |f| f.word("request", "interactive").map(|()| Self))
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new("query").with_attr("request", "interactive")]
    }
}

/// Goes to the group: set the recipient.
impl Request for GroupQuery {
    const XMLNS: &'static str = XMLNS;
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "query";

    fn recipient() -> Jid {
        Jid::server_only(Server::Group)
    }
}
