//! Key material on the wire and the `encrypt` IQs (PROTOCOL §8).

use super::error::Problem;
use super::fields::{Fields, Rest};
use super::iq::{IqType, Payload, Request};
use super::{Reported, StanzaError};
use crate::limits::{MAX_FETCH_USERS, MAX_LIST_ITEMS, MAX_PRE_KEYS};
use crate::node::Node;
use crate::text::Text;
use bytes::Bytes;
use comity_core::Jid;

/// The key type byte: Curve25519.
pub const KEY_TYPE: u8 = 5;

/// The ids of one-time pre-keys.
pub const PRE_KEY_IDS: core::ops::RangeInclusive<u32> = 1..=0xFF_FFFE;

/// `<key>`: a one-time pre-key; id 3 bytes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreKeyXml {
    /// Its id, one of [`PRE_KEY_IDS`].
    pub id: u32,
    /// The public key, raw.
    pub value: [u8; 32],
}

/// `<skey>`: the signed pre-key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPreKeyXml {
    /// Its id, 3 bytes on the wire.
    pub id: u32,
    /// The public key, raw.
    pub value: [u8; 32],
    /// XEdDSA by the identity key over `0x05 ‖ value`.
    pub signature: [u8; 64],
}

/// `<pqkey>`: a post-quantum pre-key, one-time or last-resort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PqPreKeyXml {
    /// Its id, 3 bytes on the wire.
    pub id: u32,
    /// The public key, as the suite serializes it.
    pub value: Bytes,
    /// XEdDSA by the identity key over `value`.
    pub signature: [u8; 64],
}

/// A user's keys as the server hands them out, or as a retry receipt carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBundle {
    /// The registration id.
    pub registration: u32,
    /// The identity key, raw.
    pub identity: [u8; 32],
    /// A one-time pre-key; none if the user has none left.
    pub key: Option<PreKeyXml>,
    /// The signed pre-key.
    pub skey: SignedPreKeyXml,
    /// A post-quantum pre-key, if the user publishes them.
    pub pqkey: Option<PqPreKeyXml>,
}

/// Adds pre-keys to what the server has stored (set).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUpload {
    /// The registration id.
    pub registration: u32,
    /// The identity key, raw.
    pub identity: [u8; 32],
    /// One-time pre-keys, at most [`MAX_PRE_KEYS`].
    pub keys: Vec<PreKeyXml>,
    /// The signed pre-key.
    pub skey: SignedPreKeyXml,
    /// One-time post-quantum pre-keys.
    pub pq_keys: Vec<PqPreKeyXml>,
    /// The post-quantum pre-key of last resort.
    pub pq_last: Option<PqPreKeyXml>,
    /// What else stands there.
    pub rest: Rest,
}

/// Asks how many one-time pre-keys the server has (get).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCountQuery;

/// How many one-time pre-keys the server has: an IQ's answer, or the low-water notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCount {
    /// One-time pre-keys.
    pub value: u32,
    /// One-time post-quantum pre-keys, where the server counts them.
    pub pq: Option<u32>,
    /// What else stands there.
    pub rest: Rest,
}

/// Asks for the keys of users (get), at most [`MAX_FETCH_USERS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFetch {
    /// Whose.
    pub users: Vec<KeyFetchUser>,
    /// What else stands there.
    pub rest: Rest,
}

/// One user of a [`KeyFetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFetchUser {
    /// Who.
    pub jid: Jid,
    /// Why, such as `identity`.
    pub reason: Option<Text>,
    /// What else stands there.
    pub rest: Rest,
}

/// The answer to a [`KeyFetch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFetchResult {
    /// One entry per user asked for.
    pub users: Vec<KeyFetchEntry>,
    /// What else stands there.
    pub rest: Rest,
}

/// One user of a [`KeyFetchResult`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFetchEntry {
    /// Who.
    pub jid: Jid,
    /// The keys, or why there are none.
    pub keys: Result<KeyBundle, Reported>,
    /// What else stands there.
    pub rest: Rest,
}

/// Asks what the server has stored (get); 404: upload again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDigestQuery;

/// What the server has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigest {
    /// The registration id.
    pub registration: u32,
    /// The identity key, raw.
    pub identity: [u8; 32],
    /// The signed pre-key.
    pub skey: SignedPreKeyXml,
    /// Ids of the one-time pre-keys.
    pub ids: Vec<u32>,
    /// Ids of the one-time post-quantum pre-keys.
    pub pq_ids: Vec<u32>,
    /// Id of the post-quantum pre-key of last resort.
    pub pq_last: Option<u32>,
    /// SHA-1 over identity ‖ signed value ‖ signature ‖ the listed one-time values.
    pub hash: [u8; 20],
    /// What else stands there.
    pub rest: Rest,
}

/// Replaces the signed pre-key (set); 406 bad key, 409 bad signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotate {
    /// The new signed pre-key.
    pub skey: SignedPreKeyXml,
    /// The new post-quantum pre-key of last resort.
    pub pq_last: Option<PqPreKeyXml>,
    /// What else stands there.
    pub rest: Rest,
}

