//! Random histories of two clients, a server between them, and everything that can go wrong, ending in: both sides
//! agree, every message that was taken arrived once, no message key sealed two bodies.

use super::{End, TestRng};
use crate::limits::MAX_RETRIES_PER_MESSAGE;
use crate::wire::{PreKeyMessage, SignalMessage};
use crate::{
    Account, Bundle, Decrypted, EncKind, Encrypted, Error, IdentityPolicy, Suites, accept_identity, account_key,
    archive, decrypt, encrypt, establish, keys_for_decrypt, keys_for_encrypt, keys_for_peer, merge,
};
use comity_core::{Batch, RecordKey, RecordKind, Store, StoreError};
use core::time::Duration;
use std::collections::BTreeMap;

/// What names the message key of a body: no two bodies that leave may share it.
pub type Position = fn(&Encrypted) -> Vec<u8>;

/// [`Position`] of messages in Signal's form: ratchet key and counter.
pub fn signal_position(message: &Encrypted) -> Vec<u8> {
    let outer = PreKeyMessage::parse(&message.body).ok().filter(|_| message.kind == EncKind::Pkmsg);
    let inner = SignalMessage::parse(outer.as_ref().map_or(&message.body, |m| m.inner)).unwrap();
    [&inner.ratchet_key.as_bytes()[..], &inner.counter.to_be_bytes()].concat()
}

/// Messages of one side that may wait for their arrival: with what is sent again, below the 40 skipped keys that every
/// known engine keeps.
const MAX_UNDER_WAY: usize = 12;

/// Steps of one history, before all that is under way is delivered.
const STEPS: usize = 160;

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The machine dies between the operation and its commit.
    CrashBeforeCommit,
    /// It dies after the commit, before anybody hears of it.
    CrashAfterCommit,
    /// Another process commits between load and commit.
    Conflict,
}

/// A retry receipt on its way to the sender of message `id`.
#[derive(Clone, Debug)]
struct Retry {
    id: u32,
    bundle: Option<Bundle>,
}

/// One user: what is durable stands in the end's store, the rest is what the test knows of it.
struct Client {
    end: End,
    /// Retry receipts sent, by message; gone with a crash.
    asked: BTreeMap<u32, u32>,
    /// Bodies opened and committed under this identity.
    opened: Vec<Encrypted>,
    resets: u32,
}

/// Both users and the server.
struct World {
    clients: [Client; 2],
    /// What the server keeps for each until it hears that it arrived.
    mailbox: [Vec<(u32, Encrypted)>; 2],
    retries: [Vec<Retry>; 2],
    /// Every message taken from an application: who sent it, what it says, how often it was given out.
    taken: Vec<(usize, Vec<u8>, u32)>,
    left: BTreeMap<Vec<u8>, Encrypted>,
    position: Position,
    dice: TestRng,
    seed: u64,
    trace: Vec<String>,
    met: Met,
}

/// How often each thing happened.
type Met = BTreeMap<&'static str, u32>;

/// What a run has to have met, or it shows nothing.
const MUST_MEET: [&str; 15] = [
    "crash before commit",
    "crash after commit",
    "conflict",
    "lost on the way",
    "ack lost",
    "repetition",
    "out of order",
    "both began at once",
    "identity accepted",
    "identity changed",
    "retry without keys",
    "retry with keys",
    "replay refused",
    "archived",
    "rotated",
];

/// Shows how to get there again.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.trace.len().saturating_sub(40);
            let trace = self.trace.get(last..).unwrap_or_default().join("\n  ");
            #[expect(clippy::print_stderr, reason = "shown for a failed test")]
            {
                eprintln!("history of seed {}, its last steps:\n  {trace}", self.seed);
            }
        }
    }
}

fn app_key(kind: RecordKind, id: u32) -> RecordKey {
    RecordKey::new(kind, format_args!("{id:08}"))
}

fn other(side: usize) -> usize {
    1 - side
}

impl World {
    fn new(suites: &Suites, position: Position, seed: u64) -> Self {
        let client = |name, seed, policy| {
            let mut end = End::new(name, seed, suites, 4);
            end.policy = policy;
            Client { end, asked: BTreeMap::new(), opened: Vec::new(), resets: 0 }
        };
        Self {
            clients: [
                client("alice", 2 * seed + 1, IdentityPolicy::AcceptAndTell),
                client("bob", 2 * seed + 2, IdentityPolicy::Block),
            ],
            mailbox: Default::default(),
            retries: Default::default(),
            taken: Vec::new(),
            left: BTreeMap::new(),
            position,
            dice: TestRng::new(seed),
            seed,
            trace: Vec::new(),
            met: Met::new(),
        }
    }

