//! Two clients and all that can go wrong between them, as the input says.

use super::suites;
use arbitrary::{Arbitrary as _, Unstructured};
use comity_core::{Batch, StoreError};
use comity_signal::limits::MAX_RETRIES_PER_MESSAGE;
use comity_signal::suite_tests::{End, flipped, signal_position};
use comity_signal::wire::{PreKeyMessage, SignalMessage};
use comity_signal::{
    Account, Address, Bundle, Decrypted, EncKind, Encrypted, Error, IdentityPolicy, PublicKey, accept_identity,
    account_key, archive, encrypt, establish, keys_for_encrypt, keys_for_peer, merge,
};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const MAX_OPS: usize = 64;

/// Messages of one side that may wait for their arrival.
const MAX_UNDER_WAY: usize = 12;

/// Ratchet keys of the peer that both engines keep in a session: a message that comes after so many newer ones is lost,
/// and asked for again.
const RATCHET_KEYS: usize = 5;

/// Rotated keys stay good for first messages under way, and the sessions both engines keep archived are more than twice
/// as many.
const MAX_SETBACKS: usize = 8;

static ENDS: LazyLock<[[End; 2]; 2]> = LazyLock::new(|| {
    suites().map(|suites| {
        let policies = [("alice", IdentityPolicy::AcceptAndTell), ("bob", IdentityPolicy::Block)];
        policies.map(|(name, policy)| {
            let mut end = End::new(name, name.len() as u64, &suites, 2);
            end.policy = policy;
            end
        })
    })
});

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    CrashBeforeCommit,
    CrashAfterCommit,
    /// Another process commits between load and commit.
    Conflict,
}

impl Fault {
    fn of(n: usize) -> Self {
        [Self::CrashBeforeCommit, Self::CrashAfterCommit, Self::Conflict].get(n & 7).copied().unwrap_or(Self::None)
    }
}

/// A body that left, and how many ratchet keys its reader had met before.
#[derive(Clone)]
struct Body {
    message: Encrypted,
    met: usize,
}

struct Message {
    from: usize,
    text: Vec<u8>,
    body: Body,
    arrived: u32,
    retries: u32,
}

struct World {
    ends: [End; 2],
    names: [Address; 2],
    messages: Vec<Message>,
    /// On the way to each side.
    queue: [Vec<(usize, Body)>; 2],
    /// Retry receipts on the way to each side, with a bundle or without.
    asked: [Vec<(usize, Option<Bundle>)>; 2],
    /// What each side has opened, and the ratchet keys in it.
    opened: [Vec<Encrypted>; 2],
    met: [Vec<PublicKey>; 2],
    left: BTreeMap<Vec<u8>, Encrypted>,
    setbacks: usize,
    resets: [u64; 2],
}

/// An arbitrary sequence of sending, delivery, loss, repetition, reordering, crashes before and after a commit,
/// conflicts, archiving, rotation and new identities ends with both sides in agreement and every message that was taken
/// there once. No message key seals two bodies; nothing opens twice; what fails changes no record; and nothing fails but
/// for a new identity or because it came too late.
pub fn ops(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok(choice) = u8::arbitrary(&mut u) else { return };
    let ends = ENDS[usize::from(choice & 1)].clone();
    let mut world = World {
        names: ends.each_ref().map(|end| end.address.clone()),
        ends,
        messages: Vec::new(),
        queue: Default::default(),
        asked: Default::default(),
        opened: Default::default(),
        met: Default::default(),
        left: BTreeMap::new(),
        setbacks: 0,
        resets: [0; 2],
    };
    for _ in 0..MAX_OPS {
        let Ok([op, n]) = <[u8; 2]>::arbitrary(&mut u) else { break };
        world.step(op, usize::from(n));
    }
    world.drain();
    // Each says something, so that a session is there that both take for the current one.
    for side in [0, 1, 0, 1] {
        world.send(side, Fault::None);
        world.drain();
    }
    for (id, message) in world.messages.iter().enumerate() {
        assert_eq!(message.arrived, 1, "message {id} of {}", message.from);
    }
    for side in [0, 1, 0, 1] {
        let message = world.ends[side].encrypt(&world.names[1 - side], b"at last").expect("a session");
        world.leave(&message);
        world.ends[1 - side].opens(&world.names[side], &message, b"at last");
    }
}

