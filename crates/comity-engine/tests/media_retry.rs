//! A file that is gone, asked for again and answered for, against a scripted server (PROTOCOL §10, "Media gone").
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use bytes::Bytes;
use comity_core::{Jid, MessageId};
use comity_engine::limits::{MAX_DIRECT_PATH_LEN, MAX_MEDIA_RETRIES, MEDIA_RETRY_INTERVAL, MESSAGE_RETENTION};
use comity_engine::{
    Command, ConnectionState, Content, Error, Event, EventId, Input, Media, MediaRequest, Reply, Side, Target,
};
use comity_media::{MAX_RETRY_LEN, MediaKey, MediaKind, SealedRetry, open_retry, seal_retry};
use comity_proto::Codec as _;
use comity_proto::message::{MediaRetryNotification, ServerErrorReceipt};
use comity_signal::suite_tests::End;
use comity_signal::{Address, Bundle, EncKind, PreKeyPublic, PublicKey, SignedPreKeyPublic, Suites};
use comity_testkit::olm::Olm;
use comity_testkit::scripted::{BEGIN, Scripted, offline};
use comity_xmpp::Node;
use comity_xmpp::stanza::{Encrypted, MediaRetry, Notification, Receipt, ReceiptType};
use core::time::Duration;

const PEER: &str = "1-10853634039893@interop";
const ID: &str = "3EB0AAAAAAAAAAAAAAAA";
const OTHER: &str = "3EB0BBBBBBBBBBBBBBBB";
const PATH: &str = "/interop/whatsapp/download/1/abcdefghijklmnopqrstuv/";

fn peer() -> Jid {
    PEER.parse().unwrap()
}

fn stranger() -> Jid {
    "1-99999999999999@interop".parse().unwrap()
}

fn id(id: &str) -> MessageId {
    id.parse().unwrap()
}

fn key() -> MediaKey {
    [7; 32].into()
}

fn suites() -> Suites {
    Suites::new().with(Olm)
}

fn login(rig: &mut Scripted) {
    rig.say(&Node::new("success").with_attr("t", BEGIN.as_secs()));
    rig.say(&offline("offline", 0));
    assert_eq!(rig.state(), ConnectionState::UpToDate);
}

fn reconnect(rig: &mut Scripted) {
    rig.feed(Input::Disconnected);
    rig.events.clear();
    while !rig.has(|event| matches!(event, Event::HandshakeDone { .. })) {
        rig.pass(Duration::from_secs(1));
    }
    login(rig);
}

fn restart(rig: &mut Scripted) {
    rig.restart(suites());
    login(rig);
}

/// The stanzas of this name that the server got since it was asked last.
fn heard(rig: &mut Scripted, tag: &str) -> Vec<Node> {
    let (wanted, rest) = std::mem::take(&mut rig.heard).into_iter().partition(|node: &Node| node.tag() == tag);
    rig.heard = rest;
    wanted
}

fn children(sealed: SealedRetry) -> MediaRetry {
    let body = Ok(Encrypted { payload: sealed.enc_p, iv: sealed.enc_iv, rest: Default::default() });
    MediaRetry { body, jid: peer(), from_me: false, participant: None, rest: Default::default() }
}

fn sealed_of(retry: MediaRetry) -> SealedRetry {
    let body = retry.body.unwrap();
    SealedRetry { enc_p: body.payload, enc_iv: body.iv }
}

fn seal(rig: &mut Scripted, key: &MediaKey, about: &str, message: &impl comity_proto::Codec) -> SealedRetry {
    seal_retry(key, about, &message.encode_to_vec(), &mut rig.rng).unwrap()
}

fn answer_of(path: Option<&str>, result: i32) -> MediaRetryNotification {
    let (stanza_id, direct_path) = (Some(ID.into()), path.map(str::to_owned));
    MediaRetryNotification { stanza_id, direct_path, result: Some(result) }
}

fn notification(from: Jid, about: &str, retry: MediaRetry) -> Node {
    Notification::new(about, from, "mediaretry", BEGIN, retry).into_node()
}

fn receipt(from: Jid, about: &str, retry: MediaRetry) -> Node {
    let mut receipt = Receipt::new(id(about), from, Some(ReceiptType::ServerError));
    (receipt.from, receipt.to) = (receipt.to.take(), None);
    (receipt.media, receipt.t) = (Some(retry), Some(BEGIN));
    receipt.into_node()
}

