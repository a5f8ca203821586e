//! The mailbox (PROTOCOL §7, §12): what was acknowledged to its sender and not yet answered by its recipient, per
//! recipient in order, for 30 days.

use super::social::{blocks, opted_in};
use super::users::by_account;
use super::{Committed, Kind, Result, Status, Store, User, medium};
use crate::limits::{MAX_MAILBOX_BYTES, MAX_MAILBOX_STANZAS};
use comity_core::{Jid, Timestamp};
use rusqlite::{Connection, params};

/// The class of a queued stanza, as acks name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Message = 0,
    Receipt = 1,
    Notification = 2,
    Call = 3,
}

impl Class {
    /// The class an ack names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "message" => Self::Message,
            "receipt" => Self::Receipt,
            "notification" => Self::Notification,
            "call" => Self::Call,
            _ => return None,
        })
    }
}

/// A stanza for one recipient, as it will be delivered (with `from` and `t`).
pub(crate) struct Mail {
    pub(crate) to: Jid,
    pub(crate) class: Class,
    /// The delivered `from`.
    pub(crate) sender: Jid,
    pub(crate) id: String,
    /// What tells apart stanzas of one class, sender and id: a receipt's type, a re-encryption's count.
    pub(crate) kind: String,
    /// The encoded frame.
    pub(crate) stanza: Vec<u8>,
}

/// A notification the store itself sends to an account's contacts.
pub(crate) struct Notice {
    pub(crate) id: String,
    pub(crate) stanza: Vec<u8>,
}

/// What became of a sent message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Stored, now or by an earlier sending of the same.
    Stored {
        /// The recipient is a partner user who may be woken by a push.
        wakeable: bool,
    },
    /// The recipient blocks the sender: acknowledged, not stored.
    Dropped,
    /// The recipient has not opted in, or there is no such native user.
    NotOptedIn,
    /// There is no such partner user for this sender.
    Unknown,
    /// The recipient's mailbox is full.
    Full,
}

impl Outcome {
    /// The metric's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored { .. } => "stored",
            Self::Dropped => "dropped",
            Self::NotOptedIn => "not_opted_in",
            Self::Unknown => "unknown",
            Self::Full => "full",
        }
    }
}

/// A queued stanza.
pub(crate) struct Queued {
    pub(crate) seq: i64,
    pub(crate) stanza: Vec<u8>,
}

/// What waits for an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The last one's place in the order.
    pub(crate) last: i64,
    pub(crate) message: u32,
    pub(crate) receipt: u32,
    pub(crate) notification: u32,
    pub(crate) call: u32,
}

impl Waiting {
    pub(crate) fn total(&self) -> u32 {
        self.message + self.receipt + self.notification + self.call
    }
}

pub(super) fn put(db: &Connection, mail: &Mail, expires: Timestamp) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO mailbox (account, class, sender, id, kind, stanza, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO NOTHING",
    )
    .and_then(|mut s| {
        s.execute(params![
            mail.to.to_string(),
            mail.class as u8,
            mail.sender.to_string(),
            mail.id,
            mail.kind,
            mail.stanza,
            expires.as_millis() as i64
        ])
    })
    .map_err(medium)?;
    Ok(())
}

fn has_room(db: &Connection, account: &Jid, more: usize) -> Result<bool> {
    let (stanzas, bytes): (u64, u64) = db
        .prepare_cached("SELECT queued, queued_bytes FROM user WHERE account = ?1")
        .and_then(|mut s| {
            s.query_row([account.to_string()], |row| {
                Ok((row.get::<_, u32>(0)?.into(), row.get::<_, i64>(1)?.max(0) as u64))
            })
        })
        .map_err(medium)?;
    Ok(stanzas < MAX_MAILBOX_STANZAS && bytes.saturating_add(more as u64) <= MAX_MAILBOX_BYTES)
}

/// Queues a notice from `from` for each of `told`. A full mailbox still takes it: there is one per change and contact.
pub(super) fn tell(db: &Connection, told: &[Jid], from: &Jid, notice: &Notice, expires: Timestamp) -> Result<()> {
    for peer in told {
        let mail = Mail {
            to: peer.clone(),
            class: Class::Notification,
            sender: from.clone(),
            id: notice.id.clone(),
            kind: String::new(),
            stanza: notice.stanza.clone(),
        };
        put(db, &mail, expires)?;
    }
    Ok(())
}

/// Whether `sender` may reach `to` at all; the recipient if so.
fn admit(db: &Connection, sender: &User, to: &Jid) -> Result<Result<User, Outcome>> {
    // The same queries whatever the answer, so that its time tells nothing.
    let recipient = by_account(db, to)?;
    let consent = match sender.integrator() {
        Some(integrator) => opted_in(db, to, integrator)?,
        None => true,
    };
    let blocked = blocks(db, to, &sender.account)?;
    Ok(match (&sender.kind, recipient) {
        (_, Some(recipient)) if recipient.status != Status::Active => Err(Outcome::Unknown),
        (Kind::Partner { .. }, Some(User { kind: Kind::Partner { .. }, .. })) => Err(Outcome::Unknown),
        (Kind::Partner { .. }, None) if to.server() == comity_core::Server::Interop => Err(Outcome::Unknown),
        (Kind::Partner { .. }, _) if !consent => Err(Outcome::NotOptedIn),
        (_, None) => Err(Outcome::Unknown),
        (_, Some(_)) if blocked => Err(Outcome::Dropped),
        (_, Some(recipient)) => Ok(recipient),
    })
}

fn befriend(db: &Connection, a: &Jid, b: &Jid) -> Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO contact (account, peer) VALUES (?1, ?2), (?2, ?1)")
        .and_then(|mut s| s.execute([a.to_string(), b.to_string()]))
        .map_err(medium)?;
    Ok(())
}

