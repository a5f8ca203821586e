//! Values of attributes, owned and borrowed: a string or a JID (PROTOCOL §6.1).

use crate::text::{Text, TextBuf, TextRef};
use comity_core::{Jid, MessageId, PartnerUser, Server};
use compact_str::{CompactString, ToCompactString, format_compact};
use core::fmt;
use std::borrow::Cow;

/// An attribute's value. Forms of one text are equal: a JID equals the string that it prints as, and JIDs are equal by
/// identity, with device 0 or without.
#[derive(Clone)]
pub enum Value {
    /// A string.
    Str(Text),
    /// A JID, written in its binary form.
    Jid(Jid),
}

impl Value {
    /// The value as text.
    pub fn as_str(&self) -> Cow<'_, str> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            Self::Jid(jid) => Cow::Owned(jid.to_string()),
        }
    }

    /// The value as a JID, parsed if it is a string.
    #[inline]
    pub fn to_jid(&self) -> Option<Jid> {
        match self {
            Self::Str(text) => text.parse().ok(),
            Self::Jid(jid) => Some(jid.clone()),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Str(a), Self::Str(b)) => a == b || is_same_jid(a, b),
            (Self::Jid(a), Self::Jid(b)) => a == b,
            (Self::Str(text), Self::Jid(jid)) | (Self::Jid(jid), Self::Str(text)) => {
                text.parse::<Jid>().is_ok_and(|parsed| parsed == *jid) || *text == *jid.to_compact_string().as_str()
            }
        }
    }
}

/// Whether both texts are JIDs of one identity: `5@lid` and `5:0@lid`.
fn is_same_jid(a: &str, b: &str) -> bool {
    let jid = |text: &str| text.parse::<Jid>().ok();
    a.contains('@') && b.contains('@') && jid(a).is_some_and(|a| jid(b) == Some(a))
}

impl Eq for Value {}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        match self {
            Self::Str(text) => text == other,
            Self::Jid(jid) => jid.to_compact_string() == other,
        }
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => text.fmt(f),
            Self::Jid(jid) => jid.fmt(f),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => fmt::Debug::fmt(text, f),
            Self::Jid(jid) => fmt::Debug::fmt(jid, f),
        }
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Str(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text.into())
    }
}

impl From<CompactString> for Value {
    fn from(text: CompactString) -> Self {
        Self::Str(text.into())
    }
}

impl From<Jid> for Value {
    fn from(jid: Jid) -> Self {
        Self::Jid(jid)
    }
}

impl From<&Jid> for Value {
    fn from(jid: &Jid) -> Self {
        Self::Jid(jid.clone())
    }
}

impl From<PartnerUser> for Value {
    fn from(user: PartnerUser) -> Self {
        Self::Jid(user.jid())
    }
}

impl From<Server> for Value {
    fn from(server: Server) -> Self {
        Self::Jid(Jid::server_only(server))
    }
}

impl From<MessageId> for Text {
    fn from(id: MessageId) -> Self {
        id.as_str().into()
    }
}

impl From<&MessageId> for Text {
    fn from(id: &MessageId) -> Self {
        id.as_str().into()
    }
}

impl From<&MessageId> for Value {
    fn from(id: &MessageId) -> Self {
        id.as_str().into()
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Str(number.to_compact_string().into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        u64::from(number).into()
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        u64::from(number).into()
    }
}

/// An attribute's value as it stands in a frame, borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// A string.
    Str(TextRef<'a>),
    /// A JID.
    Jid(JidRef<'a>),
}

impl ValueRef<'_> {
    /// The owned form.
    #[inline]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Str(text) => Value::Str(text.to_text()),
            Self::Jid(jid) => jid.to_value(),
        }
    }
}

impl fmt::Display for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => text.fmt(f),
            Self::Jid(jid) => jid.fmt(f),
        }
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => fmt::Debug::fmt(text, f),
            Self::Jid(jid) => fmt::Debug::fmt(jid, f),
        }
    }
}

/// A JID as it stands in a frame, borrowed: any of the four binary forms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JidRef<'a> {
    pub(crate) user: TextRef<'a>,
    pub(crate) server: ServerRef<'a>,
    pub(crate) device: u16,
    pub(crate) integrator: u16,
}

/// A server that we know, or the text of one that we do not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerRef<'a> {
    Known(Server),
    Other(TextRef<'a>),
}

impl<'a> JidRef<'a> {
    /// The user part as written (of a JID_PAIR under `interop`, integrator included); empty for a bare server.
    pub const fn user(&self) -> TextRef<'a> {
        self.user
    }

    /// The server, if it is a known one.
    pub const fn server(&self) -> Option<Server> {
        match self.server {
            ServerRef::Known(server) => Some(server),
            ServerRef::Other(_) => None,
        }
    }

    /// The device; 0 where none is given.
    pub const fn device(&self) -> u16 {
        self.device
    }

    /// The integrator that an INTEROP_JID names; 0 for the other forms.
    pub const fn integrator(&self) -> u16 {
        self.integrator
    }

    /// The JID, if its server is known and its user has no `@`, `:` or control character.
    #[inline(always)]
    pub fn to_jid(&self) -> Option<Jid> {
        let ServerRef::Known(server) = self.server else { return None };
        let mut buf;
        let user = match self.user.as_str() {
            Some(user) => user,
            None => {
                buf = TextBuf::new();
                self.user.write_to(&mut buf)
            }
        };
        match self.integrator {
            0 => Some(Jid::new(user, server).ok()?.with_device(self.device)),
            integrator => Jid::interop(integrator, user, self.device).ok(),
        }
    }

    /// The owned form: the JID, or, if [`JidRef::to_jid`] has none, its text.
    #[inline]
    pub fn to_value(&self) -> Value {
        match self.to_jid() {
            Some(jid) => Value::Jid(jid),
            None => Value::Str(format_compact!("{self}").into()),
        }
    }
}

impl fmt::Display for JidRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.user.is_empty() && self.device == 0 && self.integrator == 0;
        if self.integrator != 0 {
            write!(f, "{}-", self.integrator)?;
        }
        self.user.fmt(f)?;
        if self.device != 0 {
            write!(f, ":{}", self.device)?;
        }
        if !bare {
            f.write_str("@")?;
        }
        match self.server {
            ServerRef::Known(server) => server.fmt(f),
            ServerRef::Other(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for JidRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JidRef({}@", comity_core::Redacted(self.user))?;
        match self.server {
            ServerRef::Known(server) => write!(f, "{server})"),
            ServerRef::Other(text) => write!(f, "{text})"),
        }
    }
}
