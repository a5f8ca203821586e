//! Accounts: enlistment, native registration, log-in, deletion, expiry (PROTOCOL §2, §4, §12).

use super::storage::MakeNotice;
use super::tokens::{self, Use};
use super::{Bundle, Committed, Kind, Notice, Result, SignedKey, Status, Store, User, keys, mailbox, medium};
use comity_core::{IntegratorId, Jid, PartnerUser, StoreError, Timestamp, UserNumber, UserVisibleId};
use comity_identity::SingleUse;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// What enlistment stores.
pub(crate) struct Enlistment {
    pub(crate) integrator: IntegratorId,
    pub(crate) visible_id: UserVisibleId,
    pub(crate) auth_key: [u8; 32],
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) skey: SignedKey,
    /// Random numbers to try, in order, if the user is new.
    pub(crate) candidates: Vec<UserNumber>,
    /// The token is unbound: this is its one use.
    pub(crate) single_use: Option<SingleUse>,
}

/// What became of an enlistment.
pub(crate) enum Enlisted {
    /// Done.
    Ok {
        account: Jid,
        /// The credentials changed: a connection with the old ones must end.
        rekeyed: bool,
        /// The contacts to tell of the new identity, empty if it is the old one. Their notices are already stored.
        told: Vec<Jid>,
    },
    /// The operator blocked this user.
    Blocked,
    /// The unbound token was used before, or cannot be remembered; nothing was changed.
    Refused(Use),
}

const COLUMNS: &str = "account, integrator, visible_id, auth_key, display_name, status, last_seen, alias_view";

pub(super) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

/// A row of [`COLUMNS`].
struct UserRow {
    account: String,
    integrator: Option<u16>,
    visible_id: Option<String>,
    auth_key: Vec<u8>,
    display_name: String,
    status: u8,
    last_seen: i64,
    alias_view: bool,
}

fn user_of(row: &Row<'_>) -> rusqlite::Result<UserRow> {
    Ok(UserRow {
        account: row.get(0)?,
        integrator: row.get(1)?,
        visible_id: row.get(2)?,
        auth_key: row.get(3)?,
        display_name: row.get(4)?,
        status: row.get(5)?,
        last_seen: row.get(6)?,
        alias_view: row.get(7)?,
    })
}

fn to_user(row: UserRow) -> Result<User> {
    let kind = match (row.integrator, row.visible_id) {
        (Some(integrator), Some(id)) => Kind::Partner {
            integrator: IntegratorId::new(integrator).map_err(corrupt)?,
            visible_id: id.parse().map_err(corrupt)?,
        },
        _ => Kind::Native,
    };
    let status = match row.status {
        0 => Status::Active,
        1 => Status::Lapsed,
        _ => Status::Blocked,
    };
    Ok(User {
        account: row.account.parse().map_err(corrupt)?,
        kind,
        auth_key: row.auth_key.try_into().map_err(|_| corrupt("auth_key"))?,
        display_name: row.display_name,
        status,
        alias_view: row.alias_view,
        last_seen: Timestamp::from_millis(row.last_seen.max(0) as u64),
    })
}

/// The account `account`.
pub(super) fn by_account(db: &Connection, account: &Jid) -> Result<Option<User>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM user WHERE account = ?1"))
        .and_then(|mut s| s.query_row([account.to_string()], user_of).optional())
        .map_err(medium)?
        .map(to_user)
        .transpose()
}

/// The user of `integrator` with that user-visible id.
pub(super) fn by_visible_id(db: &Connection, integrator: IntegratorId, id: &str) -> Result<Option<User>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM user WHERE integrator = ?1 AND visible_id = ?2"))
        .and_then(|mut s| s.query_row(params![integrator.get(), id], user_of).optional())
        .map_err(medium)?
        .map(to_user)
        .transpose()
}

/// The peers `account` has exchanged messages with.
pub(super) fn contacts(db: &Connection, account: &Jid) -> Result<Vec<Jid>> {
    let mut statement = db.prepare_cached("SELECT peer FROM contact WHERE account = ?1").map_err(medium)?;
    let rows = statement.query_map([account.to_string()], |row| row.get::<_, String>(0)).map_err(medium)?;
    rows.map(|peer| peer.map_err(medium)?.parse().map_err(corrupt)).collect()
}

