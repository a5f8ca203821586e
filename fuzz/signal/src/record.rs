//! Stored records: any bytes, and sound ones changed.

use super::alloc::cost;
use super::damage::damage;
use super::message::{FIXTURES, Fixture, Letter};
use arbitrary::{Arbitrary as _, Unstructured};
use comity_core::{Batch, ErrorKind, RecordKey, RecordKind};
use comity_signal::suite_tests::End;
use comity_signal::{
    Account, Address, Bundle, Error, account_key, archive, establish, group_decrypt, group_distribution, group_encrypt,
    group_process, has_session, keys_for_decrypt, keys_for_encrypt, keys_for_group, keys_for_peer, pq_pre_key_key,
    sender_key_key, session_key,
};
use std::sync::LazyLock;

const GROUP: &str = "120363000000000001@g.us";

const SUM: usize = 4;

/// Bob with sender keys, his and Alice's; what Alice said in the group; and bundles, his own and hers.
struct Stored {
    fixture: &'static Fixture,
    bob: End,
    alice: Address,
    distribution: Vec<u8>,
    in_group: Vec<Vec<u8>>,
    bundle: Bundle,
}

static STORED: LazyLock<[Stored; 2]> = LazyLock::new(|| FIXTURES.each_ref().map(Stored::new));

fn distribute(end: &mut End) -> Vec<u8> {
    let (me, version) = (end.address.clone(), end.suites.iter().next().expect("one").version());
    let records = end.load(&keys_for_group(GROUP, &me));
    let (out, batch) = group_distribution(&records, &end.suites, version, GROUP, &me, &mut end.rng).expect("sound");
    end.commit(&batch).expect("nobody else");
    out.to_vec()
}

impl Stored {
    fn new(fixture: &'static Fixture) -> Self {
        let mut bob = fixture.bob.clone();
        let Letter { from: alice, identity, .. } = &fixture.letters[0];
        let mut her = End::new("alice", 4, &bob.suites, 0);
        let distribution = distribute(&mut her);
        let records = bob.load(&keys_for_group(GROUP, alice));
        let batch = group_process(&records, &bob.suites, GROUP, alice, *identity, &distribution).expect("sound");
        bob.commit(&batch).expect("nobody else");
        distribute(&mut bob);
        let mut say = || {
            let records = her.load(&keys_for_group(GROUP, alice));
            let sent = group_encrypt(&records, &her.suites, GROUP, alice, b"in the group", &mut her.rng);
            let (out, batch) = sent.expect("sound");
            her.commit(&batch).expect("nobody else");
            out.body.to_vec()
        };
        let (skipped, read, next) = (say(), say(), say());
        let (_, batch) =
            group_decrypt(&bob.load(&keys_for_group(GROUP, alice)), &bob.suites, GROUP, alice, &read).expect("sound");
        bob.commit(&batch).expect("nobody else");
        let bundle = End::new("erin", 5, &bob.suites, 1).bundle();
        Self { fixture, bob, alice: alice.clone(), distribution, in_group: vec![skipped, next], bundle }
    }

