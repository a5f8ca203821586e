//! One test per fault of the engine, each failing without its guard.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use comity_core::RecordKind;
use comity_signal::limits::MAX_STORED_PRE_KEYS;
use comity_signal::suite_tests::{self, End, TestRng, talking, two};
use comity_signal::{
    Account, Bundle, EncKind, Encrypted, Error, KeyPair, Party, PublicKey, Suite, account_key, pq_pre_key_key,
    safety_number, wire,
};
use comity_signal_pqxdh::{MAX_SKIPPED, MAX_SKIPPED_IN_ALL, Pqxdh, pq_ratchet_well_formed};
use libsignal_protocol as ls;

/// `message`, a `msg`, with another post-quantum ratchet part; the MAC no longer fits.
fn with_ratchet(message: &Encrypted, part: Option<&[u8]>) -> Encrypted {
    let body = &message.body;
    let old = wire::SignalMessage::parse(body).unwrap().pq_ratchet;
    assert!((1..128).contains(&old.len()));
    let at = body.windows(old.len()).position(|w| w == old).unwrap();
    assert_eq!(at + old.len() + 8, body.len(), "the part is the last field");
    let mut out = body[..at - 2].to_vec();
    if let Some(part) = part {
        out.extend([0x2a, u8::try_from(part.len()).unwrap()]);
        out.extend(part);
    }
    out.extend(&body[body.len() - 8..]);
    Encrypted { body: out.into(), ..message.clone() }
}

