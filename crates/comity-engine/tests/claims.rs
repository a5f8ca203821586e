//! What a decrypted message says of its sender, chat or account is never taken from it (PROTOCOL §9): one row for every
//! field of the schema's `Message`, and for every field anywhere that names somebody. A field without a row fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use comity_core::Jid;
use comity_engine::{Content, Error, Quote, Side, Target};
use comity_proto::Codec;
use comity_proto::message as pb;
use std::collections::BTreeSet;

use comity_proto::MESSAGE_SCHEMA as SCHEMA;

/// Who is neither end of the chat.
const STRANGER: &str = "4915199999999@s.whatsapp.net";
const GROUP: &str = "120363000000000000@g.us";

fn me() -> Jid {
    "1-10853634039893@interop".parse().unwrap()
}

/// A message's key with claims that its writer cannot make: another chat, a group's author.
fn key(from_me: bool) -> Option<pb::MessageKey> {
    Some(pb::MessageKey {
        remote_jid: Some(GROUP.into()),
        from_me: Some(from_me),
        id: Some("3EB0".into()),
        participant: Some(STRANGER.into()),
    })
}

fn context(participant: &str) -> Option<Box<pb::ContextInfo>> {
    Some(Box::new(pb::ContextInfo {
        stanza_id: Some("3EB0".into()),
        participant: Some(participant.into()),
        quoted_message: Some(Box::new(pb::Message { conversation: Some("said".into()), ..Default::default() })),
        remote_jid: Some(GROUP.into()),
        mentioned_jid: vec![STRANGER.into()],
    }))
}

fn protocol(kind: i32, from_me: bool) -> pb::Message {
    let edited = pb::Message { conversation: Some("new".into()), ..Default::default() };
    pb::Message {
        protocol_message: Some(Box::new(pb::ProtocolMessage {
            key: key(from_me),
            r#type: Some(kind),
            edited_message: Some(Box::new(edited)),
            timestamp_ms: Some(1),
        })),
        ..Default::default()
    }
}

fn target(author: Side) -> Target {
    Target { author, id: "3EB0".parse().unwrap() }
}

/// What a forged message may become.
#[derive(Debug)]
enum Outcome {
    /// This, which names nobody but the two ends.
    Is(Content),
    /// A file: it has no author, and its context is not taken over.
    File,
    /// Keys or context alone.
    Nothing,
    Refused,
}

fn media(mut message: pb::Message, with: impl FnOnce(&mut pb::Message)) -> pb::Message {
    with(&mut message);
    message
}

macro_rules! file {
    ($field:ident, $type:ident) => {
        media(pb::Message::default(), |message| {
            message.$field = Some(Box::new(pb::$type {
                mimetype: Some("application/x-test".into()),
                file_sha256: Some(vec![1; 32].into()),
                file_enc_sha256: Some(vec![2; 32].into()),
                file_length: Some(3),
                media_key: Some(vec![4; 32].into()),
                direct_path: Some("/v/t62.7118-24/abc".into()),
                context_info: context(STRANGER),
                ..Default::default()
            }));
        })
    };
}

