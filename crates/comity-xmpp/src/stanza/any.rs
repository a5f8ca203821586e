//! Any stanza, by its tag; any request, by its namespace (PROTOCOL §7).

use super::*;
use crate::node::Node;

/// A top-level stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "the largest, a message, is also by far the commonest")]
pub enum Stanza {
    /// `<message>`.
    Message(Message),
    /// `<receipt>`.
    Receipt(Receipt),
    /// `<ack>`.
    Ack(Ack),
    /// `<iq>`.
    Iq(Iq),
    /// `<ib>`.
    Ib(Ib),
    /// `<notification>`.
    Notification(Notification),
    /// `<presence>`.
    Presence(Presence),
    /// `<chatstate>`.
    Chatstate(Chatstate),
    /// `<call>`.
    Call(Call),
    /// `<success>`.
    Success(Success),
    /// `<failure>`.
    Failure(Failure),
    /// `<stream:error>`.
    StreamError(StreamError),
    /// `<error>`: the other end complains. Never answered.
    Error(Node),
    /// `<xmlstreamend>`: the other end is done.
    StreamEnd,
    /// Another tag. With id and from it is nack'ed 488; it is never fatal.
    Unknown(Node),
}

impl Stanza {
    /// Reads any stanza.
    ///
    /// # Errors
    /// Where and why it is not the stanza that its tag says.
    pub fn parse(node: &Node) -> Result<Self, StanzaError> {
        Self::from_node(node.clone())
    }

    /// As [`Stanza::parse`], without a copy.
    ///
    /// # Errors
    /// As [`Stanza::parse`].
    pub fn from_node(node: Node) -> Result<Self, StanzaError> {
        match node.tag() {
            "message" => Message::from_node(node).map(Self::Message),
            "receipt" => Receipt::from_node(node).map(Self::Receipt),
            "ack" => Ack::from_node(node).map(Self::Ack),
            "iq" => Iq::from_node(node).map(Self::Iq),
            "ib" => Ib::from_node(node).map(Self::Ib),
            "notification" => Notification::from_node(node).map(Self::Notification),
            "presence" => Presence::from_node(node).map(Self::Presence),
            "chatstate" => Chatstate::from_node(node).map(Self::Chatstate),
            "call" => Call::from_node(node).map(Self::Call),
            "success" => Success::from_node(node).map(Self::Success),
            "failure" => Failure::from_node(node).map(Self::Failure),
            "stream:error" => StreamError::from_node(node).map(Self::StreamError),
            "error" => Ok(Self::Error(node)),
            "xmlstreamend" => Ok(Self::StreamEnd),
            _ => Ok(Self::Unknown(node)),
        }
    }

    /// Builds the stanza.
    pub fn into_node(self) -> Node {
        match self {
            Self::Message(stanza) => stanza.into_node(),
            Self::Receipt(stanza) => stanza.into_node(),
            Self::Ack(stanza) => stanza.into_node(),
            Self::Iq(stanza) => stanza.into_node(),
            Self::Ib(stanza) => stanza.into_node(),
            Self::Notification(stanza) => stanza.into_node(),
            Self::Presence(stanza) => stanza.into_node(),
            Self::Chatstate(stanza) => stanza.into_node(),
            Self::Call(stanza) => stanza.into_node(),
            Self::Success(stanza) => stanza.into_node(),
            Self::Failure(stanza) => stanza.into_node(),
            Self::StreamError(stanza) => stanza.into_node(),
            Self::StreamEnd => Node::new("xmlstreamend"),
            Self::Error(node) | Self::Unknown(node) => node,
        }
    }
}

macro_rules! any_request {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Any request that a client makes of the server.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum AnyRequest {
            $($(#[$doc])* $name($name),)+
        }

        impl AnyRequest {
            /// Reads an IQ's payload by its namespace, type and child; `None` if we know no such request (answer 501, or
            /// 400 if the namespace is known).
            ///
            /// # Errors
            /// Where and why it is not the request that it says.
            pub fn parse(iq: &Iq) -> Result<Option<Self>, StanzaError> {
                $(if iq.is::<$name>() {
                    return iq.payload().map(Self::$name).map(Some);
                })+
                Ok(None)
            }
        }
    };
}

any_request! {
    /// Keep-alive.
    Ping,
    /// Start or stop delivery.
    Delivery,
    /// Add pre-keys.
    KeyUpload,
    /// Count pre-keys.
    KeyCountQuery,
    /// Fetch users' keys.
    KeyFetch,
    /// Digest of the stored keys.
    KeyDigestQuery,
    /// Replace the signed pre-key.
    KeyRotate,
    /// All integrators.
    IntegratorsQuery,
    /// Opt in.
    OptIn,
    /// Read the reachability settings.
    ReachabilityQuery,
    /// Change the reachability settings.
    Reachability,
    /// Look users up.
    UsersQuery,
    /// Reachability ping.
    InteropPing,
    /// Delete the account.
    DeleteAccount,
    /// A native user's block.
    NativeBlockChange,
    /// Read the block list.
    BlocklistQuery,
    /// Change the block list.
    BlockChange,
    /// Report.
    SpamReport,
    /// Media hosts.
    MediaConnQuery,
    /// Users' devices.
    DevicesQuery,
    /// Create a group.
    GroupCreate,
    /// Leave a group.
    GroupLeave,
    /// Ask what a group is.
    GroupQuery,
    /// Change a group.
    GroupChange,
}
