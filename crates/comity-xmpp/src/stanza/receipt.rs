//! Receipts: delivered, read, played, retry, server-error (PROTOCOL §7, §10).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, Rest, stanza, words};
use super::keys::{PqPreKeyXml, PreKeyXml, SignedPreKeyXml, bytes_node, read_array, read_type, type_node};
use super::media::MediaRetry;
use crate::limits::{MAX_LIST_ITEMS, MAX_RECEIPT_IDS};
use crate::node::Node;
use crate::text::Text;
use comity_core::{Jid, MessageId, Timestamp};

words! {
    /// What a receipt says. No type at all says delivered.
    ReceiptType {
        /// Delivered, but the user was not there to see it.
        Inactive = "inactive",
        /// Read.
        Read = "read",
        /// Played.
        Played = "played",
        /// Could not be decrypted: send it again.
        Retry = "retry",
        /// Its media is gone from the server.
        ServerError = "server-error",
    }
}

/// `<receipt>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The (first) message's id.
    pub id: MessageId,
    /// To whom: written by clients.
    pub to: Option<Jid>,
    /// From whom, or from which group: set by the server.
    pub from: Option<Jid>,
    /// In groups: the author when sent, the reader when received.
    pub participant: Option<Jid>,
    /// What it says; `None`: delivered.
    pub kind: Option<ReceiptType>,
    /// When.
    pub t: Option<Timestamp>,
    /// Present (value opaque) if the receipt waited.
    pub offline: Option<Text>,
    /// The ids after the first: `<list>`.
    pub more: Vec<MessageId>,
    /// Who has read what, aggregated by the server.
    pub readers: Vec<Readers>,
    /// The retry, if it is one.
    pub retry: Option<Retry>,
    /// The media asked for again, if it is `server-error`.
    pub media: Option<MediaRetry>,
    /// What else stands there.
    pub rest: Rest,
}

/// `<participants key>`: who has a message of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readers {
    /// The message.
    pub key: MessageId,
    /// Who, and when.
    pub users: Vec<(Jid, Timestamp)>,
}

/// `<retry>` with what stands beside it: asks the sender to encrypt a message again, for this device alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Which try this is, from 1; 5 and above are not honoured.
    pub count: u32,
    /// The message's id.
    pub id: MessageId,
    /// The message's `t`.
    pub t: Timestamp,
    /// Why: 1 no session, 3 key id, 4 message, 7 MAC.
    pub error: Option<u32>,
    /// The requester's registration id.
    pub registration: u32,
    /// Keys for a new session; required from the second try on.
    pub keys: Option<RetryKeys>,
    /// What else stands at `<retry>`.
    pub rest: Rest,
}

/// `<keys>` of a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryKeys {
    /// The identity key, raw.
    pub identity: [u8; 32],
    /// A fresh one-time pre-key, given to nobody else.
    pub key: PreKeyXml,
    /// The signed pre-key.
    pub skey: SignedPreKeyXml,
    /// A post-quantum pre-key, if the requester publishes them.
    pub pqkey: Option<PqPreKeyXml>,
    /// What else stands there.
    pub rest: Rest,
}

stanza!(Receipt, "receipt", "§7");

impl Receipt {
    /// A receipt to `to` for one message; `kind` `None` says delivered.
    pub fn new(id: MessageId, to: Jid, kind: Option<ReceiptType>) -> Self {
        Self {
            id,
            to: Some(to),
            from: None,
            participant: None,
            kind,
            t: None,
            offline: None,
            more: Vec::new(),
            readers: Vec::new(),
            retry: None,
            media: None,
            rest: Rest::default(),
        }
    }

    /// A delivery receipt.
    pub fn delivered(id: MessageId, to: Jid) -> Self {
        Self::new(id, to, None)
    }

    /// A read receipt for one or more messages; `None` for none.
    pub fn read_all(ids: impl IntoIterator<Item = MessageId>, to: Jid) -> Option<Self> {
        let mut ids = ids.into_iter();
        let first = ids.next()?;
        Some(Self { more: ids.collect(), ..Self::new(first, to, Some(ReceiptType::Read)) })
    }

