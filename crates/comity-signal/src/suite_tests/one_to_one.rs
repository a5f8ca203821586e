//! What every engine should give between two ends.

use super::{End, TestRng, flipped, talking, two};
use crate::{Address, EncKind, Encrypted, Error, IdentityPolicy, Suite, encrypt, keys_for_encrypt};
use comity_core::StoreError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};

pub fn both_directions(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    for i in 0..40_u8 {
        let m = a.encrypt(&bob, &[i; 100]).unwrap();
        assert_eq!(m.kind, EncKind::Msg);
        b.opens(&alice, &m, &[i; 100]);
        if i % 3 == 0 {
            let m = b.encrypt(&alice, &[i]).unwrap();
            a.opens(&bob, &m, &[i]);
        }
    }
    let m = a.encrypt(&bob, b"").unwrap();
    b.opens(&alice, &m, b"");
}

/// 30 messages each way, delivered in a shuffled order: within the 40 skipped keys that every known engine keeps.
pub fn out_of_order(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    for round in 0..4_usize {
        let sent: Vec<_> = (0..30_u8).map(|i| a.encrypt(&bob, &[i]).unwrap()).collect();
        let back: Vec<_> = (0..30_u8).map(|i| b.encrypt(&alice, &[i]).unwrap()).collect();
        for i in 0..30_usize {
            let i = (i * 7 + 11 * round) % 30;
            b.opens(&alice, &sent[i], &[u8::try_from(i).unwrap()]);
            a.opens(&bob, &back[29 - i], &[u8::try_from(29 - i).unwrap()]);
        }
    }
}

pub fn replay_is_refused(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 3);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"1").unwrap();
    let second = a.encrypt(&bob, b"2").unwrap();
    b.opens(&alice, &first, b"1");
    b.opens(&alice, &second, b"2");
    assert_eq!(b.refuses(&alice, &first), Error::Duplicate);
    let answer = b.encrypt(&alice, b"3").unwrap();
    a.opens(&bob, &answer, b"3");
    assert!(matches!(a.refuses(&bob, &answer), Error::Duplicate | Error::NotAuthentic));
    for i in 0..5 {
        let m = a.encrypt(&bob, &[i]).unwrap();
        b.opens(&alice, &m, &[i]);
        assert!(matches!(b.refuses(&alice, &m), Error::Duplicate | Error::NotAuthentic));
    }
    assert_eq!(b.refuses(&alice, &second), Error::Duplicate);
}

/// Every byte of a `msg` and of a `pkmsg`, one bit each: refused, and no record changes.
pub fn a_failed_decrypt_changes_no_record(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 3);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let bundle = b.bundle();
    a.establish(&bob, &bundle).unwrap();
    let first = a.encrypt(&bob, b"hello").unwrap();
    let tries = |len: usize| (0..len).filter(move |i| len < 400 || *i < 60 || *i + 60 > len || i % 17 == 0);
    let header = crate::wire::PreKeyMessage::parse(&first.body).map(|m| m.initial).ok();
    for at in tries(first.body.len()) {
        // The low half of the outer version byte is the sender's newest version: told, not used.
        let forged = flipped(&first, at, if at == 0 { 4 } else { u8::try_from(at % 8).unwrap() });
        // The registration id of a pkmsg is outside the MAC, and nothing is derived from it.
        let now = crate::wire::PreKeyMessage::parse(&forged.body).map(|m| m.initial).ok();
        if let (Some(header), Some(now)) = (&header, &now)
            && header.registration_id != now.registration_id
        {
            continue;
        }
        b.refuses(&alice, &forged);
    }
    b.opens(&alice, &first, b"hello");
    let answer = b.encrypt(&alice, b"answer").unwrap();
    for at in tries(answer.body.len()) {
        a.refuses(&bob, &flipped(&answer, at, u8::try_from(at % 8).unwrap()));
    }
    for cut in [0, 1, 8, 9, answer.body.len() - 1] {
        a.refuses(&bob, &Encrypted { body: answer.body.slice(..cut), ..answer.clone() });
    }
    a.opens(&bob, &answer, b"answer");
}

