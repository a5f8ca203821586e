//! What holds without any engine: keys, ids, padding, records, safety numbers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use comity_core::{Batch, Jid, Record, Revision, Timestamp};
use comity_signal::{
    Account, Address, EncKind, Error, Import, KeyPair, PublicKey, Records, Suites, account_key, merge, pad,
    pre_key_key, unpad, xeddsa,
};
use rand_core::{TryCryptoRng, TryRng};

/// A linear congruential generator: enough for what is tested here.
struct Lcg(u64);

impl TryRng for Lcg {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Ok(u32::try_from(self.0 >> 32).unwrap())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from(self.try_next_u32()?) << 32 | u64::from(self.try_next_u32()?))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for b in out {
            *b = self.try_next_u32()?.to_be_bytes()[0];
        }
        Ok(())
    }
}

impl TryCryptoRng for Lcg {}

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn empty() -> Records {
    let absent = Record { key: account_key(), revision: Revision::ABSENT, value: None };
    [absent].into_iter().collect()
}

fn after(records: &Records, batch: &Batch) -> Records {
    let mut records = records.clone();
    records.apply(batch);
    records
}

#[test]
fn low_order_keys_are_those_without_contribution() {
    let mut rng = Lcg(1);
    let edges = (0..=255_u8).flat_map(|b| {
        let with = |fill: u8, last: u8| {
            let mut key = [fill; 32];
            (key[0], key[31]) = (b, last);
            key
        };
        [with(0, 0), with(0xff, 0x7f), with(0xff, 0xff), with(0, 0x80)]
    });
    let random =
        std::iter::repeat_with(|| *KeyPair::generate(&mut rng).public().as_bytes()).take(20).collect::<Vec<_>>();
    for key in edges.chain(random) {
        let secret = x25519_dalek::StaticSecret::from([7; 32]);
        let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(key));
        if !shared.was_contributory() {
            assert_eq!(PublicKey::new(key), Err(Error::LowOrderKey), "{key:02x?}");
        }
    }
}

#[test]
fn keys_have_one_encoding() {
    let mut key = *KeyPair::generate(&mut Lcg(2)).public().as_bytes();
    assert!(PublicKey::parse(&key).is_ok());
    key[31] |= 0x80;
    assert!(matches!(PublicKey::parse(&key), Err(Error::Malformed(_))));
    let mut high = [0xff; 32];
    (high[0], high[31]) = (0xf0, 0x7f); // p + 3
    assert!(matches!(PublicKey::new(high), Err(Error::Malformed(_))));
    assert!(matches!(PublicKey::parse(&[5; 31]), Err(Error::Malformed(_))));
    assert!(matches!(PublicKey::parse(&[4; 33]), Err(Error::Malformed(_))));
}

#[test]
fn signatures() {
    let mut rng = Lcg(3);
    let pair = KeyPair::generate(&mut rng);
    let signature = pair.sign(b"message", &mut rng);
    xeddsa::verify(&pair.public(), b"message", &signature).unwrap();
    assert_eq!(xeddsa::verify(&pair.public(), b"massage", &signature), Err(Error::BadSignature));
    let other = KeyPair::generate(&mut rng).public();
    assert_eq!(xeddsa::verify(&other, b"message", &signature), Err(Error::BadSignature));
    for at in 0..64 {
        let mut bad = signature;
        bad[at] ^= 1;
        assert_eq!(xeddsa::verify(&pair.public(), b"message", &bad), Err(Error::BadSignature));
    }
}

#[test]
fn padding() {
    let mut rng = Lcg(4);
    let mut seen = [false; 17];
    for len in 0..200 {
        let mut text = vec![16; len];
        pad(&mut text, &mut rng);
        seen[text.len() - len] = true;
        assert_eq!(unpad(&text).unwrap(), vec![16; len]);
    }
    assert_eq!(seen.iter().filter(|s| **s).count(), 16, "1..=16 all occur, 0 never");
    assert!(!seen[0]);
    assert_eq!(unpad(&[1]).unwrap(), b"");
    for bad in [&[][..], &[0], &[2], &[1, 2], &[5, 5, 5], &[3, 4, 4, 4], &[9, 255]] {
        assert_eq!(unpad(bad), Err(Error::BadPadding), "{bad:?}");
    }
}

