//! Two accounts, a bundle, a message: what a caller does with records and batches (PROTOCOL §8).
#![allow(clippy::print_stdout, reason = "an example")]

use comity_core::{Batch, Record, RecordKey, Revision, Timestamp};
use comity_signal::{
    Account, Address, Bundle, Error, IdentityPolicy, Records, Suites, account_key, decrypt, encrypt, establish,
    keys_for_decrypt, keys_for_encrypt, pad, unpad,
};
use comity_signal_x3dh::X3dh;
use std::collections::HashMap;

/// The smallest store: what a real one does durably and with revisions.
#[derive(Default)]
struct Store(HashMap<RecordKey, Record>);

impl Store {
    fn load(&self, keys: &[RecordKey]) -> Records {
        let absent = |key: &RecordKey| Record { key: key.clone(), revision: Revision::ABSENT, value: None };
        keys.iter().map(|key| self.0.get(key).cloned().unwrap_or_else(|| absent(key))).collect()
    }

    fn commit(&mut self, batch: Batch) {
        for change in batch.changes {
            let record = Record { key: change.key.clone(), revision: Revision(1), value: change.value };
            self.0.insert(change.key, record);
        }
    }
}

fn main() -> Result<(), Error> {
    let suites = Suites::new().with(X3dh);
    let now = Timestamp::from_secs(1_700_000_000);
    // A real program passes its system's generator.
    let mut rng = comity_signal::suite_tests::TestRng::new(1);
    let (alice, bob) = (Address::new("1-10853634039893", 0)?, Address::new("4915112345678@s.whatsapp.net", 0)?);
    let (mut of_alice, mut of_bob) = (Store::default(), Store::default());
    for store in [&mut of_alice, &mut of_bob] {
        let (_, batch) = Account::generate(&store.load(&[account_key()]), &suites, now, &mut rng)?;
        store.commit(batch);
    }

    // Bob publishes; Alice fetches.
    let account = of_bob.load(&[account_key()]);
    let (mut one_time, batch) = Account::new_pre_keys(&account, 1, &mut rng)?;
    of_bob.commit(batch);
    let account = Account::load(&account)?;
    let bundle = Bundle {
        registration_id: account.registration_id(),
        identity: account.identity(),
        signed: account.signed_pre_key().clone(),
        one_time: one_time.pop(),
        pq: None,
    };

    // Alice builds a session and encrypts; the batch is committed before the body leaves.
    let records = of_alice.load(&keys_for_encrypt(&bob));
    let (_, batch) = establish(&records, &suites, IdentityPolicy::AcceptAndTell, &bob, &bundle, now, &mut rng)?;
    of_alice.commit(batch);
    let mut plaintext = b"hello".to_vec();
    pad(&mut plaintext, &mut rng);
    let records = of_alice.load(&keys_for_encrypt(&bob));
    let (sent, batch) = encrypt(&records, &suites, &bob, &plaintext, now, &mut rng)?;
    of_alice.commit(batch);

    // Bob decrypts; the batch is committed before the text is shown and the message acknowledged.
    let records = of_bob.load(&keys_for_decrypt(&suites, &alice, sent.kind, &sent.body)?);
    let policy = IdentityPolicy::AcceptAndTell;
    let (got, batch) = decrypt(&records, &suites, policy, &alice, sent.kind, &sent.body, now, &mut rng)?;
    of_bob.commit(batch);
    println!("{} from {:?}: {}", sent.kind.as_str(), got.sender, String::from_utf8_lossy(unpad(&got.plaintext)?));
    Ok(())
}