fn enlist(
    db: &Connection,
    e: &Enlistment,
    now: Timestamp,
    expires: Timestamp,
    notice: impl Fn(&Jid) -> Result<Notice>,
) -> Result<Enlisted> {
    let old = by_visible_id(db, e.integrator, e.visible_id.as_str())?;
    if old.as_ref().is_some_and(|old| old.status == Status::Blocked) {
        return Ok(Enlisted::Blocked);
    }
    match e.single_use.as_ref().map(|token| tokens::use_up(db, token, now)).transpose()? {
        None | Some(Use::First) => {}
        Some(refused) => return Ok(Enlisted::Refused(refused)),
    }
    let bundle = Bundle { registration: e.registration, identity: e.identity, skey: e.skey.clone(), pq_last: None };
    let millis = now.as_millis() as i64;
    let Some(old) = old else {
        let number = free_number(db, e)?;
        let account = PartnerUser { integrator: e.integrator, number }.jid();
        db.prepare_cached(
            "INSERT INTO user (account, integrator, visible_id, auth_key, created, last_seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        )
        .and_then(|mut s| {
            s.execute(params![account.to_string(), e.integrator.get(), e.visible_id.as_str(), e.auth_key, millis])
        })
        .map_err(medium)?;
        keys::put_bundle(db, &account, &bundle)?;
        return Ok(Enlisted::Ok { account, rekeyed: false, told: Vec::new() });
    };
    let account = old.account;
    let rekeyed = old.auth_key != e.auth_key;
    db.prepare_cached("UPDATE user SET auth_key = ?2, status = 0, last_seen = ?3, push_gone = 0 WHERE account = ?1")
        .and_then(|mut s| s.execute(params![account.to_string(), e.auth_key, millis]))
        .map_err(medium)?;
    let before = keys::bundle(db, &account)?;
    let same_identity = before.as_ref().is_some_and(|b| b.identity == e.identity);
    // An identical repetition keeps what was uploaded since: the last-resort key and the one-time keys.
    if before.as_ref().is_none_or(|b| !same_identity || b.registration != e.registration || b.skey != e.skey) {
        let pq_last = before.filter(|_| same_identity).and_then(|b| b.pq_last);
        keys::put_bundle(db, &account, &Bundle { pq_last, ..bundle })?;
    }
    let mut told = Vec::new();
    if !same_identity {
        keys::drop_one_time(db, &account)?;
        told = contacts(db, &account)?;
        mailbox::tell(db, &told, &account, &notice(&account)?, expires)?;
    }
    Ok(Enlisted::Ok { account, rekeyed, told })
}

fn free_number(db: &Connection, e: &Enlistment) -> Result<UserNumber> {
    for &number in &e.candidates {
        let account = PartnerUser { integrator: e.integrator, number }.jid().to_string();
        let taken: bool = db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM user WHERE account = ?1) OR EXISTS (SELECT 1 FROM tombstone WHERE account = ?1)",
            )
            .and_then(|mut s| s.query_row([account], |row| row.get(0)))
            .map_err(medium)?;
        if !taken {
            return Ok(number);
        }
    }
    Err(StoreError::Conflict)
}

impl Store {
    pub(super) async fn enlist(&self, enlistment: Enlistment, now: Timestamp, notice: MakeNotice) -> Result<Enlisted> {
        let expires = self.expiry(now);
        self.write(move |db| enlist(db, &enlistment, now, expires, notice)).await
    }

    pub(super) async fn register_native(
        &self,
        account: Jid,
        auth_key: [u8; 32],
        display_name: String,
        alias_view: bool,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(move |db| {
            let old = by_account(db, &account)?;
            db.prepare_cached(
                "INSERT INTO user (account, auth_key, display_name, alias_view, created, last_seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (account) DO UPDATE SET auth_key = ?2, display_name = ?3, alias_view = ?4",
            )
            .and_then(|mut s| {
                s.execute(params![account.to_string(), auth_key, display_name, alias_view, now.as_millis() as i64])
            })
            .map_err(medium)?;
            Ok(old.is_some_and(|old| old.auth_key != auth_key))
        })
        .await
    }