fn acks(rig: &mut Scripted, class: &str) -> usize {
    heard(rig, "ack").iter().filter(|ack| ack.attr_str("class").unwrap() == class).count()
}

fn news(rig: &Scripted) -> usize {
    let ours = |event: &&Event| {
        matches!(event, Event::MediaRequested(_) | Event::MediaRefreshed { .. } | Event::MediaGone { .. })
    };
    rig.events.iter().filter(ours).count()
}

/// Says it: acknowledged, and nothing stored has changed and nothing is told.
fn changes_nothing(rig: &mut Scripted, node: &Node) {
    let (before, told) = (rig.store.snapshot(), news(rig));
    heard(rig, "ack");
    rig.say(node);
    assert_eq!(acks(rig, node.tag()), 1, "{node:?}");
    assert!(rig.store.snapshot() == before, "the store changed by {node:?}");
    assert_eq!(news(rig), told, "{node:?}");
}

// Asking.

fn ask(rig: &mut Scripted) {
    rig.command(Command::AskMedia { chat: peer(), id: id(ID), key: key() });
}

fn asking() -> Scripted {
    let mut rig = Scripted::with(suites());
    login(&mut rig);
    ask(&mut rig);
    rig
}

fn refreshed(rig: &Scripted) -> Option<(EventId, String)> {
    rig.events.iter().find_map(|event| match event {
        Event::MediaRefreshed { event, chat, id: about, direct_path } => {
            assert_eq!((chat, about), (&peer(), &id(ID)));
            Some((event.clone(), direct_path.clone()))
        }
        _ => None,
    })
}

#[test]
fn a_request_is_durable_before_it_goes_out_and_goes_out_until_it_is_taken() {
    let mut rig = Scripted::with(suites());
    login(&mut rig);
    rig.slow = true;
    ask(&mut rig);
    assert!(rig.replies.is_empty() && heard(&mut rig, "receipt").is_empty());
    rig.sync();
    assert_eq!(rig.replies, [Ok(Reply::Done)]);
    let sent = heard(&mut rig, "receipt");
    let request = Receipt::parse(&sent[0]).unwrap();
    assert_eq!((request.kind, request.id, request.to), (Some(ReceiptType::ServerError), id(ID), Some(peer())));
    let rmr = request.media.unwrap();
    assert_eq!((&rmr.jid, rmr.from_me), (&peer(), false));
    let opened = open_retry(&key(), ID, &sealed_of(rmr)).unwrap();
    assert_eq!(ServerErrorReceipt::decode(opened.as_slice()).unwrap().stanza_id.as_deref(), Some(ID));

    // Asked for twice, it is asked once.
    ask(&mut rig);
    assert_eq!(rig.replies.len(), 2);
    assert!(heard(&mut rig, "receipt").is_empty());

    reconnect(&mut rig);
    assert_eq!(heard(&mut rig, "receipt"), sent, "the server had not taken it");
    restart(&mut rig);
    assert_eq!(heard(&mut rig, "receipt"), sent, "nor did it before the crash");
    let taken = Node::new("ack").with_attr("class", "receipt").with_attr("type", "server-error").with_attr("id", ID);
    rig.say(&taken.with_attr("from", peer()));
    reconnect(&mut rig);
    assert!(heard(&mut rig, "receipt").is_empty());
}

#[test]
fn an_answer_is_told_once_it_is_stored_and_until_it_is_confirmed() {
    let mut rig = asking();
    let sealed = seal(&mut rig, &key(), ID, &answer_of(Some(PATH), 1));
    let answer = notification(peer(), ID, children(sealed));
    rig.slow = true;
    rig.say(&answer);
    assert_eq!((acks(&mut rig, "notification"), news(&rig)), (0, 0), "before it is stored");
    restart(&mut rig); // killed before it was: the server delivers it again
    rig.say(&answer);
    assert_eq!(acks(&mut rig, "notification"), 1);
    assert_eq!(refreshed(&rig).unwrap().1, PATH);
    changes_nothing(&mut rig, &answer);

    restart(&mut rig);
    let (event, path) = refreshed(&rig).expect("given again");
    assert_eq!(path, PATH);
    rig.command(Command::Confirm(event));
    restart(&mut rig);
    assert_eq!(news(&rig), 0);
    changes_nothing(&mut rig, &answer);

    // Asked for once more, the old answer is none to the new request.
    ask(&mut rig);
    changes_nothing(&mut rig, &answer);
    let sealed = seal(&mut rig, &key(), ID, &answer_of(Some("/elsewhere"), 1));
    rig.say(&notification(peer(), ID, children(sealed)));
    assert_eq!(refreshed(&rig).unwrap().1, "/elsewhere");
}