fn id_node(tag: &str, id: u32) -> Node {
    let [_, bytes @ ..] = id.to_be_bytes();
    Node::new(tag).with_bytes(bytes.to_vec())
}

fn registration_node(id: u32) -> Node {
    Node::new("registration").with_bytes(id.to_be_bytes().to_vec())
}

pub(super) fn type_node() -> Node {
    Node::new("type").with_bytes(Bytes::from_static(&[KEY_TYPE]))
}

pub(super) fn bytes_node(tag: &str, bytes: &[u8]) -> Node {
    Node::new(tag).with_bytes(bytes.to_vec())
}

pub(super) fn read_type(f: &mut Fields) -> Result<(), StanzaError> {
    if f.array::<1>()? == [KEY_TYPE] { Ok(()) } else { Err(f.error(Problem::Value)) }
}

fn read_id(f: &mut Fields) -> Result<u32, StanzaError> {
    f.number::<3>()
}

fn read_one_time_id(f: &mut Fields) -> Result<u32, StanzaError> {
    Some(read_id(f)?).filter(|id| PRE_KEY_IDS.contains(id)).ok_or_else(|| f.error(Problem::Number))
}

pub(super) fn read_array<const N: usize>(f: &mut Fields) -> Result<[u8; N], StanzaError> {
    f.array()
}

fn read_registration(f: &mut Fields) -> Result<u32, StanzaError> {
    f.number::<4>()
}

impl PreKeyXml {
    pub(super) fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self { id: f.req_child("id", read_one_time_id)?, value: f.req_child("value", read_array)? })
    }

    pub(super) fn write(&self) -> Node {
        Node::new("key").with_child(id_node("id", self.id)).with_child(bytes_node("value", &self.value))
    }
}

impl SignedPreKeyXml {
    pub(super) fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: f.req_child("id", read_id)?,
            value: f.req_child("value", read_array)?,
            signature: f.req_child("signature", read_array)?,
        })
    }

    pub(super) fn write(&self) -> Node {
        Node::new("skey")
            .with_child(id_node("id", self.id))
            .with_child(bytes_node("value", &self.value))
            .with_child(bytes_node("signature", &self.signature))
    }
}

impl PqPreKeyXml {
    pub(super) fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: f.req_child("id", read_id)?,
            value: f.req_child("value", |f| f.bytes())?,
            signature: f.req_child("signature", read_array)?,
        })
    }

    pub(super) fn write(self) -> Node {
        Node::new("pqkey")
            .with_child(id_node("id", self.id))
            .with_child(Node::new("value").with_bytes(self.value))
            .with_child(bytes_node("signature", &self.signature))
    }
}

/// `<pqlast>` holds one `<pqkey>`.
fn read_pq_last(f: &mut Fields) -> Result<Option<PqPreKeyXml>, StanzaError> {
    f.child("pqlast", |f| f.req_child("pqkey", PqPreKeyXml::read))
}

fn push_pq_last(node: &mut Vec<Node>, key: Option<PqPreKeyXml>) {
    node.extend(key.map(|key| Node::new("pqlast").with_child(key.write())));
}

impl KeyBundle {
    fn read_from(f: &mut Fields) -> Result<Self, StanzaError> {
        let registration = f.req_child("registration", read_registration)?;
        f.req_child("type", read_type)?;
        Ok(Self {
            registration,
            identity: f.req_child("identity", read_array)?,
            key: f.child("key", PreKeyXml::read)?,
            skey: f.req_child("skey", SignedPreKeyXml::read)?,
            pqkey: f.child("pqkey", PqPreKeyXml::read)?,
        })
    }

    fn write_onto(self, node: Node) -> Node {
        node.with_child(registration_node(self.registration))
            .with_child(type_node())
            .with_child(bytes_node("identity", &self.identity))
            .with_children(self.key.map(|key| key.write()))
            .with_child(self.skey.write())
            .with_children(self.pqkey.map(PqPreKeyXml::write))
    }
}

impl Payload for KeyUpload {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let registration = f.req_child("registration", read_registration)?;
        f.req_child("type", read_type)?;
        Ok(Self {
            registration,
            identity: f.req_child("identity", read_array)?,
            keys: f.list("list", "key", MAX_PRE_KEYS, PreKeyXml::read)?,
            skey: f.req_child("skey", SignedPreKeyXml::read)?,
            pq_keys: f.list("pqlist", "pqkey", MAX_PRE_KEYS, PqPreKeyXml::read)?,
            pq_last: read_pq_last(f)?,
            rest: f.rest(),
        })
    }

    fn write(self) -> Vec<Node> {
        let mut nodes = vec![
            registration_node(self.registration),
            type_node(),
            bytes_node("identity", &self.identity),
            Node::new("list").with_children(self.keys.iter().map(PreKeyXml::write)),
            self.skey.write(),
        ];
        if !self.pq_keys.is_empty() {
            nodes.push(Node::new("pqlist").with_children(self.pq_keys.into_iter().map(PqPreKeyXml::write)));
        }
        push_pq_last(&mut nodes, self.pq_last);
        self.rest.beside(nodes)
    }
}

