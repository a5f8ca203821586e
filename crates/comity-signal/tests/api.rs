//! What holds without any engine: keys, ids, padding, records, safety numbers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use comity_core::{Batch, Jid, Record, Revision, Timestamp};
use comity_signal::limits::{
    MAX_PREVIOUS_SIGNED_PRE_KEYS, MAX_STORED_PRE_KEYS, SIGNED_PRE_KEY_AGE, SIGNED_PRE_KEY_GRACE,
};
use comity_signal::{
    Account, Address, EncKind, Error, Import, KeyPair, PublicKey, Records, Suites, account_key, merge, pad,
    pre_key_key, signed_pre_key_key, unpad, xeddsa,
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
        one_time: vec![(1200, KeyPair::generate(&mut rng))],
        next_one_time: 0x00FF_FFFD,
    };
    let records = empty();
    let (account, batch) = Account::import(&records, &Suites::new(), import, NOW, &mut rng).unwrap();
    assert_eq!((account.registration_id(), account.signed_pre_key().id), (7, 0x00FF_FFFE));
    assert!(batch.changes.iter().any(|c| c.key == pre_key_key(1200)));
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
fn an_import_that_would_lose_keys_is_refused() {
    let mut rng = Lcg(15);
    let mut import = |one_time: &[u32], next_one_time| {
        let one_time = one_time.iter().map(|id| (*id, KeyPair::generate(&mut rng))).collect();
        let (identity, signed) = (KeyPair::generate(&mut rng), (1, KeyPair::generate(&mut rng), NOW));
        let import = Import { identity, registration_id: 7, signed, one_time, next_one_time };
        Account::import(&empty(), &Suites::new(), import, NOW, &mut rng).map(drop)
    };
    let last = 0x00FF_FFFE;
    for (ids, next) in [(&[][..], 1), (&[1, 2, 3], 4), (&[last], 1), (&[813], 1)] {
        import(ids, next).unwrap();
    }
    for (ids, next) in
        [(&[0][..], 1), (&[last + 1], 1), (&[5], 0), (&[5], last + 1), (&[5, 5], 6), (&[5], 5), (&[812], 1)]
    {
        assert_eq!(import(ids, next), Err(Error::Malformed("pre-key id")), "{ids:?} {next}");
    }
    assert_eq!(import(&[11], last), Err(Error::Malformed("pre-key id")), "the next 812 go on beyond the wrap");
    let many: Vec<u32> = (1..=3249).collect();
    assert_eq!(import(&many, 4000), Err(Error::LimitExceeded("imported pre-keys")));
}

#[test]
fn pre_keys_never_used_are_pruned_oldest_first() {
    let mut rng = Lcg(16);
    let import = Import {
        identity: KeyPair::generate(&mut rng),
        registration_id: 7,
        signed: (1, KeyPair::generate(&mut rng), NOW),
        one_time: Vec::new(),
        next_one_time: 101,
    };
    let (_, batch) = Account::import(&empty(), &Suites::new(), import, NOW, &mut rng).unwrap();
    let records = after(&empty(), &batch);
    // 100 ids after the wrap, the rest before it: the oldest are the first of those.
    let before = u32::try_from(MAX_STORED_PRE_KEYS).unwrap() - 100 + 3;
    let stored: Vec<_> = (1..=100).chain((0..before).map(|n| 0x00FF_FFFE - n)).map(pre_key_key).collect();
    let deleted = |keys: &[comity_core::RecordKey]| -> Vec<_> {
        let batch = Account::prune(&records, keys).unwrap();
        assert!(batch.changes.iter().all(|c| c.value.is_none()));
        batch.changes.into_iter().map(|c| c.key).collect()
    };
    let mut oldest = stored[stored.len() - 3..].to_vec();
    oldest.sort();
    let mut got = deleted(&stored);
    got.sort();
    assert_eq!(got, oldest);
    assert_eq!(deleted(&stored[..MAX_STORED_PRE_KEYS]), []);
    // Records of other kinds are none of its business, whatever their ids.
    assert_eq!(deleted(&[account_key(), signed_pre_key_key(5)]), []);
    let damaged = comity_core::RecordKey::new(comity_core::RecordKind::PreKey, "x");
    assert_eq!(Account::prune(&records, [&damaged]).unwrap_err().kind(), comity_core::ErrorKind::StateCorrupt);
}

#[test]
fn a_replaced_signed_pre_key_is_kept_for_its_time() {
    let mut rng = Lcg(17);
    let (account, batch) = Account::generate(&empty(), &Suites::new(), NOW, &mut rng).unwrap();
    let mut records = after(&empty(), &batch);
    let almost = NOW.after(SIGNED_PRE_KEY_AGE - core::time::Duration::from_millis(1));
    assert!(!account.rotation_due(almost) && account.rotation_due(NOW.after(SIGNED_PRE_KEY_AGE)));
    // (id, replaced at)
    let mut replaced: Vec<(u32, Timestamp)> = Vec::new();
    let (mut now, mut current) = (NOW, account.signed_pre_key().id);
    for _ in 0..12 {
        now = now.after(SIGNED_PRE_KEY_AGE);
        let (signed, batch) = Account::rotate(&records, now, &mut rng).unwrap();
        assert_eq!(signed.id, current + 1);
        replaced.push((current, now));
        current = signed.id;
        let gone = |(_, at): &(u32, Timestamp)| now.since(*at) >= SIGNED_PRE_KEY_GRACE;
        let expected: Vec<_> = replaced.iter().filter(|r| gone(r)).map(|r| signed_pre_key_key(r.0)).collect();
        let deleted: Vec<_> = batch.changes.iter().filter(|c| c.value.is_none()).map(|c| c.key.clone()).collect();
        assert_eq!(deleted, expected);
        replaced.retain(|r| !gone(r));
        records = after(&records, &batch);
    }
    assert_eq!(replaced.len(), 5, "those replaced within 30 days");
    // Rotated without end in one moment, there is a bound.
    let mut held = replaced.len() + 1;
    for _ in 0..30 {
        let (_, batch) = Account::rotate(&records, now, &mut rng).unwrap();
        held = held + 1 - batch.changes.iter().filter(|c| c.value.is_none()).count();
        records = after(&records, &batch);
    }
    assert_eq!(held, 1 + MAX_PREVIOUS_SIGNED_PRE_KEYS);
    // A clock that was set back neither drops a key too early nor fails.
    let (_, batch) = Account::rotate(&records, NOW, &mut rng).unwrap();
    assert_eq!(batch.changes.iter().filter(|c| c.value.is_none()).count(), 1);
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
