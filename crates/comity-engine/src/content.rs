//! Message content: what an application sends and gets, and its protobuf form (PROTOCOL §9).
//!
//! What a decrypted message says about its sender, chat or the side that wrote another message is never taken over: the
//! chat is the session's peer, and [`Side`] is turned round from the writer's view to the reader's here, once.

use crate::Error;
use crate::limits::{MAX_CONTENT_LEN, MAX_TEXT_LEN, MAX_WRAPPERS};
use bytes::Bytes;
use comity_core::{Jid, MessageId, Timestamp};
use comity_proto::Codec;
use comity_proto::message as pb;

use crate::media::Media;

/// Who of the two in a chat wrote a message, as its reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This account.
    Me,
    /// The chat's other end.
    Peer,
}

impl Side {
    const fn from_me(me: bool) -> Self {
        if me { Self::Me } else { Self::Peer }
    }

    const fn is_me(self) -> bool {
        matches!(self, Self::Me)
    }
}

/// Another message of the same chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who wrote it.
    pub author: Side,
    /// Its id.
    pub id: MessageId,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Text, of at most [`MAX_TEXT_LEN`] bytes.
    Text {
        /// The text.
        text: String,
        /// The message this one answers.
        reply_to: Option<Quote>,
    },
    /// A file with its keys and where it is hosted.
    Media(Box<Media>),
    /// A reaction to a message; an empty text takes it back.
    Reaction {
        /// To which message.
        target: Target,
        /// The emoji, or nothing.
        text: String,
    },
    /// Takes back a message of the sender's own.
    Revoke {
        /// The message's id; its author is the sender.
        id: MessageId,
    },
    /// Replaces the text of a message of the sender's own.
    Edit {
        /// The message's id; its author is the sender.
        id: MessageId,
        /// The new text.
        text: String,
    },
    /// Content that this version does not know; never dropped silently.
    Unsupported {
        /// The serialised `Message`.
        raw: Bytes,
    },
}

/// What a reply quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The quoted message.
    pub target: Target,
    /// Its text as the replier quotes it: a claim, not a fact.
    pub quoted: Option<String>,
}

/// The attributes of `<message>` and `<enc>` that go with a content (PROTOCOL §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireKind {
    pub(crate) message_type: &'static str,
    pub(crate) mediatype: Option<&'static str>,
    pub(crate) edit: Option<&'static str>,
    pub(crate) hide_on_failure: bool,
}

impl Content {
    /// A plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), reply_to: None }
    }

    pub(crate) const fn wire_kind(&self) -> WireKind {
        let (message_type, mediatype, edit) = match self {
            Self::Text { .. } | Self::Unsupported { .. } => ("text", None, None),
            Self::Media(media) => ("media", Some(media.kind.mms_type()), None),
            Self::Reaction { text, .. } => ("reaction", None, if text.is_empty() { Some("7") } else { None }),
            Self::Revoke { .. } => ("text", None, Some("7")),
            Self::Edit { .. } => ("text", None, Some("1")),
        };
        let hide_on_failure = matches!(self, Self::Reaction { .. } | Self::Edit { .. });
        WireKind { message_type, mediatype, edit, hide_on_failure }
    }

    /// The serialised `Message` for the chat of `me` and `peer`.
    ///
    /// # Errors
    /// [`Error::Content`] if a limit is broken or the content cannot be sent ([`Content::Unsupported`]).
    pub fn encode(&self, me: &Jid, peer: &Jid, now: Timestamp) -> Result<Vec<u8>, Error> {
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let key = |target: &Target| pb::MessageKey {
            remote_jid: Some(peer.to_string()),
            from_me: Some(target.author.is_me()),
            id: Some(target.id.to_string()),
            participant: None,
        };
        let own = |id: &MessageId| key(&Target { author: Side::Me, id: id.clone() });
        let mut message = pb::Message::default();
        match self {
            Self::Text { text, reply_to: None } => message.conversation = Some(checked(text)?),
            Self::Text { text, reply_to: Some(reply) } => {
                let quoted = reply.quoted.as_deref().map(checked).transpose()?;
                message.extended_text_message = Some(Box::new(pb::ExtendedTextMessage {
                    text: Some(checked(text)?),
                    context_info: Some(Box::new(pb::ContextInfo {
                        stanza_id: Some(reply.target.id.to_string()),
                        participant: Some(if reply.target.author.is_me() { me } else { peer }.to_string()),
                        quoted_message: quoted
                            .map(|text| Box::new(pb::Message { conversation: Some(text), ..Default::default() })),
                        ..Default::default()
                    })),
                }));
            }
            Self::Media(media) => media.write(&mut message)?,
            Self::Reaction { target, text } => {
                message.reaction_message = Some(pb::ReactionMessage {
                    key: Some(key(target)),
                    text: Some(checked(text)?),
                    grouping_key: None,
                    sender_timestamp_ms: Some(now_ms),
                });
            }
            Self::Revoke { id } => {
                message.protocol_message = Some(Box::new(pb::ProtocolMessage {
                    key: Some(own(id)),
                    r#type: Some(pb::protocol_message::Type::Revoke as i32),
                    ..Default::default()
                }));
            }
            Self::Edit { id, text } => {
                message.protocol_message = Some(Box::new(pb::ProtocolMessage {
                    key: Some(own(id)),
                    r#type: Some(pb::protocol_message::Type::MessageEdit as i32),
                    edited_message: Some(Box::new(pb::Message {
                        conversation: Some(checked(text)?),
                        ..Default::default()
                    })),
                    timestamp_ms: Some(now_ms),
                }));
            }
            Self::Unsupported { .. } => return Err(Error::Content("unsupported content cannot be sent")),
        }
        let encoded = message.encode_to_vec();
        if encoded.len() > MAX_CONTENT_LEN { Err(Error::Content("larger than the limit")) } else { Ok(encoded) }
    }

    /// Parses the serialised `Message` that the session with `peer` decrypted. `None`: no content, only keys.
    ///
    /// # Errors
    /// [`Error::Content`] if it does not parse, has two contents, or claims what only its author could
    /// (nack 491, PROTOCOL §7).
    pub fn decode(raw: &Bytes, me: &Jid) -> Result<Option<Self>, Error> {
        if raw.len() > MAX_CONTENT_LEN {
            return Err(Error::Content("larger than the limit"));
        }
        let message = pb::Message::decode(raw.clone()).map_err(|_| Error::Content("not a protobuf message"))?;
        read(message, raw, me, 0)
    }
}