    /// A retry receipt.
    pub fn retry(to: Jid, retry: Retry) -> Self {
        Self { retry: Some(retry.clone()), ..Self::new(retry.id, to, Some(ReceiptType::Retry)) }
    }

    /// Whether it says delivered.
    pub fn is_delivered(&self) -> bool {
        matches!(self.kind, None | Some(ReceiptType::Inactive)) && self.readers.is_empty()
    }

    /// All message ids: the first and the list's.
    pub fn ids(&self) -> impl Iterator<Item = &MessageId> {
        core::iter::once(&self.id).chain(&self.more)
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let kind = f.opt("type")?;
        let (mut retry, mut media) = (None, None);
        match kind {
            Some(ReceiptType::Retry) => retry = Some(Retry::read(f)?),
            Some(ReceiptType::ServerError) => media = Some(MediaRetry::read_from(f)?),
            _ => {}
        }
        Ok(Self {
            id: f.req("id")?,
            to: f.opt("to")?,
            from: f.opt("from")?,
            participant: f.opt("participant")?,
            kind,
            t: f.opt("t")?,
            offline: f.opt("offline")?,
            more: f.list("list", "item", MAX_RECEIPT_IDS - 1, |f| f.req("id"))?,
            readers: f.children("participants", MAX_RECEIPT_IDS, Readers::read)?,
            retry,
            media,
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let mut node = Node::new("receipt")
            .with_attr("id", &self.id)
            .with_opt_attr("to", self.to)
            .with_opt_attr("from", self.from)
            .with_opt_attr("participant", self.participant)
            .with_opt_attr("type", self.kind)
            .with_opt_attr("t", self.t)
            .with_opt_attr("offline", self.offline);
        if !self.more.is_empty() {
            let items = self.more.iter().map(|id| Node::new("item").with_attr("id", id));
            node.push_child(Node::new("list").with_children(items));
        }
        for readers in self.readers {
            node.push_child(readers.write());
        }
        if let Some(retry) = self.retry {
            node = retry.write_onto(node);
        }
        if let Some(media) = self.media {
            node = node.with_children(media.into_children());
        }
        self.rest.onto(node)
    }
}

impl Readers {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let user = |f: &mut Fields| Ok((f.req("jid")?, f.req("t")?));
        Ok(Self { key: f.req("key")?, users: f.children("user", MAX_LIST_ITEMS, user)? })
    }

    fn write(self) -> Node {
        let users = self.users.into_iter().map(|(jid, t)| Node::new("user").with_attr("jid", jid).with_attr("t", t));
        Node::new("participants").with_attr("key", &self.key).with_children(users)
    }
}

impl Retry {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let registration = f.req_child("registration", |f| f.number::<4>())?;
        let keys = f.child("keys", RetryKeys::read)?;
        f.req_child("retry", |f| {
            Ok(Self {
                count: match f.req("count")? {
                    0 => return Err(f.error_at("count", Problem::Number)),
                    count => count,
                },
                id: f.req("id")?,
                t: f.req("t")?,
                error: f.opt("error")?,
                registration,
                keys,
                rest: f.rest(),
            })
        })
    }

    fn write_onto(self, node: Node) -> Node {
        let retry = Node::new("retry")
            .with_attr("count", self.count)
            .with_attr("id", &self.id)
            .with_attr("t", self.t)
            .with_opt_attr("error", self.error);
        let mut retry = self.rest.onto(retry);
        if retry.attr("v").is_none() {
            retry.set_attr("v", "1");
        }
        node.with_child(retry)
            .with_child(bytes_node("registration", &self.registration.to_be_bytes()))
            .with_children(self.keys.map(RetryKeys::write))
    }
}

impl RetryKeys {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        f.req_child("type", read_type)?;
        Ok(Self {
            identity: f.req_child("identity", read_array)?,
            key: f.req_child("key", PreKeyXml::read)?,
            skey: f.req_child("skey", SignedPreKeyXml::read)?,
            pqkey: f.child("pqkey", PqPreKeyXml::read)?,
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let node = Node::new("keys")
            .with_child(type_node())
            .with_child(bytes_node("identity", &self.identity))
            .with_child(self.key.write())
            .with_child(self.skey.write())
            .with_children(self.pqkey.map(PqPreKeyXml::write));
        self.rest.onto(node)
    }
}