    /// Runs every operation that reads `damaged`.
    fn read(&self, bob: &mut End, damaged: &RecordKey, mut result: impl FnMut(Result<Batch, Error>)) {
        let (alice, me) = (&self.alice, &bob.address.clone());
        let suites = &bob.suites.clone();
        let (now, policy) = (bob.now, bob.policy);
        let mut with =
            |keys: &[RecordKey], run: &mut dyn FnMut(&mut End, &comity_signal::Records) -> Result<Batch, Error>| {
                if keys.contains(damaged) {
                    let records = bob.load(keys);
                    result(run(bob, &records));
                }
            };
        with(&[account_key()], &mut |bob, records| Ok(Account::new_pre_keys(records, 1, &mut bob.rng)?.1));
        with(&[account_key()], &mut |bob, records| Ok(Account::rotate(records, now, &mut bob.rng)?.1));
        with(&[pq_pre_key_key(1)], &mut |_, records| Account::pq_pre_key(records, 1).map(|_| Batch::new()));
        with(&[session_key(alice)], &mut |_, records| archive(records, suites, alice));
        with(&keys_for_encrypt(alice), &mut |bob, records| {
            Ok(comity_signal::encrypt(records, suites, alice, b"x", now, &mut bob.rng)?.1)
        });
        with(&keys_for_encrypt(alice), &mut |bob, records| {
            Ok(establish(records, suites, policy, alice, &self.bundle, now, &mut bob.rng)?.1)
        });
        for Letter { from, text, message, .. } in &self.fixture.letters {
            let keys = keys_for_decrypt(suites, from, message.kind, &message.body).expect("genuine");
            with(&keys, &mut |bob, _| {
                let (out, batch) = bob.try_decrypt(from, message)?;
                // A forged state has its own keys.
                assert!(damaged.kind == RecordKind::Session || out.plaintext.as_slice() == *text);
                Ok(batch)
            });
        }
        with(&[sender_key_key(GROUP, me)], &mut |bob, records| {
            group_distribution(records, suites, 3, GROUP, me, &mut bob.rng)?;
            Ok(group_encrypt(records, suites, GROUP, me, b"x", &mut bob.rng)?.1)
        });
        with(&[sender_key_key(GROUP, alice)], &mut |_, records| {
            let identity = self.fixture.letters[0].identity;
            group_process(records, suites, GROUP, alice, identity, &self.distribution)
        });
        for body in &self.in_group {
            with(&keys_for_group(GROUP, alice), &mut |_, records| {
                Ok(group_decrypt(records, suites, GROUP, alice, body)?.1)
            });
        }
    }
}

/// The checksum at a record's end (CRC-32), as its reader has it.
fn checksum(bytes: &[u8]) -> [u8; SUM] {
    let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let all = bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)));
    (!all).to_be_bytes()
}

/// A record as it was is read; one that does not fit its checksum is corrupt to whatever reads it. One that fits, as
/// nobody but a forger writes it, is an error or not noticed: the engines may give up on it and even panic, which ends
/// at the adapter, but memory is bounded, and what is written in its place is sound.
pub fn decode(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok([choice, which]) = <[u8; 2]>::arbitrary(&mut u) else { return };
    let stored = &STORED[usize::from(choice & 1)];
    let mut bob = stored.bob.clone();
    let records = bob.snapshot();
    let (key, sound) = &records[usize::from(which) % records.len()];
    let mut value = sound[..sound.len() - SUM].to_vec();
    if choice & 2 != 0 {
        value = u.take_rest().to_vec();
    } else {
        damage(&mut u, &mut value);
    }
    let sum = if choice & 4 != 0 { checksum(&sound[..sound.len() - SUM]) } else { checksum(&value) };
    value.extend(sum);
    let same = value == *sound;
    let fits = sum == checksum(&value[..value.len() - SUM]);
    let state = matches!(key.kind, RecordKind::Session | RecordKind::SenderKey);
    let len = value.len();
    bob.store.overwrite(key.clone(), value);
    let before = bob.snapshot();
    let mut batches = Vec::new();
    // A fuzzer ends the process in its hook, before a panic could be caught.
    let hook = state.then(std::panic::take_hook);
    if state {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let (_, _, peak) = cost(|| {
        stored.read(&mut bob, key, |result| batches.push(result));
    });
    hook.into_iter().for_each(std::panic::set_hook);
    assert!(peak <= 64 * len + (4 << 20), "{peak} bytes for {len}");
    assert_eq!(before, bob.snapshot(), "nothing is written before the commit");
    for result in &batches {
        match result {
            Ok(_) => assert!(fits),
            Err(e) => {
                assert!(!same, "{:?}: {e}", key.kind);
                assert!(fits || e.kind() == ErrorKind::StateCorrupt, "{:?}: {e:?}", key.kind);
                assert!(state || e.kind() != ErrorKind::Bug, "{:?}: {e:?}", key.kind);
                assert!(e.kind() != ErrorKind::ApiMisuse, "{:?}: {e:?}", key.kind);
            }
        }
    }
    for batch in batches.into_iter().flatten() {
        let mut after = bob.clone();
        after.commit(&batch).expect("nobody else");
        let changed = |kind| batch.changes.iter().any(|change| change.key.kind == kind);
        if changed(RecordKind::Account) {
            Account::load(&after.load(&[account_key()])).expect("written by us");
        }
        if changed(RecordKind::Session) {
            has_session(&after.load(&keys_for_peer(&stored.alice)), &stored.alice).expect("written by us");
        }
    }
}