/// Two encryptions over the same records: only one of them commits, so only one may be sent; and what follows uses
/// another key. The same for two decryptions.
pub fn a_key_can_never_be_used_twice(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let mut bodies = std::collections::BTreeSet::new();
    for i in 0..20_u8 {
        let records = a.load(&keys_for_encrypt(&bob));
        let one = encrypt(&records, &a.suites, &bob, &[i], a.now, &mut TestRng::new(9)).unwrap();
        let two = encrypt(&records, &a.suites, &bob, &[i + 100], a.now, &mut TestRng::new(9)).unwrap();
        a.commit(&one.1).unwrap();
        assert!(a.commit(&two.1).is_err(), "the second commit over the same records is stale");
        assert!(bodies.insert(one.0.body.clone()));
        let (first, batch) = b.try_decrypt(&alice, &one.0).unwrap();
        let (_, again) = b.try_decrypt(&alice, &one.0).unwrap();
        assert_eq!(first.plaintext.as_slice(), [i]);
        b.commit(&batch).unwrap();
        assert!(b.commit(&again).is_err(), "a message is given to the application once");
        // What lost the race was never sent; the counter it would have used goes to the next message.
        b.refuses(&alice, &one.0);
    }
}

/// What the network and the machine can do to one direction of [`crashes_lose_nothing_and_repeat_nothing`].
#[derive(Default)]
struct Way {
    sent: u32,
    /// How many chains were begun, and what the sender had heard when it began the last one. Engines keep the five
    /// newest chains of a peer, so no message may stay under way for longer.
    chains: u32,
    heard: usize,
    /// Number, chain, message.
    under_way: Vec<(u32, u32, Encrypted)>,
    /// Delivered and committed, kept to be delivered again.
    old: Vec<Encrypted>,
    arrived: BTreeMap<u32, u32>,
}

/// One random step of `from` to `to`: encrypt or deliver, with a crash before or after the commit, and repetition.
fn step(from: &mut End, to: &mut End, way: &mut Way, heard: usize, dice: u64) {
    let chain = way.chains + u32::from(heard != way.heard);
    let oldest = way.under_way.iter().map(|(_, chain, _)| *chain).min().unwrap_or(chain);
    let (here, there) = (from.address.clone(), to.address.clone());
    match dice % 8 {
        0 => {
            // Crash between the operation and its commit: nothing was sent, nothing is to be seen of it.
            let records = from.load(&keys_for_encrypt(&there));
            drop(encrypt(&records, &from.suites, &there, b"never sent", from.now, &mut from.rng));
        }
        1..=3 if way.under_way.len() < 25 && chain - oldest < 4 => {
            let m = from.encrypt(&there, &way.sent.to_be_bytes()).unwrap();
            way.under_way.push((way.sent, chain, m));
            (way.sent, way.chains, way.heard) = (way.sent + 1, chain, heard);
        }
        4 if !way.old.is_empty() => {
            let again = usize::try_from(dice >> 8).unwrap() % way.old.len();
            let error = to.refuses(&here, &way.old[again]);
            assert!(matches!(error, Error::Duplicate | Error::NotAuthentic), "{error:?}");
        }
        _ if !way.under_way.is_empty() => {
            let at = usize::try_from(dice >> 8).unwrap() % way.under_way.len();
            let (out, batch) = to.try_decrypt(&here, &way.under_way[at].2).expect("what was sent opens");
            let number = u32::from_be_bytes(out.plaintext.as_slice().try_into().unwrap());
            assert_eq!(number, way.under_way[at].0);
            if (dice >> 4).is_multiple_of(4) {
                return; // Crash before the commit: it was not shown, not acknowledged, and comes again.
            }
            to.commit(&batch).unwrap();
            *way.arrived.entry(number).or_default() += 1;
            let (_, _, m) = way.under_way.swap_remove(at);
            way.old.push(m);
        }
        _ => {}
    }
}

