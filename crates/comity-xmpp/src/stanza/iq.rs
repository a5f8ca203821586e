//! Queries: the envelope, its errors, and the payload of each (PROTOCOL §7).

use super::StanzaError;
use super::error::Problem;
use super::fields::{Fields, FromValue, Rest, stanza};
use crate::node::Node;
use crate::text::Text;
use crate::value::Value;
use comity_core::{Jid, Server, Timestamp};

/// An IQ's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqType {
    /// Asks.
    Get,
    /// Changes.
    Set,
    /// Answers.
    Result,
    /// Refuses.
    Error,
}

impl IqType {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Result => "result",
            Self::Error => "error",
        }
    }
}

impl FromValue for IqType {
    fn from_value(value: Value) -> Result<Self, Problem> {
        match &*Text::from_value(value)? {
            "get" => Ok(Self::Get),
            "set" => Ok(Self::Set),
            "result" => Ok(Self::Result),
            "error" => Ok(Self::Error),
            _ => Err(Problem::Value),
        }
    }
}

/// `<iq>`: a request, its result or its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iq {
    /// Its id; the answer has the same.
    pub id: Text,
    /// What it does.
    pub kind: IqType,
    /// The namespace; on requests.
    pub xmlns: Option<Text>,
    /// To whom.
    pub to: Option<Jid>,
    /// From whom; on an answer, the request's `to`.
    pub from: Option<Jid>,
    /// When it was answered.
    pub t: Option<Timestamp>,
    /// The payload; see [`Iq::payload`].
    pub children: Vec<Node>,
    /// What else stands there.
    pub rest: Rest,
}

/// What stands in an IQ or a notification: one or several children.
pub trait Payload: Sized {
    /// The clause that defines it.
    const CLAUSE: &'static str;

    /// Reads it out of a node that has no attributes but these children. Unknown nodes beside the payload are not its: they
    /// stay in [`Iq::children`] and [`Notification::children`](super::Notification::children).
    ///
    /// # Errors
    /// Where and why it is not this payload.
    fn read(fields: &mut Fields) -> Result<Self, StanzaError>;

    /// The children.
    fn write(self) -> Vec<Node>;
}

/// A payload that asks for something: with its namespace and type, which together with the first child name it.
pub trait Request: Payload {
    /// The namespace.
    const XMLNS: &'static str;
    /// `get` or `set`.
    const TYPE: IqType;
    /// The child that tells this request from the others of its namespace and type; empty if there are no others.
    const CHILD: &'static str;

    /// To whom it goes unless the caller says otherwise.
    fn recipient() -> Jid {
        Jid::server_only(Server::Whatsapp)
    }
}

stanza!(Iq, "iq", "§7");

impl Iq {
    /// A request.
    pub fn request<R: Request>(id: impl Into<Text>, payload: R) -> Self {
        Self {
            id: id.into(),
            kind: R::TYPE,
            xmlns: Some(R::XMLNS.into()),
            to: Some(R::recipient()),
            from: None,
            t: None,
            children: payload.write(),
            rest: Rest::default(),
        }
    }

    /// The same IQ to another recipient.
    #[must_use]
    pub fn with_to(mut self, to: Jid) -> Self {
        self.to = Some(to);
        self
    }

    /// Whether this is the request `R`.
    pub fn is<R: Request>(&self) -> bool {
        self.kind == R::TYPE
            && self.xmlns.as_deref() == Some(R::XMLNS)
            && (R::CHILD.is_empty() || self.children.iter().any(|child| child.tag() == R::CHILD))
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// Where and why it is not a `P`.
    pub fn payload<P: Payload>(&self) -> Result<P, StanzaError> {
        P::read(&mut Fields::of_children("iq", self.children.clone(), P::CLAUSE))
    }

    /// Takes the payload.
    ///
    /// # Errors
    /// As [`Iq::payload`].
    pub fn into_payload<P: Payload>(self) -> Result<P, StanzaError> {
        P::read(&mut Fields::of_children("iq", self.children, P::CLAUSE))
    }

    fn answer(&self, kind: IqType, children: Vec<Node>) -> Self {
        Self {
            id: self.id.clone(),
            kind,
            xmlns: None,
            to: None,
            from: self.to.clone(),
            t: None,
            children,
            rest: Rest::default(),
        }
    }

    /// The result of this request.
    #[must_use]
    pub fn result<P: Payload>(&self, payload: P) -> Self {
        self.answer(IqType::Result, payload.write())
    }

    /// The result of this request when there is nothing to say.
    #[must_use]
    pub fn result_empty(&self) -> Self {
        self.answer(IqType::Result, Vec::new())
    }

    /// The refusal of this request.
    #[must_use]
    pub fn refuse(&self, code: u16) -> Self {
        self.answer(IqType::Error, vec![Reported::new(code).write()])
    }

    /// What an error says; `None` if this is no error.
    pub fn error(&self) -> Option<Reported> {
        if self.kind != IqType::Error {
            return None;
        }
        let node = self.children.iter().find(|child| child.tag() == "error").cloned().unwrap_or(Node::new("error"));
        Some(Reported::read(&mut Fields::new(node, "§7")).unwrap_or_else(|_| Reported::new(500)))
    }

    fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self {
            id: f.req("id")?,
            kind: f.req("type")?,
            xmlns: f.opt("xmlns")?,
            to: f.opt("to")?,
            from: f.opt("from")?,
            t: f.opt("t")?,
            children: f.take_children(),
            rest: f.rest(),
        })
    }

    fn write(self) -> Node {
        let node = Node::new("iq")
            .with_attr("id", self.id)
            .with_attr("type", self.kind.as_str())
            .with_opt_attr("xmlns", self.xmlns)
            .with_opt_attr("to", self.to)
            .with_opt_attr("from", self.from)
            .with_opt_attr("t", self.t)
            .with_children(self.children);
        self.rest.onto(node)
    }
}

/// `<error code text/>`: why there is no result, of an IQ or of one entry in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The code.
    pub code: u16,
    /// The text that goes with it.
    pub text: Text,
    /// What else stands there.
    pub rest: Rest,
}

impl Reported {
    /// An error of that code, with the code's own text.
    pub fn new(code: u16) -> Self {
        Self { code, text: error_text(code).into(), rest: Rest::default() }
    }

    pub(super) fn read(f: &mut Fields) -> Result<Self, StanzaError> {
        Ok(Self { code: f.req("code")?, text: f.opt("text")?.unwrap_or_else(|| "".into()), rest: f.rest() })
    }

    pub(super) fn write(self) -> Node {
        let text = Some(self.text).filter(|text| !text.is_empty());
        self.rest.onto(Node::new("error").with_attr("code", self.code).with_opt_attr("text", text))
    }
}

/// The text of an error code.
pub const fn error_text(code: u16) -> &'static str {
    match code {
        400 => "bad-request",
        401 => "not-authorized",
        403 => "forbidden",
        404 => "item-not-found",
        405 => "not-allowed",
        406 => "not-acceptable",
        409 => "conflict",
        429 => "rate-overlimit",
        501 => "feature-not-implemented",
        503 => "service-unavailable",
        _ => "internal-server-error",
    }
}
