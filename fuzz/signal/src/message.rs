//! Bodies of pairwise messages: any bytes, and genuine ones changed.

use super::alloc::cost;
use super::damage::damage;
use super::suites;
use arbitrary::{Arbitrary as _, Unstructured};
use comity_core::ErrorKind;
use comity_signal::suite_tests::{End, start};
use comity_signal::wire::PreKeyMessage;
use comity_signal::{
    Address, Bundle, EncKind, Encrypted, IdentityPolicy, PublicKey, Suites, archive, keys_for_decrypt, keys_for_peer,
};
use std::sync::LazyLock;

/// What is on its way to Bob.
pub(super) struct Letter {
    pub(super) from: Address,
    pub(super) identity: PublicKey,
    pub(super) text: &'static [u8],
    pub(super) message: Encrypted,
}

/// Bob, and what he has not read.
pub(super) struct Fixture {
    pub(super) bob: End,
    pub(super) letters: Vec<Letter>,
}

impl Fixture {
    fn new(suites: &Suites) -> Self {
        let mut bob = End::new("bob", 1, suites, 3);
        let to = bob.address.clone();
        let [mut alice, mut carol, mut dave] = ["alice", "carol", "dave"].map(|name| End::new(name, 2, suites, 0));
        let mut letters = Vec::new();
        let mut write = |end: &mut End, text: &'static [u8]| {
            let (from, identity) = (end.address.clone(), end.account().identity());
            letters.push(Letter { from, identity, text, message: end.encrypt(&to, text).expect("a session") });
        };
        start(&mut alice, &mut bob);
        // Later ones of a session of which one was read.
        write(&mut alice, b"skipped");
        let read = alice.encrypt(&bob.address, b"read").expect("a session");
        bob.opens(&alice.address, &read, b"read");
        write(&mut alice, b"next");
        // First ones: with a one-time key, without, and where there is a session.
        carol.establish(&bob.address.clone(), &bob.bundle()).expect("a good bundle");
        write(&mut carol, b"first");
        write(&mut carol, b"second");
        let bundle = Bundle { one_time: None, ..bob.bundle() };
        dave.establish(&bob.address, &bundle).expect("a good bundle");
        write(&mut dave, b"without a one-time key");
        let old = archive(&alice.load(&keys_for_peer(&bob.address)), suites, &bob.address).expect("sound");
        alice.commit(&old).expect("nobody else");
        alice.establish(&bob.address.clone(), &bob.bundle()).expect("a good bundle");
        write(&mut alice, b"anew");
        Self { bob, letters }
    }
}

pub(super) static FIXTURES: LazyLock<[Fixture; 2]> = LazyLock::new(|| suites().map(|suites| Fixture::new(&suites)));

/// See [`decode`].
pub fn decode_v3(input: &[u8]) {
    decode(&FIXTURES[0], input);
}

/// See [`decode`].
pub fn decode_v4(input: &[u8]) {
    decode(&FIXTURES[1], input);
}

/// What authenticates: of a `pkmsg` the message inside, the rest stands outside of the MAC.
fn sealed(kind: EncKind, body: &[u8]) -> Option<&[u8]> {
    match kind {
        EncKind::Pkmsg => PreKeyMessage::parse(body).ok().map(|message| message.inner),
        _ => Some(body),
    }
}

/// No bytes but a genuine message's open, and they to what it says and under whose identity it was sealed; a genuine one
/// opens, once. What fails changes no record, and needs none that was not announced.
fn decode(fixture: &Fixture, input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok([choice, from]) = <[u8; 2]>::arbitrary(&mut u) else { return };
    let pick = |n: u8| &fixture.letters[usize::from(n) % fixture.letters.len()];
    let letter = pick(choice & 15);
    let mut message = letter.message.clone();
    if choice & 16 != 0 {
        message.kind = if message.kind == EncKind::Msg { EncKind::Pkmsg } else { EncKind::Msg };
    }
    let mut body = message.body.to_vec();
    if choice & 32 != 0 {
        body = u.take_rest().to_vec();
    } else {
        damage(&mut u, &mut body);
    }
    message.body = body.into();
    // As the server says.
    let sender = if choice & 64 != 0 { pick(from).from.clone() } else { letter.from.clone() };
    let genuine = message == letter.message && sender == letter.from;

    let mut bob = fixture.bob.clone();
    bob.policy = if choice & 128 != 0 { IdentityPolicy::Block } else { IdentityPolicy::AcceptAndTell };
    let suite = bob.suites.of_body(&message.body);
    let named = suite.and_then(|suite| suite.inspect(&sender, message.kind, &message.body));
    let keys = keys_for_decrypt(&bob.suites, &sender, message.kind, &message.body);
    assert_eq!(named.as_ref().err(), keys.as_ref().err());
    if let (Ok(named), Ok(keys)) = (&named, &keys) {
        assert_eq!(named.is_some(), message.kind == EncKind::Pkmsg);
        let pre_keys = named.iter().flat_map(|named| [named.one_time, named.signed, named.pq]).flatten().count();
        assert_eq!(keys.len(), 3 + pre_keys);
    }

    let before = bob.snapshot();
    let (result, _, peak) = cost(|| bob.try_decrypt(&sender, &message));
    // An engine follows a forged counter before it looks at the MAC, and keeps up to 2,000 keys on the way.
    assert!(peak <= 8 * message.body.len() + (2 << 20), "{peak} bytes for {}", message.body.len());
    assert_eq!(before, bob.snapshot(), "nothing is written before the commit");
    match result {
        Ok((out, _)) => {
            let inner = sealed(message.kind, &message.body).expect("was opened");
            let of = |letter: &&Letter| sealed(letter.message.kind, &letter.message.body) == Some(inner);
            let truth = fixture.letters.iter().find(of).expect("was sealed by somebody");
            assert_eq!((out.plaintext.as_slice(), out.identity, &out.sender), (truth.text, truth.identity, &sender));
        }
        Err(e) => {
            assert!(!genuine, "{e}");
            assert!(!matches!(e.kind(), ErrorKind::Bug | ErrorKind::ApiMisuse | ErrorKind::StateCorrupt), "{e:?}");
        }
    }
    if genuine {
        bob.opens(&sender, &message, letter.text);
        bob.refuses(&sender, &message);
    }
}
