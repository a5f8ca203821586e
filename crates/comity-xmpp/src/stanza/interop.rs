//! Reachability: integrators, opt-in, look-up, ping, deletion (PROTOCOL §12, §13).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, Rest, shown_as_node, words};
use super::iq::{IqType, Payload, Reported, Request};
use crate::limits::{MAX_INTEGRATORS, MAX_LOOKUP_USERS};
use crate::node::Node;
use crate::text::Text;
use comity_core::{IntegratorId, Jid};

const XMLNS: &str = "w:interop";

words! {
    /// An integrator's state.
    IntegratorStatus {
        /// In service.
        Active = "active",
        /// Being set up.
        Onboarding = "onboarding",
        /// Gone.
        Removed = "removed",
    }
}

words! {
    /// What an integrator's users are known by.
    IdentifierType {
        /// E-mail address.
        Email = "email",
        /// Phone number.
        PhoneNumber = "pn",
        /// User name.
        Username = "username",
    }
}

/// Asks for all integrators (get).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegratorsQuery;

/// All integrators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integrators {
    /// Each one.
    pub list: Vec<Integrator>,
    /// What else stands there.
    pub rest: Rest,
}

/// One integrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integrator {
    /// Its number.
    pub id: IntegratorId,
    /// Its name.
    pub name: Text,
    /// Its icon.
    pub icon: Text,
    /// Its state.
    pub status: IntegratorStatus,
    /// What its users are known by.
    pub identifier_type: Option<IdentifierType>,
    /// Whether the asking user has opted in.
    pub opted_in: bool,
    /// Whether it takes part in groups.
    pub group_messaging: bool,
    /// What else stands there.
    pub rest: Rest,
}

/// Opts in to exactly these integrators (set); empty: out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptIn {
    /// The whole list.
    pub integrators: Vec<IntegratorId>,
    /// What else stands there.
    pub rest: Rest,
}

/// Asks for the reachability settings (get).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachabilityQuery;

/// Whether a user can be found, and by whose users: the answer to a query, or a change (set).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachability {
    /// Whether the user can be found.
    pub enabled: bool,
    /// By whose users.
    pub integrators: Vec<IntegratorId>,
    /// What else stands there.
    pub rest: Rest,
}

/// Looks users up by what people know them by (get), either way; at most [`MAX_LOOKUP_USERS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsersQuery {
    /// Whom.
    pub users: Vec<UserQuery>,
    /// What else stands there.
    pub rest: Rest,
}

/// One user of a [`UsersQuery`].
#[derive(Clone, PartialEq, Eq)]
pub struct UserQuery {
    /// What people know the user by.
    pub external_id: Text,
    /// Whose user; `None` where a partner looks up a native user.
    pub integrator: Option<IntegratorId>,
    /// What else stands there.
    pub rest: Rest,
}

/// The answer to a [`UsersQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsersResult {
    /// One entry per user asked for.
    pub users: Vec<UserEntry>,
    /// What else stands there.
    pub rest: Rest,
}

/// One user of a [`UsersResult`].
#[derive(Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// What was asked for.
    pub external_id: Text,
    /// Whose user.
    pub integrator: Option<IntegratorId>,
    /// Who it is and the normalized form of what was asked for, or why nobody is found (404).
    pub found: Result<FoundUser, Reported>,
    /// What else stands there.
    pub rest: Rest,
}

/// A user that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundUser {
    /// The internal id.
    pub jid: Jid,
    /// The normalized form of what was asked for.
    pub normalized_external_id: Option<Text>,
}

/// A partner user's reachability ping (set, to the native user's JID).
#[derive(Clone, PartialEq, Eq)]
pub struct InteropPing {
    /// The name to show.
    pub display_name: Text,
    /// What else stands there.
    pub rest: Rest,
}

/// The ping as the native user is notified of it.
#[derive(Clone, PartialEq, Eq)]
pub struct InteropPingNotice {
    /// The name to show.
    pub display_name: Text,
    /// The partner.
    pub integrator: IntegratorId,
    /// The partner's name.
    pub integrator_name: Text,
    /// What else stands there.
    pub rest: Rest,
}