/// The field, a message with forged claims in it, and what becomes of it.
fn rows() -> Vec<(&'static str, pb::Message, Outcome)> {
    let quoted = |author| Content::Text {
        text: "x".into(),
        reply_to: Some(Quote { target: target(author), quoted: Some("said".into()) }),
    };
    let extended = |participant: &str| pb::Message {
        extended_text_message: Some(Box::new(pb::ExtendedTextMessage {
            text: Some("x".into()),
            context_info: context(participant),
        })),
        ..Default::default()
    };
    let reaction = |from_me| pb::Message {
        reaction_message: Some(pb::ReactionMessage {
            key: key(from_me),
            text: Some("👍".into()),
            grouping_key: Some(STRANGER.into()),
            sender_timestamp_ms: Some(1),
        }),
        ..Default::default()
    };
    let reacted = |author| Outcome::Is(Content::Reaction { target: target(author), text: "👍".into() });
    let wrapped = |inner| Some(Box::new(pb::FutureProofMessage { message: Some(Box::new(inner)) }));
    let sent = pb::DeviceSentMessage {
        destination_jid: Some(STRANGER.into()),
        message: Some(Box::new(pb::Message { conversation: Some("x".into()), ..Default::default() })),
    };
    let keys = pb::SenderKeyDistributionMessage {
        group_id: Some(GROUP.into()),
        axolotl_sender_key_distribution_message: Some(vec![1].into()),
    };
    vec![
        (
            "conversation",
            pb::Message { conversation: Some("x".into()), ..Default::default() },
            Outcome::Is(Content::text("x")),
        ),
        (
            "senderKeyDistributionMessage",
            pb::Message { sender_key_distribution_message: Some(keys), ..Default::default() },
            Outcome::Nothing,
        ),
        ("imageMessage", file!(image_message, ImageMessage), Outcome::File),
        // Who is quoted is one of the two: whoever is not the reader is the peer.
        ("extendedTextMessage", extended(STRANGER), Outcome::Is(quoted(Side::Peer))),
        ("extendedTextMessage", extended(&me().to_string()), Outcome::Is(quoted(Side::Me))),
        ("documentMessage", file!(document_message, DocumentMessage), Outcome::File),
        ("audioMessage", file!(audio_message, AudioMessage), Outcome::File),
        ("videoMessage", file!(video_message, VideoMessage), Outcome::File),
        ("stickerMessage", file!(sticker_message, StickerMessage), Outcome::File),
        // Only what its writer wrote can be taken back or changed: `fromMe` as the writer sees it.
        ("protocolMessage", protocol(0, true), Outcome::Is(Content::Revoke { id: "3EB0".parse().unwrap() })),
        ("protocolMessage", protocol(0, false), Outcome::Refused),
        (
            "protocolMessage",
            protocol(14, true),
            Outcome::Is(Content::Edit { id: "3EB0".parse().unwrap(), text: "new".into() }),
        ),
        ("protocolMessage", protocol(14, false), Outcome::Refused),
        // Of another account's own devices.
        (
            "deviceSentMessage",
            pb::Message { device_sent_message: Some(Box::new(sent)), ..Default::default() },
            Outcome::Refused,
        ),
        (
            "messageContextInfo",
            pb::Message {
                conversation: Some("x".into()),
                message_context_info: Some(Default::default()),
                ..Default::default()
            },
            Outcome::Is(Content::text("x")),
        ),
        ("reactionMessage", reaction(true), reacted(Side::Peer)),
        ("reactionMessage", reaction(false), reacted(Side::Me)),
        (
            "ephemeralMessage",
            pb::Message { ephemeral_message: wrapped(protocol(0, false)), ..Default::default() },
            Outcome::Refused,
        ),
        (
            "documentWithCaptionMessage",
            pb::Message {
                document_with_caption_message: wrapped(file!(document_message, DocumentMessage)),
                ..Default::default()
            },
            Outcome::File,
        ),
        (
            "editedMessage",
            pb::Message { edited_message: wrapped(protocol(14, false)), ..Default::default() },
            Outcome::Refused,
        ),
    ]
}

#[test]
fn every_message_type_has_a_row_and_keeps_to_it() {
    let rows = rows();
    let with_row: BTreeSet<_> = rows.iter().map(|(field, ..)| (*field).to_owned()).collect();
    assert_eq!(fields("Message").into_iter().collect::<BTreeSet<_>>(), with_row);
    for (field, message, outcome) in rows {
        let decoded = Content::decode(&message.encode_to_vec().into(), &me());
        let fits = match (&outcome, &decoded) {
            (Outcome::Is(wanted), Ok(Some(content))) => wanted == content,
            (Outcome::File, Ok(Some(Content::Media(_)))) | (Outcome::Nothing, Ok(None)) => true,
            (Outcome::Refused, Err(Error::Content(_))) => true,
            _ => false,
        };
        assert!(fits, "{field}: {decoded:?}, not {outcome:?}");
    }
}

/// Names in which somebody is named, wherever in the schema: the rows above forge all of them.
#[test]
fn every_field_that_names_somebody_is_forged_above() {
    let forged = [
        ("SenderKeyDistributionMessage", "groupID"),
        ("ContextInfo", "participant"),
        ("ContextInfo", "remoteJID"),
        ("ContextInfo", "mentionedJID"),
        ("MessageKey", "remoteJID"),
        ("MessageKey", "fromMe"),
        ("MessageKey", "participant"),
        ("DeviceSentMessage", "destinationJID"),
    ];
    let types = SCHEMA.lines().filter_map(|line| line.strip_prefix("message ")?.split([' ', '{']).next());
    let mut naming = BTreeSet::new();
    for name in types {
        for field in fields(name) {
            let lower = field.to_lowercase();
            if ["jid", "participant", "fromme", "groupid", "sender", "author"].iter().any(|part| lower.ends_with(part))
            {
                naming.insert((name.to_owned(), field));
            }
        }
    }
    let forged: BTreeSet<_> = forged.iter().map(|(t, f)| ((*t).to_owned(), (*f).to_owned())).collect();
    assert_eq!(naming, forged);
}

/// The fields of a message type.
fn fields(name: &str) -> Vec<String> {
    let begin = format!("message {name} {{");
    let body = SCHEMA.split(&begin).nth(1).unwrap().split("\n}").next().unwrap();
    let words = |line: &str| line.split(" = ").next()?.split_whitespace().last().map(str::to_owned);
    body.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("optional") || line.starts_with("repeated"))
        .filter_map(words)
        .collect()
}