    fn roll(&mut self, sides: usize) -> usize {
        let n = rand_core::Rng::next_u64(&mut self.dice) % u64::try_from(sides).unwrap();
        usize::try_from(n).unwrap()
    }

    fn meet(&mut self, what: &'static str) {
        debug_assert!(MUST_MEET.contains(&what));
        *self.met.entry(what).or_default() += 1;
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    fn value(&self, side: usize, kind: RecordKind, id: u32) -> Option<Vec<u8>> {
        let record = self.clients[side].end.store.load(&[app_key(kind, id)]).unwrap().remove(0);
        record.value.map(|value| value.expose().clone())
    }

    fn ids(&self, side: usize, kind: RecordKind) -> Vec<u32> {
        let found = self.clients[side].end.store.scan(kind, "", "", usize::MAX).unwrap();
        found.iter().map(|record| record.key.id.parse().unwrap()).collect()
    }

    fn under_way(&self, side: usize) -> usize {
        self.taken.iter().filter(|(from, _, arrived)| *from == side && *arrived == 0).count()
    }

    /// What the server hands out of the other side's keys; now and then no one-time key is left.
    fn fetch(&mut self, of: usize, always_one_time: bool) -> Bundle {
        let end = &mut self.clients[of].end;
        end.upload(1);
        let mut bundle = end.bundle();
        if !always_one_time && self.roll(4) == 0 {
            bundle.one_time = None;
        }
        bundle
    }

    /// Encrypts message `id`, over a new session if `bundle` is given or there is none; one batch with the outbox.
    fn seal(&mut self, side: usize, id: u32, bundle: Option<&Bundle>) -> Result<Batch, Error> {
        let peer = self.clients[other(side)].end.address.clone();
        let plaintext = self.taken[usize::try_from(id).unwrap()].1.clone();
        let keys = keys_for_encrypt(&peer);
        let end = &mut self.clients[side].end;
        let mut records = end.load(&keys);
        let first = if bundle.is_none() {
            encrypt(&records, &end.suites, &peer, &plaintext, end.now, &mut end.rng)
        } else {
            Err(Error::NoSession)
        };
        let (sealed, mut batch) = match first {
            Err(Error::NoSession) => {
                let fetched = bundle.cloned().unwrap_or_else(|| self.fetch(other(side), false));
                let build = |end: &mut End, bundle| {
                    establish(&records, &end.suites, end.policy, &peer, bundle, end.now, &mut end.rng)
                };
                let mut built = build(&mut self.clients[side].end, &fetched);
                if let Err(Error::Misuse(_)) = built {
                    // A suite without signed pre-keys: the server has to have a one-time key.
                    let fetched = self.fetch(other(side), true);
                    built = build(&mut self.clients[side].end, &fetched);
                }
                let (_, built) = built?;
                records.apply(&built);
                let end = &mut self.clients[side].end;
                let (sealed, batch) = encrypt(&records, &end.suites, &peer, &plaintext, end.now, &mut end.rng)?;
                (sealed, merge(built, batch))
            }
            first => first?,
        };
        let kind = u8::from(sealed.kind == EncKind::Pkmsg);
        batch.put_owned(app_key(RecordKind::Outbox, id), [&[kind, sealed.version], &sealed.body[..]].concat());
        batch.put_owned(app_key(RecordKind::Sent, id), plaintext);
        Ok(batch)
    }

    /// Runs an operation on the session of `side` through what happens to it. `None`: it died before its commit.
    fn run<T>(
        &mut self,
        side: usize,
        fault: Fault,
        mut operation: impl FnMut(&mut Self) -> Result<(T, Batch), Error>,
    ) -> Result<Option<T>, Error> {
        let (out, batch) = operation(self)?;
        match fault {
            Fault::CrashBeforeCommit => {
                self.meet("crash before commit");
                self.clients[side].asked.clear();
                return Ok(None);
            }
            Fault::Conflict => {
                self.note(format!("  another process of {side} sends in between"));
                self.send(side, Fault::None);
                assert_eq!(self.clients[side].end.commit(&batch), Err(StoreError::Conflict));
                let (out, batch) = operation(self)?;
                self.clients[side].end.commit(&batch).unwrap();
                self.meet("conflict");
                return Ok(Some(out));
            }
            Fault::CrashAfterCommit => self.meet("crash after commit"),
            Fault::None => {}
        }
        self.clients[side].end.commit(&batch).unwrap();
        if fault == Fault::CrashAfterCommit {
            self.clients[side].asked.clear();
        }
        Ok(Some(out))
    }

    /// The application accepts a changed identity that blocks.
    fn accept(&mut self, side: usize, identity: crate::PublicKey) {
        self.meet("identity accepted");
        self.note(format!("  {side} accepts an identity"));
        let peer = self.clients[other(side)].end.address.clone();
        let end = &mut self.clients[side].end;
        let batch = accept_identity(&end.load(&keys_for_peer(&peer)), &peer, identity).unwrap();
        end.commit(&batch).unwrap();
    }

    /// [`World::seal`] as an operation; gives whether it was committed.
    fn sealed(&mut self, side: usize, id: u32, bundle: Option<&Bundle>, fault: Fault) -> bool {
        loop {
            match self.run(side, fault, |world| Ok(((), world.seal(side, id, bundle)?))) {
                Ok(done) => return done.is_some(),
                Err(Error::IdentityChanged { identity }) => self.accept(side, identity),
                Err(error) => panic!("seal: {error:?}"),
            }
        }
    }

    /// A new message of the application. It is taken once it is in the outbox.
    fn send(&mut self, side: usize, fault: Fault) {
        let id = u32::try_from(self.taken.len()).unwrap();
        let text = [&id.to_be_bytes()[..], &vec![b'.'; usize::try_from(id).unwrap() % 50]].concat();
        self.taken.push((side, text, 0));
        self.note(format!("{side} sends {id}, {fault:?}"));
        if !self.sealed(side, id, None, fault) {
            // Never taken. Only a conflict's sender can have come in between, and it does not come with a crash.
            self.taken.pop();
        }
    }

    /// The outbox goes out; the server's ack may be lost, or all of it on the way there.
    fn transmit(&mut self, side: usize, id: u32, reaches: bool, acked: bool) {
        let Some(stored) = self.value(side, RecordKind::Outbox, id) else { return };
        self.note(format!("{side} transmits {id}, reaches {reaches}, acked {acked}"));
        let kind = if stored[0] == 1 { EncKind::Pkmsg } else { EncKind::Msg };
        let message = Encrypted { kind, version: stored[1], body: stored[2..].to_vec().into() };
        // It may have been seen on the way even if it does not arrive.
        let before = self.left.insert((self.position)(&message), message.clone());
        assert!(before.is_none_or(|before| before == message), "one message key sealed two bodies");
        if !reaches {
            self.meet("lost on the way");
        } else if !acked {
            self.meet("ack lost");
        }
        if reaches {
            self.mailbox[other(side)].push((id, message));
        }
        if reaches && acked {
            let mut batch = Batch::new();
            batch.delete_owned(app_key(RecordKind::Outbox, id));
            self.clients[side].end.commit(&batch).unwrap();
        }
    }

    fn open(&mut self, side: usize, id: u32, message: &Encrypted) -> Result<(Decrypted, Batch), Error> {
        let peer = self.clients[other(side)].end.address.clone();
        let end = &mut self.clients[side].end;
        let records = end.load(&keys_for_decrypt(&end.suites, &peer, message.kind, &message.body)?);
        let rng = &mut end.rng;
        let opened = decrypt(&records, &end.suites, end.policy, &peer, message.kind, &message.body, end.now, rng);
        let (out, mut batch) = opened?;
        batch.put_owned(app_key(RecordKind::Seen, id), out.plaintext.to_vec());
        Ok((out, batch))
    }

    /// The server delivers one of what it keeps.
    fn deliver(&mut self, side: usize, at: usize, fault: Fault) {
        let (id, message) = self.mailbox[side][at].clone();
        self.note(format!("{side} gets {id}, {:?}, {fault:?}", message.kind));
        if self.value(side, RecordKind::Seen, id).is_some() {
            self.meet("repetition");
            // A repetition, acknowledged unless that is lost again.
            if fault == Fault::None {
                self.mailbox[side].remove(at);
            }
            return;
        }
        let before = self.clients[side].end.snapshot();
        let result = self.run(side, fault, |world| world.open(side, id, &message));
        match result {
            Ok(None) => {
                assert_eq!(before, self.clients[side].end.snapshot(), "a crash before the commit changes nothing")
            }
            Ok(Some(out)) => {
                let (from, text, arrived) = &mut self.taken[usize::try_from(id).unwrap()];
                assert_eq!((*from, &text[..]), (other(side), &out.plaintext[..]));
                *arrived += 1;
                if out.identity_change.is_some() {
                    self.meet("identity changed");
                }
                let later = self.taken.iter().skip(usize::try_from(id).unwrap() + 1);
                if later.clone().any(|(from, _, arrived)| *from != side && *arrived > 0) {
                    self.meet("out of order");
                }
                if message.kind == EncKind::Pkmsg
                    && self.mailbox[other(side)].iter().any(|(_, m)| m.kind == EncKind::Pkmsg)
                {
                    self.meet("both began at once");
                }
                self.clients[side].asked.remove(&id);
                if fault != Fault::CrashAfterCommit {
                    self.mailbox[side].remove(at);
                }
                self.clients[side].opened.push(message);
            }
            Err(Error::IdentityChanged { identity }) => self.accept(side, identity),
            Err(error) => {
                self.note(format!("  {error:?}"));
                if fault != Fault::Conflict {
                    assert_eq!(before, self.clients[side].end.snapshot(), "a failure changes nothing");
                }
                // A duplicate would be told as arrived: it must never be of a message that was not seen.
                assert!(error.retry_code().is_some(), "{error:?}");
                self.ask_again(side, id, &error);
                self.mailbox[side].remove(at);
            }
        }
    }

    /// Answers with a retry receipt; keys come with it where there is no session, and from the second time on.
    fn ask_again(&mut self, side: usize, id: u32, error: &Error) {
        let resets = self.clients[0].resets + self.clients[1].resets;
        let client = &mut self.clients[side];
        let count = client.asked.entry(id).or_default();
        *count += 1;
        let keys = *count >= 2 || error.retry_code() == Some(1);
        // Only a new identity makes anything unreadable, and then it is asked for as often as the bound allows at most.
        assert!(resets > 0 && *count < MAX_RETRIES_PER_MESSAGE, "{count} retries of {id}: {error:?}");
        let bundle = keys.then(|| {
            client.end.upload(1);
            client.end.bundle()
        });
        self.meet(if keys { "retry with keys" } else { "retry without keys" });
        self.retries[other(side)].push(Retry { id, bundle });
    }

    fn answer_retry(&mut self, side: usize, at: usize, fault: Fault) {
        let retry = self.retries[side][at].clone();
        self.note(format!("{side} is asked for {} again, keys {}, {fault:?}", retry.id, retry.bundle.is_some()));
        if self.sealed(side, retry.id, retry.bundle.as_ref(), fault) && fault != Fault::CrashAfterCommit {
            self.retries[side].remove(at);
        }
    }

    /// A body that was opened comes again from nowhere, with its id forgotten.
    fn replay(&mut self, side: usize) {
        let peer = self.clients[other(side)].end.address.clone();
        let n = self.clients[side].opened.len();
        if n > 0 {
            let at = self.roll(n);
            let client = &mut self.clients[side];
            client.end.refuses(&peer, &client.opened[at]);
            self.meet("replay refused");
        }
    }

    /// The user begins again with a new identity; history and what waits to be sent come from a backup.
    fn reset(&mut self, side: usize) {
        self.note(format!("{side} begins again"));
        let old = &self.clients[side];
        let seed = 1_000_000 + 10 * self.seed + u64::from(2 * old.resets) + u64::try_from(side).unwrap();
        let mut end = End::new(old.end.address.name(), seed, &old.end.suites, 4);
        (end.policy, end.now) = (old.end.policy, old.end.now);
        for kind in [RecordKind::Sent, RecordKind::Seen] {
            for record in old.end.store.scan(kind, "", "", usize::MAX).unwrap() {
                end.store.overwrite(record.key, record.value.unwrap().expose().clone());
            }
        }
        let waiting = self.ids(side, RecordKind::Outbox);
        let resets = self.clients[side].resets + 1;
        self.clients[side] = Client { end, asked: BTreeMap::new(), opened: Vec::new(), resets };
        for id in waiting {
            self.sealed(side, id, None, Fault::None);
        }
    }

    /// Sends no more over the session with the peer, as after a notification of its identity.
    fn archive(&mut self, side: usize) {
        self.meet("archived");
        self.note(format!("{side} archives"));
        let peer = self.clients[other(side)].end.address.clone();
        let end = &mut self.clients[side].end;
        let batch = archive(&end.load(&keys_for_peer(&peer)), &end.suites, &peer).unwrap();
        end.commit(&batch).unwrap();
    }

    fn rotate(&mut self, side: usize) {
        self.meet("rotated");
        self.note(format!("{side} rotates"));
        let end = &mut self.clients[side].end;
        end.now = end.now.after(Duration::from_hours(24));
        let (_, batch) = Account::rotate(&end.load(&[account_key()]), end.now, &mut end.rng).unwrap();
        end.commit(&batch).unwrap();
    }

    fn fault(&mut self) -> Fault {
        match self.roll(10) {
            0 => Fault::CrashBeforeCommit,
            1 => Fault::CrashAfterCommit,
            2 => Fault::Conflict,
            _ => Fault::None,
        }
    }

    fn step(&mut self, resets: bool) {
        let side = self.roll(2);
        let fault = self.fault();
        let waiting = self.ids(side, RecordKind::Outbox);
        match self.roll(24) {
            0..=5 if self.under_way(side) < MAX_UNDER_WAY => self.send(side, fault),
            0..=10 if !waiting.is_empty() => {
                let id = waiting[self.roll(waiting.len())];
                let (reaches, acked) = (self.roll(5) > 0, self.roll(5) > 0);
                self.transmit(side, id, reaches, acked);
            }
            0..=17 if !self.mailbox[side].is_empty() => {
                let at = self.roll(self.mailbox[side].len());
                // Conflicts send, too: no more of them than may be under way.
                let full = self.under_way(side) >= MAX_UNDER_WAY;
                self.deliver(side, at, if full && fault == Fault::Conflict { Fault::None } else { fault });
            }
            18..=20 if !self.retries[side].is_empty() => {
                let at = self.roll(self.retries[side].len());
                let full = self.under_way(side) >= MAX_UNDER_WAY;
                self.answer_retry(side, at, if full && fault == Fault::Conflict { Fault::None } else { fault });
            }
            21 => self.replay(side),
            22 if self.roll(4) == 0 => self.archive(side),
            22 if self.roll(4) == 0 => self.rotate(side),
            23 if resets && self.clients[side].resets == 0 && self.roll(5) == 0 => self.reset(side),
            _ => {}
        }
    }

    /// Delivers all that is under way, without faults.
    fn drain(&mut self) {
        for _ in 0..100 {
            for side in [0, 1] {
                for id in self.ids(side, RecordKind::Outbox) {
                    self.transmit(side, id, true, true);
                }
                while !self.mailbox[side].is_empty() {
                    self.deliver(side, 0, Fault::None);
                }
                while !self.retries[side].is_empty() {
                    self.answer_retry(side, 0, Fault::None);
                }
            }
            let quiet = |side: usize| {
                self.mailbox[side].is_empty()
                    && self.retries[side].is_empty()
                    && self.ids(side, RecordKind::Outbox).is_empty()
            };
            if quiet(0) && quiet(1) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn check(&self) {
        for (id, (from, _, arrived)) in self.taken.iter().enumerate() {
            assert_eq!(*arrived, 1, "message {id} of {from}");
        }
        for (side, client) in self.clients.iter().enumerate() {
            let of_peer = self.taken.iter().filter(|(from, ..)| *from != side).count();
            assert_eq!(client.end.count(RecordKind::Seen), of_peer);
        }
    }

    /// What either says now opens at once at the other.
    fn agree(&mut self) {
        for round in 0..4 {
            for side in [0, 1] {
                let [a, b] = &mut self.clients;
                let (from, to) = if side == 0 { (a, b) } else { (b, a) };
                let message = from.end.encrypt(&to.end.address, &[round]).unwrap();
                assert!(self.left.insert((self.position)(&message), message.clone()).is_none());
                to.end.opens(&from.end.address, &message, &[round]);
            }
        }
    }
}

/// One history; `resets` lets each side change its identity once. How often each thing happened in it.
pub fn history(suites: &Suites, position: Position, seed: u64, resets: bool) -> BTreeMap<&'static str, u32> {
    let mut world = World::new(suites, position, seed);
    for _ in 0..STEPS {
        world.step(resets);
    }
    world.drain();
    world.check();
    // Each side says something, so that a session is there that both take for the current one.
    for _ in 0..2 {
        for side in [0, 1] {
            world.send(side, Fault::None);
            world.drain();
        }
    }
    world.check();
    world.agree();
    core::mem::take(&mut world.met)
}

/// Random histories: send, deliver, drop, repeat, reorder, crash before and after each commit, conflicts of two
/// processes, both sides beginning at once, retries, rebuilt sessions, rotated keys; in half of them, new identities.
pub fn histories(suites: &Suites, position: Position) {
    let mut met = Met::new();
    for seed in 0..HISTORIES {
        for (what, n) in history(suites, position, seed, seed % 2 == 1) {
            *met.entry(what).or_default() += n;
        }
    }
    for what in MUST_MEET {
        assert!(met.get(what).is_some_and(|n| *n >= 3), "{what}: {met:?}");
    }
}

/// Histories of one test run.
pub const HISTORIES: u64 = 150;
