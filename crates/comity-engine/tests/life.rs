//! The connection's life against a scripted server under virtual time (PROTOCOL §5.5, §7, §8).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

use bytes::Bytes;
use comity_engine::limits::{
    KEEPALIVE_INTERVAL, MAX_REPORT_MESSAGES, OFFLINE_BATCH, PROBE_TIMEOUT, RECONNECT_MAX, SILENCE_LIMIT,
};
use comity_engine::{Command, ConnectionState, Event, Input, LoginRefusal, NextStep, StreamEnd};
use comity_testkit::scripted::{BEGIN, Link, Scripted, offline};
use comity_xmpp::Node;
use core::time::Duration;

#[test]
fn every_refusal_has_its_meaning_and_its_consequence() {
    let table = [
        (400u32, LoginRefusal::Generic, NextStep::Stop),
        (401u32, LoginRefusal::NotAuthorised, NextStep::Retry),
        (402u32, LoginRefusal::TemporaryBan(Some(BEGIN.after(Duration::from_secs(7200)))), {
            NextStep::RetryAt(BEGIN.after(Duration::from_secs(7200)))
        }),
        (403u32, LoginRefusal::Blocked, NextStep::Stop),
        (405u32, LoginRefusal::Version, NextStep::Stop),
        (406u32, LoginRefusal::Banned, NextStep::Stop),
        (409u32, LoginRefusal::UserAgent, NextStep::Stop),
        (415u32, LoginRefusal::NotEnlisted, NextStep::Stop), // a native user's: nothing to enlist
        (429u32, LoginRefusal::RateLimited, NextStep::Retry),
        (500u32, LoginRefusal::Unavailable, NextStep::Retry),
        (501u32, LoginRefusal::Unavailable, NextStep::Retry),
        (503u32, LoginRefusal::Unavailable, NextStep::Retry),
        (999u32, LoginRefusal::Generic, NextStep::Stop),
    ];
    for (code, meaning, consequence) in table {
        let mut rig = Scripted::new();
        let failure = Node::new("failure").with_attr("reason", code).with_attr("location", "x");
        rig.say(&if code == 402 { failure.with_attr("expire", 7200u32) } else { failure });
        let told = rig.events.iter().find_map(|event| match event {
            Event::LoginRefused { reason, refusal, next } => Some((u32::from(*reason), *refusal, *next)),
            _ => None,
        });
        assert_eq!(told, Some((code, meaning, consequence)));
        let connects = rig.connects;
        rig.pass(Duration::from_secs(7100));
        assert_eq!(rig.connects > connects, consequence == NextStep::Retry, "{code}");
        rig.pass(Duration::from_secs(200));
        assert_eq!(rig.connects > connects, consequence != NextStep::Stop, "{code}");
    }
}

#[test]
fn a_session_ends_as_the_server_says() {
    let error = || Node::new("stream:error");
    let conflict = |kind: &'static str| error().with_child(Node::new("conflict").with_attr("type", kind));
    let table = [
        (conflict("device_removed").with_attr("code", 401u16), Some(StreamEnd::DeviceRemoved), None),
        (conflict("replaced"), None, None),
        (error().with_attr("code", 515u16), Some(StreamEnd::Restart), Some(0)),
        (error().with_attr("code", 503u16), Some(StreamEnd::Other(Some(503))), Some(1)),
        (error().with_child(Node::new("xml-not-well-formed")), Some(StreamEnd::NotWellFormed), Some(1)),
    ];
    for (stanza, end, again) in table {
        let mut rig = Scripted::logged_in();
        rig.say(&stanza);
        assert!(end.is_none_or(|end| rig.has(|e| matches!(e, Event::StreamEnded(told) if *told == end))), "{stanza:?}");
        assert_eq!(end.is_none(), rig.has(|e| matches!(e, Event::Replaced)));
        rig.pass(Duration::ZERO);
        assert_eq!(rig.connects == 2, again == Some(0), "{stanza:?}");
        rig.pass(Duration::from_secs(3600));
        assert_eq!(rig.connects >= 2, again.is_some(), "{stanza:?}");
    }
}

