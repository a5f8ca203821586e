//! Unbound tokens that were used: each is good for one time (PROTOCOL §3).

use super::{Result, Store, medium};
use crate::limits::MAX_USED_TOKENS;
use comity_core::Timestamp;
use comity_identity::SingleUse;
use rusqlite::{Connection, OptionalExtension as _, params};

/// What became of a token's one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It was the first; from now on it is remembered.
    First,
    /// It was used before.
    Again,
    /// Too many of its issuer are remembered.
    Full,
}

/// Uses the token up, as part of the transaction of what it admits.
pub(super) fn use_up(db: &Connection, token: &SingleUse, now: Timestamp) -> Result<Use> {
    if is_used(db, token)? {
        return Ok(Use::Again);
    }
    let count = |db: &Connection| -> Result<u32> {
        let count = db
            .prepare_cached("SELECT count FROM used_tokens WHERE issuer = ?1")
            .and_then(|mut s| s.query_row([&token.issuer], |row| row.get(0)).optional());
        Ok(count.map_err(medium)?.unwrap_or(0))
    };
    if count(db)? >= MAX_USED_TOKENS {
        forget(db, now)?;
        if count(db)? >= MAX_USED_TOKENS {
            return Ok(Use::Full);
        }
    }
    db.prepare_cached("INSERT INTO used_token (issuer, jti, until) VALUES (?1, ?2, ?3)")
        .and_then(|mut s| s.execute(params![token.issuer, token.jti, token.until.as_millis() as i64]))
        .map_err(medium)?;
    Ok(Use::First)
}

fn is_used(db: &Connection, token: &SingleUse) -> Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM used_token WHERE issuer = ?1 AND jti = ?2)")
        .and_then(|mut s| s.query_row(params![token.issuer, token.jti], |row| row.get(0)))
        .map_err(medium)
}

/// Forgets the tokens that no longer verify.
pub(super) fn forget(db: &Connection, now: Timestamp) -> Result<()> {
    db.prepare_cached("DELETE FROM used_token WHERE until <= ?1")
        .and_then(|mut s| s.execute([now.as_millis() as i64]))
        .map(drop)
        .map_err(medium)
}

impl Store {
    pub(super) async fn is_used(&self, token: SingleUse) -> Result<bool> {
        self.read(move |db| is_used(db, &token)).await
    }
}
