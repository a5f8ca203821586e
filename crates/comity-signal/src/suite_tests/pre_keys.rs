//! Signal's signed and one-time pre-keys, and what a `pkmsg` names.

use super::{End, flipped, two};
use crate::limits::{MAX_PQ_KEY_LEN, MAX_PRE_KEY_ID};
use crate::{Account, Encrypted, Error, Suite, account_key, pre_key_key};
use comity_core::RecordKind;

pub fn without_one_time_key(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 0);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    assert!(bundle.one_time.is_none());
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    let out = b.opens(&alice, &first, b"first");
    assert_eq!((out.new_session, out.consumed_pre_key), (true, None));
    let answer = b.encrypt(&alice, b"answer").unwrap();
    a.opens(&bob, &answer, b"answer");
    // Played again after the session is gone, it would open: no one-time key stands against it.
    let batch = crate::accept_identity(&b.load(&crate::keys_for_peer(&alice)), &alice, b.account().identity()).unwrap();
    b.commit(&batch).unwrap();
    let error = b.refuses(&alice, &first);
    // Not "duplicate": an unread one of that session would look the same, and has to be asked for again.
    assert_eq!((error.retry_code(), error), (Some(1), Error::NoSession));
}

pub fn one_time_keys_are_used_once_and_only_on_success(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 2);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    let id = bundle.one_time.as_ref().unwrap().id;
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    let forged = flipped(&first, first.body.len() - 20, 0);
    b.refuses(&alice, &forged);
    assert_eq!(b.count(RecordKind::PreKey), 2);
    let (out, batch) = b.try_decrypt(&alice, &first).unwrap();
    assert_eq!((out.new_session, out.consumed_pre_key), (true, Some(id)));
    assert!(batch.changes.iter().any(|c| c.key == pre_key_key(id) && c.value.is_none()), "in the same batch");
    b.commit(&batch).unwrap();
    assert_eq!(b.count(RecordKind::PreKey), 1);
    // Another session over the same bundle: the key is gone.
    let mut c = End::new("carol", 3, &a.suites, 0);
    c.establish(&bob, &bundle).unwrap();
    let m = c.encrypt(&bob, b"x").unwrap();
    assert_eq!(b.refuses(&c.address.clone(), &m), Error::MissingPreKey);
    let second = a.encrypt(&bob, b"second").unwrap();
    let out = b.opens(&alice, &second, b"second");
    assert_eq!((out.new_session, out.consumed_pre_key), (false, None));
}

/// An identity put in place of the sender's in the outer part of a `pkmsg`, which no MAC covers.
pub fn the_outer_identity_is_bound(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 2);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    b.opens(&alice, &first, b"first");
    let second = a.encrypt(&bob, b"second").unwrap();
    let mallory = End::new("mallory", 66, &a.suites, 0).account().identity();
    let mut body = second.body.to_vec();
    let ours = a.account().identity();
    let at = body.windows(32).position(|w| w == ours.as_bytes()).expect("identity in the pkmsg");
    body[at..at + 32].copy_from_slice(mallory.as_bytes());
    b.refuses(&alice, &Encrypted { body: body.into(), ..second.clone() });
    assert_eq!(b.opens(&alice, &second, b"second").identity, ours);
}

pub fn bad_bundles_are_refused(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 1);
    let bob = b.address.clone();
    let bundle = b.bundle();
    let before = a.snapshot();
    let mut bad = bundle.clone();
    bad.signed.signature[5] ^= 1;
    assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    let mut bad = bundle.clone();
    bad.signed.value = a.account().identity();
    assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    let mut bad = bundle.clone();
    bad.identity = a.account().identity();
    assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    for id in [MAX_PRE_KEY_ID + 2, u32::MAX] {
        let mut bad = bundle.clone();
        bad.one_time.as_mut().unwrap().id = id;
        assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::Malformed("pre-key id"));
    }
    if let Some(pq) = &bundle.pq {
        let mut bad = bundle.clone();
        bad.pq.as_mut().unwrap().value = vec![8; MAX_PQ_KEY_LEN + 1].into();
        assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::LimitExceeded("post-quantum pre-key"));
        let mut bad = bundle.clone();
        let mut value = pq.value.to_vec();
        value[100] ^= 1;
        bad.pq.as_mut().unwrap().value = value.into();
        assert_eq!(a.establish(&bob, &bad).unwrap_err(), Error::BadSignature);
    }
    assert_eq!(before, a.snapshot());
    a.establish(&bob, &bundle).unwrap();
}

