//! Faults that the simulation found, each by itself (PROTOCOL §7).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use comity_core::{Jid, MessageId, StoreError};
use comity_engine::{Command, ConnectionState, Content, Event, Input};
use comity_proto::Codec as _;
use comity_signal::limits::MAX_REBUILDS_PER_PEER;
use comity_signal::suite_tests::End;
use comity_signal::{Address, Bundle, EncKind, Encrypted, PreKeyPublic, PublicKey, SignedPreKeyPublic, Suites};
use comity_signal_x3dh::X3dh;
use comity_testkit::scripted::{BEGIN, Scripted, offline};
use comity_xmpp::Node;
use comity_xmpp::stanza::{EncType, Message, PreKeyXml, Receipt, ReceiptType, Retry, RetryKeys, SignedPreKeyXml};
use core::time::Duration;

const PEER: &str = "1-10853634039893@interop";

fn peer_jid() -> Jid {
    PEER.parse().unwrap()
}

fn us() -> Address {
    Address::of_jid(&"4915100000001@s.whatsapp.net".parse().unwrap()).unwrap()
}

fn suites() -> Suites {
    Suites::new().with(X3dh)
}

/// A client that is up to date, and a peer that knows its keys.
fn two() -> (Scripted, End) {
    let mut rig = Scripted::with(suites());
    rig.keys = 0;
    login(&mut rig);
    rig.keys = 50;
    let upload = rig.uploaded.take().unwrap();
    let key = |bytes: [u8; 32]| PublicKey::new(bytes).unwrap();
    let bundle = Bundle {
        registration_id: upload.registration,
        identity: key(upload.identity),
        signed: SignedPreKeyPublic {
            id: upload.skey.id,
            value: key(upload.skey.value),
            signature: upload.skey.signature,
        },
        one_time: Some(PreKeyPublic { id: upload.keys[0].id, value: key(upload.keys[0].value) }),
        pq: None,
    };
    let mut peer = End::new("1-10853634039893", 2, &suites(), 2);
    peer.establish(&us(), &bundle).unwrap();
    (rig, peer)
}

/// The same, with a session that both ends have used.
fn talking() -> (Scripted, End) {
    let (mut rig, mut peer) = two();
    let first = write(&mut peer, "hello");
    rig.say(&message("A0", &first));
    send(&mut rig, "B0", "hello");
    let sent = sent(&mut rig);
    assert_eq!(opened(&mut peer, &sent), ["hello"]);
    acknowledge(&mut rig, &sent[0]);
    rig.heard.clear();
    (rig, peer)
}

fn login(rig: &mut Scripted) {
    rig.say(&Node::new("success").with_attr("t", BEGIN.as_secs()));
    rig.say(&offline("offline", 0));
    assert_eq!(rig.state(), ConnectionState::UpToDate);
}

fn reconnect(rig: &mut Scripted) {
    rig.feed(Input::Disconnected);
    connect_again(rig);
}

fn connect_again(rig: &mut Scripted) {
    rig.events.clear();
    while !rig.has(|event| matches!(event, Event::HandshakeDone { .. })) {
        rig.pass(Duration::from_secs(1));
    }
    login(rig);
}

fn write(peer: &mut End, text: &str) -> Encrypted {
    let content = comity_proto::message::Message { conversation: Some(text.into()), ..Default::default() };
    let mut padded = content.encode_to_vec();
    padded.push(1);
    peer.encrypt(&us(), &padded).unwrap()
}

fn message(id: &'static str, sealed: &Encrypted) -> Node {
    let kind = if sealed.kind == EncKind::Pkmsg { "pkmsg" } else { "msg" };
    let enc = Node::new("enc").with_attr("v", "2").with_attr("type", kind).with_bytes(sealed.body.clone());
    let message = Node::new("message").with_attr("from", peer_jid()).with_attr("id", id);
    message.with_attr("type", "text").with_attr("t", BEGIN.as_secs()).with_child(enc)
}

fn send(rig: &mut Scripted, id: &str, text: &str) {
    rig.command(Command::Send { to: peer_jid(), content: Content::text(text), id: Some(id.parse().unwrap()) });
}

/// The messages that the server got since this was asked last.
fn sent(rig: &mut Scripted) -> Vec<Message> {
    let all = std::mem::take(&mut rig.heard);
    let (messages, rest) = all.into_iter().partition(|node| node.tag() == "message");
    rig.heard = rest;
    Vec::into_iter(messages).map(|node: Node| Message::parse(&node).unwrap()).collect()
}

fn opened(peer: &mut End, sent: &[Message]) -> Vec<String> {
    let open = |message: &Message| {
        let enc = &message.enc[0];
        let kind = if enc.kind == EncType::PreKey { EncKind::Pkmsg } else { EncKind::Msg };
        let sealed = Encrypted { kind, body: enc.ciphertext.clone(), version: 3 };
        let plain = peer.decrypt(&us(), &sealed).unwrap().plaintext;
        let text = comity_signal::unpad(&plain).unwrap();
        comity_proto::message::Message::decode(text).unwrap().conversation.unwrap()
    };
    sent.iter().map(open).collect()
}

