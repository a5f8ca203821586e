//! Media connections and media asked for again (PROTOCOL §10).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, Rest};
use super::iq::{IqType, Payload, Reported, Request};
use super::keys::read_array;
use crate::limits::MAX_LIST_ITEMS;
use crate::node::Node;
use crate::text::Text;
use bytes::Bytes;
use comity_core::Jid;

/// Asks for the media hosts (set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaConnQuery;

/// Where and with what to upload. `Debug` does not show `auth`.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaConn {
    /// The `auth` of uploads.
    pub auth: Text,
    /// Seconds that `auth` is good for.
    pub auth_ttl: u64,
    /// Seconds that the hosts are good for.
    pub ttl: u64,
    /// Most upload buckets.
    pub max_buckets: u32,
    /// The hosts, best first.
    pub hosts: Vec<MediaHost>,
    /// What else stands there.
    pub rest: Rest,
}

/// `<host hostname>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaHost {
    /// Its name.
    pub hostname: Text,
    /// What else stands there.
    pub rest: Rest,
}

impl core::fmt::Debug for MediaConn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MediaConn").field("hosts", &self.hosts).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Payload for MediaConnQuery {
    const CLAUSE: &'static str = "§10";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("media_conn", |_| Ok(Self))
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new("media_conn")]
    }
}

impl Request for MediaConnQuery {
    const XMLNS: &'static str = "w:m";
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "media_conn";
}

impl Payload for MediaConn {
    const CLAUSE: &'static str = "§10";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("media_conn", |f| {
            Ok(Self {
                auth: f.req("auth")?,
                auth_ttl: f.req("auth_ttl")?,
                ttl: f.req("ttl")?,
                max_buckets: f.req("max_buckets")?,
                hosts: f.children("host", MAX_LIST_ITEMS, |f| {
                    Ok(MediaHost { hostname: f.req("hostname")?, rest: f.rest() })
                })?,
                rest: f.rest(),
            })
        })
    }

    fn write(self) -> Vec<Node> {
        let hosts = self.hosts.into_iter().map(|h| h.rest.onto(Node::new("host").with_attr("hostname", h.hostname)));
        let node = Node::new("media_conn")
            .with_attr("auth", self.auth)
            .with_attr("auth_ttl", self.auth_ttl)
            .with_attr("ttl", self.ttl)
            .with_attr("max_buckets", self.max_buckets)
            .with_children(hosts);
        vec![self.rest.onto(node)]
    }
}

/// What a `server-error` receipt asks and a `mediaretry` notification answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRetry {
    /// The sealed request or answer, or why there is none.
    pub body: Result<Encrypted, Reported>,
    /// Which message: chat.
    pub jid: Jid,
    /// Which message: whether the receipt's sender wrote it.
    pub from_me: bool,
    /// Which message: author, in groups.
    pub participant: Option<Jid>,
    /// What else stands at `<rmr>`.
    pub rest: Rest,
}

/// `<encrypt>`: AES-256-GCM under the media key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// Ciphertext and tag.
    pub payload: Bytes,
    /// The nonce.
    pub iv: [u8; 12],
    /// What else stands there.
    pub rest: Rest,
}

impl Encrypted {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            payload: f.req_child("enc_p", |f| f.bytes())?,
            iv: f.req_child("enc_iv", read_array)?,
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let node = Node::new("encrypt")
            .with_child(Node::new("enc_p").with_bytes(self.payload))
            .with_child(Node::new("enc_iv").with_bytes(self.iv.to_vec()));
        self.rest.onto(node)
    }
}

impl MediaRetry {
    pub(super) fn read_from(f: &mut Fields) -> Result<Self, StanzaError> {
        let body = match f.child("encrypt", Encrypted::read)? {
            Some(encrypted) => Ok(encrypted),
            None => Err(f.child("error", Reported::read)?.ok_or_else(|| f.error(Problem::Missing))?),
        };
        f.req_child("rmr", |f| {
            Ok(Self {
                body,
                jid: f.req("jid")?,
                from_me: f.req("from_me")?,
                participant: f.opt("participant")?,
                rest: f.rest(),
            })
        })
    }

    pub(super) fn into_children(self) -> [Node; 2] {
        let rmr = Node::new("rmr")
            .with_attr("jid", self.jid)
            .with_attr("from_me", self.from_me)
            .with_opt_attr("participant", self.participant);
        let body = match self.body {
            Ok(encrypted) => encrypted.write(),
            Err(error) => error.write(),
        };
        [body, self.rest.onto(rmr)]
    }
}

/// In a notification of type `mediaretry`.
impl Payload for MediaRetry {
    const CLAUSE: &'static str = "§10";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Self::read_from(f)
    }

    fn write(self) -> Vec<Node> {
        self.into_children().into()
    }
}