#[test]
fn what_is_no_answer_changes_nothing() {
    let mut rig = asking();
    let good = answer_of(Some(PATH), 1);
    let path = |path: &str| answer_of(Some(path), 1);
    let long = format!("/{}", "a".repeat(MAX_DIRECT_PATH_LEN));
    let mut table = vec![
        ("not asked for", peer(), OTHER, seal(&mut rig, &key(), OTHER, &good)),
        ("of somebody else", stranger(), ID, seal(&mut rig, &key(), ID, &good)),
        ("under another key", peer(), ID, seal(&mut rig, &[8; 32].into(), ID, &good)),
        ("about another message", peer(), ID, seal(&mut rig, &key(), OTHER, &good)),
        ("no protobuf", peer(), ID, seal_retry(&key(), ID, b"\xff\xff\xff", &mut rig.rng).unwrap()),
        ("empty", peer(), ID, SealedRetry { enc_p: Bytes::new(), enc_iv: [0; 12] }),
        ("huge", peer(), ID, SealedRetry { enc_p: vec![0; MAX_RETRY_LEN + 1].into(), enc_iv: [0; 12] }),
        ("another host", peer(), ID, seal(&mut rig, &key(), ID, &path("//evil.test/x"))),
        ("an address", peer(), ID, seal(&mut rig, &key(), ID, &path("https://evil.test/x"))),
        ("a path too long", peer(), ID, seal(&mut rig, &key(), ID, &path(&long))),
        ("no path", peer(), ID, seal(&mut rig, &key(), ID, &answer_of(None, 1))),
    ];
    let other = MediaRetryNotification { stanza_id: Some(OTHER.into()), ..good.clone() };
    table.push(("which says another id", peer(), ID, seal(&mut rig, &key(), ID, &other)));
    let none = MediaRetryNotification { stanza_id: None, ..good.clone() };
    table.push(("which says no id", peer(), ID, seal(&mut rig, &key(), ID, &none)));
    let mut flipped = seal(&mut rig, &key(), ID, &good);
    flipped.enc_iv[0] ^= 1;
    table.push(("with another iv", peer(), ID, flipped));
    for (what, from, about, sealed) in table {
        println!("{what}");
        changes_nothing(&mut rig, &notification(from, about, children(sealed)));
    }
    let bare = Node::new("notification").with_attr("type", "mediaretry").with_attr("id", ID).with_attr("t", 1u32);
    changes_nothing(&mut rig, &bare.clone().with_attr("from", peer()));
    let error = Node::new("error").with_attr("code", 404u16);
    let rmr = Node::new("rmr").with_attr("jid", peer()).with_attr("from_me", "false");
    changes_nothing(&mut rig, &bare.with_attr("from", stranger()).with_child(error).with_child(rmr));

    let sealed = seal(&mut rig, &key(), ID, &good);
    rig.say(&notification(peer(), ID, children(sealed)));
    assert_eq!(refreshed(&rig).unwrap().1, PATH, "the answer is taken after all of them");
}

/// The chat is who the server says it is from; what `<rmr>` says of chat, author and side is nobody's word.
#[test]
fn what_a_stanza_claims_of_its_message_is_not_taken_over() {
    let claims = |sealed| {
        let retry = children(sealed);
        MediaRetry { jid: stranger(), from_me: true, participant: Some(stranger()), ..retry }
    };
    let mut rig = asking();
    let sealed = seal(&mut rig, &key(), ID, &answer_of(Some(PATH), 1));
    changes_nothing(&mut rig, &notification(stranger(), ID, children(sealed.clone())));
    let in_a_group = notification(peer(), ID, children(sealed.clone())).with_attr("participant", peer());
    changes_nothing(&mut rig, &in_a_group);
    rig.say(&notification(peer(), ID, claims(sealed)));
    assert!(refreshed(&rig).is_some(), "of the peer's message, and nobody else's");

    let mut rig = asked();
    let sealed = seal(&mut rig, &key(), ID, &ServerErrorReceipt { stanza_id: Some(ID.into()) });
    changes_nothing(&mut rig, &receipt(stranger(), ID, children(sealed.clone())));
    changes_nothing(&mut rig, &receipt(peer(), ID, children(sealed.clone())).with_attr("participant", peer()));
    rig.say(&receipt(peer(), ID, claims(sealed)));
    assert_eq!(requested(&rig).unwrap().from, peer());
}