shown_as_node!(UserQuery::write, UserEntry::write, InteropPing::write, InteropPingNotice::write);

impl core::fmt::Debug for FoundUser {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FoundUser({:?})", self.jid)
    }
}

/// Deletes the account (set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteAccount;

fn id(f: &mut Fields, name: &str) -> Result<IntegratorId, StanzaError> {
    let number = f.req(name)?;
    IntegratorId::new(number).map_err(|_| f.error_at(name, Problem::Number))
}

fn opt_id(f: &mut Fields, name: &str) -> Result<Option<IntegratorId>, StanzaError> {
    let number = f.opt(name)?;
    number.map(IntegratorId::new).transpose().map_err(|_| f.error_at(name, Problem::Number))
}

fn ids(f: &mut Fields) -> Result<Vec<IntegratorId>, StanzaError> {
    f.children("integrator", MAX_INTEGRATORS, |f| id(f, "id"))
}

fn id_nodes(ids: Vec<IntegratorId>) -> impl Iterator<Item = Node> {
    ids.into_iter().map(|id| Node::new("integrator").with_attr("id", id.get()))
}

/// A request that is an empty child.
macro_rules! empty_request {
    ($name:ident, $tag:literal, $type:ident, $clause:literal) => {
        impl Payload for $name {
            const CLAUSE: &'static str = $clause;

            fn read(f: &mut Fields) -> Result<Self, StanzaError> {
                f.req_child($tag, |_| Ok(Self))
            }

            fn write(self) -> Vec<Node> {
                vec![Node::new($tag)]
            }
        }

        request!($name, $type, $tag);
    };
}

macro_rules! request {
    ($name:ident, $type:ident, $tag:literal) => {
        impl Request for $name {
            const XMLNS: &'static str = XMLNS;
            const TYPE: IqType = IqType::$type;
            const CHILD: &'static str = $tag;
        }
    };
}

empty_request!(ReachabilityQuery, "reachability_settings", Get, "§13");
empty_request!(DeleteAccount, "delete_account", Set, "§12");
request!(IntegratorsQuery, Get, "integrator");
request!(OptIn, Set, "opt_in_integrators");
request!(Reachability, Set, "reachability_settings");
request!(UsersQuery, Get, "users");
request!(InteropPing, Set, "ping");

impl Payload for IntegratorsQuery {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("integrator", |f| f.word("fetch", "all").map(|()| Self))
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new("integrator").with_attr("fetch", "all")]
    }
}