impl Request for KeyUpload {
    const XMLNS: &'static str = "encrypt";
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "registration";
}

impl Payload for KeyCountQuery {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("count", |_| Ok(Self))
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new("count")]
    }
}

impl Request for KeyCountQuery {
    const XMLNS: &'static str = "encrypt";
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "count";
}

impl Payload for KeyCount {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("count", |f| Ok(Self { value: f.req("value")?, pq: f.opt("pq")?, rest: f.rest() }))
    }

    fn write(self) -> Vec<Node> {
        let node = Node::new("count").with_attr("value", self.value).with_opt_attr("pq", self.pq);
        vec![self.rest.onto(node)]
    }
}

impl Payload for KeyFetch {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("key", |f| {
            let users = f.children("user", MAX_FETCH_USERS, |f| {
                Ok(KeyFetchUser { jid: f.req("jid")?, reason: f.opt("reason")?, rest: f.rest() })
            })?;
            Ok(Self { users, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let users = self.users.into_iter().map(|user| {
            user.rest.onto(Node::new("user").with_attr("jid", user.jid).with_opt_attr("reason", user.reason))
        });
        vec![self.rest.onto(Node::new("key").with_children(users))]
    }
}

impl Request for KeyFetch {
    const XMLNS: &'static str = "encrypt";
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "key";
}

impl KeyFetch {
    /// A fetch of these users' keys.
    pub fn of(users: impl IntoIterator<Item = Jid>) -> Self {
        let user = |jid| KeyFetchUser { jid, reason: None, rest: Rest::default() };
        Self { users: users.into_iter().map(user).collect(), rest: Rest::default() }
    }
}

impl Payload for KeyFetchResult {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("list", |f| {
            Ok(Self { users: f.children("user", MAX_FETCH_USERS, KeyFetchEntry::read)?, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let users = self.users.into_iter().map(KeyFetchEntry::write);
        vec![self.rest.onto(Node::new("list").with_children(users))]
    }
}

impl KeyFetchEntry {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let jid = f.req("jid")?;
        let keys = match f.child("error", Reported::read)? {
            Some(error) => Err(error),
            None => Ok(KeyBundle::read_from(f)?),
        };
        Ok(Self { jid, keys, rest: f.rest() })
    }

    fn write(self) -> Node {
        let node = Node::new("user").with_attr("jid", self.jid);
        self.rest.onto(match self.keys {
            Ok(keys) => keys.write_onto(node),
            Err(error) => node.with_child(error.write()),
        })
    }
}

impl Payload for KeyDigestQuery {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("digest", |_| Ok(Self))
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new("digest")]
    }
}

impl Request for KeyDigestQuery {
    const XMLNS: &'static str = "encrypt";
    const TYPE: IqType = IqType::Get;
    const CHILD: &'static str = "digest";
}

impl Payload for KeyDigest {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("digest", |f| {
            let registration = f.req_child("registration", read_registration)?;
            f.req_child("type", read_type)?;
            Ok(Self {
                registration,
                identity: f.req_child("identity", read_array)?,
                skey: f.req_child("skey", SignedPreKeyXml::read)?,
                ids: f.list("list", "id", MAX_LIST_ITEMS, read_one_time_id)?,
                pq_ids: f.list("pqlist", "id", MAX_LIST_ITEMS, read_id)?,
                pq_last: f.child("pqlast", |f| f.req_child("id", read_id))?,
                hash: f.req_child("hash", read_array)?,
                rest: f.rest(),
            })
        })
    }

    fn write(self) -> Vec<Node> {
        let list = |tag: &str, ids: &[u32]| Node::new(tag).with_children(ids.iter().map(|id| id_node("id", *id)));
        let mut node = Node::new("digest")
            .with_child(registration_node(self.registration))
            .with_child(type_node())
            .with_child(bytes_node("identity", &self.identity))
            .with_child(self.skey.write())
            .with_child(list("list", &self.ids));
        if !self.pq_ids.is_empty() {
            node.push_child(list("pqlist", &self.pq_ids));
        }
        if let Some(id) = self.pq_last {
            node.push_child(list("pqlast", &[id]));
        }
        vec![self.rest.onto(node.with_child(bytes_node("hash", &self.hash)))]
    }
}

impl Payload for KeyRotate {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("rotate", |f| {
            Ok(Self { skey: f.req_child("skey", SignedPreKeyXml::read)?, pq_last: read_pq_last(f)?, rest: f.rest() })
        })
    }

    fn write(self) -> Vec<Node> {
        let mut children = vec![self.skey.write()];
        push_pq_last(&mut children, self.pq_last);
        vec![self.rest.onto(Node::new("rotate").with_children(children))]
    }
}

impl Request for KeyRotate {
    const XMLNS: &'static str = "encrypt";
    const TYPE: IqType = IqType::Set;
    const CHILD: &'static str = "rotate";
}

/// The notification that a user's identity key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityChanged;

impl Payload for IdentityChanged {
    const CLAUSE: &'static str = "§8";

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("identity", |_| Ok(Self))
    }

    fn write(self) -> Vec<Node> {
        vec![Node::new("identity")]
    }
}
