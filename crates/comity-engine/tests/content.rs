//! What content becomes on the wire, and what a message may claim (PROTOCOL §9).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use bytes::Bytes;
use comity_core::{Jid, Timestamp};
use comity_engine::limits::{MAX_THUMBNAIL_LEN, MAX_WAVEFORM_LEN};
use comity_engine::{Content, Error, Media, Quote, Side, Target};
use comity_media::{MediaKey, MediaKind};
use comity_proto::Codec;
use comity_proto::message as pb;

fn jids() -> (Jid, Jid) {
    ("1-10853634039893@interop".parse().unwrap(), "4915100000001@s.whatsapp.net".parse().unwrap())
}

/// As `writer` sends it and `reader` gets it.
fn across(content: &Content) -> Content {
    let (writer, reader) = jids();
    let raw = content.encode(&writer, &reader, Timestamp::from_secs(1)).unwrap();
    Content::decode(&raw.into(), &reader).unwrap().unwrap()
}

fn target(author: Side) -> Target {
    Target { author, id: "3EB0".parse().unwrap() }
}

fn media(kind: MediaKind) -> Content {
    Content::Media(Box::new(Media {
        kind,
        mimetype: "application/x-test".into(),
        caption: None,
        file_name: (kind == MediaKind::Document).then(|| "a.bin".into()),
        key: MediaKey::from([1; 32]),
        file_sha256: [2; 32],
        file_enc_sha256: [3; 32],
        file_length: 4,
        direct_path: "/interop/whatsapp/download/1/abc/".into(),
        key_timestamp: Timestamp::from_secs(5),
        dimensions: None,
        seconds: None,
        thumbnail: None,
        waveform: None,
        sidecar: None,
    }))
}

#[test]
fn content_arrives_as_it_was_sent() {
    let mut all: Vec<Content> = MediaKind::ALL.into_iter().map(media).collect();
    all.push(Content::text("x"));
    all.push(Content::text(""));
    all.push(Content::Revoke { id: "3EB0".parse().unwrap() });
    all.push(Content::Edit { id: "3EB0".parse().unwrap(), text: "y".into() });
    for content in all {
        assert_eq!(across(&content), content);
    }
}

#[test]
fn the_author_of_a_target_is_turned_round() {
    for (sent, got) in [(Side::Me, Side::Peer), (Side::Peer, Side::Me)] {
        let reaction = |author| Content::Reaction { target: target(author), text: "👍".into() };
        assert_eq!(across(&reaction(sent)), reaction(got));
        let reply = |author| Content::Text {
            text: "z".into(),
            reply_to: Some(Quote { target: target(author), quoted: Some("q".into()) }),
        };
        assert_eq!(across(&reply(sent)), reply(got));
    }
}

fn decode(message: pb::Message) -> Result<Option<Content>, Error> {
    Content::decode(&message.encode_to_vec().into(), &jids().1)
}

fn revoke(from_me: bool) -> pb::Message {
    let key = pb::MessageKey { from_me: Some(from_me), id: Some("3EB0".into()), ..Default::default() };
    let protocol = pb::ProtocolMessage { key: Some(key), r#type: Some(0), ..Default::default() };
    pb::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() }
}

#[test]
fn only_its_author_changes_a_message() {
    assert!(matches!(decode(revoke(true)), Ok(Some(Content::Revoke { .. }))));
    assert!(matches!(decode(revoke(false)), Err(Error::Content(_))), "a revoke of the reader's own message");
}

#[test]
fn two_contents_and_foreign_device_messages_are_refused() {
    let two = pb::Message { conversation: Some("a".into()), ..revoke(true) };
    assert!(matches!(decode(two), Err(Error::Content(_))));
    let device = pb::Message { device_sent_message: Some(Box::default()), ..Default::default() };
    assert!(matches!(decode(device), Err(Error::Content(_))));
    assert!(matches!(Content::decode(&Bytes::from_static(b"\xff"), &jids().1), Err(Error::Content(_))));
}

#[test]
fn unknown_content_is_kept_and_keys_alone_are_none() {
    let raw = Bytes::from_static(&[0xa2, 0x06, 0x01, 0x00]); // field 100, which no version knows
    assert_eq!(Content::decode(&raw, &jids().1).unwrap(), Some(Content::Unsupported { raw: raw.clone() }));
    let keys = pb::Message { sender_key_distribution_message: Some(Default::default()), ..Default::default() };
    assert_eq!(decode(keys).unwrap(), None);
}

#[test]
fn wrappers_open_but_not_for_ever() {
    let wrap = |inner| pb::Message {
        ephemeral_message: Some(Box::new(pb::FutureProofMessage { message: Some(Box::new(inner)) })),
        ..Default::default()
    };
    let text = pb::Message { conversation: Some("in".into()), ..Default::default() };
    let four = (0..4).fold(text, |inner, _| wrap(inner));
    assert_eq!(decode(four.clone()).unwrap(), Some(Content::text("in")));
    assert!(matches!(decode(wrap(four)), Err(Error::Content(_))));
}

#[test]
fn media_with_a_path_to_another_host_or_a_short_key_is_refused() {
    let (me, peer) = jids();
    let raw = media(MediaKind::Image).encode(&me, &peer, Timestamp::default()).unwrap();
    let good = pb::Message::decode(raw.as_slice()).unwrap();
    let change = |f: &dyn Fn(&mut pb::ImageMessage)| {
        let mut message = good.clone();
        f(message.image_message.as_mut().unwrap());
        decode(message)
    };
    assert!(change(&|_| {}).is_ok());
    for path in ["//elsewhere.example/x", "https://elsewhere.example/x", "x", ""] {
        assert!(change(&|image| image.direct_path = Some(path.into())).is_err(), "{path}");
    }
    assert!(change(&|image| image.media_key = Some(Bytes::from_static(&[1; 31]))).is_err());
    assert!(change(&|image| image.file_length = None).is_err());
}

#[test]
fn a_preview_past_its_bound_is_neither_sent_nor_shown() {
    let (me, peer) = jids();
    let with = |thumbnail: usize, waveform: usize| {
        [MediaKind::Image, MediaKind::VoiceNote].map(|kind| {
            let Content::Media(mut media) = media(kind) else { panic!("not media") };
            media.thumbnail = Some(vec![1; thumbnail].into()).filter(|_| kind == MediaKind::Image);
            media.waveform = Some(vec![1; waveform].into()).filter(|_| kind == MediaKind::VoiceNote);
            Content::Media(media)
        })
    };
    for content in with(MAX_THUMBNAIL_LEN, MAX_WAVEFORM_LEN) {
        assert_eq!(across(&content), content);
    }
    for content in with(MAX_THUMBNAIL_LEN + 1, MAX_WAVEFORM_LEN + 1) {
        assert!(matches!(content.encode(&me, &peer, Timestamp::default()), Err(Error::Content(_))));
    }
    let raw = |kind| pb::Message::decode(media(kind).encode(&me, &peer, Timestamp::default()).unwrap().as_slice());
    let (mut image, mut voice) = (raw(MediaKind::Image).unwrap(), raw(MediaKind::VoiceNote).unwrap());
    image.image_message.as_mut().unwrap().jpeg_thumbnail = Some(vec![1; MAX_THUMBNAIL_LEN + 1].into());
    voice.audio_message.as_mut().unwrap().waveform = Some(vec![1; MAX_WAVEFORM_LEN + 1].into());
    assert_eq!(decode(image).unwrap(), Some(media(MediaKind::Image)));
    assert_eq!(decode(voice).unwrap(), Some(media(MediaKind::VoiceNote)));
}
