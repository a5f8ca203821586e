//! Group sender keys.

use super::{End, flipped, talking};
use crate::{
    Address, EncKind, Encrypted, Error, Suite, group_decrypt, group_distribution, group_encrypt, group_process,
    keys_for_group,
};

pub(super) const GROUP: &str = "120363000000000001@g.us";

pub(super) fn distribution(end: &mut End) -> Vec<u8> {
    let me = end.address.clone();
    let version = end.suites.iter().next().unwrap().version();
    let records = end.load(&keys_for_group(GROUP, &me));
    let (out, batch) = group_distribution(&records, &end.suites, version, GROUP, &me, &mut end.rng).unwrap();
    end.commit(&batch).unwrap();
    out.to_vec()
}

pub(super) fn group_send(end: &mut End, plaintext: &[u8]) -> Encrypted {
    let me = end.address.clone();
    let records = end.load(&keys_for_group(GROUP, &me));
    let (out, batch) = group_encrypt(&records, &end.suites, GROUP, &me, plaintext, &mut end.rng).unwrap();
    end.commit(&batch).unwrap();
    out
}

pub(super) fn group_read(end: &mut End, from: &Address, message: &Encrypted) -> Result<Vec<u8>, Error> {
    let before = end.snapshot();
    let records = end.load(&keys_for_group(GROUP, from));
    match group_decrypt(&records, &end.suites, GROUP, from, &message.body) {
        Ok((out, batch)) => {
            end.commit(&batch).unwrap();
            Ok(out.plaintext.to_vec())
        }
        Err(error) => {
            assert_eq!(before, end.snapshot());
            Err(error)
        }
    }
}

pub fn sender_keys(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let dist = distribution(&mut a);
    assert_eq!(dist, distribution(&mut a), "one key until it is rotated");
    let m = a.encrypt(&bob, &dist).unwrap();
    let got = b.opens(&alice, &m, &dist);
    let records = b.load(&keys_for_group(GROUP, &alice));
    let batch = group_process(&records, &b.suites, GROUP, &alice, got.identity, &got.plaintext).unwrap();
    b.commit(&batch).unwrap();

    let sent: Vec<_> = (0..20_u8).map(|i| group_send(&mut a, &[i; 50])).collect();
    assert!(sent.iter().all(|m| m.kind == EncKind::Skmsg));
    for i in (0..20_usize).map(|i| (i * 7) % 20) {
        assert!(group_read(&mut b, &alice, &flipped(&sent[i], sent[i].body.len() / 2, 1)).is_err());
        assert_eq!(group_read(&mut b, &alice, &sent[i]).unwrap(), [u8::try_from(i).unwrap(); 50]);
        assert_eq!(group_read(&mut b, &alice, &sent[i]).unwrap_err(), Error::Duplicate);
    }
    assert_eq!(group_read(&mut b, &Address::new("carol", 0).unwrap(), &sent[0]).unwrap_err(), Error::NoSenderKey);
    let records = a.load(&keys_for_group(GROUP, &alice));
    let batch = crate::group_rotate(&records, GROUP, &alice).unwrap();
    a.commit(&batch).unwrap();
    let records = a.load(&keys_for_group(GROUP, &alice));
    assert_eq!(
        group_encrypt(&records, &a.suites, GROUP, &alice, b"x", &mut a.rng).unwrap_err(),
        Error::NoSenderKey,
        "a rotated key is not used again"
    );
    assert_ne!(dist, distribution(&mut a));
    let m = group_send(&mut a, b"under the new key");
    assert_eq!(group_read(&mut b, &alice, &m).unwrap_err(), Error::NoSenderKey);
}

/// One encryption per load: with a fresh load before each, iterations go up by one, none skipped, none repeated.
pub fn sender_keys_count_on(suite: impl Suite + 'static) {
    let (mut a, _) = talking(suite);
    distribution(&mut a);
    let bodies: std::collections::BTreeSet<_> = (0..100).map(|_| group_send(&mut a, b"same").body).collect();
    assert_eq!(bodies.len(), 100);
}