#[test]
fn who_is_told_to_restart_for_ever_does_not_spin() {
    let mut rig = Scripted::new();
    for _ in 0..10 {
        if matches!(rig.link, Link::In(_)) {
            rig.say(&Node::new("stream:error").with_attr("code", 515u16));
        }
        rig.pass(Duration::ZERO);
    }
    assert_eq!(rig.connects, 2);
}

#[test]
fn a_server_that_is_away_for_a_day_is_tried_fewer_than_200_times() {
    let mut rig = Scripted::new();
    rig.events.clear();
    rig.link = Link::Away;
    rig.feed(Input::Disconnected);
    let before = rig.connects;
    rig.pass(Duration::from_secs(86_400));
    let tries = rig.connects - before;
    assert!((86_400 / u32::try_from(RECONNECT_MAX.as_secs()).unwrap()..200).contains(&tries), "{tries}");
    rig.link = Link::Listening;
    rig.pass(RECONNECT_MAX);
    assert!(rig.has(|event| matches!(event, Event::HandshakeDone { .. })));
}

#[test]
fn a_change_of_the_network_ends_a_wait_and_tries_a_connection_out() {
    let mut rig = Scripted::new();
    rig.link = Link::Away;
    rig.feed(Input::Disconnected);
    rig.pass(Duration::from_secs(7200));
    rig.link = Link::Listening;
    let before = rig.connects;
    rig.command(Command::NetworkChanged);
    assert_eq!(rig.connects, before + 1);

    for alive in [true, false] {
        let mut rig = Scripted::logged_in();
        rig.command(Command::NetworkChanged);
        let probe = rig.heard.pop().unwrap();
        assert_eq!(probe.attr_str("xmlns").unwrap(), "w:p");
        if alive {
            let pong = Node::new("iq").with_attr("type", "result").with_attr("id", probe.attr("id").unwrap().clone());
            rig.say(&pong.with_attr("t", rig.now.as_secs()));
        }
        rig.pass(PROBE_TIMEOUT);
        assert_eq!(rig.state() == ConnectionState::UpToDate, alive);
    }
}

#[test]
fn only_what_is_received_shows_that_the_server_lives() {
    let mut rig = Scripted::logged_in();
    rig.pass(KEEPALIVE_INTERVAL);
    assert_eq!(rig.heard.len(), 1); // sent, and taken by nobody who answers
    rig.pass(SILENCE_LIMIT - KEEPALIVE_INTERVAL);
    assert!(rig.has(|event| matches!(event, Event::Connection(ConnectionState::Waiting))));
}

#[test]
fn the_mailbox_is_pulled_in_batches_and_over_when_all_of_it_is_stored() {
    let mut rig = Scripted::new();
    rig.say(&Node::new("success").with_attr("t", BEGIN.as_secs()));
    rig.say(&offline("offline_preview", OFFLINE_BATCH + 1));
    let pulled = |rig: &Scripted| rig.heard.iter().filter(|node| node.child("offline_batch").is_some()).count();
    assert_eq!(pulled(&rig), 1);
    rig.slow = true;
    let changed = |n: u32| {
        Node::new("notification")
            .with_attr("type", "encrypt")
            .with_attr("from", format!("49151{n:08}@s.whatsapp.net").parse::<comity_core::Jid>().unwrap())
            .with_attr("id", format!("N{n}"))
            .with_attr("t", BEGIN.as_secs())
            .with_attr("offline", n)
            .with_child(Node::new("identity"))
    };
    for n in 1..=OFFLINE_BATCH {
        rig.say(&changed(n));
    }
    assert_eq!(pulled(&rig), 1, "the first batch is not stored");
    rig.sync();
    assert_eq!(pulled(&rig), 2);
    rig.slow = true;
    rig.say(&changed(OFFLINE_BATCH + 1));
    rig.say(&offline("offline", OFFLINE_BATCH + 1));
    assert!(!rig.has(|event| matches!(event, Event::UpToDate { .. })));
    rig.sync();
    let up =
        rig.events.iter().position(|event| matches!(event, Event::UpToDate { count } if *count == OFFLINE_BATCH + 1));
    let last = rig.events.iter().rposition(|event| matches!(event, Event::IdentityChanged { .. }));
    assert!(last.unwrap() < up.unwrap());
}

