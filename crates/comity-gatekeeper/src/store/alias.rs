//! Aliases of partner users (PROTOCOL §2): 15 random digits each, for ever.

use super::users::corrupt;
use super::{Result, Store, medium};
use crate::limits::NUMBER_CANDIDATES;
use crate::rng::os_rng;
use comity_core::{Jid, Server, StoreError, UserNumber};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::HashMap;

fn alias_of(db: &Connection, account: &Jid) -> Result<Option<Jid>> {
    let number: Option<i64> = db
        .prepare_cached("SELECT number FROM alias WHERE account = ?1")
        .and_then(|mut s| s.query_row([account.to_string()], |row| row.get(0)).optional())
        .map_err(medium)?;
    number.map(|number| Jid::new(&number.to_string(), Server::Lid).map_err(corrupt)).transpose()
}

fn account_of(db: &Connection, alias: &Jid) -> Result<Option<Jid>> {
    let number = alias.user().parse::<i64>().ok().filter(|number| number.to_string() == alias.user());
    let Some(number) = number else { return Ok(None) };
    let account: Option<String> = db
        .prepare_cached("SELECT account FROM alias WHERE number = ?1")
        .and_then(|mut s| s.query_row([number], |row| row.get(0)).optional())
        .map_err(medium)?;
    account.map(|account| account.parse().map_err(corrupt)).transpose()
}

/// Gives an account its alias, if there is or was such an account and it has none.
fn give(db: &Connection, account: &Jid) -> Result<()> {
    let text = account.to_string();
    let known: bool = db
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM alias WHERE account = ?1)
                AND (EXISTS (SELECT 1 FROM user WHERE account = ?1) OR EXISTS (SELECT 1 FROM tombstone WHERE account = ?1))",
        )
        .and_then(|mut s| s.query_row([&text], |row| row.get(0)))
        .map_err(medium)?;
    if !known {
        return Ok(());
    }
    for _ in 0..NUMBER_CANDIDATES {
        let number = i64::try_from(UserNumber::random(&mut os_rng()).get()).map_err(corrupt)?;
        let given = db
            .prepare_cached("INSERT OR IGNORE INTO alias (number, account) VALUES (?1, ?2)")
            .and_then(|mut s| s.execute(params![number, text]))
            .map_err(medium)?;
        if given > 0 {
            return Ok(());
        }
    }
    Err(StoreError::Conflict)
}

fn all(db: &Connection, of: &[Jid], find: fn(&Connection, &Jid) -> Result<Option<Jid>>) -> Result<HashMap<Jid, Jid>> {
    let mut found = HashMap::with_capacity(of.len());
    for jid in of {
        if let Some(other) = find(db, jid)? {
            found.insert(jid.clone(), other);
        }
    }
    Ok(found)
}

impl Store {
    pub(super) async fn aliases(&self, accounts: Vec<Jid>) -> Result<HashMap<Jid, Jid>> {
        let (wanted, asked) = (accounts.len(), accounts.clone());
        let known = self.read(move |db| all(db, &asked, alias_of)).await?;
        if known.len() == wanted {
            return Ok(known);
        }
        self.write(move |db| {
            accounts.iter().try_for_each(|account| give(db, account))?;
            all(db, &accounts, alias_of)
        })
        .await
    }

    pub(super) async fn aliased(&self, aliases: Vec<Jid>) -> Result<HashMap<Jid, Jid>> {
        self.read(move |db| all(db, &aliases, account_of)).await
    }
}
