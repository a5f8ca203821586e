//! Which version is spoken with whom: negotiated, never silently lowered (PROTOCOL §8).
#![allow(clippy::unwrap_used, reason = "test code")]

use comity_signal::suite_tests::{End, start};
use comity_signal::{Bundle, Error, Suites};
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;

fn v3() -> Suites {
    Suites::new().with(X3dh)
}

fn both() -> Suites {
    v3().with(Pqxdh::new())
}

#[test]
fn version_4_where_both_publish_it() {
    let (mut a, mut b) = (End::new("alice", 1, &both(), 5), End::new("bob", 2, &both(), 5));
    start(&mut a, &mut b);
    assert_eq!(a.encrypt(&b.address, b"x").unwrap().version, 4);
}

#[test]
fn version_3_where_one_does_not() {
    let (mut a, mut b) = (End::new("alice", 1, &both(), 5), End::new("bob", 2, &v3(), 5));
    start(&mut a, &mut b);
    assert_eq!(a.encrypt(&b.address, b"x").unwrap().version, 3);
    let (mut a, mut b) = (End::new("alice", 1, &v3(), 5), End::new("bob", 2, &both(), 5));
    start(&mut a, &mut b);
    assert_eq!(a.encrypt(&b.address, b"x").unwrap().version, 3);
    // The part of the bundle that is not for us is not forged, either.
    let mut bad = b.bundle();
    bad.pq.as_mut().unwrap().signature[5] ^= 1;
    assert_eq!(a.establish(&b.address, &bad).unwrap_err(), Error::BadSignature);
}

#[test]
fn an_upgrade_keeps_what_is_under_way() {
    let (mut a, mut b) = (End::new("alice", 1, &both(), 5), End::new("bob", 2, &both(), 5));
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = Bundle { pq: None, ..b.bundle() };
    assert_eq!(a.establish(&bob, &bundle).unwrap().version, 3);
    let first = a.encrypt(&bob, b"1").unwrap();
    b.opens(&alice, &first, b"1");
    let answer = b.encrypt(&alice, b"2").unwrap();
    a.opens(&bob, &answer, b"2");
    let under_way = b.encrypt(&alice, b"version 3, under way").unwrap();
    let bundle = b.bundle();
    assert_eq!(a.establish(&bob, &bundle).unwrap().version, 4);
    let m = a.encrypt(&bob, b"3").unwrap();
    assert_eq!(m.version, 4);
    b.opens(&alice, &m, b"3");
    a.opens(&bob, &under_way, b"version 3, under way");
    assert_eq!(a.encrypt(&bob, b"4").unwrap().version, 4);
    assert_eq!(b.encrypt(&alice, b"5").unwrap().version, 4);
}

#[test]
fn a_downgrade_is_an_error() {
    let (mut a, mut b) = (End::new("alice", 1, &both(), 5), End::new("bob", 2, &both(), 5));
    let (alice, bob) = (a.address.clone(), b.address.clone());
    start(&mut a, &mut b);
    let downgrade = Error::Downgrade { had: 4, got: 3 };
    let stripped = Bundle { pq: None, ..b.bundle() };
    let before = a.snapshot();
    assert_eq!(a.establish(&bob, &stripped).unwrap_err(), downgrade);
    assert_eq!(before, a.snapshot());
    // Bob, or someone with his keys, begins again with version 3.
    let mut lowered = b.clone();
    lowered.suites = v3();
    let batch = comity_signal::accept_identity(
        &lowered.load(&comity_signal::keys_for_peer(&alice)),
        &alice,
        b.account().identity(),
    );
    lowered.commit(&batch.unwrap()).unwrap();
    let bundle = a.bundle();
    assert_eq!(lowered.establish(&alice, &bundle).unwrap().version, 3);
    let m = lowered.encrypt(&alice, b"x").unwrap();
    assert_eq!(a.refuses(&bob, &m), downgrade);
    // A new identity may speak what it can; the application is told of the identity.
    let mut new_bob = End::new("bob", 77, &v3(), 5);
    let bundle = a.bundle();
    assert_eq!(new_bob.establish(&alice, &bundle).unwrap().version, 3);
    let m = new_bob.encrypt(&alice, b"new phone").unwrap();
    assert!(a.opens(&bob, &m, b"new phone").identity_change.is_some());
    assert_eq!(a.encrypt(&bob, b"x").unwrap().version, 3);
}

#[test]
fn an_unknown_version_is_named() {
    let (mut a, mut b) = (End::new("alice", 1, &both(), 5), End::new("bob", 2, &both(), 5));
    let (alice, bob) = (a.address.clone(), b.address.clone());
    start(&mut a, &mut b);
    let m = a.encrypt(&bob, b"x").unwrap();
    b.suites = v3();
    assert_eq!(b.refuses(&alice, &m), Error::UnsupportedVersion(4));
    b.suites = both();
    b.opens(&alice, &m, b"x");
}