/// A sender key is bound to the identity of the session that brought it.
pub fn sender_keys_are_bound_to_identity(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let alice = a.address.clone();
    let dist = distribution(&mut a);
    let stranger = End::new("alice", 99, &a.suites, 0).account().identity();
    let records = b.load(&keys_for_group(GROUP, &alice));
    let batch = group_process(&records, &b.suites, GROUP, &alice, stranger, &dist).unwrap();
    b.commit(&batch).unwrap();
    let m = group_send(&mut a, b"x");
    assert_eq!(group_read(&mut b, &alice, &m).unwrap_err(), Error::UntrustedIdentity);
}

/// Each of the twelve as the key that a distribution would have us check signatures with.
pub fn low_order_signing_keys_are_refused(suite: impl Suite + 'static) {
    let (mut a, b) = talking(suite);
    let alice = a.address.clone();
    let identity = a.account().identity();
    let dist = distribution(&mut a);
    let at = dist.len() - 32;
    let process = |dist: &[u8]| {
        let records = b.load(&keys_for_group(GROUP, &alice));
        group_process(&records, &b.suites, GROUP, &alice, identity, dist)
    };
    assert!(crate::PublicKey::new(dist[at..].try_into().unwrap()).is_ok(), "the signing key stands last");
    process(&dist).unwrap();
    for low in crate::keys::LOW_ORDER {
        assert_eq!(process(&[&dist[..at], &low].concat()).unwrap_err(), Error::LowOrderKey);
    }
}

/// Many threads under one sender key, no lock: a commit that comes too late fails and its work is done again. So it is
/// on the reading side, where each message is opened by two.
pub fn a_sender_key_can_never_be_used_twice(suite: impl Suite + 'static) {
    use std::sync::{Barrier, Mutex};
    const THREADS: u8 = 16;
    let (mut a, mut b) = talking(suite);
    let alice = a.address.clone();
    let dist = distribution(&mut a);
    let records = b.load(&keys_for_group(GROUP, &alice));
    let batch = group_process(&records, &b.suites, GROUP, &alice, a.account().identity(), &dist).unwrap();
    b.commit(&batch).unwrap();
    let handle = |end: &End| End { store: end.store.clone(), ..end.clone() };
    let (sent, got, start) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()), Barrier::new(usize::from(THREADS)));
    std::thread::scope(|scope| {
        for i in 0..THREADS {
            let (mut end, me, sent, start) = (handle(&a), &alice, &sent, &start);
            scope.spawn(move || {
                let mut met = false;
                loop {
                    let records = end.load(&keys_for_group(GROUP, me));
                    let out = group_encrypt(&records, &end.suites, GROUP, me, &[i], &mut end.rng).unwrap();
                    if !met {
                        start.wait();
                        met = true;
                    }
                    if end.commit(&out.1).is_ok() {
                        return sent.lock().unwrap().push(out.0);
                    }
                }
            });
        }
    });
    let sent = sent.into_inner().unwrap();
    std::thread::scope(|scope| {
        for message in sent.iter().chain(&sent) {
            let (mut end, from, got) = (handle(&b), &alice, &got);
            scope.spawn(move || {
                loop {
                    let records = end.load(&keys_for_group(GROUP, from));
                    match group_decrypt(&records, &end.suites, GROUP, from, &message.body) {
                        Ok((out, batch)) if end.commit(&batch).is_ok() => {
                            return got.lock().unwrap().push(out.plaintext.to_vec());
                        }
                        Ok(_) => {}
                        Err(error) => return assert_eq!(error, Error::Duplicate),
                    }
                }
            });
        }
    });
    let mut got = got.into_inner().unwrap();
    got.sort();
    assert_eq!(got, (0..THREADS).map(|i| vec![i]).collect::<Vec<_>>(), "each once, and none shares its key");
}