fn acknowledge(rig: &mut Scripted, message: &Message) {
    let ack = Node::new("ack").with_attr("class", "message").with_attr("id", message.id.to_string());
    rig.say(&ack.with_attr("from", peer_jid()).with_attr("t", BEGIN.as_secs()));
}

/// `end` asks for a message again, with keys of its own.
fn ask(rig: &mut Scripted, end: &mut End, id: &str, count: u32) {
    let bundle = end.bundle();
    let one_time = bundle.one_time.unwrap();
    let keys = RetryKeys {
        identity: *bundle.identity.as_bytes(),
        key: PreKeyXml { id: one_time.id, value: *one_time.value.as_bytes() },
        skey: SignedPreKeyXml {
            id: bundle.signed.id,
            value: *bundle.signed.value.as_bytes(),
            signature: bundle.signed.signature,
        },
        pqkey: None,
        rest: Default::default(),
    };
    let id: MessageId = id.parse().unwrap();
    let retry = Retry {
        count,
        id: id.clone(),
        t: BEGIN,
        error: Some(1),
        registration: bundle.registration_id,
        keys: Some(keys),
        rest: Default::default(),
    };
    let mut receipt = Receipt::retry(peer_jid(), retry);
    (receipt.from, receipt.to) = (receipt.to.take(), None);
    rig.say(&receipt.into_node());
}

/// What was kept back so far is durable; what follows from it is kept back in turn.
fn sync_once(rig: &mut Scripted) {
    for (id, batch) in std::mem::take(&mut rig.unsynced) {
        let done = rig.commit(id, batch);
        rig.feed(done);
    }
}

#[test]
fn a_store_that_fails_lets_no_message_overtake_another() {
    let (mut rig, mut peer) = talking();
    rig.slow = true;
    send(&mut rig, "B1", "one");
    send(&mut rig, "B2", "two");
    sync_once(&mut rig); // both are queued, and the first one's step of the ratchet is being written
    let (id, _) = rig.unsynced.remove(0);
    rig.slow = false;
    rig.feed(Input::PersistFailed(id, StoreError::Medium("full".into())));
    assert_ne!(rig.state(), ConnectionState::UpToDate, "a store that fails ends the connection");
    assert!(sent(&mut rig).is_empty());
    connect_again(&mut rig);
    assert_eq!(opened(&mut peer, &sent(&mut rig)), ["one", "two"]);
}

#[test]
fn what_an_earlier_connection_began_to_send_does_not_overtake_what_it_lost() {
    let (mut rig, mut peer) = talking();
    send(&mut rig, "B1", "one");
    assert_eq!(sent(&mut rig).len(), 1); // and lost with the connection
    rig.slow = true;
    send(&mut rig, "B2", "two");
    sync_once(&mut rig);
    assert_eq!(rig.unsynced.len(), 1, "the second one's step of the ratchet is being written");
    reconnect(&mut rig);
    rig.sync();
    assert_eq!(opened(&mut peer, &sent(&mut rig)), ["one", "two"]);
}

#[test]
fn a_message_whose_counter_was_used_and_that_was_never_taken_is_asked_for() {
    let (mut rig, mut peer) = talking();
    let sealed = write(&mut peer, "text");
    rig.say(&message("A1", &sealed));
    rig.heard.clear();
    rig.say(&message("A2", &sealed));
    let receipt = Receipt::parse(&rig.heard[0]).unwrap();
    assert_eq!((receipt.kind, receipt.id.as_str()), (Some(ReceiptType::Retry), "A2"));
}

#[test]
fn what_comes_in_passes_a_message_that_waits_for_a_bundle() {
    let (mut rig, mut peer) = two();
    send(&mut rig, "B1", "waits");
    let sealed = write(&mut peer, "text");
    rig.say(&message("A1", &sealed));
    assert!(rig.has(|event| matches!(event, Event::Message(message) if message.id.as_str() == "A1")));
    // It has brought a session with it.
    assert_eq!(opened(&mut peer, &sent(&mut rig)), ["waits"]);
}

#[test]
fn two_sendings_of_one_message_are_acknowledged_each() {
    let (mut rig, mut peer) = talking();
    send(&mut rig, "B1", "text");
    let first = sent(&mut rig);
    ask(&mut rig, &mut peer, "B1", 2);
    let again = sent(&mut rig);
    assert_eq!((first.len(), again.len()), (1, 1));
    acknowledge(&mut rig, &first[0]);
    acknowledge(&mut rig, &again[0]);
    reconnect(&mut rig);
    assert!(sent(&mut rig).is_empty(), "both are done with");
}

#[test]
fn beyond_the_limit_a_new_identity_has_its_session_all_the_same() {
    let (mut rig, mut peer) = talking();
    peer.upload(20);
    for n in 0..=MAX_REBUILDS_PER_PEER {
        let id = format!("C{n}");
        send(&mut rig, &id, "text");
        rig.now = rig.now.after(Duration::from_secs(1));
        ask(&mut rig, &mut peer, &id, 2);
    }
    sent(&mut rig);
    send(&mut rig, "D", "for the new one");
    let mut new = End::new("1-10853634039893", 9, &suites(), 2);
    ask(&mut rig, &mut new, "D", 2);
    let last = sent(&mut rig).pop().unwrap();
    assert_eq!(opened(&mut new, &[last]), ["for the new one"]);
}
