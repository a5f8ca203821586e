//! The generic suite tests on an engine that is neither of ours: what each engine should give, one to one.
#![allow(clippy::unwrap_used, reason = "test code")]

use comity_signal::suite_tests::two;
use comity_signal::{Bundle, Error};
use comity_testkit::olm::{Olm, position};

comity_signal::suite_tests!(one_to_one; Olm);
comity_signal::suite_tests!(histories; Olm, |message| {
    let (ratchet_key, counter) = position(message.kind, &message.body).unwrap();
    [&ratchet_key.as_bytes()[..], &counter.to_be_bytes()].concat()
});

/// The edge of the subset: no signed pre-key to fall back to.
#[test]
fn a_bundle_without_one_time_key_makes_no_session() {
    let (mut a, mut b) = two(Olm, 1);
    let bundle = Bundle { one_time: None, ..b.bundle() };
    let before = a.snapshot();
    assert!(matches!(a.establish(&b.address, &bundle), Err(Error::Misuse(_))));
    assert_eq!(before, a.snapshot());
}

/// The edge of the subset: 40 skipped keys of a chain. The one beyond is lost, and what is kept still opens.
#[test]
fn forty_skipped_keys_are_kept() {
    let (mut a, mut b) = comity_signal::suite_tests::talking(Olm);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let sent: Vec<_> = (0..42_u8).map(|i| a.encrypt(&bob, &[i]).unwrap()).collect();
    b.opens(&alice, sent.last().unwrap(), &[41]);
    assert_eq!(b.refuses(&alice, sent.first().unwrap()), Error::Duplicate);
    for (i, m) in (0..).zip(&sent).take(41).skip(1) {
        b.opens(&alice, m, &[i]);
    }
}
