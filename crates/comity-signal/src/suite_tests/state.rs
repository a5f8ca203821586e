//! Stored state of today, kept as data: what reads it, so that every later version does, and what makes it.

use super::groups::{distribution, group_read, group_send};
use super::{End, TestRng, start};
use crate::store_tests::MemoryStore;
use crate::{
    Account, Address, EncKind, Encrypted, Error, IdentityPolicy, Suite, Suites, account_key, group_process,
    keys_for_group, keys_for_peer,
};
use comity_core::{ErrorKind, RecordKey, RecordKind, Timestamp};
use core::fmt::Write;

const GROUP: &str = super::groups::GROUP;
const KINDS: [RecordKind; 7] = [
    RecordKind::Account,
    RecordKind::Session,
    RecordKind::PeerIdentity,
    RecordKind::PreKey,
    RecordKind::SignedPreKey,
    RecordKind::PqPreKey,
    RecordKind::SenderKey,
];

/// Records of two ends, and messages on their way between them.
#[derive(Debug)]
struct Fixture {
    alice: End,
    bob: End,
    /// From, to, plaintext, message; a `skmsg` is of [`GROUP`].
    messages: Vec<(String, String, Vec<u8>, Encrypted)>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |out, b| out + &format!("{b:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Makes a fixture: Alice and Bob have talked, have skipped messages and a group; and messages that Bob has not read.
/// One record or message per line; see [`stored_state_is_read`].
pub fn make_stored_state(suite: impl Suite + 'static, seed: u64) -> String {
    let suites = Suites::new().with(suite);
    let mut alice = End::new("alice", seed, &suites, 2);
    let mut bob = End::new("bob", seed + 1, &suites, 3);
    let mut carol = End::new("carol", seed + 2, &suites, 0);
    let (a, b, c) = (alice.address.clone(), bob.address.clone(), carol.address.clone());
    // A session begun without a one-time key, so that the signed pre-key remembers it; and an archived one beside it.
    let bundle = crate::Bundle { one_time: None, ..bob.bundle() };
    alice.establish(&b, &bundle).unwrap();
    let first = alice.encrypt(&b, b"first").unwrap();
    bob.opens(&a, &first, b"first");
    start(&mut alice, &mut bob);
    let dist = distribution(&mut alice);
    let records = bob.load(&keys_for_group(GROUP, &a));
    let batch = group_process(&records, &bob.suites, GROUP, &a, alice.account().identity(), &dist).unwrap();
    bob.commit(&batch).unwrap();
    distribution(&mut bob);

    let mut messages = Vec::new();
    let mut add = |from: &str, to: &str, text: &[u8], message: Encrypted| {
        messages.push((from.to_owned(), to.to_owned(), text.to_vec(), message));
    };
    let skipped = alice.encrypt(&b, b"skipped").unwrap();
    let read = alice.encrypt(&b, b"read").unwrap();
    bob.opens(&a, &read, b"read");
    let skipped_in_group = group_send(&mut alice, b"skipped in the group");
    let read = group_send(&mut alice, b"read in the group");
    group_read(&mut bob, &a, &read).unwrap();
    add("alice", "bob", b"skipped", skipped);
    add("alice", "bob", b"next", alice.encrypt(&b, b"next").unwrap());
    add("alice", "bob", b"skipped in the group", skipped_in_group);
    add("alice", "bob", b"next in the group", group_send(&mut alice, b"next in the group"));
    let bundle = bob.bundle();
    carol.establish(&b, &bundle).unwrap();
    add("carol", "bob", b"from a new peer", carol.encrypt(&b, b"from a new peer").unwrap());
    // The signed pre-key of the bundle is a replaced one by the time it is used.
    let (_, batch) = Account::rotate(&bob.load(&[account_key()]), bob.now, &mut bob.rng).unwrap();
    bob.commit(&batch).unwrap();
    // Bob's answer is made on a copy: his records are those from before it.
    add("bob", "alice", b"answer", bob.clone().encrypt(&a, b"answer").unwrap());

    let mut out = String::new();
    for end in [&alice, &bob] {
        for (key, value) in end.snapshot() {
            let kind = KINDS.iter().position(|kind| *kind == key.kind).unwrap();
            writeln!(out, "record {} {kind} {} {}", end.address.name(), key.id, hex(&value)).unwrap();
        }
    }
    for (from, to, text, m) in messages {
        writeln!(out, "message {from} {to} {} {} {} {}", m.kind.as_str(), m.version, hex(&m.body), hex(&text)).unwrap();
    }
    drop(c);
    out
}

fn parse(suites: &Suites, text: &str) -> Fixture {
    let end = |name: &str| End {
        address: Address::new(name, 0).unwrap(),
        suites: suites.clone(),
        policy: IdentityPolicy::AcceptAndTell,
        rng: TestRng::new(77),
        now: Timestamp::from_secs(1_700_000_000),
        store: MemoryStore::new(),
        one_time: Vec::new(),
    };
    let mut fixture = Fixture { alice: end("alice"), bob: end("bob"), messages: Vec::new() };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["record", owner, kind, id, value] => {
                let owner = if owner == "alice" { &fixture.alice } else { &fixture.bob };
                let kind = KINDS[kind.parse::<usize>().unwrap()];
                owner.store.overwrite(RecordKey::new(kind, id), unhex(value));
            }
            ["message", from, to, kind, version, body, text] => {
                let kind = EncKind::parse(kind).unwrap();
                let message = Encrypted { kind, version: version.parse().unwrap(), body: unhex(body).into() };
                fixture.messages.push((from.into(), to.into(), unhex(text), message));
            }
            _ => panic!("line of a fixture: {line}"),
        }
    }
    fixture
}