impl World {
    fn step(&mut self, op: u8, n: usize) {
        let side = usize::from(op & 1);
        let (fault, n) = (Fault::of(usize::from(op >> 5)), n);
        let full = self.under_way(side) >= MAX_UNDER_WAY;
        let fault = if full && fault == Fault::Conflict { Fault::None } else { fault };
        let waiting = self.queue[side].len();
        match op >> 1 & 15 {
            0..=3 if !full => self.send(side, fault),
            4..=7 if waiting > 0 => self.deliver(side, n % waiting, fault),
            // Lost; it is sent again in the end.
            8 if waiting > 0 => drop(self.queue[side].remove(n % waiting)),
            9 if !self.messages.is_empty() => self.transmit(n % self.messages.len()),
            10 if !self.asked[side].is_empty() => self.answer(side, n % self.asked[side].len(), fault),
            11 if !self.opened[side].is_empty() => {
                let again = self.opened[side][n % self.opened[side].len()].clone();
                self.ends[side].refuses(&self.names[1 - side], &again);
            }
            12 if waiting > 0 => {
                let message = self.queue[side][n % waiting].1.message.clone();
                let inner = inner(&message);
                let end =
                    message.body.windows(inner.len()).position(|part| part == inner).expect("in it") + inner.len();
                self.ends[side].refuses(&self.names[1 - side], &flipped(&message, end - 1 - n % 8, op >> 5));
            }
            13 if self.setbacks < MAX_SETBACKS => {
                self.setbacks += 1;
                let records = self.ends[side].load(&keys_for_peer(&self.names[1 - side]));
                let batch = archive(&records, &self.ends[side].suites, &self.names[1 - side]).expect("sound");
                self.ends[side].commit(&batch).expect("nobody else");
            }
            14 if self.setbacks < MAX_SETBACKS => {
                self.setbacks += 1;
                let end = &mut self.ends[side];
                end.now = end.now.after(Duration::from_hours(24));
                let (_, batch) = Account::rotate(&end.load(&[account_key()]), end.now, &mut end.rng).expect("sound");
                end.commit(&batch).expect("nobody else");
            }
            15 if self.resets[side] == 0 => self.reset(side),
            _ => {}
        }
    }

    fn under_way(&self, side: usize) -> usize {
        self.messages.iter().filter(|message| message.from == side && message.arrived == 0).count()
    }

    /// What the server hands out; now and then no one-time key is left.
    fn fetch(&mut self, of: usize) -> Bundle {
        self.ends[of].upload(1);
        let mut bundle = self.ends[of].bundle();
        bundle.one_time = bundle.one_time.filter(|key| key.id % 3 != 0);
        bundle
    }

    /// Encrypts, over a new session if a bundle is given or there is none.
    fn seal(&mut self, side: usize, text: &[u8], bundle: Option<&Bundle>) -> Result<(Encrypted, Batch), Error> {
        let peer = self.names[1 - side].clone();
        let mut records = self.ends[side].load(&keys_for_encrypt(&peer));
        let end = &mut self.ends[side];
        if bundle.is_none() {
            match encrypt(&records, &end.suites, &peer, text, end.now, &mut end.rng) {
                Err(Error::NoSession) => {}
                done => return done,
            }
        }
        let bundle = bundle.cloned().unwrap_or_else(|| self.fetch(1 - side));
        let end = &mut self.ends[side];
        let (_, built) = establish(&records, &end.suites, end.policy, &peer, &bundle, end.now, &mut end.rng)?;
        records.apply(&built);
        let (out, batch) = encrypt(&records, &end.suites, &peer, text, end.now, &mut end.rng)?;
        Ok((out, merge(built, batch)))
    }

    /// Runs an operation of `side` through what happens to it. `None`: it died before its commit.
    fn run<T>(
        &mut self,
        side: usize,
        fault: Fault,
        mut operation: impl FnMut(&mut Self) -> Result<(T, Batch), Error>,
    ) -> Result<Option<T>, Error> {
        let (mut out, mut batch) = operation(self)?;
        if fault == Fault::CrashBeforeCommit {
            return Ok(None);
        }
        if fault == Fault::Conflict {
            self.send(side, Fault::None);
            assert_eq!(self.ends[side].commit(&batch), Err(StoreError::Conflict));
            (out, batch) = operation(self)?;
        }
        self.ends[side].commit(&batch).expect("nobody else");
        Ok(Some(out))
    }

    /// [`World::seal`], committed.
    fn sealed(&mut self, side: usize, text: &[u8], bundle: Option<&Bundle>, fault: Fault) -> Option<Body> {
        loop {
            match self.run(side, fault, |world| world.seal(side, text, bundle)) {
                Ok(message) => {
                    let message = message?;
                    self.leave(&message);
                    return Some(Body { message, met: self.met[1 - side].len() });
                }
                Err(Error::IdentityChanged { identity }) => self.accept(side, identity),
                Err(e) => panic!("{e:?}"),
            }
        }
    }

    /// Whoever sees it on the way, sees no two bodies under one key.
    fn leave(&mut self, message: &Encrypted) {
        assert!(self.left.insert(signal_position(message), message.clone()).is_none(), "a message key used twice");
    }

    fn accept(&mut self, side: usize, identity: PublicKey) {
        let peer = &self.names[1 - side];
        let batch = accept_identity(&self.ends[side].load(&keys_for_peer(peer)), peer, identity).expect("sound");
        self.ends[side].commit(&batch).expect("nobody else");
    }

    /// A new message of the application, taken once it is committed.
    fn send(&mut self, side: usize, fault: Fault) {
        let text = vec![b'.'; self.left.len() * 7];
        if let Some(body) = self.sealed(side, &text, None, fault) {
            let id = self.messages.len();
            self.messages.push(Message { from: side, text, body, arrived: 0, retries: 0 });
            if fault != Fault::CrashAfterCommit {
                self.transmit(id);
            }
        }
    }