/// Three bytes that need no key made the engine panic before it looked at the MAC.
#[test]
fn a_malformed_ratchet_part_does_not_reach_the_engine() {
    let (mut a, mut b) = talking(Pqxdh::new());
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let m = a.encrypt(&bob, b"x").unwrap();
    let parts: [&[u8]; 8] = [
        &[1, 1, 0],
        &[1],
        &[1, 0, 0, 0],
        &[1, 1, 0, 7],
        &[1, 1, 0, 1],
        &[1, 1, 0, 1, 0, 9, 9],
        &[1, 0x80],
        &[1, 1, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
    ];
    for part in parts {
        assert!(!pq_ratchet_well_formed(part), "{part:?}");
        assert_eq!(b.refuses(&alice, &with_ratchet(&m, Some(part))), Error::Malformed("post-quantum ratchet"));
    }
    b.opens(&alice, &m, b"x");
}

/// Mutations of genuine parts, and parts of random bytes: whatever the shape check lets pass, the engine survives.
#[test]
fn what_passes_the_shape_check_does_not_panic() {
    let (mut a, mut b) = talking(Pqxdh::new());
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let mut rng = TestRng::new(3);
    for round in 0..150_usize {
        let m = a.encrypt(&bob, b"x").unwrap();
        let genuine = wire::SignalMessage::parse(&m.body).unwrap().pq_ratchet.to_vec();
        for _ in 0..10 {
            let mut bytes = [0; 4];
            rand_core::Rng::fill_bytes(&mut rng, &mut bytes);
            let mut part = genuine.clone();
            let at = usize::from(bytes[0]) % part.len();
            part[at] = bytes[1];
            part.truncate(part.len() - usize::from(bytes[2] % 4).min(part.len() - 1));
            if part != genuine {
                let error = b.refuses(&alice, &with_ratchet(&m, Some(&part)));
                assert!(!matches!(error, Error::Engine(_)), "{error:?} at {part:02x?}");
            }
        }
        b.opens(&alice, &m, b"x");
        if round % 2 == 0 {
            let m = b.encrypt(&alice, b"y").unwrap();
            a.opens(&bob, &m, b"y");
        }
    }
}

#[test]
fn a_message_without_ratchet_part_is_refused() {
    let (mut a, mut b) = talking(Pqxdh::new());
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let m = a.encrypt(&bob, b"x").unwrap();
    let bare = with_ratchet(&m, None);
    assert_eq!(b.refuses(&alice, &bare), Error::Malformed("message without post-quantum ratchet"));
    b.suites = b.suites.clone().with(Pqxdh::new().dangerous().accept_empty_ratchet());
    assert_eq!(b.refuses(&alice, &bare), Error::NotAuthentic);
    b.opens(&alice, &m, b"x");
}

/// The engine would follow over 25,000, and lose seconds on a forgery.
#[test]
fn at_most_2000_messages_are_skipped() {
    suite_tests::skips(Pqxdh::new(), MAX_SKIPPED as usize);
}

/// A forged `msg` with this ratchet key and counter.
fn forged(ratchet_key: &PublicKey, counter: u32) -> Encrypted {
    let mut body = [&[0x44, 0x0a, 33][..], &ratchet_key.with_type(), &[0x10]].concat();
    let mut rest = counter;
    while rest >= 0x80 {
        body.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    body.push(rest as u8);
    body.extend([0x22, 1, 0, 0x2a, 4, 1, 1, 0, 0]);
    body.extend([0; 8]);
    Encrypted { kind: EncKind::Msg, body: body.into(), version: 4 }
}

/// Once the chain is long, a forgery would be tried on archived sessions, where it begins at 0.
#[test]
fn a_message_far_along_in_its_chain_is_tried_on_its_session_alone() {
    const TOO_FAR: Error = Error::LimitExceeded("skipped messages");
    let (mut a, mut b) = talking(Pqxdh::new());
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let unknown = KeyPair::generate(&mut TestRng::new(5)).public();
    assert_eq!(b.refuses(&alice, &forged(&unknown, MAX_SKIPPED)), Error::NotAuthentic);
    assert_eq!(b.refuses(&alice, &forged(&unknown, MAX_SKIPPED + 1)), TOO_FAR);
    // Three sessions, the newest begun by a message that is still under way; Alice goes on in the second.
    let mut under_way = Vec::new();
    let old = a.encrypt(&bob, b"first session").unwrap();
    suite_tests::start(&mut a, &mut b);
    let bundle = a.bundle();
    b.establish(&alice, &bundle).unwrap();
    for round in 0..MAX_SKIPPED + 300 {
        let m = a.encrypt(&bob, &round.to_be_bytes()).unwrap();
        if round % 100 == 0 {
            under_way.push((m, round));
        }
    }
    let far = a.encrypt(&bob, b"far").unwrap();
    let known = wire::SignalMessage::parse(&far.body).unwrap().ratchet_key;
    assert_eq!(b.refuses(&alice, &far), TOO_FAR);
    assert_eq!(b.refuses(&alice, &forged(&known, MAX_SKIPPED + 1)), TOO_FAR);
    for (m, round) in under_way {
        b.opens(&alice, &m, &round.to_be_bytes());
    }
    b.opens(&alice, &far, b"far");
    assert_eq!(b.refuses(&alice, &far), Error::Duplicate);
    assert_eq!(b.refuses(&alice, &forged(&known, MAX_SKIPPED + 301)), Error::NotAuthentic);
    // All three are still there, and each is tried for an unknown chain.
    assert_eq!(b.refuses(&alice, &forged(&unknown, MAX_SKIPPED_IN_ALL / 3)), Error::NotAuthentic);
    assert_eq!(b.refuses(&alice, &forged(&unknown, MAX_SKIPPED_IN_ALL / 3 + 1)), TOO_FAR);
    b.opens(&alice, &old, b"first session");
    let m = b.encrypt(&alice, b"after").unwrap();
    assert_eq!(m.kind, EncKind::Msg, "the session that opened a message is the one in use");
    a.opens(&bob, &m, b"after");
}

#[test]
fn low_order_keys_are_refused() {
    suite_tests::low_order_keys_are_refused(Pqxdh::new());
}

/// Ours is device 0, which the engine has no room for.
#[test]
fn device_0_and_any_other_work() {
    for device in [0, 1, 99, 65535] {
        let (mut a, mut b) = two(Pqxdh::new(), 1);
        a.address = comity_signal::Address::new("1-10853634039893", device).unwrap();
        suite_tests::start(&mut a, &mut b);
    }
}

/// The engine's calls are futures that are not `Send`; a caller may stand inside any executor.
#[test]
fn works_inside_an_executor() {
    let mut call = std::pin::pin!(async { suite_tests::both_directions(Pqxdh::new()) });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::future::Future::poll(call.as_mut(), &mut context).is_ready());
}

/// Key generation draws from the caller's generator alone: no clock, no system randomness.
#[test]
fn post_quantum_keys_come_from_the_callers_generator() {
    let pair = |seed| Pqxdh::new().generate_pq(&mut TestRng::new(seed)).unwrap().unwrap();
    assert_eq!(pair(1).public, pair(1).public);
    assert_eq!(*pair(1).secret, *pair(1).secret);
    assert_ne!(pair(1).public, pair(2).public);
}

/// Safety numbers equal those of the official library, whose own test vector stands first.
#[test]
fn safety_numbers_equal_the_engines() {
    let hex = |s: &str| -> [u8; 32] { core::array::from_fn(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()) };
    let party = |id, key: &str| Party { id, identity: PublicKey::new(hex(key)).unwrap() };
    let alice = party("+14152222222", "06863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868");
    let bob = party("+14153333333", "f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b");
    let vector = "300354477692869396892869876765458257569162576843440918079131";
    assert_eq!(safety_number(alice, bob).unwrap(), vector);
    assert_eq!(safety_number(bob, alice).unwrap(), vector);
    let mut rng = TestRng::new(4);
    for _ in 0..10 {
        let (one, two) = (KeyPair::generate(&mut rng).public(), KeyPair::generate(&mut rng).public());
        let engine = |key: PublicKey| ls::IdentityKey::decode(&key.with_type()).unwrap();
        let theirs = ls::Fingerprint::new(2, 5200, b"1-2@interop", &engine(one), b"3-4@interop", &engine(two)).unwrap();
        let ours =
            safety_number(Party { id: "1-2@interop", identity: one }, Party { id: "3-4@interop", identity: two });
        assert_eq!(ours.unwrap(), theirs.display_string().unwrap());
    }
}

/// A bundle of one end for another: nothing of the end's name or device is in it.
#[test]
fn pq_last_resort_serves_many() {
    let suites = comity_signal::Suites::new().with(Pqxdh::new());
    let mut b = End::new("bob", 1, &suites, 3);
    for seed in 10..13 {
        let mut a = End::new(&format!("peer{seed}"), seed, &suites, 0);
        suite_tests::start(&mut a, &mut b);
    }
}

/// A one-time post-quantum key is deleted with the batch that used it, a last-resort one is not; what fails uses neither.
#[test]
fn a_pq_one_time_key_is_used_once_and_only_on_success() {
    let (mut a, mut b) = two(Pqxdh::new(), 2);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let records = b.load(&[account_key()]);
    let (one_time, batch) = Account::new_pq_pre_keys(&records, &b.suites, 2, b.now, &mut b.rng).unwrap();
    b.commit(&batch).unwrap();
    assert_eq!(one_time.iter().map(|k| k.id).collect::<Vec<_>>(), [2, 3], "after the last-resort key");
    let bundle = Bundle { pq: Some(one_time[0].clone()), ..b.bundle() };
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    for at in [first.body.len() - 20, first.body.len() / 2, first.body.len() / 4] {
        b.refuses(&alice, &suite_tests::flipped(&first, at, 0));
    }
    assert_eq!(b.count(RecordKind::PqPreKey), 3);
    b.opens(&alice, &first, b"first");
    assert_eq!(b.count(RecordKind::PqPreKey), 2);
    assert!(Account::pq_pre_key(&b.load(&[pq_pre_key_key(2)]), 2).is_err());
    // Another session with the same key finds none.
    let mut c = End::new("carol", 3, &a.suites, 0);
    c.establish(&bob, &Bundle { one_time: None, ..bundle }).unwrap();
    let m = c.encrypt(&bob, b"x").unwrap();
    assert_eq!(b.refuses(&c.address.clone(), &m), Error::MissingPreKey);
    // Pruning knows both sorts, and leaves the last-resort key.
    let stored: Vec<_> = b.snapshot().into_iter().map(|(key, _)| key).collect();
    assert!(Account::prune(&b.load(&[account_key()]), &stored).unwrap().is_empty());
    let many: Vec<_> = (1..=u32::try_from(MAX_STORED_PRE_KEYS).unwrap() + 2).map(pq_pre_key_key).collect();
    let pruned = Account::prune(&b.load(&[account_key()]), &many).unwrap();
    assert_eq!(pruned.changes.len(), 1);
    assert_ne!(pruned.changes[0].key, pq_pre_key_key(1));
}