impl Fixture {
    fn clone(&self) -> Self {
        Self { alice: self.alice.clone(), bob: self.bob.clone(), messages: self.messages.clone() }
    }

    /// Reads message `at`.
    fn read(&mut self, at: usize) -> Result<Vec<u8>, Error> {
        let (from, to, _, message) = &self.messages[at];
        let from = Address::new(from, 0).unwrap();
        let end = if to == "alice" { &mut self.alice } else { &mut self.bob };
        if message.kind == EncKind::Skmsg {
            return group_read(end, &from, message);
        }
        end.decrypt(&from, message).map(|out| out.plaintext.to_vec())
    }

    /// Every operation that reads what Bob has stored.
    fn all(&mut self) -> Vec<Result<Vec<u8>, Error>> {
        let mut results: Vec<_> = (0..self.messages.len()).map(|at| self.clone().read(at)).collect();
        let alice = self.alice.address.clone();
        let bob = &mut self.bob.clone();
        results.push(bob.encrypt(&alice, b"x").map(|m| m.body.to_vec()));
        let me = bob.address.clone();
        let records = bob.load(&keys_for_group(GROUP, &me));
        let sent = crate::group_encrypt(&records, &bob.suites, GROUP, &me, b"x", &mut bob.rng);
        results.push(sent.map(|(m, _)| m.body.to_vec()));
        let batch = crate::archive(&bob.load(&keys_for_peer(&alice)), &bob.suites, &alice);
        results.push(batch.map(|_| Vec::new()));
        let account = Account::load(&bob.load(&[account_key()]));
        results.push(account.as_ref().map(|_| Vec::new()).map_err(Clone::clone));
        if let Some(id) = account.ok().and_then(|account| account.pq_last_resort()) {
            results
                .push(Account::pq_pre_key(&bob.load(&[crate::pq_pre_key_key(id)]), id).map(|key| key.value.to_vec()));
        }
        results
    }
}

/// The tracked records are read and used: each message opens, the account goes on where it was, and what this version
/// writes over them is read, too.
pub fn stored_state_is_read(suite: impl Suite + 'static, text: &str) {
    let suites = Suites::new().with(suite);
    let mut fixture = parse(&suites, text);
    let kinds: Vec<_> = fixture.bob.snapshot().into_iter().map(|(key, _)| key.kind).collect();
    for kind in KINDS {
        let needed = kind != RecordKind::PqPreKey || suites.iter().any(Suite::post_quantum);
        assert_eq!(kinds.contains(&kind), needed, "{kind:?}");
    }
    for at in 0..fixture.messages.len() {
        assert_eq!(fixture.read(at).unwrap(), fixture.messages[at].2);
        assert!(fixture.read(at).is_err(), "each once");
    }
    let (alice, bob) = (fixture.alice.address.clone(), fixture.bob.address.clone());
    for i in 0..3 {
        let m = fixture.alice.encrypt(&bob, &[i]).unwrap();
        fixture.bob.opens(&alice, &m, &[i]);
        // The first of Bob's is a second one under the key of the answer, which was made on a copy.
        let m = fixture.bob.encrypt(&alice, &[i]).unwrap();
        if i > 0 {
            fixture.alice.opens(&bob, &m, &[i]);
        }
        let m = group_send(&mut fixture.alice, &[i]);
        assert_eq!(group_read(&mut fixture.bob, &alice, &m).unwrap(), [i]);
    }
    let account = fixture.bob.account();
    let (keys, _) = Account::new_pre_keys(&fixture.bob.load(&[account_key()]), 1, &mut fixture.bob.rng).unwrap();
    assert_eq!((keys[0].id, account.signed_pre_key().id), (4, 2));
    fixture.bob.bundle().verify().unwrap();
}

/// Each record cut short anywhere, with any bit turned over, of an unknown layout, or with bytes after its end is
/// [`ErrorKind::StateCorrupt`] to what reads it; no engine sees it.
pub fn damaged_state_is_an_error(suite: impl Suite + 'static, text: &str) {
    let suites = Suites::new().with(suite);
    let fixture = parse(&suites, text);
    let good = fixture.clone().all();
    assert!(good.iter().all(Result::is_ok), "{good:?}");
    let mut dice = TestRng::new(9);
    for (key, value) in fixture.bob.snapshot() {
        let with = |value: Vec<u8>| {
            let damaged = fixture.clone();
            damaged.bob.store.overwrite(key.clone(), value);
            let mut results = damaged.clone().all();
            results.retain(Result::is_err);
            results
        };
        // A one-time key that no message here names is not read by anything; nor is the newest signed one.
        let unread = with(vec![0]).is_empty();
        assert!(!unread || matches!(key.kind, RecordKind::PreKey | RecordKind::SignedPreKey), "{key:?}");
        let cuts = (0..value.len()).filter(|len| *len < 80 || *len + 5 > value.len() || len % 97 == 0);
        let mut spoilt: Vec<_> = cuts.map(|len| value[..len].to_vec()).collect();
        spoilt.extend([0, 2, 99, 255].map(|layout| [&[layout], &value[1..]].concat()));
        spoilt.push([&value[..], &[0]].concat());
        spoilt.extend((0..60).map(|_| {
            let n = usize::try_from(rand_core::Rng::next_u64(&mut dice) >> 1).unwrap();
            let (mut value, at) = (value.clone(), n % value.len());
            value[at] ^= 1 << (n % 8);
            value
        }));
        for value in spoilt {
            let errors = with(value);
            assert_eq!(errors.is_empty(), unread, "{key:?}");
            for error in errors {
                assert_eq!(error.as_ref().unwrap_err().kind(), ErrorKind::StateCorrupt, "{key:?} {error:?}");
            }
        }
    }
}