#[test]
fn a_file_that_its_sender_has_no_more_is_gone() {
    for result in [0, 2, 3, 99] {
        let mut rig = asking();
        let sealed = seal(&mut rig, &key(), ID, &answer_of(Some(PATH), result));
        rig.say(&notification(peer(), ID, children(sealed)));
        assert!(rig.has(|event| matches!(event, Event::MediaGone { id, .. } if id.as_str() == ID)), "{result}");
        restart(&mut rig);
        assert_eq!(news(&rig), 1);
    }
    let mut rig = asking();
    let bare = Node::new("notification").with_attr("type", "mediaretry").with_attr("id", ID).with_attr("t", 1u32);
    let error = Node::new("error").with_attr("code", 404u16).with_attr("text", "item-not-found");
    let rmr = Node::new("rmr").with_attr("jid", peer()).with_attr("from_me", "false");
    rig.say(&bare.with_attr("from", peer()).with_child(error).with_child(rmr));
    assert!(rig.has(|event| matches!(event, Event::MediaGone { .. })));
}

#[test]
fn a_file_is_not_asked_for_without_end() {
    let mut rig = asking();
    for n in 1..MAX_MEDIA_RETRIES {
        rig.pass(MEDIA_RETRY_INTERVAL);
        ask(&mut rig);
        assert_eq!(rig.replies.len(), n + 1);
    }
    rig.pass(MEDIA_RETRY_INTERVAL);
    ask(&mut rig);
    assert!(matches!(rig.replies.last(), Some(Err(Error::Full(_)))), "{:?}", rig.replies);
    let requests = |rig: &Scripted| {
        rig.store.snapshot().iter().filter(|(key, _)| key.kind == comity_core::RecordKind::MediaRetry).count()
    };
    assert_eq!(requests(&rig), 1);
    rig.pass(MESSAGE_RETENTION.saturating_add(Duration::from_secs(86_400)));
    assert_eq!(requests(&rig), 0, "it is forgotten in time");
}

// Being asked.

fn file() -> Media {
    Media {
        kind: MediaKind::Image,
        mimetype: "image/jpeg".into(),
        caption: None,
        file_name: None,
        key: key(),
        file_sha256: [1; 32],
        file_enc_sha256: [2; 32],
        file_length: 3,
        direct_path: "/gone".into(),
        key_timestamp: BEGIN,
        dimensions: None,
        seconds: None,
        thumbnail: None,
        waveform: None,
        sidecar: None,
    }
}

/// A client that has sent the file, and its recipient.
fn asked() -> Scripted {
    let mut rig = Scripted::with(suites());
    rig.keys = 0;
    login(&mut rig);
    rig.keys = 50;
    let upload = rig.uploaded.take().unwrap();
    let public = |bytes: [u8; 32]| PublicKey::new(bytes).unwrap();
    let bundle = Bundle {
        registration_id: upload.registration,
        identity: public(upload.identity),
        signed: SignedPreKeyPublic {
            id: upload.skey.id,
            value: public(upload.skey.value),
            signature: upload.skey.signature,
        },
        one_time: Some(PreKeyPublic { id: upload.keys[0].id, value: public(upload.keys[0].value) }),
        pq: None,
    };
    let us = Address::of_jid(&"4915100000001@s.whatsapp.net".parse().unwrap()).unwrap();
    let mut end = End::new("1-10853634039893", 2, &suites(), 2);
    end.establish(&us, &bundle).unwrap();
    let hello = comity_proto::message::Message { conversation: Some("hello".into()), ..Default::default() };
    let sealed = end.encrypt(&us, &[hello.encode_to_vec(), vec![1]].concat()).unwrap();
    assert_eq!(sealed.kind, EncKind::Pkmsg);
    let enc = Node::new("enc").with_attr("v", "2").with_attr("type", "pkmsg").with_bytes(sealed.body);
    let message = Node::new("message").with_attr("from", peer()).with_attr("id", "A0").with_attr("type", "text");
    rig.say(&message.with_attr("t", BEGIN.as_secs()).with_child(enc));
    let (media, source) = (Box::new(file()), "/files/a.jpg".to_owned());
    rig.command(Command::SendMedia { to: peer(), media, id: Some(id(ID)), source });
    assert_eq!(heard(&mut rig, "message").len(), 1);
    acknowledge(&mut rig, ID);
    // Delivered: what a retry would need is gone, what this needs is not.
    rig.say(&Node::new("receipt").with_attr("from", peer()).with_attr("id", ID).with_attr("t", BEGIN.as_secs()));
    rig.heard.clear();
    rig
}