#[test]
fn the_signed_pre_key_is_replaced_once_a_week_and_published_after_it_is_stored() {
    let mut rig = Scripted::logged_in();
    let rotations = |rig: &Scripted| rig.heard.iter().filter(|node| node.child("rotate").is_some()).count();
    assert_eq!(rotations(&rig), 0);
    rig.slow = true;
    // Only one tick: a silent server would be given up on the way.
    rig.now = rig.now.after(Duration::from_secs(8 * 86_400));
    rig.say(&offline("offline", 0));
    assert_eq!(rotations(&rig), 0);
    rig.sync();
    assert_eq!(rotations(&rig), 1);
    assert!(rig.has(|event| matches!(event, Event::SignedPreKeyRotated)));
    rig.say(&offline("offline", 0));
    assert_eq!(rotations(&rig), 1);
}

#[test]
fn a_server_with_other_keys_than_ours_gets_ours() {
    let leaf = |tag: &'static str, bytes: &[u8]| Node::new(tag).with_bytes(Bytes::copy_from_slice(bytes));
    let skey =
        Node::new("skey").with_children([leaf("id", &[0, 0, 1]), leaf("value", &[9; 32]), leaf("signature", &[7; 64])]);
    let digest = Node::new("digest").with_children([
        leaf("registration", &[0, 0, 0, 1]),
        leaf("type", &[5]),
        leaf("identity", &[9; 32]),
        skey,
        Node::new("list"),
        leaf("hash", &[0; 20]),
    ]);
    let mut rig = Scripted::new();
    rig.digest = Some(digest);
    rig.say(&Node::new("success").with_attr("t", BEGIN.as_secs()));
    assert_eq!(rig.uploads, 1);
    let rig = Scripted::logged_in(); // one that has no digests
    assert_eq!(rig.uploads, 0);
}

#[test]
fn few_keys_on_the_server_are_refilled_before_anything_is_delivered() {
    let mut rig = Scripted::new();
    rig.keys = 9;
    rig.say(&Node::new("success").with_attr("t", BEGIN.as_secs()));
    assert_eq!(rig.uploads, 1);
    assert!(rig.has(|event| matches!(event, Event::KeysUploaded { .. })));
    // Told twice that there are few, while an upload is under way: one more upload, not two.
    rig.slow = true;
    let low = Node::new("notification").with_attr("type", "encrypt").with_attr("from", comity_core::Server::Whatsapp);
    let low = low
        .with_attr("id", "L")
        .with_attr("t", BEGIN.as_secs())
        .with_child(Node::new("count").with_attr("value", 3u32));
    rig.say(&low);
    rig.say(&low);
    rig.sync();
    assert_eq!(rig.uploads, 2);
}

#[test]
fn a_report_has_a_bound() {
    let mut rig = Scripted::logged_in();
    let jid: comity_core::Jid = "1-10853634039893@interop".parse().unwrap();
    let message = comity_engine::ReportedMessage { id: "A".parse().unwrap(), t: BEGIN, raw: Bytes::from_static(b"x") };
    for (count, fits) in [(1, true), (MAX_REPORT_MESSAGES + 1, false)] {
        let messages = vec![message.clone(); count];
        rig.command(Command::Report { jid: jid.clone(), flow: "chat".into(), messages });
        assert_eq!(rig.replies.pop().unwrap().is_ok(), fits);
    }
}
