//! Public keys and bundles, as a server or a peer could send them.

use super::damage::damage;
use super::suites;
use arbitrary::{Arbitrary as _, Result, Unstructured};
use comity_core::ErrorKind;
use comity_signal::suite_tests::{End, TestRng};
use comity_signal::wire::PreKeyMessage;
use comity_signal::{Bundle, Error, KeyPair, PreKeyPublic, PublicKey, Suites};
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;
use std::sync::LazyLock;
use x25519_dalek::StaticSecret;

/// Alice and Bob with one suite, the other, or both.
static ENDS: LazyLock<[[End; 2]; 3]> = LazyLock::new(|| {
    let [v3, v4] = suites();
    [v3, v4, Suites::new().with(X3dh).with(Pqxdh::new())]
        .map(|suites| [End::new("alice", 1, &suites, 1), End::new("bob", 2, &suites, 1)])
});

/// A bundle verifies exactly if its ids fit and its keys are signed by the identity in it; a session comes of one that
/// verifies, and its first message names what the bundle did and opens where the keys are.
pub fn parse(input: &[u8]) {
    key(input);
    let _ = bundle(&mut Unstructured::new(input));
}

/// A key is taken exactly if it is in canonical form and shares a secret.
fn key(bytes: &[u8]) {
    let bytes = bytes.get(..33).filter(|bytes| bytes[0] == 5).unwrap_or(&bytes[..bytes.len().min(32)]);
    let parsed = PublicKey::parse(bytes);
    let Ok(raw) = <[u8; 32]>::try_from(&bytes[bytes.len().saturating_sub(32)..]) else {
        return assert!(matches!(parsed, Err(Error::Malformed(_))));
    };
    let canonical = raw[31] < 0x7f || (raw[31] == 0x7f && (raw[0] < 0xed || raw[1..31].iter().any(|b| *b != 0xff)));
    let shares = StaticSecret::from([7; 32]).diffie_hellman(&raw.into()).was_contributory();
    assert_eq!(parsed.is_ok(), canonical && shares, "{parsed:?}");
    if let Ok(key) = parsed {
        assert_eq!((key.as_bytes(), PublicKey::parse(&key.with_type())), (&raw, Ok(key)));
    }
}

fn any_key(u: &mut Unstructured<'_>) -> Result<PublicKey> {
    PublicKey::new(u.arbitrary()?).map_err(|_| arbitrary::Error::IncorrectFormat)
}

fn bundle(u: &mut Unstructured<'_>) -> Result<()> {
    let choice = u8::arbitrary(u)?;
    let [mut alice, mut bob] = ENDS[usize::from(choice & 3) % 3].clone();
    let genuine = bob.bundle();
    let mut bundle = genuine.clone();
    // A peer of bad will signs what it likes.
    let mallory = KeyPair::generate(&mut TestRng::new(3));
    let forged = choice & 4 != 0;
    if forged {
        bundle.identity = mallory.public();
    }
    for _ in 0..3 {
        match u.int_in_range(0..=12).unwrap_or(0) {
            1 => bundle.registration_id = u.arbitrary()?,
            2 => bundle.signed.id = u.arbitrary()?,
            3 => bundle.one_time = None,
            4 => bundle.one_time = Some(PreKeyPublic { id: u.arbitrary()?, value: any_key(u)? }),
            5 => bundle.pq = None,
            6 => bundle.signed.value = any_key(u)?,
            7 => bundle.identity = any_key(u)?,
            8 => bundle.signed.signature[usize::from(u8::arbitrary(u)?) % 64] ^= u8::arbitrary(u)?,
            9 => bundle.pq.iter_mut().try_for_each(|pq| u.arbitrary().map(|id| pq.id = id))?,
            10 => bundle.pq.iter_mut().try_for_each(|pq| {
                pq.signature[usize::from(u8::arbitrary(u)?) % 64] ^= u8::arbitrary(u)?;
                Ok(())
            })?,
            11 => bundle.pq.iter_mut().for_each(|pq| {
                let mut value = pq.value.to_vec();
                damage(u, &mut value);
                pq.value = value.into();
            }),
            12 => bundle.identity = PublicKey::new(*bundle.signed.value.as_bytes()).expect("is a key"),
            _ => break,
        }
    }
    let (signed, pq) = (bundle.signed.clone(), bundle.pq.clone());
    if forged && choice & 8 != 0 {
        bundle.signed.signature = mallory.sign(&signed.value.with_type(), &mut alice.rng);
        bundle.pq.iter_mut().for_each(|pq| pq.signature = mallory.sign(&pq.value, &mut alice.rng));
    }

    let ids = [Some(signed.id), bundle.one_time.as_ref().map(|key| key.id), pq.as_ref().map(|key| key.id)];
    let by_mallory = bundle.identity == mallory.public() && forged && choice & 8 != 0;
    let by_bob = (bundle.identity, &signed.value, signed.signature)
        == (genuine.identity, &genuine.signed.value, genuine.signed.signature)
        && pq.as_ref().zip(genuine.pq.as_ref()).is_none_or(|(a, b)| (&a.value, a.signature) == (&b.value, b.signature));
    let fits = pq.as_ref().is_none_or(|pq| pq.value.len() <= comity_signal::limits::MAX_PQ_KEY_LEN);
    let good = ids.into_iter().flatten().all(|id| id < 1 << 24) && (by_mallory || by_bob) && fits;
    let verified = bundle.check().and_then(|()| bundle.verify());
    assert_eq!(verified.is_ok(), good, "{verified:?}");

    let before = alice.snapshot();
    let established = match alice.establish(&bob.address, &bundle) {
        Ok(established) => established,
        Err(e) => {
            assert!(!matches!(e.kind(), ErrorKind::Bug | ErrorKind::StateCorrupt), "{e:?}");
            assert_eq!(before, alice.snapshot());
            // What stands unchanged is enough for a session, where there is a suite for it.
            assert!(!good || by_mallory || alice.suites.get(3).is_err() && bundle.pq.is_none(), "{e:?}");
            return Ok(());
        }
    };
    assert!(good);
    let message = alice.encrypt(&bob.address, b"text").expect("a session");
    let named = PreKeyMessage::parse(&message.body).expect("ours").initial;
    let pq = bundle.pq.as_ref().filter(|_| established.version == 4);
    assert_eq!(
        (named.identity, named.registration_id),
        (alice.account().identity(), alice.account().registration_id())
    );
    assert_eq!((named.signed, named.pq), (Some(bundle.signed.id), pq.map(|key| key.id)));
    assert_eq!(named.one_time, bundle.one_time.as_ref().map(|key| key.id));
    assert_eq!(established.version == 4, pq.is_some());
    let unused = Bundle { registration_id: 0, one_time: None, pq: pq.cloned(), ..bundle.clone() };
    let of_bob = Bundle { registration_id: 0, one_time: None, pq: pq.and(genuine.pq.clone()), ..genuine.clone() };
    if unused == of_bob && (bundle.one_time.is_none() || bundle.one_time == genuine.one_time) {
        bob.opens(&alice.address, &message, b"text");
    } else {
        bob.refuses(&alice.address, &message);
    }
    Ok(())
}
