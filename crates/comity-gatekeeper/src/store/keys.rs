//! The key directory (PROTOCOL §8): bundles, and one-time keys handed out once, by deletion in the fetch's transaction.

use super::users::by_account;
use super::{Bundle, Handout, KeyCount, Notice, OneTimeKey, Result, SignedKey, Store, Upload, medium, users};
use crate::limits::MAX_STORED_ONE_TIME_KEYS;
use comity_core::{Jid, StoreError, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

const EC: u8 = 0;
const PQ: u8 = 1;

/// The published bundle of `account`.
pub(super) fn bundle(db: &Connection, account: &Jid) -> Result<Option<Bundle>> {
    db.prepare_cached(
        "SELECT registration, identity, skey_id, skey_value, skey_signature, pq_id, pq_value, pq_signature
         FROM key_bundle WHERE account = ?1",
    )
    .and_then(|mut s| {
        s.query_row([account.to_string()], |row| {
            let pq = match (row.get(5)?, row.get(6)?, row.get(7)?) {
                (Some(id), Some(value), Some(signature)) => Some(SignedKey { id, value, signature }),
                _ => None,
            };
            let skey = SignedKey { id: row.get(2)?, value: row.get(3)?, signature: row.get(4)? };
            Ok(Bundle { registration: row.get(0)?, identity: row.get(1)?, skey, pq_last: pq })
        })
        .optional()
    })
    .map_err(medium)
}

pub(super) fn put_bundle(db: &Connection, account: &Jid, bundle: &Bundle) -> Result<()> {
    let pq = bundle.pq_last.as_ref();
    db.prepare_cached(
        "INSERT OR REPLACE INTO key_bundle (account, registration, identity, skey_id, skey_value, skey_signature,
                                            pq_id, pq_value, pq_signature)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .and_then(|mut s| {
        s.execute(params![
            account.to_string(),
            bundle.registration,
            bundle.identity,
            bundle.skey.id,
            bundle.skey.value,
            bundle.skey.signature,
            pq.map(|k| k.id),
            pq.map(|k| &k.value),
            pq.map(|k| &k.signature),
        ])
    })
    .map_err(medium)?;
    Ok(())
}

pub(super) fn drop_one_time(db: &Connection, account: &Jid) -> Result<()> {
    db.execute("DELETE FROM one_time WHERE account = ?1", [account.to_string()]).map_err(medium)?;
    Ok(())
}

fn count(db: &Connection, account: &Jid) -> Result<KeyCount> {
    db.prepare_cached(
        "SELECT count(*) FILTER (WHERE kind = 0), count(*) FILTER (WHERE kind = 1) FROM one_time WHERE account = ?1",
    )
    .and_then(|mut s| s.query_row([account.to_string()], |row| Ok(KeyCount { ec: row.get(0)?, pq: row.get(1)? })))
    .map_err(medium)
}

fn put_one_time(db: &Connection, account: &str, kind: u8, id: u32, value: &[u8], sig: Option<&[u8]>) -> Result<()> {
    // An id published again replaces its key: the client counts from 1 again after the last one (PROTOCOL §8).
    db.prepare_cached(
        "INSERT OR REPLACE INTO one_time (account, kind, id, value, signature) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut s| s.execute(params![account, kind, id, value, sig]))
    .map_err(medium)?;
    Ok(())
}

/// Takes the oldest one-time key; the signature of a Curve25519 one is empty.
fn take(db: &Connection, account: &str, kind: u8) -> Result<Option<SignedKey>> {
    db.prepare_cached(
        "DELETE FROM one_time WHERE seq = (SELECT min(seq) FROM one_time WHERE account = ?1 AND kind = ?2)
         RETURNING id, value, signature",
    )
    .and_then(|mut s| {
        s.query_row(params![account, kind], |row| {
            let signature = row.get::<_, Option<_>>(2)?.unwrap_or_default();
            Ok(SignedKey { id: row.get(0)?, value: row.get(1)?, signature })
        })
        .optional()
    })
    .map_err(medium)
}

/// One user of a fetch.
pub(crate) struct Wanted {
    pub(crate) account: Jid,
    /// Whether a one-time key may be handed out (the pair's daily cap is not reached).
    pub(crate) one_time: bool,
}

fn handout(db: &Connection, requester: &Jid, wanted: &Wanted) -> Result<Option<Handout>> {
    // One code path for absent and hidden: the same queries either way.
    let visible = super::social::may_see(db, requester, &wanted.account)?;
    let user = by_account(db, &wanted.account)?;
    let Some(bundle) = bundle(db, &wanted.account)?.filter(|_| visible && user.is_some()) else { return Ok(None) };
    let account = wanted.account.to_string();
    let (mut key, mut pq) = (None, None);
    if wanted.one_time {
        key = take(db, &account, EC)?.map(|key| OneTimeKey { id: key.id, value: key.value });
        if bundle.pq_last.is_some() {
            pq = take(db, &account, PQ)?;
        }
    }
    let left = count(db, &wanted.account)?.ec;
    Ok(Some(Handout { pq: pq.or_else(|| bundle.pq_last.clone()), bundle, key, left }))
}

/// What became of an upload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Uploaded {
    /// Stored. The accounts were told of a new identity (their notices are stored).
    Ok { told: Vec<Jid> },
    /// A partner user's identity is what was enlisted; another needs a new enlistment.
    OtherIdentity,
    /// More one-time keys than an account may have.
    Full,
}

impl Store {
    pub(super) async fn upload_keys(
        &self,
        account: Jid,
        upload: Upload,
        notice: Notice,
        now: Timestamp,
    ) -> Result<Uploaded> {
        let expires = self.expiry(now);
        self.write(move |db| {
            let user = by_account(db, &account)?.ok_or(StoreError::Conflict)?;
            let before = bundle(db, &account)?;
            let new_identity = before.as_ref().is_some_and(|b| b.identity != upload.bundle.identity);
            if new_identity && user.integrator().is_some() {
                return Ok(Uploaded::OtherIdentity);
            }
            let mut told = Vec::new();
            if new_identity {
                drop_one_time(db, &account)?;
                told = users::contacts(db, &account)?;
                super::mailbox::tell(db, &told, &account, &notice, expires)?;
            }
            let mut next = upload.bundle;
            if next.pq_last.is_none() && !new_identity {
                next.pq_last = before.and_then(|b| b.pq_last);
            }
            put_bundle(db, &account, &next)?;
            let text = account.to_string();
            for key in &upload.keys {
                put_one_time(db, &text, EC, key.id, &key.value, None)?;
            }
            for key in &upload.pq_keys {
                put_one_time(db, &text, PQ, key.id, &key.value, Some(&key.signature))?;
            }
            let stored = count(db, &account)?;
            if stored.ec.max(stored.pq) > MAX_STORED_ONE_TIME_KEYS {
                return Err(StoreError::Conflict); // rolls the whole upload back; told apart below
            }
            Ok(Uploaded::Ok { told })
        })
        .await
        .or_else(|e| if e == StoreError::Conflict { Ok(Uploaded::Full) } else { Err(e) })
    }

    pub(super) async fn count_keys(&self, account: Jid) -> Result<KeyCount> {
        self.read(move |db| count(db, &account)).await
    }

    pub(super) async fn fetch_keys(&self, requester: Jid, wanted: Vec<Wanted>) -> Result<Vec<Option<Handout>>> {
        self.write(move |db| wanted.iter().map(|w| handout(db, &requester, w)).collect()).await
    }

    pub(super) async fn published(&self, account: Jid) -> Result<Option<(Bundle, Vec<OneTimeKey>, Vec<u32>)>> {
        self.read(move |db| {
            let Some(bundle) = bundle(db, &account)? else { return Ok(None) };
            let list = |kind: u8| -> Result<Vec<OneTimeKey>> {
                let mut statement = db
                    .prepare_cached("SELECT id, value FROM one_time WHERE account = ?1 AND kind = ?2 ORDER BY id")
                    .map_err(medium)?;
                let keys = statement
                    .query_map(params![account.to_string(), kind], |row| {
                        Ok(OneTimeKey { id: row.get(0)?, value: row.get(1)? })
                    })
                    .map_err(medium)?;
                keys.collect::<rusqlite::Result<_>>().map_err(medium)
            };
            let pq = list(PQ)?.into_iter().map(|key| key.id).collect();
            Ok(Some((bundle, list(EC)?, pq)))
        })
        .await
    }

    pub(super) async fn identity(&self, account: Jid) -> Result<Option<[u8; 32]>> {
        self.read(move |db| Ok(bundle(db, &account)?.map(|b| b.identity))).await
    }

    pub(super) async fn rotate_keys(
        &self,
        account: Jid,
        skey: Option<SignedKey>,
        pq_last: Option<SignedKey>,
    ) -> Result<bool> {
        self.write(move |db| {
            let Some(mut bundle) = bundle(db, &account)? else { return Ok(false) };
            bundle.skey = skey.unwrap_or(bundle.skey);
            bundle.pq_last = pq_last.or(bundle.pq_last);
            put_bundle(db, &account, &bundle)?;
            Ok(true)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn native(number: u32) -> Jid {
        format!("4915{number:06}@s.whatsapp.net").parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sixty_four_fetchers_of_ten_thousand_keys_get_none_twice() {
        const OWNERS: u32 = 4;
        const KEYS: u32 = 2500; // of each
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("db"), crate::store::Terms::default()).unwrap());
        let now = Timestamp::from_secs(1_764_000_000);
        for number in 0..64 + OWNERS {
            store.register_native(native(number), [0; 32], String::new(), false, now).await.unwrap();
        }
        for owner in 0..OWNERS {
            let skey = SignedKey { id: 1, value: vec![3; 32], signature: vec![4; 64] };
            let bundle = Bundle { registration: 1, identity: [2; 32], skey, pq_last: None };
            let keys = (1..=KEYS).map(|id| OneTimeKey { id, value: vec![owner as u8; 32] }).collect();
            let upload = Upload { bundle, keys, pq_keys: Vec::new() };
            let notice = Notice { id: "n".into(), stanza: Vec::new() };
            let stored = store.upload_keys(native(64 + owner), upload, notice, now).await;
            assert_eq!(stored, Ok(Uploaded::Ok { told: Vec::new() }));
        }
        let fetchers = (0..64).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut got = Vec::new();
                loop {
                    let wanted =
                        (64..64 + OWNERS).map(|owner| Wanted { account: native(owner), one_time: true }).collect();
                    let handouts = store.fetch_keys(native(n), wanted).await.unwrap();
                    let keys = (0..).zip(handouts).filter_map(|(owner, h)| Some((owner, h.unwrap().key?.id)));
                    let before = got.len();
                    got.extend(keys);
                    if got.len() == before {
                        return got;
                    }
                }
            })
        });
        let mut served = BTreeSet::new();
        for fetcher in fetchers.collect::<Vec<_>>() {
            for key in fetcher.await.unwrap() {
                assert!(served.insert(key), "{key:?} was served twice");
            }
        }
        assert_eq!(served.len() as u32, OWNERS * KEYS);
    }
}