impl Store {
    pub(super) async fn send(&self, sender: &User, mail: Mail, now: Timestamp) -> Committed<Outcome> {
        let (sender, expires) = (sender.clone(), self.expiry(now));
        self.submit(move |db| {
            let recipient = match admit(db, &sender, &mail.to)? {
                Ok(recipient) => recipient,
                Err(outcome) => return Ok(outcome),
            };
            if !has_room(db, &mail.to, mail.stanza.len())? {
                return Ok(Outcome::Full);
            }
            befriend(db, &sender.account, &mail.to)?;
            put(db, &mail, expires)?;
            Ok(Outcome::Stored { wakeable: recipient.integrator().is_some() })
        })
        .await
    }

    pub(super) async fn receipt(
        &self,
        user: &User,
        peer: Jid,
        answered: Vec<String>,
        forward: Option<Mail>,
        now: Timestamp,
    ) -> Committed<(u32, bool)> {
        let (user, expires) = (user.clone(), self.expiry(now));
        self.submit(move |db| {
            let (account, from) = (user.account.to_string(), peer.to_string());
            let mut removed = 0;
            for id in &answered {
                removed += remove(db, &account, Class::Message, &from, id)?;
            }
            let Some(mail) = forward else { return Ok((removed, false)) };
            if admit(db, &user, &mail.to)?.is_err() || !has_room(db, &mail.to, mail.stanza.len())? {
                return Ok((removed, false));
            }
            put(db, &mail, expires)?;
            Ok((removed, true))
        })
        .await
    }

    pub(super) async fn acked(
        &self,
        account: &Jid,
        class: Class,
        peer: Jid,
        id: String,
        kind: Option<String>,
    ) -> Committed<u32> {
        let account = account.to_string();
        self.submit(move |db| {
            let peer = peer.to_string();
            if class == Class::Message {
                return remove(db, &account, class, &peer, &id);
            }
            db.prepare_cached(
                "DELETE FROM mailbox WHERE seq = (SELECT seq FROM mailbox
                    WHERE account = ?1 AND class = ?2 AND sender = ?3 AND id = ?4 AND (?5 IS NULL OR kind = ?5 OR kind LIKE ?5 || '#%')
                    ORDER BY kind <> '', seq LIMIT 1)",
            )
            .and_then(|mut s| s.execute(params![account, class as u8, peer, id, kind]))
            .map(|gone| gone as u32)
            .map_err(medium)
        })
        .await
    }

    pub(super) async fn waiting(&self, account: Jid) -> Result<Waiting> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT coalesce(max(seq), 0), count(*) FILTER (WHERE class = 0), count(*) FILTER (WHERE class = 1),
                        count(*) FILTER (WHERE class = 2), count(*) FILTER (WHERE class = 3)
                 FROM mailbox WHERE account = ?1",
            )
            .and_then(|mut s| {
                s.query_row([account.to_string()], |row| {
                    Ok(Waiting {
                        last: row.get(0)?,
                        message: row.get(1)?,
                        receipt: row.get(2)?,
                        notification: row.get(3)?,
                        call: row.get(4)?,
                    })
                })
            })
            .map_err(medium)
        })
        .await
    }

    pub(super) async fn page(&self, account: &Jid, after: i64, limit: u32, max_bytes: usize) -> Result<Vec<Queued>> {
        let account = account.to_string();
        self.read(move |db| {
            let mut statement = db
                .prepare_cached("SELECT seq, stanza FROM mailbox WHERE account = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")
                .map_err(medium)?;
            let mut rows = statement.query(params![account, after, limit]).map_err(medium)?;
            let (mut page, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next().map_err(medium)? {
                let queued = Queued { seq: row.get(0).map_err(medium)?, stanza: row.get(1).map_err(medium)? };
                bytes += queued.stanza.len();
                page.push(queued);
                if bytes >= max_bytes {
                    break;
                }
            }
            Ok(page)
        })
        .await
    }

    pub(super) async fn to_wake(&self) -> Result<Vec<Jid>> {
        self.read(|db| {
            let mut statement = db
                .prepare(
                    "SELECT account FROM user WHERE integrator IS NOT NULL AND status = 0 AND push_gone = 0
                     AND EXISTS (SELECT 1 FROM mailbox WHERE mailbox.account = user.account AND class IN (0, 3))",
                )
                .map_err(medium)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(medium)?;
            rows.map(|account| account.map_err(medium)?.parse().map_err(super::users::corrupt)).collect()
        })
        .await
    }

    pub(super) async fn push_gone(&self, account: Jid) -> Result<()> {
        self.write(move |db| {
            db.execute("UPDATE user SET push_gone = 1 WHERE account = ?1", [account.to_string()]).map_err(medium)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn push_target(&self, account: Jid) -> Result<Option<User>> {
        self.read(move |db| {
            let due: bool = db
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM user WHERE account = ?1 AND status = 0 AND push_gone = 0)
                        AND EXISTS (SELECT 1 FROM mailbox WHERE account = ?1 AND class IN (0, 3))",
                )
                .and_then(|mut s| s.query_row([account.to_string()], |row| row.get(0)))
                .map_err(medium)?;
            if due { by_account(db, &account) } else { Ok(None) }
        })
        .await
    }
}

fn remove(db: &Connection, account: &str, class: Class, sender: &str, id: &str) -> Result<u32> {
    db.prepare_cached("DELETE FROM mailbox WHERE account = ?1 AND class = ?2 AND sender = ?3 AND id = ?4")
        .and_then(|mut s| s.execute(params![account, class as u8, sender, id]))
        .map(|gone| gone as u32)
        .map_err(medium)
}
