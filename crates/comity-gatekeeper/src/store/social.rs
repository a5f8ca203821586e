//! Consent: opt-ins, reachability, look-ups, pings, blocklists, reports (PROTOCOL §13).

use super::mailbox::{Class, Mail};
use super::users::{by_account, by_visible_id};
use super::{Kind, Result, Status, Store, User, medium};
use crate::limits::{MAX_BLOCKLIST, MAX_REPORTS};
use comity_core::{IntegratorId, Jid, Timestamp};
use rusqlite::{Connection, params};

fn exists(db: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<bool> {
    db.prepare_cached(sql).and_then(|mut s| s.query_row(params, |row| row.get(0))).map_err(medium)
}

/// Whether the native user `account` has opted in to `integrator`.
pub(super) fn opted_in(db: &Connection, account: &Jid, integrator: IntegratorId) -> Result<bool> {
    exists(
        db,
        "SELECT EXISTS (SELECT 1 FROM opt_in WHERE account = ?1 AND integrator = ?2)",
        params![account.to_string(), integrator.get()],
    )
}

/// Whether `account` blocks `peer`.
pub(super) fn blocks(db: &Connection, account: &Jid, peer: &Jid) -> Result<bool> {
    exists(
        db,
        "SELECT EXISTS (SELECT 1 FROM block WHERE account = ?1 AND peer = ?2)",
        [account.to_string(), peer.to_string()],
    )
}

/// Whether `viewer` may see that `target` exists: a native user that opted in to the viewer's integrator, or any active
/// partner user for a native viewer; never who blocks the viewer. The queries are the same whatever the answer.
pub(super) fn may_see(db: &Connection, viewer: &Jid, target: &Jid) -> Result<bool> {
    let (from, to) = (by_account(db, viewer)?, by_account(db, target)?);
    let integrator = from.as_ref().and_then(User::integrator);
    let consent = match integrator {
        Some(integrator) => opted_in(db, target, integrator)?,
        None => true,
    };
    let blocked = blocks(db, target, viewer)?;
    let (Some(_), Some(to)) = (from, to) else { return Ok(false) };
    if *viewer == *target {
        return Ok(true);
    }
    let kinds = !(integrator.is_some() && matches!(to.kind, Kind::Partner { .. }));
    Ok(kinds && consent && !blocked && to.status == Status::Active)
}

/// Whom a look-up asks for.
pub(crate) enum Lookup {
    /// A partner user, by integrator and user-visible id.
    Partner(IntegratorId, String),
    /// A native user, by JID made of the phone number.
    Native(Jid),
    /// Text that can be nobody's id.
    Nobody,
}

/// A blocklist and its version.
pub(crate) struct Blocklist {
    pub(crate) version: u32,
    pub(crate) peers: Vec<Jid>,
}

fn blocklist(db: &Connection, account: &Jid) -> Result<Blocklist> {
    let account = account.to_string();
    let version = db
        .prepare_cached("SELECT blocklist_version FROM user WHERE account = ?1")
        .and_then(|mut s| s.query_row([&account], |row| row.get(0)))
        .map_err(medium)?;
    let mut statement = db.prepare_cached("SELECT peer FROM block WHERE account = ?1 ORDER BY peer").map_err(medium)?;
    let rows = statement.query_map([&account], |row| row.get::<_, String>(0)).map_err(medium)?;
    let peers = rows.map(|peer| peer.map_err(medium)?.parse().map_err(super::users::corrupt)).collect::<Result<_>>()?;
    Ok(Blocklist { version, peers })
}

impl Store {
    pub(super) async fn opt_ins(&self, account: Jid) -> Result<Vec<u16>> {
        self.read(move |db| {
            let mut statement = db
                .prepare_cached("SELECT integrator FROM opt_in WHERE account = ?1 ORDER BY integrator")
                .map_err(medium)?;
            let rows = statement.query_map([account.to_string()], |row| row.get(0)).map_err(medium)?;
            rows.collect::<rusqlite::Result<_>>().map_err(medium)
        })
        .await
    }

    pub(super) async fn set_opt_ins(&self, account: Jid, integrators: Vec<IntegratorId>) -> Result<()> {
        self.write(move |db| {
            let account = account.to_string();
            db.execute("DELETE FROM opt_in WHERE account = ?1", [&account]).map_err(medium)?;
            for integrator in integrators {
                db.prepare_cached("INSERT OR IGNORE INTO opt_in (account, integrator) VALUES (?1, ?2)")
                    .and_then(|mut s| s.execute(params![account, integrator.get()]))
                    .map_err(medium)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn reachability(&self, account: Jid) -> Result<(bool, Vec<u16>)> {
        self.read(move |db| {
            let enabled = reachable(db, &account)?;
            let mut statement = db
                .prepare_cached("SELECT integrator FROM unreachable WHERE account = ?1 ORDER BY 1")
                .map_err(medium)?;
            let rows = statement.query_map([account.to_string()], |row| row.get(0)).map_err(medium)?;
            Ok((enabled, rows.collect::<rusqlite::Result<_>>().map_err(medium)?))
        })
        .await
    }

    pub(super) async fn set_reachability(&self, account: Jid, enabled: bool, only: Vec<IntegratorId>) -> Result<()> {
        self.write(move |db| {
            let account = account.to_string();
            if only.is_empty() {
                db.execute("UPDATE user SET reachable = ?2 WHERE account = ?1", params![account, enabled])
                    .map_err(medium)?;
                db.execute("DELETE FROM unreachable WHERE account = ?1", [&account]).map_err(medium)?;
            }
            for integrator in only {
                let sql = if enabled {
                    "DELETE FROM unreachable WHERE account = ?1 AND integrator = ?2"
                } else {
                    "INSERT OR IGNORE INTO unreachable (account, integrator) VALUES (?1, ?2)"
                };
                db.execute(sql, params![account, integrator.get()]).map_err(medium)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn look_up(&self, viewer: Jid, wanted: Vec<Lookup>) -> Result<Vec<Option<Jid>>> {
        self.read(move |db| {
            let nobody = Jid::server_only(comity_core::Server::Whatsapp);
            let find = |lookup: &Lookup| -> Result<Option<Jid>> {
                let target = match lookup {
                    Lookup::Partner(integrator, id) => by_visible_id(db, *integrator, id)?.map(|user| user.account),
                    Lookup::Native(account) => Some(account.clone()),
                    Lookup::Nobody => None,
                };
                let seen = may_see(db, &viewer, target.as_ref().unwrap_or(&nobody))?;
                Ok(target.filter(|_| seen))
            };
            wanted.iter().map(find).collect()
        })
        .await
    }

    pub(super) async fn ping(&self, sender: &User, mail: Mail, now: Timestamp) -> Result<bool> {
        let (sender, expires, pings_per_day) = (sender.clone(), self.expiry(now), self.terms.pings_per_day);
        self.write(move |db| {
            let Some(integrator) = sender.integrator() else { return Ok(false) };
            let target = by_account(db, &mail.to)?;
            let blocked = blocks(db, &mail.to, &sender.account)?;
            let shut = exists(
                db,
                "SELECT EXISTS (SELECT 1 FROM unreachable WHERE account = ?1 AND integrator = ?2)",
                params![mail.to.to_string(), integrator.get()],
            )?;
            let wanted = target.is_some_and(|t| t.kind == Kind::Native) && reachable(db, &mail.to)?;
            if !wanted || blocked || shut {
                return Ok(false);
            }
            let day = (now.as_secs() / 86_400) as i64;
            let count: u32 = db
                .prepare_cached(
                    "INSERT INTO ping (account, peer, day, count) VALUES (?1, ?2, ?3, 1)
                     ON CONFLICT (account, peer) DO UPDATE SET count = iif(day = ?3, count + 1, 1), day = ?3
                     RETURNING count",
                )
                .and_then(|mut s| {
                    s.query_row(params![sender.account.to_string(), mail.to.to_string(), day], |row| row.get(0))
                })
                .map_err(medium)?;
            if count > pings_per_day {
                return Ok(false);
            }
            debug_assert_eq!(mail.class, Class::Notification);
            super::mailbox::put(db, &mail, expires)?;
            Ok(true)
        })
        .await
    }

    pub(super) async fn blocklist(&self, account: Jid) -> Result<Blocklist> {
        self.read(move |db| blocklist(db, &account)).await
    }

    pub(super) async fn set_block(&self, account: Jid, peer: Jid, block: bool) -> Result<Option<Blocklist>> {
        self.write(move |db| {
            let (own, peer) = (account.to_string(), peer.to_string());
            let changed = if block {
                let size: u32 = db
                    .query_row("SELECT count(*) FROM block WHERE account = ?1", [&own], |row| row.get(0))
                    .map_err(medium)?;
                if size >= MAX_BLOCKLIST {
                    return Ok(None);
                }
                db.execute("INSERT OR IGNORE INTO block (account, peer) VALUES (?1, ?2)", [&own, &peer])
                    .map_err(medium)?
            } else {
                db.execute("DELETE FROM block WHERE account = ?1 AND peer = ?2", [&own, &peer]).map_err(medium)?
            };
            if changed == 1 {
                db.execute("UPDATE user SET blocklist_version = blocklist_version + 1 WHERE account = ?1", [&own])
                    .map_err(medium)?;
            }
            blocklist(db, &account).map(Some)
        })
        .await
    }

    pub(super) async fn may_see(&self, viewer: Jid, target: Jid) -> Result<bool> {
        self.read(move |db| may_see(db, &viewer, &target)).await
    }

    pub(super) async fn report(
        &self,
        reporter: Jid,
        subject: Jid,
        flow: String,
        stanza: Vec<u8>,
        now: Timestamp,
    ) -> Result<()> {
        self.write(move |db| {
            db.execute(
                "INSERT INTO report (reporter, subject, flow, stanza, at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![reporter.to_string(), subject.to_string(), flow, stanza, now.as_millis() as i64],
            )
            .map_err(medium)?;
            db.execute("DELETE FROM report WHERE seq <= (SELECT max(seq) FROM report) - ?1", [MAX_REPORTS])
                .map_err(medium)?;
            Ok(())
        })
        .await
    }
}

fn reachable(db: &Connection, account: &Jid) -> Result<bool> {
    exists(
        db,
        "SELECT coalesce((SELECT reachable FROM user WHERE account = ?1), EXISTS (SELECT 1 FROM opt_in WHERE account = ?1))",
        [account.to_string()],
    )
}