/// Random schedules of both ends with crashes, reordering and repetition: every message sent arrives once.
pub fn crashes_lose_nothing_and_repeat_nothing(suite: impl Suite + 'static) {
    let (a, b) = talking(suite);
    for seed in 0..20 {
        let (mut a, mut b) = (a.clone(), b.clone());
        (a.rng, b.rng) = (TestRng::new(1000 + seed), TestRng::new(2000 + seed));
        let mut dice = TestRng::new(3000 + seed);
        let (mut there, mut back) = (Way::default(), Way::default());
        for _ in 0..150 {
            step(&mut a, &mut b, &mut there, back.arrived.len(), rand_core::Rng::next_u64(&mut dice));
            step(&mut b, &mut a, &mut back, there.arrived.len(), rand_core::Rng::next_u64(&mut dice));
        }
        // Drain: deliver all that is under way, no crash.
        let (alice, bob) = (a.address.clone(), b.address.clone());
        for (from, to, way) in [(&alice, &mut b, &mut there), (&bob, &mut a, &mut back)] {
            for (number, _, m) in way.under_way.drain(..) {
                to.opens(from, &m, &number.to_be_bytes());
                *way.arrived.entry(number).or_default() += 1;
            }
            let every: BTreeMap<_, _> = (0..way.sent).map(|n| (n, 1)).collect();
            assert_eq!(way.arrived, every, "seed {seed}");
        }
    }
}

/// 64 threads on one address over one store, half of them sending and half receiving. None holds a lock: a commit that
/// comes too late fails, and its work is done again. All messages arrive, each once, and none shares
/// its key: the second of two under one key would be a duplicate.
pub fn sixty_four_at_once(suite: impl Suite + 'static) {
    const HALF: u8 = 32; // Engines keep at least 40 skipped keys.
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    for round in 0..3 {
        let incoming: Vec<_> = (0..HALF).map(|i| b.encrypt(&alice, &[round, i]).unwrap()).collect();
        let (sent, got) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let conflicts = AtomicU32::new(0);
        let start = Barrier::new(2 * usize::from(HALF));
        let work = |i: u8, message: Option<&Encrypted>| {
            let seed = 100 + 64 * u64::from(round) + 2 * u64::from(i) + u64::from(message.is_some());
            // A handle on the same store, as of another task or process.
            let mut task = End { rng: TestRng::new(seed), store: a.store.clone(), ..a.clone() };
            let mut met = false;
            loop {
                let (done, batch) = if let Some(message) = message {
                    match task.try_decrypt(&bob, message) {
                        Ok((out, batch)) => ((None, out.plaintext.to_vec()), batch),
                        Err(error) => panic!("{error:?}"),
                    }
                } else {
                    let records = task.load(&keys_for_encrypt(&bob));
                    let done = encrypt(&records, &task.suites, &bob, &[round, i], task.now, &mut task.rng);
                    let (message, batch) = done.unwrap();
                    ((Some(message), vec![round, i]), batch)
                };
                if !met {
                    // All work on the same records: one of the first commits gets through.
                    start.wait();
                    met = true;
                }
                match task.commit(&batch) {
                    Ok(()) => {
                        match done {
                            (Some(message), text) => sent.lock().unwrap().push((message, text)),
                            (None, text) => got.lock().unwrap().push(text),
                        }
                        break;
                    }
                    Err(error) => assert_eq!(error, StoreError::Conflict),
                }
                conflicts.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            let work = &work;
            for (i, message) in (0..HALF).zip(&incoming) {
                scope.spawn(move || work(i, None));
                scope.spawn(move || work(i, Some(message)));
            }
        });
        for message in &incoming {
            assert!(matches!(a.refuses(&bob, message), Error::Duplicate | Error::NotAuthentic));
        }
        let mut got = got.into_inner().unwrap();
        got.sort();
        assert_eq!(got, (0..HALF).map(|i| vec![round, i]).collect::<Vec<_>>(), "each once");
        let sent = sent.into_inner().unwrap();
        assert_eq!(sent.len(), usize::from(HALF));
        for (message, text) in &sent {
            b.opens(&alice, message, text);
        }
        assert!(conflicts.into_inner() >= 63, "all but one came too late at first");
    }
}