fn acknowledge(rig: &mut Scripted, id: &'static str) {
    let ack = Node::new("ack").with_attr("class", "message").with_attr("id", id).with_attr("from", peer());
    rig.say(&ack.with_attr("t", BEGIN.as_secs()));
}

fn request(rig: &mut Scripted) -> Node {
    let sealed = seal(rig, &key(), ID, &ServerErrorReceipt { stanza_id: Some(ID.into()) });
    receipt(peer(), ID, children(sealed))
}

fn requested(rig: &Scripted) -> Option<MediaRequest> {
    rig.events.iter().rev().find_map(|event| match event {
        Event::MediaRequested(request) => Some((**request).clone()),
        _ => None,
    })
}

fn answer(rig: &mut Scripted, request: &MediaRequest, path: Option<&str>) {
    let (event, to, direct_path) = (request.event.clone(), request.from.clone(), path.map(str::to_owned));
    rig.command(Command::AnswerMedia { event, to, direct_path });
}

#[test]
fn a_request_is_told_once_it_is_stored_and_until_it_is_answered() {
    let mut rig = asked();
    let ask = request(&mut rig);
    rig.slow = true;
    rig.say(&ask);
    assert_eq!((acks(&mut rig, "receipt"), news(&rig)), (0, 0), "before it is stored");
    restart(&mut rig); // killed before it was
    rig.say(&ask);
    assert_eq!(acks(&mut rig, "receipt"), 1);
    let told = requested(&rig).unwrap();
    assert_eq!((&told.from, &told.id, told.kind), (&peer(), &id(ID), MediaKind::Image));
    assert_eq!((&told.key, told.file_enc_sha256), (&key(), [2; 32]));
    assert_eq!(told.source.as_deref(), Some("/files/a.jpg"));
    changes_nothing(&mut rig, &ask);
    let again = request(&mut rig);
    changes_nothing(&mut rig, &again); // one is open

    restart(&mut rig);
    let told = requested(&rig).expect("given again");
    rig.slow = true;
    answer(&mut rig, &told, Some(PATH));
    assert!(rig.replies.is_empty() && heard(&mut rig, "notification").is_empty());
    restart(&mut rig); // killed before the answer was durable
    assert!(requested(&rig).is_some());
    answer(&mut rig, &told, Some(PATH));
    let sent = heard(&mut rig, "notification");
    let notice = Notification::parse(&sent[0]).unwrap();
    assert_eq!((&*notice.id, &*notice.kind, notice.to.clone()), (ID, "mediaretry", Some(peer())));
    let rmr = notice.payload::<MediaRetry>().unwrap();
    assert_eq!((rmr.jid.to_string().as_str(), rmr.from_me), ("4915100000001@s.whatsapp.net", false));
    let opened = open_retry(&key(), ID, &sealed_of(rmr)).unwrap();
    assert_eq!(MediaRetryNotification::decode(opened.as_slice()).unwrap(), answer_of(Some(PATH), 1));

    answer(&mut rig, &told, None);
    assert_eq!(rig.replies.last(), Some(&Ok(Reply::Done)));
    assert!(heard(&mut rig, "notification").is_empty(), "answered before");
    restart(&mut rig);
    assert_eq!(heard(&mut rig, "notification"), sent, "the server had not taken it");
    assert_eq!(news(&rig), 0);
    rig.say(&Node::new("ack").with_attr("class", "notification").with_attr("id", ID).with_attr("from", peer()));
    reconnect(&mut rig);
    assert!(heard(&mut rig, "notification").is_empty());
    changes_nothing(&mut rig, &ask); // an old request is not a new one
}

