//! One test per fault of the engine, each failing without its guard.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use comity_core::Timestamp;
use comity_signal::suite_tests::{self, TestRng};
use comity_signal::{
    Address, Bundle, Context, EncKind, Error, KeyPair, PreKeys, SignedPreKeyPublic, State, Suite, wire, xeddsa,
};
use comity_signal_x3dh::X3dh;
use wacore_libsignal::protocol as ws;

/// A party as a suite sees it, without records.
struct Party {
    identity: KeyPair,
    signed: KeyPair,
    address: Address,
    rng: TestRng,
}

impl Party {
    fn new(seed: u64) -> Self {
        let mut rng = TestRng::new(seed);
        let address = Address::new("party", 0).unwrap();
        Self { identity: KeyPair::generate(&mut rng), signed: KeyPair::generate(&mut rng), address, rng }
    }

    fn context<'a>(&'a self, peer: &'a Party) -> Context<'a> {
        Context {
            identity: &self.identity,
            registration_id: 1,
            peer: &peer.address,
            peer_identity: peer.identity.public(),
            now: Timestamp::from_secs(1),
        }
    }

    fn bundle(&mut self) -> Bundle {
        let value = self.signed.public();
        let signature = self.identity.sign(&value.with_type(), &mut self.rng);
        Bundle {
            registration_id: 1,
            identity: self.identity.public(),
            signed: SignedPreKeyPublic { id: 1, value, signature },
            one_time: None,
            pq: None,
        }
    }

    fn keys(&self) -> PreKeys {
        PreKeys { one_time: None, signed: Some((1, self.signed.clone(), [0; 64])), pq: None }
    }
}

/// `from` sets up a session with `to`, who adds it to `session`; both sessions, after an answer.
fn talk(from: &Party, to: &mut Party, session: Option<&[u8]>) -> (State, State) {
    let mut rng = from.rng.clone();
    let bundle = to.bundle();
    let of_from = X3dh.establish(&from.context(to), None, &bundle, &mut rng).unwrap();
    let m = X3dh.encrypt(&from.context(to), &of_from, b"hello", &mut rng).unwrap();
    let got = X3dh.decrypt(&to.context(from), session, &to.keys(), m.kind, &m.body, &mut rng).unwrap();
    let answer = X3dh.encrypt(&to.context(from), &got.session, b"answer", &mut rng).unwrap();
    let keys = PreKeys::default();
    let of_from =
        X3dh.decrypt(&from.context(to), Some(&m.session), &keys, answer.kind, &answer.body, &mut rng).unwrap();
    (of_from.session, answer.session)
}

/// The engine promotes an archived session and saves its identity unasked: our next message would go to the old device.
#[test]
fn a_message_on_an_archived_session_does_not_bring_its_identity_back() {
    let (old, new, mut us) = (Party::new(1), Party::new(2), Party::new(3));
    let (of_old, ours) = talk(&old, &mut us, None);
    let (_, ours) = talk(&new, &mut us, Some(&ours));
    let mut rng = TestRng::new(6);
    let late = X3dh.encrypt(&old.context(&us), &of_old, b"late", &mut rng).unwrap();
    assert_eq!(late.kind, EncKind::Msg);
    let keys = PreKeys::default();
    let got = X3dh.decrypt(&us.context(&new), Some(&ours), &keys, late.kind, &late.body, &mut rng);
    assert_eq!(got.unwrap_err(), Error::UntrustedIdentity);
    // It is the identity that is refused, not the message.
    X3dh.decrypt(&us.context(&old), Some(&ours), &keys, late.kind, &late.body, &mut rng).unwrap();
}

/// A record loaded with its lease skips up to 64 counters at each load.
#[test]
fn counters_go_up_by_one_over_loads() {
    let (us, mut them) = (Party::new(1), Party::new(2));
    let mut rng = TestRng::new(5);
    let bundle = them.bundle();
    let mut session = X3dh.establish(&us.context(&them), None, &bundle, &mut rng).unwrap();
    for counter in 0..200 {
        let m = X3dh.encrypt(&us.context(&them), &session, b"x", &mut rng).unwrap();
        let inner = wire::PreKeyMessage::parse(&m.body).unwrap().inner;
        assert_eq!(wire::SignalMessage::parse(inner).unwrap().counter, counter);
        session = m.session;
    }
    let (mut state, _) = X3dh.group_create("1@g.us", &mut rng).unwrap();
    for iteration in 0..200 {
        let (body, next) = X3dh.group_encrypt("1@g.us", &state, b"x", &mut rng).unwrap();
        assert_eq!(ws::SenderKeyMessage::try_from(&body[..]).unwrap().iteration(), iteration);
        state = next;
    }
}

/// The engine leaves the used one-time key to the caller, who has to delete it with the session's commit.
#[test]
fn the_used_one_time_key_is_deleted() {
    suite_tests::one_time_keys_are_used_once_and_only_on_success(X3dh);
}

#[test]
fn low_order_keys_are_refused() {
    suite_tests::low_order_keys_are_refused(X3dh);
}

#[test]
fn at_most_2000_messages_are_skipped() {
    suite_tests::skips(X3dh, 2000);
}

/// Signal's signatures carry the Edwards sign in bit 7 of byte 63; a verifier that does not know refuses half of them.
#[test]
fn signatures_of_both_signs_verify() {
    let mut rng = TestRng::new(11);
    let mut signs = [0, 0];
    for i in 0..64_u8 {
        let ours = KeyPair::generate(&mut rng);
        let theirs = ws::PrivateKey::deserialize(ours.expose_secret()).unwrap();
        let mut signature: [u8; 64] = theirs.calculate_signature(&[i], &mut rng).unwrap();
        signs[usize::from(signature[63] >> 7)] += 1;
        xeddsa::verify(&ours.public(), &[i], &signature).unwrap();
        signature[63] ^= 0x80;
        assert_eq!(xeddsa::verify(&ours.public(), &[i], &signature), Err(Error::BadSignature));
        let signature = ours.sign(&[i], &mut rng);
        assert!(theirs.public_key().unwrap().verify_signature(&[i], &signature));
    }
    assert!(signs[0] > 10 && signs[1] > 10, "{signs:?}");
}