fn checked(text: &str) -> Result<String, Error> {
    if text.len() > MAX_TEXT_LEN { Err(Error::Content("text longer than the limit")) } else { Ok(text.to_owned()) }
}

/// One content field beside key distribution and context; wrappers are opened.
fn read(mut message: pb::Message, raw: &Bytes, me: &Jid, depth: usize) -> Result<Option<Content>, Error> {
    let distribution = message.sender_key_distribution_message.take().is_some();
    message.message_context_info = None;
    let mut found: Option<Content> = None;
    let mut put = |content: Content| match found.replace(content) {
        None => Ok(()),
        Some(_) => Err(Error::Content("more than one content")),
    };
    if let Some(text) = message.conversation.take() {
        put(Content::Text { text: checked(&text)?, reply_to: None })?;
    }
    if let Some(extended) = message.extended_text_message.take() {
        let reply_to = extended.context_info.and_then(|context| reply(*context, me));
        put(Content::Text { text: checked(&extended.text.unwrap_or_default())?, reply_to })?;
    }
    if let Some(reaction) = message.reaction_message.take() {
        let target = target(reaction.key.as_ref())?;
        put(Content::Reaction { target, text: checked(&reaction.text.unwrap_or_default())? })?;
    }
    if let Some(protocol) = message.protocol_message.take() {
        put(read_protocol(*protocol, raw)?)?;
    }
    for media in Media::read_all(&mut message)? {
        put(Content::Media(Box::new(media)))?;
    }
    if message.device_sent_message.take().is_some() {
        return Err(Error::Content("a device-sent message from another account"));
    }
    for wrapper in
        [&mut message.ephemeral_message, &mut message.document_with_caption_message, &mut message.edited_message]
    {
        let Some(inner) = wrapper.take().and_then(|w| w.message) else { continue };
        if depth >= MAX_WRAPPERS {
            return Err(Error::Content("wrapped too deep"));
        }
        if let Some(content) = read(*inner, raw, me, depth + 1)? {
            put(content)?;
        }
    }
    Ok(match found {
        Some(content) => Some(content),
        None if distribution => None,
        None => Some(Content::Unsupported { raw: raw.clone() }),
    })
}

/// A message key turned round: `fromMe` is its writer's view.
fn target(key: Option<&pb::MessageKey>) -> Result<Target, Error> {
    let key = key.ok_or(Error::Content("no message key"))?;
    let id = key.id.as_deref().and_then(|id| id.parse().ok()).ok_or(Error::Content("no message id in the key"))?;
    Ok(Target { author: Side::from_me(!key.from_me.unwrap_or(false)), id })
}

fn reply(context: pb::ContextInfo, me: &Jid) -> Option<Quote> {
    let id = context.stanza_id?.parse().ok()?;
    let participant: Option<Jid> = context.participant.and_then(|jid| jid.parse().ok());
    let author = Side::from_me(participant.is_some_and(|jid| jid.account() == me.account()));
    let quoted = context.quoted_message.and_then(|quoted| {
        let pb::Message { conversation, extended_text_message, .. } = *quoted;
        conversation.or_else(|| extended_text_message.and_then(|extended| extended.text))
    });
    Some(Quote { target: Target { author, id }, quoted: quoted.filter(|text| text.len() <= MAX_TEXT_LEN) })
}

fn read_protocol(protocol: pb::ProtocolMessage, raw: &Bytes) -> Result<Content, Error> {
    use pb::protocol_message::Type;
    let own = || match target(protocol.key.as_ref())? {
        Target { author: Side::Peer, id } => Ok(id),
        Target { .. } => Err(Error::Content("changes a message of another author")),
    };
    Ok(match protocol.r#type.and_then(|t| Type::try_from(t).ok()) {
        Some(Type::Revoke) => Content::Revoke { id: own()? },
        Some(Type::MessageEdit) => {
            let edited = protocol.edited_message.as_ref().ok_or(Error::Content("an edit without text"))?;
            let text = edited
                .conversation
                .as_deref()
                .or_else(|| edited.extended_text_message.as_ref().and_then(|extended| extended.text.as_deref()))
                .ok_or(Error::Content("an edit without text"))?;
            Content::Edit { id: own()?, text: checked(text)? }
        }
        None => Content::Unsupported { raw: raw.clone() },
    })
}