    /// The body as it was last sealed goes out (again).
    fn transmit(&mut self, id: usize) {
        let message = &self.messages[id];
        self.queue[1 - message.from].push((id, message.body.clone()));
    }

    fn deliver(&mut self, side: usize, at: usize, fault: Fault) {
        let (id, body) = self.queue[side].remove(at);
        let peer = self.names[1 - side].clone();
        if self.messages[id].arrived > 0 {
            // Known by its id; nor would it open again.
            if self.opened[side].contains(&body.message) {
                self.ends[side].refuses(&peer, &body.message);
            }
            return;
        }
        let before = self.ends[side].snapshot();
        match self.run(side, fault, |world| world.ends[side].try_decrypt(&peer, &body.message)) {
            Ok(None) => {
                assert_eq!(before, self.ends[side].snapshot(), "a crash before the commit changes nothing");
                self.queue[side].push((id, body));
            }
            Ok(Some(out)) => self.arrive(side, id, body, &out, fault),
            Err(Error::IdentityChanged { identity }) => {
                self.accept(side, identity);
                self.queue[side].insert(at, (id, body));
            }
            Err(e) => {
                assert!(fault == Fault::Conflict || before == self.ends[side].snapshot(), "a failure changes nothing");
                let late = self.met[side].len() >= body.met + RATCHET_KEYS;
                assert!(self.resets != [0; 2] || late, "{e:?} of {id}");
                // A duplicate would be told as arrived.
                assert!(e.retry_code().is_some(), "{e:?} of {id}");
                // Another copy, or one that was sealed anew since, is not asked for.
                let asked = self.asked[1 - side].iter().any(|(of, _)| *of == id);
                if !asked && self.messages[id].body.message == body.message {
                    self.ask(side, id, e.retry_code() == Some(1));
                }
            }
        }
    }

    fn arrive(&mut self, side: usize, id: usize, body: Body, out: &Decrypted, fault: Fault) {
        let message = &mut self.messages[id];
        assert_eq!(out.plaintext.as_slice(), message.text);
        message.arrived += 1;
        let key = SignalMessage::parse(inner(&body.message)).expect("was opened").ratchet_key;
        if !self.met[side].contains(&key) {
            self.met[side].push(key);
        }
        self.opened[side].push(body.message.clone());
        if fault == Fault::CrashAfterCommit {
            // Not acknowledged: it comes again.
            self.queue[side].push((id, body));
        }
    }

    /// Asks for a message again; keys come with it where there is no session, and from the second time on.
    fn ask(&mut self, side: usize, id: usize, no_session: bool) {
        let message = &mut self.messages[id];
        message.retries += 1;
        assert!(message.retries <= MAX_RETRIES_PER_MESSAGE, "message {id}");
        let bundle = (no_session || message.retries > 1).then(|| self.fetch(side));
        self.asked[1 - side].push((id, bundle));
    }

    fn answer(&mut self, side: usize, at: usize, fault: Fault) {
        let (id, bundle) = self.asked[side][at].clone();
        let text = self.messages[id].text.clone();
        if let Some(body) = self.sealed(side, &text, bundle.as_ref(), fault) {
            self.asked[side].remove(at);
            self.messages[id].body = body;
            self.transmit(id);
        }
    }

    /// The user begins again with a new identity; what was not seen to arrive is sealed anew.
    fn reset(&mut self, side: usize) {
        self.resets[side] += 1;
        let old = &self.ends[side];
        let mut end = End::new(old.address.name(), 100 + side as u64, &old.suites, 2);
        (end.policy, end.now) = (old.policy, old.now);
        self.ends[side] = end;
        for id in 0..self.messages.len() {
            if self.messages[id].from == side && self.messages[id].arrived == 0 {
                let text = self.messages[id].text.clone();
                self.messages[id].body = self.sealed(side, &text, None, Fault::None).expect("no crash");
                self.transmit(id);
            }
        }
    }

    /// Delivers all that is under way, without faults.
    fn drain(&mut self) {
        for _ in 0..50 * MAX_OPS {
            if let Some(side) = self.queue.iter().position(|queue| !queue.is_empty()) {
                self.deliver(side, 0, Fault::None);
            } else if let Some(side) = self.asked.iter().position(|asked| !asked.is_empty()) {
                self.answer(side, 0, Fault::None);
            } else {
                let lost: Vec<_> = (0..self.messages.len()).filter(|id| self.messages[*id].arrived == 0).collect();
                if lost.is_empty() {
                    return;
                }
                lost.into_iter().for_each(|id| self.transmit(id));
            }
        }
        panic!("it does not come to rest");
    }
}

/// The message that the MAC covers.
fn inner(message: &Encrypted) -> &[u8] {
    match message.kind {
        EncKind::Pkmsg => PreKeyMessage::parse(&message.body).expect("ours").inner,
        _ => &message.body,
    }
}
