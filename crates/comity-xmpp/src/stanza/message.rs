//! Messages and their ciphertexts (PROTOCOL §7, §14).

use super::StanzaError;
use super::fields::{Fields, Rest, shown_as_node, stanza, words};
use crate::limits::{MAX_LIST_ITEMS, MAX_MESSAGE_ENCS};
use crate::node::Node;
use crate::text::Text;
use bytes::Bytes;
use comity_core::{Jid, MessageId, Timestamp};

words! {
    /// What a message is about.
    MessageType {
        /// Plain text, a reply, an edit or a revoke.
        Text = "text",
        /// Media, also a link preview.
        Media = "media",
        /// A reaction or its revoke.
        Reaction = "reaction",
    }
}

words! {
    /// How a ciphertext is to be decrypted.
    EncType {
        /// The first messages of a session: a pre-key message.
        PreKey = "pkmsg",
        /// A message of an established session.
        Session = "msg",
        /// A message under a group's sender key.
        SenderKey = "skmsg",
    }
}

words! {
    /// How a message changes an earlier one.
    Edit {
        /// Replaces its content.
        Edit = "1",
        /// The sender revokes it (message or reaction).
        SenderRevoke = "7",
        /// A group's admin revokes it.
        AdminRevoke = "8",
    }
}

/// `<message>`, out or in: clients write `to`, the server delivers `from` and sets `t`.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// To whom: written by clients.
    pub to: Option<Jid>,
    /// From whom, or from which group: set by the server.
    pub from: Option<Jid>,
    /// The sender, in groups: set by the server.
    pub participant: Option<Jid>,
    /// What it is about.
    pub kind: MessageType,
    /// When the server took it: set by the server on every message it delivers.
    pub t: Option<Timestamp>,
    /// The sender's display name: set by the server.
    pub notify: Option<Text>,
    /// Present (value opaque) if the message waited in the mailbox.
    pub offline: Option<Text>,
    /// How it changes an earlier message.
    pub edit: Option<Edit>,
    /// Hash over the group's devices.
    pub phash: Option<Text>,
    /// The bare ciphertexts: one out; in groups the reader's pairwise one and then the `skmsg`.
    pub enc: Vec<Enc>,
    /// Ciphertexts for single devices.
    pub participants: Vec<Participant>,
    /// What else stands there.
    pub rest: Rest,
}

/// `<enc>`: a ciphertext.
#[derive(Clone, PartialEq, Eq)]
pub struct Enc {
    /// Version of the content's wrapping: 2, or 3 with Messenger.
    pub v: u32,
    /// How it is to be decrypted.
    pub kind: EncType,
    /// The kind of media within.
    pub mediatype: Option<Text>,
    /// Whether a failure to decrypt is not shown (`decrypt-fail="hide"`).
    pub hide_failure: bool,
    /// Which retry this answers.
    pub count: Option<u32>,
    /// The ciphertext.
    pub ciphertext: Bytes,
    /// What else stands there.
    pub rest: Rest,
}

/// `<to jid>` in `<participants>`: the ciphertexts for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The device.
    pub jid: Jid,
    /// Its ciphertexts.
    pub enc: Vec<Enc>,
    /// What else stands there.
    pub rest: Rest,
}

shown_as_node!(Message::write, Enc::write);
stanza!(Message, "message", "§7");

impl Message {
    /// A message to `to` with one bare ciphertext.
    pub fn new(id: MessageId, to: Jid, kind: MessageType, enc: Enc) -> Self {
        Self {
            id,
            to: Some(to),
            from: None,
            participant: None,
            kind,
            t: None,
            notify: None,
            offline: None,
            edit: None,
            phash: None,
            enc: vec![enc],
            participants: Vec::new(),
            rest: Rest::default(),
        }
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: f.req("id")?,
            to: f.opt("to")?,
            from: f.opt("from")?,
            participant: f.opt("participant")?,
            kind: f.req("type")?,
            t: f.opt("t")?,
            notify: f.opt("notify")?,
            offline: f.opt("offline")?,
            edit: f.opt("edit")?,
            phash: f.opt("phash")?,
            enc: f.children("enc", MAX_MESSAGE_ENCS, Enc::read)?,
            participants: f.list("participants", "to", MAX_LIST_ITEMS, Participant::read)?,
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let mut node = Node::new("message")
            .with_attr("id", &self.id)
            .with_opt_attr("to", self.to)
            .with_opt_attr("from", self.from)
            .with_opt_attr("participant", self.participant)
            .with_attr("type", self.kind)
            .with_opt_attr("t", self.t)
            .with_opt_attr("notify", self.notify)
            .with_opt_attr("offline", self.offline)
            .with_opt_attr("edit", self.edit)
            .with_opt_attr("phash", self.phash);
        if !self.participants.is_empty() {
            let participants = self.participants.into_iter().map(Participant::write);
            node.push_child(Node::new("participants").with_children(participants));
        }
        self.rest.onto(node.with_children(self.enc.into_iter().map(Enc::write)))
    }
}

impl Enc {
    /// A ciphertext of version 2.
    pub fn new(kind: EncType, ciphertext: impl Into<Bytes>) -> Self {
        Self {
            v: 2,
            kind,
            mediatype: None,
            hide_failure: false,
            count: None,
            ciphertext: ciphertext.into(),
            rest: Rest::default(),
        }
    }

    pub(super) fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        let hide = f.opt::<Text>("decrypt-fail")?;
        let mut enc = Self {
            v: f.req("v")?,
            kind: f.req("type")?,
            mediatype: f.opt("mediatype")?,
            hide_failure: hide.as_deref() == Some("hide"),
            count: f.opt("count")?,
            ciphertext: f.bytes()?,
            rest: f.rest(),
        };
        if let Some(other) = hide.filter(|_| !enc.hide_failure) {
            enc.rest.attrs.push(crate::Attr { name: "decrypt-fail".into(), value: other.into() });
        }
        Ok(enc)
    }

    pub(super) fn write(self) -> Node {
        let node = Node::new("enc")
            .with_attr("v", self.v)
            .with_attr("type", self.kind)
            .with_opt_attr("mediatype", self.mediatype)
            .with_opt_attr("decrypt-fail", self.hide_failure.then_some("hide"))
            .with_opt_attr("count", self.count)
            .with_bytes(self.ciphertext);
        self.rest.onto(node)
    }
}

impl Participant {
    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self { jid: f.req("jid")?, enc: f.children("enc", MAX_MESSAGE_ENCS, Enc::read)?, rest: f.rest() })
    }

    fn write(self) -> Node {
        let node = Node::new("to").with_attr("jid", self.jid).with_children(self.enc.into_iter().map(Enc::write));
        self.rest.onto(node)
    }
}