#[test]
fn addresses() {
    let of = |jid: &str| Address::of_jid(&jid.parse::<Jid>().unwrap()).map(|a| a.to_string());
    assert_eq!(of("1-10853634039893@interop").unwrap(), "1-10853634039893.0");
    assert_eq!(of("1-10853634039893:0@interop").unwrap(), "1-10853634039893.0");
    assert_ne!(of("1-5@interop").unwrap(), of("2-5@interop").unwrap());
    assert_eq!(of("4915112345678:3@s.whatsapp.net").unwrap(), "4915112345678@s.whatsapp.net.3");
    assert_ne!(of("5@lid").unwrap(), of("5@s.whatsapp.net").unwrap());
    for bad in ["s.whatsapp.net", "120363000000000001@g.us", "1000-1@interop", "1-1:1@interop"] {
        assert!(of(bad).is_err(), "{bad}");
    }
}

#[test]
fn pre_key_ids_go_on_over_restarts_and_wrap() {
    let mut rng = Lcg(5);
    let import = Import {
        identity: KeyPair::generate(&mut rng),
        registration_id: 7,
        signed: (0x00FF_FFFE, KeyPair::generate(&mut rng), NOW),
        one_time: vec![(12, KeyPair::generate(&mut rng))],
        next_one_time: 0x00FF_FFFD,
    };
    let records = empty();
    let (account, batch) = Account::import(&records, &Suites::new(), import, NOW, &mut rng).unwrap();
    assert_eq!((account.registration_id(), account.signed_pre_key().id), (7, 0x00FF_FFFE));
    assert!(batch.changes.iter().any(|c| c.key == pre_key_key(12)));
    let mut records = after(&records, &batch);
    let mut ids = Vec::new();
    for _ in 0..4 {
        // Each round reads the records alone, as after a restart.
        let (keys, batch) = Account::new_pre_keys(&records, 1, &mut rng).unwrap();
        ids.extend(keys.iter().map(|k| k.id));
        records = after(&records, &batch);
        assert_eq!(Account::pre_key(&records, keys[0].id).unwrap(), keys[0]);
    }
    assert_eq!(ids, [0x00FF_FFFD, 0x00FF_FFFE, 1, 2]);
    let (signed, _) = Account::rotate(&records, NOW, &mut rng).unwrap();
    assert_eq!(signed.id, 1);
    assert_eq!(
        Account::new_pre_keys(&records, 813, &mut rng).unwrap_err().kind(),
        comity_core::ErrorKind::LimitExceeded
    );
    let again = Account::generate(&records, &Suites::new(), NOW, &mut rng);
    assert!(matches!(again, Err(Error::Misuse(_))), "an account is not overwritten");
}

#[test]
fn registration_ids_have_14_bits() {
    for seed in 0..50 {
        let (account, _) = Account::generate(&empty(), &Suites::new(), NOW, &mut Lcg(seed)).unwrap();
        assert!((1..=16380).contains(&account.registration_id()));
    }
}

#[test]
fn a_damaged_account_is_an_error_at_every_byte_cut() {
    let (_, batch) = Account::generate(&empty(), &Suites::new(), NOW, &mut Lcg(6)).unwrap();
    let records = after(&empty(), &batch);
    let bytes = records.value(&account_key()).unwrap().unwrap().to_vec();
    for len in 0..bytes.len() {
        let mut batch = Batch::new();
        batch.put_owned(account_key(), bytes[..len].to_vec());
        assert!(matches!(Account::load(&after(&records, &batch)), Err(Error::Corrupt(_))));
    }
}

#[test]
fn two_operations_make_one_batch() {
    let mut rng = Lcg(7);
    let (_, first) = Account::generate(&empty(), &Suites::new(), NOW, &mut rng).unwrap();
    let records = after(&empty(), &first);
    let (_, second) = Account::new_pre_keys(&records, 3, &mut rng).unwrap();
    let merged = merge(first, second);
    let account = merged.changes.iter().filter(|c| c.key == account_key()).collect::<Vec<_>>();
    assert_eq!(account.len(), 1, "a key occurs once");
    assert_eq!(account[0].expected, Some(Revision::ABSENT), "at the revision that was read");
    assert_eq!(merged.changes.len(), 5);
}

#[test]
fn nothing_secret_is_shown() {
    let pair = KeyPair::generate(&mut Lcg(8));
    let shown = format!("{pair:?} {:?}", Address::new("1-10853634039893", 0).unwrap());
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert!(!shown.contains(&hex(&pair.expose_secret()[..4])) && !shown.contains("10853634039893"), "{shown}");
}

#[test]
fn kinds() {
    for kind in [EncKind::Pkmsg, EncKind::Msg, EncKind::Skmsg] {
        assert_eq!(EncKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(EncKind::parse("msmsg"), None);
}