impl Payload for Integrators {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("integrator_list", |f| {
            Ok(Self { list: f.children("integrator", MAX_INTEGRATORS, Integrator::read)?, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let list = self.list.into_iter().map(Integrator::write);
        vec![self.rest.onto(Node::new("integrator_list").with_children(list))]
    }
}

impl Integrator {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: id(f, "id")?,
            name: f.req("name")?,
            icon: f.req("icon")?,
            status: f.req("status")?,
            identifier_type: f.opt("identifier_type")?,
            opted_in: f.opt("opted_in")?.unwrap_or(false),
            group_messaging: f.child("features", |f| Ok(f.opt("group_messaging")?.unwrap_or(false)))?.unwrap_or(false),
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let features = Node::new("features").with_attr("group_messaging", self.group_messaging);
        let node = Node::new("integrator")
            .with_attr("id", self.id.get())
            .with_attr("name", self.name)
            .with_attr("icon", self.icon)
            .with_attr("status", self.status)
            .with_opt_attr("identifier_type", self.identifier_type)
            .with_opt_attr("opted_in", self.opted_in.then_some(true))
            .with_children(self.rest.content.bytes().is_none().then_some(features)); // text leaves no room for it
        self.rest.onto(node)
    }
}

impl Payload for OptIn {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("opt_in_integrators", |f| {
            Ok(Self { integrators: f.req_child("integrator_list", ids)?, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let list = Node::new("integrator_list").with_children(id_nodes(self.integrators));
        vec![self.rest.onto(Node::new("opt_in_integrators").with_child(list))]
    }
}

impl Payload for Reachability {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("reachability_settings", |f| {
            Ok(Self { enabled: f.req("enabled")?, integrators: ids(f)?, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let node = Node::new("reachability_settings")
            .with_attr("enabled", self.enabled)
            .with_children(id_nodes(self.integrators));
        vec![self.rest.onto(node)]
    }
}

impl From<Vec<IntegratorId>> for OptIn {
    fn from(integrators: Vec<IntegratorId>) -> Self {
        Self { integrators, rest: Rest::default() }
    }
}

impl From<Vec<UserQuery>> for UsersQuery {
    fn from(users: Vec<UserQuery>) -> Self {
        Self { users, rest: Rest::default() }
    }
}

impl UserQuery {
    /// Looks up a native user, by phone number.
    pub fn native(phone_number: impl Into<Text>) -> Self {
        Self { external_id: phone_number.into(), integrator: None, rest: Rest::default() }
    }

    /// Looks up a partner user.
    pub fn partner(external_id: impl Into<Text>, integrator: IntegratorId) -> Self {
        Self { external_id: external_id.into(), integrator: Some(integrator), rest: Rest::default() }
    }

    fn write(self) -> Node {
        let node = Node::new("user")
            .with_attr("external_id", self.external_id)
            .with_opt_attr("integrator_id", self.integrator.map(IntegratorId::get));
        self.rest.onto(node)
    }
}

impl Payload for UsersQuery {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("users", |f| {
            let users = f.children("user", MAX_LOOKUP_USERS, |f| {
                let integrator = opt_id(f, "integrator_id")?;
                Ok(UserQuery { external_id: f.req("external_id")?, integrator, rest: f.rest() })
            })?;
            if users.is_empty() { Err(f.error(Problem::TooFew)) } else { Ok(Self { users, rest: f.rest() }) }
        })
    }

    fn write(self) -> Vec<Node> {
        let users = self.users.into_iter().map(UserQuery::write);
        vec![self.rest.onto(Node::new("users").with_children(users))]
    }
}

impl Payload for UsersResult {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("users", |f| {
            Ok(Self { users: f.children("user", MAX_LOOKUP_USERS, UserEntry::read)?, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let users = self.users.into_iter().map(UserEntry::write);
        vec![self.rest.onto(Node::new("users").with_children(users))]
    }
}

impl UserEntry {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let found = match f.child("error", Reported::read)? {
            Some(error) => Err(error),
            None => Ok(FoundUser { jid: f.req("jid")?, normalized_external_id: f.opt("normalized_external_id")? }),
        };
        let integrator = opt_id(f, "integrator_id")?;
        Ok(Self { external_id: f.req("external_id")?, integrator, found, rest: f.rest() })
    }

    fn write(self) -> Node {
        let node = Node::new("user")
            .with_attr("external_id", self.external_id)
            .with_opt_attr("integrator_id", self.integrator.map(IntegratorId::get));
        self.rest.onto(match self.found {
            Ok(user) => {
                node.with_attr("jid", user.jid).with_opt_attr("normalized_external_id", user.normalized_external_id)
            }
            Err(error) => node.with_child(error.write()),
        })
    }
}

impl Payload for InteropPing {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("ping", |f| Ok(Self { display_name: f.req("display_name")?, rest: f.rest() }))
    }

    fn write(self) -> Vec<Node> {
        vec![self.rest.onto(Node::new("ping").with_attr("display_name", self.display_name))]
    }
}

impl Payload for InteropPingNotice {
    const CLAUSE: &'static str = "§13";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("ping", |f| {
            let (integrator, integrator_name) = f.req_child("integrator", |f| Ok((id(f, "id")?, f.req("name")?)))?;
            Ok(Self { display_name: f.req("display_name")?, integrator, integrator_name, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let integrator =
            Node::new("integrator").with_attr("id", self.integrator.get()).with_attr("name", self.integrator_name);
        let node = Node::new("ping").with_attr("display_name", self.display_name).with_child(integrator);
        vec![self.rest.onto(node)]
    }
}
