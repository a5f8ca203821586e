//! Sender keys against a model.

use super::suites;
use arbitrary::{Arbitrary as _, Unstructured};
use comity_core::ErrorKind;
use comity_signal::suite_tests::{End, flipped, start};
use comity_signal::{
    Address, EncKind, Encrypted, Error, PublicKey, accept_identity, group_decrypt, group_distribution, group_encrypt,
    group_process, group_rotate, keys_for_group, keys_for_peer,
};
use std::collections::BTreeSet;
use std::sync::LazyLock;

const GROUPS: [&str; 2] = ["120363000000000001@g.us", "00112233-4455-6677-8899-aabbccddeeff"];

/// Sender keys of one member that both engines keep.
const KEPT: usize = 5;

const MAX_OPS: usize = 64;

static ENDS: LazyLock<[[End; 2]; 2]> = LazyLock::new(|| {
    suites().map(|suites| {
        let mut ends = [End::new("alice", 1, &suites, 1), End::new("bob", 2, &suites, 1)];
        let [alice, bob] = &mut ends;
        start(alice, bob);
        ends
    })
});

/// What names a sender key of Alice's: the group it was made for, and how often she rotated there.
type Chain = (usize, u32);

struct Message {
    chain: Chain,
    at: u32,
    text: Vec<u8>,
    message: Encrypted,
}

/// A sender key as Bob has it.
#[derive(Clone)]
struct Known {
    chain: Chain,
    from: u32,
    read: BTreeSet<u32>,
}

struct World {
    alice: End,
    bob: End,
    names: [Address; 2],
    version: u8,
    /// Of each group: how often Alice rotated, and how many messages she sent since she has the key she has.
    sender: [(u32, Option<u32>); 2],
    distributions: Vec<(Chain, u32, Vec<u8>)>,
    messages: Vec<Message>,
    /// Of each group: Alice's keys, the newest first, and the identity that brought them.
    reader: [(Vec<Known>, Option<PublicKey>); 2],
    identities: [PublicKey; 2],
    pinned: usize,
}

/// Distributions, messages and rotations in any order, again, late, changed, and in the wrong group: a message opens
/// exactly if the model says so, to what was said, and a failure changes no record.
pub fn ops(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok(choice) = u8::arbitrary(&mut u) else { return };
    let [alice, bob] = ENDS[usize::from(choice & 1)].clone();
    let identities = [alice.account().identity(), bob.account().identity()];
    let version = alice.suites.iter().next().expect("one").version();
    let mut world = World {
        names: [alice.address.clone(), bob.address.clone()],
        version,
        alice,
        bob,
        sender: [(0, None); 2],
        distributions: Vec::new(),
        messages: Vec::new(),
        reader: [(Vec::new(), None), (Vec::new(), None)],
        identities,
        pinned: 0,
    };
    for _ in 0..MAX_OPS {
        let Ok([op, n]) = <[u8; 2]>::arbitrary(&mut u) else { break };
        world.step(op, n);
    }
    // At last everything, and something new.
    world.pin(0);
    for at in 0..world.messages.len() {
        world.deliver(at, world.messages[at].chain.0);
    }
    for group in 0..2 {
        world.distribute(group);
        world.process(world.distributions.len() - 1, group, 0);
        world.send(group, 7, false);
        assert!(world.deliver(world.messages.len() - 1, group));
    }
}

impl World {
    fn step(&mut self, op: u8, n: u8) {
        let (group, n) = (usize::from(op >> 7), usize::from(n));
        let (messages, distributions) = (self.messages.len(), self.distributions.len());
        match op & 15 {
            0 => self.distribute(group),
            1 => {
                let records = self.alice.load(&keys_for_group(GROUPS[group], &self.names[0]));
                let batch = group_rotate(&records, GROUPS[group], &self.names[0]).expect("sound");
                self.alice.commit(&batch).expect("nobody else");
                self.sender[group] = (self.sender[group].0 + 1, None);
            }
            2..=5 => self.send(group, n, op & 64 != 0),
            // As it came, in the other group, or brought by another identity.
            6..=7 if distributions > 0 => {
                let at = n % distributions;
                let of = self.distributions[at].0.0;
                self.process(at, if op & 32 != 0 { group } else { of }, usize::from(op & 80 == 80));
            }
            8..=11 if messages > 0 => drop(self.deliver(n % messages, self.messages[n % messages].chain.0)),
            12 if messages > 0 => drop(self.deliver(n % messages, group)),
            13 if messages > 0 => self.forge(n % messages, op),
            14 => self.pin(n & 1),
            // Nobody brought a key of Bob's.
            15 if messages > 0 => {
                let records = self.bob.load(&keys_for_group(GROUPS[group], &self.names[1]));
                let body = &self.messages[n % messages].message.body;
                let got = group_decrypt(&records, &self.bob.suites, GROUPS[group], &self.names[1], body);
                assert_eq!(got.expect_err("no key"), Error::NoSenderKey);
            }
            _ => {}
        }
    }