    pub(super) async fn set_blocked(&self, account: Jid, blocked: bool) -> Result<bool> {
        self.write(move |db| {
            let sql = if blocked {
                "UPDATE user SET status = 2 WHERE account = ?1 AND integrator IS NOT NULL"
            } else {
                "UPDATE user SET status = min(status, 1) WHERE account = ?1 AND integrator IS NOT NULL"
            };
            db.execute(sql, [account.to_string()]).map(|changed| changed > 0).map_err(medium)
        })
        .await
    }

    pub(super) async fn user(&self, account: Jid) -> Result<Option<User>> {
        self.read(move |db| by_account(db, &account)).await
    }

    pub(super) async fn logged_in(
        &self,
        account: &Jid,
        display_name: Option<String>,
        single_use: Option<SingleUse>,
        now: Timestamp,
    ) -> Result<Use> {
        let account = account.to_string();
        self.write(move |db| {
            match single_use.map(|token| tokens::use_up(db, &token, now)).transpose()? {
                None | Some(Use::First) => {}
                Some(refused) => return Ok(refused),
            }
            db.prepare_cached(
                "UPDATE user SET last_seen = ?2, push_gone = 0, display_name = coalesce(?3, display_name) WHERE account = ?1",
            )
            .and_then(|mut s| s.execute(params![account, now.as_millis() as i64, display_name]))
            .map_err(medium)?;
            Ok(Use::First)
        })
        .await
    }

    pub(super) async fn seen(&self, account: &Jid, now: Timestamp) -> Committed<()> {
        let account = account.to_string();
        self.submit(move |db| {
            db.prepare_cached("UPDATE user SET last_seen = max(last_seen, ?2) WHERE account = ?1")
                .and_then(|mut s| s.execute(params![account, now.as_millis() as i64]))
                .map_err(medium)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn delete_account(&self, account: Jid, notice: Notice, now: Timestamp) -> Result<Vec<Jid>> {
        let expires = self.expiry(now);
        self.write(move |db| {
            let told = contacts(db, &account)?;
            let text = account.to_string();
            let millis = now.as_millis() as i64;
            db.execute("DELETE FROM user WHERE account = ?1", [&text]).map_err(medium)?;
            db.execute("DELETE FROM contact WHERE peer = ?1", [&text]).map_err(medium)?;
            db.execute("INSERT OR IGNORE INTO tombstone (account, at) VALUES (?1, ?2)", params![text, millis])
                .map_err(medium)?;
            mailbox::tell(db, &told, &account, &notice, expires)?;
            Ok(told)
        })
        .await
    }

    pub(super) async fn sweep(&self, connected: Vec<Jid>, now: Timestamp) -> Result<Vec<Jid>> {
        let lapse_after = self.terms.lapse_after;
        self.write(move |db| {
            let millis = now.as_millis() as i64;
            // Once a day and connection is often enough.
            let mut seen = db
                .prepare_cached("UPDATE user SET last_seen = ?2 WHERE account = ?1 AND last_seen < ?2 - 86400000")
                .map_err(medium)?;
            for account in connected {
                seen.execute(params![account.to_string(), millis]).map_err(medium)?;
            }
            tokens::forget(db, now)?;
            let lapsed_before = millis.saturating_sub(lapse_after.as_millis() as i64);
            db.execute("DELETE FROM mailbox WHERE expires <= ?1", [millis]).map_err(medium)?;
            let mut statement = db
                .prepare_cached(
                    "UPDATE user SET status = 1 WHERE integrator IS NOT NULL AND status = 0 AND last_seen <= ?1
                     RETURNING account",
                )
                .map_err(medium)?;
            let rows = statement.query_map([lapsed_before], |row| row.get::<_, String>(0)).map_err(medium)?;
            rows.map(|account| account.map_err(medium)?.parse().map_err(corrupt)).collect()
        })
        .await
    }
}