#[test]
fn a_file_that_is_here_no_more_is_answered_for_so() {
    let mut rig = asked();
    let ask = request(&mut rig);
    rig.say(&ask);
    let told = requested(&rig).unwrap();
    answer(&mut rig, &told, Some("https://elsewhere.test/"));
    assert!(matches!(rig.replies.last(), Some(Err(Error::Content(_)))));
    let other = MediaRequest { from: stranger(), ..told.clone() };
    answer(&mut rig, &other, Some(PATH));
    assert!(matches!(rig.replies.last(), Some(Err(Error::Content(_)))));
    answer(&mut rig, &told, None);
    let notice = Notification::parse(&heard(&mut rig, "notification")[0]).unwrap();
    let opened = open_retry(&key(), ID, &sealed_of(notice.payload().unwrap())).unwrap();
    assert_eq!(MediaRetryNotification::decode(opened.as_slice()).unwrap(), answer_of(None, 2));
}

#[test]
fn what_is_no_request_changes_nothing() {
    let mut rig = asked();
    let good = ServerErrorReceipt { stanza_id: Some(ID.into()) };
    let other = ServerErrorReceipt { stanza_id: Some(OTHER.into()) };
    let table = [
        ("of no message of ours", peer(), OTHER, seal(&mut rig, &key(), OTHER, &other)),
        ("of a message to somebody else", stranger(), ID, seal(&mut rig, &key(), ID, &good)),
        ("under another key", peer(), ID, seal(&mut rig, &[8; 32].into(), ID, &good)),
        ("about another message", peer(), ID, seal(&mut rig, &key(), OTHER, &good)),
        ("which says another id", peer(), ID, seal(&mut rig, &key(), ID, &other)),
        ("which says no id", peer(), ID, seal(&mut rig, &key(), ID, &ServerErrorReceipt::default())),
        ("no protobuf", peer(), ID, seal_retry(&key(), ID, b"\xff\xff\xff", &mut rig.rng).unwrap()),
        ("empty", peer(), ID, SealedRetry { enc_p: Bytes::new(), enc_iv: [0; 12] }),
        ("huge", peer(), ID, SealedRetry { enc_p: vec![0; MAX_RETRY_LEN + 1].into(), enc_iv: [0; 12] }),
    ];
    for (what, from, about, sealed) in table {
        println!("{what}");
        changes_nothing(&mut rig, &receipt(from, about, children(sealed)));
    }
    let bare = Node::new("receipt").with_attr("type", "server-error").with_attr("id", ID).with_attr("t", 1u32);
    changes_nothing(&mut rig, &bare.with_attr("from", peer()));
    let text = Command::Send { to: peer(), content: Content::text("x"), id: Some(id(OTHER)) };
    rig.command(text);
    let sealed = seal(&mut rig, &key(), OTHER, &other);
    changes_nothing(&mut rig, &receipt(peer(), OTHER, children(sealed))); // a text has no file
    let ask = request(&mut rig);
    rig.say(&ask);
    assert!(requested(&rig).is_some(), "a request is taken after all of them");
}

#[test]
fn a_peer_does_not_ask_without_end() {
    let mut rig = asked();
    for n in 0..MAX_MEDIA_RETRIES {
        let ask = request(&mut rig);
        rig.say(&ask);
        assert_eq!(news(&rig), n + 1);
        let told = requested(&rig).unwrap();
        answer(&mut rig, &told, Some(PATH));
        assert_eq!(heard(&mut rig, "notification").len(), 1);
    }
    let ask = request(&mut rig);
    changes_nothing(&mut rig, &ask);
}

#[test]
fn the_file_of_a_message_taken_back_is_not_given_again() {
    let mut rig = asked();
    // A reaction to it changes nothing.
    let target = Target { author: Side::Me, id: id(ID) };
    rig.command(Command::Send { to: peer(), content: Content::Reaction { target, text: "x".into() }, id: None });
    rig.command(Command::Send { to: peer(), content: Content::Revoke { id: id(ID) }, id: None });
    assert_eq!(heard(&mut rig, "message").len(), 2);
    let ask = request(&mut rig);
    changes_nothing(&mut rig, &ask);
}