    /// Alice's key as it stands, made if there is none.
    fn distribute(&mut self, group: usize) {
        let (name, me) = (GROUPS[group], &self.names[0]);
        let records = self.alice.load(&keys_for_group(name, me));
        let end = &mut self.alice;
        let made = group_distribution(&records, &end.suites, self.version, name, me, &mut end.rng);
        let (out, batch) = made.expect("sound");
        end.commit(&batch).expect("nobody else");
        let (rotated, sent) = &mut self.sender[group];
        let at = *sent.get_or_insert(0);
        self.distributions.push(((group, *rotated), at, out.to_vec()));
    }

    fn send(&mut self, group: usize, n: usize, crash: bool) {
        let (name, me) = (GROUPS[group], &self.names[0]);
        let records = self.alice.load(&keys_for_group(name, me));
        let text = vec![b'.'; n];
        let end = &mut self.alice;
        let sent = group_encrypt(&records, &end.suites, name, me, &text, &mut end.rng);
        let (rotated, Some(count)) = &mut self.sender[group] else {
            return assert_eq!(sent.expect_err("no key"), Error::NoSenderKey);
        };
        let (message, batch) = sent.expect("sound");
        assert_eq!((message.kind, message.version), (EncKind::Skmsg, self.version));
        // After a crash before the commit the next one takes its place; nobody has seen it.
        if !crash {
            end.commit(&batch).expect("nobody else");
            self.messages.push(Message { chain: (group, *rotated), at: *count, text, message });
            *count += 1;
        }
    }

    fn process(&mut self, at: usize, group: usize, identity: usize) {
        let (chain, from, distribution) = &self.distributions[at];
        let (name, alice, identity) = (GROUPS[group], &self.names[0], self.identities[identity]);
        let records = self.bob.load(&keys_for_group(name, alice));
        let batch = match group_process(&records, &self.bob.suites, name, alice, identity, distribution) {
            Ok(batch) => batch,
            // Only version 4 says in it which group it is for.
            Err(e) => {
                return assert!(matches!(e, Error::Malformed(_)) && self.version == 4 && group != chain.0, "{e:?}");
            }
        };
        assert!(self.version != 4 || group == chain.0);
        self.bob.commit(&batch).expect("nobody else");
        let (known, of) = &mut self.reader[group];
        if *of != Some(identity) {
            (*known, *of) = (Vec::new(), Some(identity));
        }
        // One that is there goes on where it was.
        let place = known.iter().position(|key| key.chain == *chain);
        let key = place.map(|place| known.remove(place));
        known.insert(0, key.unwrap_or_else(|| Known { chain: *chain, from: *from, read: BTreeSet::new() }));
        known.truncate(KEPT);
    }

    fn read(&mut self, group: usize, message: &Encrypted) -> Result<Vec<u8>, Error> {
        let before = self.bob.snapshot();
        let records = self.bob.load(&keys_for_group(GROUPS[group], &self.names[0]));
        match group_decrypt(&records, &self.bob.suites, GROUPS[group], &self.names[0], &message.body) {
            Ok((out, batch)) => {
                self.bob.commit(&batch).expect("nobody else");
                assert_eq!((out.identity, &out.sender), (self.identities[self.pinned], &self.names[0]));
                Ok(out.plaintext.to_vec())
            }
            Err(e) => {
                assert_eq!(before, self.bob.snapshot());
                assert!(!matches!(e.kind(), ErrorKind::Bug | ErrorKind::ApiMisuse | ErrorKind::StateCorrupt), "{e:?}");
                Err(e)
            }
        }
    }

    /// Gives whether it opened.
    fn deliver(&mut self, at: usize, group: usize) -> bool {
        let Message { chain, at, text, message } = &self.messages[at];
        let (chain, at, text, message) = (*chain, *at, text.clone(), message.clone());
        let got = self.read(group, &message);
        let identity = self.identities[self.pinned];
        let (known, of) = &mut self.reader[group];
        let key = known.iter_mut().find(|key| key.chain == chain);
        let expected = match (*of, key) {
            (None, _) => Err(Error::NoSenderKey),
            (Some(of), _) if of != identity => Err(Error::UntrustedIdentity),
            (_, None) => Err(Error::NoSenderKey),
            (_, Some(key)) if at < key.from || key.read.contains(&at) => Err(Error::Duplicate),
            (_, Some(key)) => {
                key.read.insert(at);
                Ok(text)
            }
        };
        assert_eq!(got, expected, "{chain:?} {at}");
        got.is_ok()
    }

    fn forge(&mut self, at: usize, op: u8) {
        let Message { chain: (group, _), message, .. } = &self.messages[at];
        let (group, place) = (*group, usize::from(op >> 4) * 37 % message.body.len());
        let changed = flipped(message, place, op >> 4 & 7);
        self.read(group, &changed).expect_err("was never said");
    }

    /// Bob takes Alice for having her identity, or another.
    fn pin(&mut self, which: usize) {
        let alice = &self.names[0];
        let batch = accept_identity(&self.bob.load(&keys_for_peer(alice)), alice, self.identities[which]);
        self.bob.commit(&batch.expect("sound")).expect("nobody else");
        self.pinned = which;
    }
}