pub fn simultaneous_initiation(suite: impl Suite + 'static) {
    let (mut a, mut b) = two(suite, 5);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let (of_a, of_b) = (a.bundle(), b.bundle());
    a.establish(&bob, &of_b).unwrap();
    b.establish(&alice, &of_a).unwrap();
    let from_a = a.encrypt(&bob, b"from a").unwrap();
    let from_b = b.encrypt(&alice, b"from b").unwrap();
    b.opens(&alice, &from_a, b"from a");
    a.opens(&bob, &from_b, b"from b");
    for i in 0..10 {
        let (from_a, from_b) = (a.encrypt(&bob, &[i]).unwrap(), b.encrypt(&alice, &[i]).unwrap());
        b.opens(&alice, &from_a, &[i]);
        a.opens(&bob, &from_b, &[i]);
    }
}

pub fn identity_change(suite: impl Suite + Clone + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let late = b.encrypt(&alice, b"late").unwrap();
    let old = b.account().identity();
    // Bob starts over with a new identity.
    let mut new_bob = End::new("bob", 77, &b.suites, 5);
    let bundle = a.bundle();
    new_bob.establish(&alice, &bundle).unwrap();
    let hello = new_bob.encrypt(&alice, b"new phone").unwrap();
    let new = new_bob.account().identity();

    let mut blocking = a.clone();
    blocking.policy = IdentityPolicy::Block;
    assert_eq!(blocking.refuses(&bob, &hello), Error::IdentityChanged { identity: new });
    let records = blocking.load(&crate::keys_for_peer(&bob));
    let batch = crate::accept_identity(&records, &bob, new).unwrap();
    blocking.commit(&batch).unwrap();
    assert_eq!(blocking.encrypt(&bob, b"x").unwrap_err(), Error::NoSession);
    assert_eq!(blocking.opens(&bob, &hello, b"new phone").identity, new);

    let out = a.opens(&bob, &hello, b"new phone");
    assert_eq!(out.identity_change, Some(crate::IdentityChange { old, new }));
    assert_eq!(out.identity, new);
    // What is under way from the old identity no longer speaks for Bob, and does not bring that identity back.
    assert!(matches!(a.refuses(&bob, &late), Error::UntrustedIdentity | Error::NotAuthentic | Error::NoSession));
    let m = a.encrypt(&bob, b"to the new one").unwrap();
    new_bob.opens(&alice, &m, b"to the new one");
    assert!(matches!(b.refuses(&alice, &m), Error::NotAuthentic | Error::NoSession | Error::MissingPreKey));
    let m = new_bob.encrypt(&alice, b"no change now").unwrap();
    assert_eq!(a.opens(&bob, &m, b"no change now").identity_change, None);
}

pub fn archived_sessions_read_but_do_not_send(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    let under_way = b.encrypt(&alice, b"under way").unwrap();
    let records = a.load(&crate::keys_for_peer(&bob));
    let batch = crate::archive(&records, &a.suites, &bob).unwrap();
    a.commit(&batch).unwrap();
    assert_eq!(a.encrypt(&bob, b"x").unwrap_err(), Error::NoSession);
    a.opens(&bob, &under_way, b"under way");
}

pub fn no_session(suite: impl Suite + 'static) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob, carol) = (a.address.clone(), b.address.clone(), Address::new("carol", 0).unwrap());
    assert_eq!(a.encrypt(&carol, b"x").unwrap_err(), Error::NoSession);
    let m = a.encrypt(&bob, b"x").unwrap();
    assert_eq!(b.refuses(&carol, &m), Error::NoSession);
    b.opens(&alice, &m, b"x");
}

/// A message `most` ahead opens, one further does not; `most` is the engine's bound.
pub fn skips(suite: impl Suite + 'static, most: usize) {
    let (mut a, mut b) = talking(suite);
    let (alice, bob) = (a.address.clone(), b.address.clone());
    // The first of a new chain, so that the next ones only skip.
    let m = a.encrypt(&bob, b"0").unwrap();
    b.opens(&alice, &m, b"0");
    for _ in 0..most {
        a.encrypt(&bob, b"skipped").unwrap();
    }
    let at_bound = a.encrypt(&bob, b"at the bound").unwrap();
    let beyond = a.encrypt(&bob, b"beyond").unwrap();
    assert!(matches!(b.refuses(&alice, &beyond), Error::LimitExceeded(_) | Error::NotAuthentic));
    b.opens(&alice, &at_bound, b"at the bound");
    b.opens(&alice, &beyond, b"beyond");
}