/// Each of the twelve in place of the base key, the identity and the ratchet key of a `pkmsg`, and in a bundle.
pub fn low_order_keys_are_refused(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 1);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"first").unwrap();
    let message = crate::wire::PreKeyMessage::parse(&first.body).unwrap();
    let ratchet_key = crate::wire::SignalMessage::parse(message.inner).unwrap().ratchet_key;
    for low in crate::keys::LOW_ORDER {
        assert_eq!(crate::PublicKey::new(low).unwrap_err(), Error::LowOrderKey, "no bundle can hold it");
        for key in [message.initial.base_key, message.initial.identity, ratchet_key] {
            let mut body = first.body.to_vec();
            let at = body.windows(32).position(|w| w == key.as_bytes()).unwrap();
            body[at..at + 32].copy_from_slice(&low);
            assert_eq!(b.refuses(&alice, &Encrypted { body: body.into(), ..first.clone() }), Error::LowOrderKey);
        }
    }
    b.opens(&alice, &first, b"first");
}

pub fn signed_pre_key_rotation(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 0);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let old = b.bundle();
    let (signed, batch) = Account::rotate(&b.load(&[account_key()]), b.now, &mut b.rng).unwrap();
    b.commit(&batch).unwrap();
    assert_ne!(signed.id, old.signed.id);
    assert_eq!(b.bundle().signed, signed);
    a.establish(&bob, &old).unwrap();
    let m = a.encrypt(&bob, b"old key").unwrap();
    b.opens(&alice, &m, b"old key");
    for _ in 0..20 {
        b.now = b.now.after(core::time::Duration::from_hours(24));
        let (_, batch) = Account::rotate(&b.load(&[account_key()]), b.now, &mut b.rng).unwrap();
        b.commit(&batch).unwrap();
    }
    assert_eq!(b.count(RecordKind::SignedPreKey), 1 + crate::limits::MAX_PREVIOUS_SIGNED_PRE_KEYS);
    let mut c = End::new("carol", 3, &a.suites, 0);
    c.establish(&bob, &old).unwrap();
    let m = c.encrypt(&bob, b"too late").unwrap();
    assert_eq!(b.refuses(&c.address.clone(), &m), Error::MissingPreKey);
}

/// Messages in Signal's form that name their sender and recipient, as official clients write them where both names are
/// UUIDs: another sender's is refused before any key is tried. (Whether the MAC covers the field is the engine's part:
/// here it was added without the key, and the right one fails at the MAC.)
pub fn a_message_is_from_whom_it_says(suite: impl Suite + Clone + 'static) {
    let name = "00112233-4455-6677-8899-aabbccddeeff";
    let uuid: Vec<u8> = (0..16).map(|i| 0x11 * i).collect();
    let cases = [
        ("alice", false),
        (name, true),
        ("10112233-4455-6677-8899-aabbccddeeff", false),
        ("PNI:00112233-4455-6677-8899-aabbccddeeff", false),
    ];
    for (name, fits) in cases {
        let (mut a, mut b) = two(suite.clone(), 1);
        a.address = crate::Address::new(name, 0).unwrap();
        super::start(&mut a, &mut b);
        let (alice, bob) = (a.address.clone(), b.address.clone());
        let message = a.encrypt(&bob, b"x").unwrap();
        let with = |addresses: &[u8]| {
            let (front, mac) = message.body.split_at(message.body.len() - 8);
            let length = u8::try_from(addresses.len()).unwrap();
            Encrypted { body: [front, &[0x32, length], addresses, mac].concat().into(), ..message.clone() }
        };
        let ours = [&[0][..], &[9; 16], &[1]].concat();
        let theirs = [&[0][..], &uuid, &[1]].concat();
        let other_device = [&[0][..], &uuid, &[2]].concat();
        let named = b.refuses(&alice, &with(&[&theirs[..], &ours].concat()));
        assert_eq!(named, if fits { Error::NotAuthentic } else { Error::Misdirected }, "{name}");
        for bad in [&[][..], &theirs, &[&other_device[..], &ours].concat(), &[&ours[..], &theirs].concat()] {
            assert_eq!(b.refuses(&alice, &with(bad)), Error::Misdirected, "{name}");
        }
        b.opens(&alice, &message, b"x");
    }
}
