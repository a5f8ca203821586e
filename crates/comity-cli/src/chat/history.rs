//! What was said, kept by the chat itself: an event is in here, durably, before it is confirmed, and taken once.

use crate::Failure;
use comity_client::{Content, EventId, MessageEvent, MessageState, Quote, Side, Target};
use comity_core::{Jid, MessageId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// The schema this version writes.
const SCHEMA: u32 = 1;
/// How long another process's commit is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages kept, of all chats together; an older one goes when a new one comes.
const MAX_KEPT: u32 = 100_000;
/// Most messages shown at once.
pub(crate) const MAX_SHOWN: usize = 1000;

const TABLES: &str = "
    CREATE TABLE message (number INTEGER PRIMARY KEY AUTOINCREMENT, chat TEXT NOT NULL, id TEXT NOT NULL,
        mine INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
        reply_id TEXT, reply_mine INTEGER, quoted TEXT, state TEXT NOT NULL, cause TEXT, file TEXT,
        edited INTEGER NOT NULL DEFAULT 0, revoked INTEGER NOT NULL DEFAULT 0, unread INTEGER NOT NULL DEFAULT 0,
        raw BLOB, UNIQUE (chat, id, mine));
    CREATE INDEX message_of_chat ON message (chat, number);
    CREATE TABLE reaction (chat TEXT NOT NULL, id TEXT NOT NULL, mine INTEGER NOT NULL, by_me INTEGER NOT NULL,
        text TEXT NOT NULL, PRIMARY KEY (chat, id, mine, by_me));
    CREATE TABLE name (chat TEXT PRIMARY KEY, name TEXT NOT NULL);
    -- Events that are taken and, as far as is known, not confirmed.
    CREATE TABLE taken (event TEXT PRIMARY KEY);";

pub(crate) struct History(Connection);

/// A message as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Counts up over all chats.
    pub(crate) number: u64,
    pub(crate) chat: Jid,
    pub(crate) id: MessageId,
    pub(crate) mine: bool,
    pub(crate) at: Timestamp,
    /// `text`, `undecryptable`, `unsupported`, or a kind of media.
    pub(crate) kind: String,
    pub(crate) text: String,
    pub(crate) reply: Option<Quote>,
    /// Of one's own: `queued`, `sent`, `delivered`, `read`, `played`, `failed`; of others: empty.
    pub(crate) state: String,
    pub(crate) cause: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) edited: bool,
    pub(crate) revoked: bool,
    pub(crate) unread: bool,
    /// Whether it is ours, and what.
    pub(crate) reactions: Vec<(bool, String)>,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A message that is shown for the first time; or in place of what could not be read.
    New(Entry),
    Replaced(Entry),
    /// A message that is there has changed.
    Edited(Entry),
    Revoked(Entry),
    Reacted(Entry),
    /// It was taken before, and is not shown again.
    Again,
    /// It changes a message that is not here.
    Nothing,
}

impl Taken {
    /// The message as it stands now.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        match self {
            Self::New(e) | Self::Replaced(e) | Self::Edited(e) | Self::Revoked(e) | Self::Reacted(e) => Some(e),
            Self::Again | Self::Nothing => None,
        }
    }
}

const COLUMNS: &str =
    "number, chat, id, mine, at, kind, text, reply_id, reply_mine, quoted, state, cause, file, edited,
    revoked, unread";

impl History {
    /// Opens the file, or makes it, for its owner alone.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        }
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match tx.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? {
            0 => tx.execute_batch(TABLES)?,
            SCHEMA => {}
            found => return Err(format!("{} is of a newer version ({found})", path.display()).into()),
        }
        tx.pragma_update(None, "user_version", SCHEMA)?;
        tx.commit()?;
        Self::keeping(db, MAX_KEPT)
    }

    fn keeping(db: Connection, most: u32) -> Result<Self, Failure> {
        db.execute_batch(&format!(
            "DELETE FROM reaction WHERE NOT EXISTS (SELECT 1 FROM message m
               WHERE m.chat = reaction.chat AND m.id = reaction.id AND m.mine = reaction.mine);
             CREATE TEMP TRIGGER kept AFTER INSERT ON main.message BEGIN
               DELETE FROM message WHERE number <= new.number - {most};
             END;"
        ))?;
        Ok(Self(db))
    }

    fn begin(&mut self) -> Result<Transaction<'_>, Failure> {
        Ok(self.0.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Takes a message event. When this returns it is durable, and the event may be confirmed.
    pub(crate) fn take(&mut self, message: &MessageEvent) -> Result<Taken, Failure> {
        let (chat, id) = (message.from.account(), message.id.clone());
        let tx = self.begin()?;
        if tx.execute("INSERT OR IGNORE INTO taken VALUES (?1)", [&*message.event.0])? == 0 {
            return Ok(Taken::Again);
        }
        if let Some(name) = &message.notify {
            tx.execute("INSERT OR REPLACE INTO name VALUES (?1, ?2)", params![chat.to_string(), name])?;
        }
        let taken = match &message.content {
            Content::Reaction { target, text } => changed(react(&tx, &chat, target, false, text)?, Taken::Reacted),
            Content::Revoke { id } => changed(revoke(&tx, &chat, id, false)?, Taken::Revoked),
            Content::Edit { id, text } => changed(edit(&tx, &chat, id, false, text)?, Taken::Edited),
            content => {
                let (kind, text) = described(content);
                let reply = match content {
                    Content::Text { reply_to, .. } => reply_to.as_ref(),
                    _ => None,
                };
                let (before, at) = (find(&tx, &chat, &id, false)?, message.t.as_secs());
                let (reply_id, reply_mine) =
                    (reply.map(|r| r.target.id.as_str()), reply.map(|r| r.target.author == Side::Me));
                let quoted = reply.and_then(|reply| reply.quoted.as_deref());
                match &before {
                    Some(entry) if entry.kind != UNDECRYPTABLE => Taken::Again,
                    Some(_) => {
                        tx.execute(
                            "UPDATE message SET at = ?3, kind = ?4, text = ?5, reply_id = ?6, reply_mine = ?7, quoted = ?8,
                             unread = 1, raw = ?9 WHERE chat = ?1 AND id = ?2 AND mine = 0",
                            params![chat.to_string(), id.as_str(), at, kind, text, reply_id, reply_mine, quoted, &*message.raw],
                        )?;
                        changed(find(&tx, &chat, &id, false)?, Taken::Replaced)
                    }
                    None => {
                        tx.execute(
                            "INSERT INTO message (chat, id, mine, at, kind, text, reply_id, reply_mine, quoted, state, unread,
                             raw) VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, '', 1, ?9)",
                            params![chat.to_string(), id.as_str(), at, kind, text, reply_id, reply_mine, quoted, &*message.raw],
                        )?;
                        changed(find(&tx, &chat, &id, false)?, Taken::New)
                    }
                }
            }
        };
        tx.commit()?;
        Ok(taken)
    }

    /// The event is confirmed: it does not come again.
    pub(crate) fn confirmed(&mut self, event: &EventId) -> Result<(), Failure> {
        self.0.execute("DELETE FROM taken WHERE event = ?1", [&*event.0])?;
        Ok(())
    }

    /// A message that could not be read: a placeholder, until it comes again.
    pub(crate) fn undecryptable(&mut self, from: &Jid, id: &MessageId, now: Timestamp) -> Result<Taken, Failure> {
        let chat = from.account();
        let tx = self.begin()?;
        let new = tx.execute(
            "INSERT OR IGNORE INTO message (chat, id, mine, at, kind, text, state) VALUES (?1, ?2, 0, ?3, ?4, '', '')",
            params![chat.to_string(), id.as_str(), now.as_secs(), UNDECRYPTABLE],
        )?;
        let taken = if new == 0 { Taken::Again } else { changed(find(&tx, &chat, id, false)?, Taken::New) };
        tx.commit()?;
        Ok(taken)
    }

    /// A message of ours, before it is given to the client; the same id twice is one message.
    pub(crate) fn queue(
        &mut self,
        to: &Jid,
        id: &MessageId,
        kind: &str,
        text: &str,
        reply: Option<&Quote>,
        now: Timestamp,
    ) -> Result<Entry, Failure> {
        let chat = to.account();
        let tx = self.begin()?;
        tx.execute(
            "INSERT OR IGNORE INTO message (chat, id, mine, at, kind, text, reply_id, reply_mine, quoted, state)
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, 'queued')",
            params![
                chat.to_string(),
                id.as_str(),
                now.as_secs(),
                kind,
                text,
                reply.map(|reply| reply.target.id.as_str()),
                reply.map(|reply| reply.target.author == Side::Me),
                reply.and_then(|reply| reply.quoted.as_deref())
            ],
        )?;
        let entry = find(&tx, &chat, id, true)?.ok_or("the history lost a message")?;
        tx.commit()?;
        Ok(entry)
    }

    /// Texts of ours that the server has not confirmed: giving them to the client again sends none twice.
    pub(crate) fn queued(&self) -> Result<Vec<Entry>, Failure> {
        let mut find = self.0.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM message WHERE mine = 1 AND state = 'queued' AND kind = 'text' AND revoked = 0 ORDER BY number"
        ))?;
        let rows = find.query_map([], entry)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A message of ours got further; `None` if that is known, or the message is not.
    pub(crate) fn state(&mut self, chat: &Jid, id: &MessageId, state: &MessageState) -> Result<Option<Entry>, Failure> {
        let (name, cause) = state_name(state);
        let chat = chat.account();
        let tx = self.begin()?;
        let Some(before) = find(&tx, &chat, id, true)? else { return Ok(None) };
        if rank(name) <= rank(&before.state) {
            return Ok(None);
        }
        tx.execute(
            "UPDATE message SET state = ?3, cause = ?4 WHERE chat = ?1 AND id = ?2 AND mine = 1",
            params![chat.to_string(), id.as_str(), name, cause],
        )?;
        let entry = find(&tx, &chat, id, true)?;
        tx.commit()?;
        Ok(entry)
    }

    /// Our own reaction, edit or revocation, once it is queued.
    pub(crate) fn change(&mut self, chat: &Jid, content: &Content) -> Result<Taken, Failure> {
        let chat = chat.account();
        let tx = self.begin()?;
        let taken = match content {
            Content::Reaction { target, text } => changed(react(&tx, &chat, target, true, text)?, Taken::Reacted),
            Content::Revoke { id } => changed(revoke(&tx, &chat, id, true)?, Taken::Revoked),
            Content::Edit { id, text } => changed(edit(&tx, &chat, id, true, text)?, Taken::Edited),
            _ => Taken::Nothing,
        };
        tx.commit()?;
        Ok(taken)
    }

    /// The client does not take a message of ours.
    pub(crate) fn refused(&mut self, chat: &Jid, id: &MessageId, cause: &str) -> Result<(), Failure> {
        self.0.execute(
            "UPDATE message SET state = 'failed', cause = ?3 WHERE chat = ?1 AND id = ?2 AND mine = 1 AND state = 'queued'",
            params![chat.account().to_string(), id.as_str(), cause],
        )?;
        Ok(())
    }

    /// A message of the peer as it was decrypted, and its time; `None` if it is not here, or was taken back.
    pub(crate) fn raw(&self, chat: &Jid, id: &MessageId) -> Result<Option<(Timestamp, Vec<u8>)>, Failure> {
        let sql = "SELECT at, raw FROM message WHERE chat = ?1 AND id = ?2 AND mine = 0 AND raw IS NOT NULL";
        let key = params![chat.account().to_string(), id.as_str()];
        let found =
            self.0.prepare_cached(sql)?.query_row(key, |row| Ok((Timestamp::from_secs(row.get(0)?), row.get(1)?)));
        Ok(found.optional()?)
    }

    /// Where a message's file is, or why it is not.
    pub(crate) fn file(&mut self, chat: &Jid, id: &MessageId, file: Result<&str, &str>) -> Result<(), Failure> {
        self.0.execute(
            "UPDATE message SET file = ?3, cause = ?4 WHERE chat = ?1 AND id = ?2 AND mine = 0",
            params![chat.account().to_string(), id.as_str(), file.ok(), file.err()],
        )?;
        Ok(())
    }

    /// The peer's messages of a chat that were not read, oldest first.
    pub(crate) fn unread(&self, chat: &Jid) -> Result<Vec<MessageId>, Failure> {
        let mut find =
            self.0.prepare_cached("SELECT id FROM message WHERE chat = ?1 AND unread = 1 ORDER BY number")?;
        let rows = find.query_map([chat.account().to_string()], |row| row.get::<_, String>(0))?;
        rows.map(|id| Ok(id?.parse()?)).collect()
    }

    /// How many messages of other chats were not read: by chat.
    pub(crate) fn unread_chats(&self) -> Result<Vec<(Jid, u64)>, Failure> {
        let mut find =
            self.0.prepare_cached("SELECT chat, count(*) FROM message WHERE unread = 1 GROUP BY chat ORDER BY chat")?;
        let rows = find.query_map([], |row| Ok((jid(row, 0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// They were read, and the receipt is queued.
    pub(crate) fn mark_read(&mut self, chat: &Jid, ids: &[MessageId]) -> Result<(), Failure> {
        let chat = chat.account().to_string();
        let tx = self.begin()?;
        for id in ids {
            tx.execute(
                "UPDATE message SET unread = 0 WHERE chat = ?1 AND id = ?2 AND mine = 0",
                params![chat, id.as_str()],
            )?;
        }
        Ok(tx.commit()?)
    }

    /// The last `limit` messages of a chat, or of all, oldest first.
    pub(crate) fn last(&self, chat: Option<&Jid>, limit: usize) -> Result<Vec<Entry>, Failure> {
        let chat = chat.map(|chat| chat.account().to_string());
        let mut find = self.0.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM message WHERE ?1 IS NULL OR chat = ?1 ORDER BY number DESC LIMIT ?2"
        ))?;
        let limit = i64::try_from(limit.min(MAX_SHOWN)).unwrap_or(i64::MAX);
        let mut entries: Vec<Entry> = find.query_map(params![chat, limit], entry)?.collect::<Result<_, _>>()?;
        entries.reverse();
        for entry in &mut entries {
            entry.reactions = reactions(&self.0, entry)?;
        }
        Ok(entries)
    }

    pub(crate) fn has(&self, chat: &Jid, id: &MessageId, mine: bool) -> Result<bool, Failure> {
        Ok(find(&self.0, &chat.account(), id, mine)?.is_some())
    }

    /// The message of that number.
    pub(crate) fn number(&self, number: u64) -> Result<Option<Entry>, Failure> {
        let sql = format!("SELECT {COLUMNS} FROM message WHERE number = ?1");
        Ok(self.0.prepare_cached(&sql)?.query_row([number], entry).optional()?)
    }

    pub(crate) fn names(&self) -> Result<Vec<(Jid, String)>, Failure> {
        let mut find = self.0.prepare_cached("SELECT chat, name FROM name")?;
        let rows = find.query_map([], |row| Ok((jid(row, 0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn name(&mut self, chat: &Jid, name: &str) -> Result<(), Failure> {
        let chat = chat.account().to_string();
        self.0.execute("INSERT OR REPLACE INTO name VALUES (?1, ?2)", params![chat, name])?;
        Ok(())
    }
}

/// The kind of a message that could not be read.
pub(crate) const UNDECRYPTABLE: &str = "undecryptable";

/// Kind and text of a content that is a message of its own.
fn described(content: &Content) -> (&'static str, String) {
    match content {
        Content::Text { text, .. } => ("text", text.clone()),
        Content::Media(media) => (media.kind.mms_type(), media.caption.clone().unwrap_or_default()),
        _ => ("unsupported", String::new()),
    }
}

/// The name of a state, and the cause of a failure.
pub(crate) fn state_name(state: &MessageState) -> (&'static str, Option<String>) {
    match state {
        MessageState::Sent => ("sent", None),
        MessageState::Delivered => ("delivered", None),
        MessageState::Read => ("read", None),
        MessageState::Played => ("played", None),
        MessageState::Failed(failure) => ("failed", Some(format!("{failure:?}"))),
        _ => ("unknown", None),
    }
}

/// A state is only followed by a higher one.
fn rank(state: &str) -> usize {
    ["queued", "sent", "failed", "delivered", "read", "played"].iter().position(|name| *name == state).unwrap_or(0)
}

fn changed(entry: Option<Entry>, how: fn(Entry) -> Taken) -> Taken {
    entry.map_or(Taken::Nothing, how)
}

fn find(db: &Connection, chat: &Jid, id: &MessageId, mine: bool) -> Result<Option<Entry>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM message WHERE chat = ?1 AND id = ?2 AND mine = ?3");
    let found = db.prepare_cached(&sql)?.query_row(params![chat.to_string(), id.as_str(), mine], entry).optional()?;
    found
        .map(|mut found| {
            found.reactions = reactions(db, &found)?;
            Ok(found)
        })
        .transpose()
}

fn reactions(db: &Connection, entry: &Entry) -> Result<Vec<(bool, String)>, Failure> {
    let mut find =
        db.prepare_cached("SELECT by_me, text FROM reaction WHERE chat = ?1 AND id = ?2 AND mine = ?3 ORDER BY by_me")?;
    let key = params![entry.chat.to_string(), entry.id.as_str(), entry.mine];
    let rows = find.query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn react(db: &Connection, chat: &Jid, target: &Target, by_me: bool, text: &str) -> Result<Option<Entry>, Failure> {
    let mine = target.author == Side::Me;
    if text.is_empty() {
        db.execute(
            "DELETE FROM reaction WHERE chat = ?1 AND id = ?2 AND mine = ?3 AND by_me = ?4",
            params![chat.to_string(), target.id.as_str(), mine, by_me],
        )?;
    } else {
        db.execute(
            "INSERT OR REPLACE INTO reaction VALUES (?1, ?2, ?3, ?4, ?5)",
            params![chat.to_string(), target.id.as_str(), mine, by_me, text],
        )?;
    }
    find(db, chat, &target.id, mine)
}

fn edit(db: &Connection, chat: &Jid, id: &MessageId, mine: bool, text: &str) -> Result<Option<Entry>, Failure> {
    db.execute(
        "UPDATE message SET text = ?4, edited = 1 WHERE chat = ?1 AND id = ?2 AND mine = ?3 AND revoked = 0",
        params![chat.to_string(), id.as_str(), mine, text],
    )?;
    find(db, chat, id, mine)
}

/// What was taken back is not kept.
fn revoke(db: &Connection, chat: &Jid, id: &MessageId, mine: bool) -> Result<Option<Entry>, Failure> {
    db.execute(
        "UPDATE message SET text = '', quoted = NULL, raw = NULL, file = NULL, revoked = 1 WHERE chat = ?1 AND id = ?2 AND mine = ?3",
        params![chat.to_string(), id.as_str(), mine],
    )?;
    find(db, chat, id, mine)
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e)))
}

fn jid(row: &Row<'_>, column: usize) -> rusqlite::Result<Jid> {
    parsed(row, column)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let reply_id: Option<String> = row.get(7)?;
    let reply = match reply_id {
        Some(_) => Some(Quote {
            target: Target { author: if row.get(8)? { Side::Me } else { Side::Peer }, id: parsed(row, 7)? },
            quoted: row.get(9)?,
        }),
        None => None,
    };
    Ok(Entry {
        number: row.get(0)?,
        chat: jid(row, 1)?,
        id: parsed(row, 2)?,
        mine: row.get(3)?,
        at: Timestamp::from_secs(row.get(4)?),
        kind: row.get(5)?,
        text: row.get(6)?,
        reply,
        state: row.get(10)?,
        cause: row.get(11)?,
        file: row.get(12)?,
        edited: row.get(13)?,
        revoked: row.get(14)?,
        unread: row.get(15)?,
        reactions: Vec::new(),
    })
}

impl Entry {
    /// As `comity chat --json` tells it.
    pub(crate) fn to_json(&self) -> Value {
        let reactions: Vec<_> =
            self.reactions.iter().map(|(mine, text)| json!({ "mine": mine, "text": text })).collect();
        json!({
            "number": self.number, "chat": self.chat.to_string(), "id": self.id.as_str(), "mine": self.mine,
            "t": self.at.as_secs(), "kind": self.kind, "text": self.text,
            "reply_to": self.reply.as_ref().map(|reply| reply.target.id.as_str()),
            "quoted": self.reply.as_ref().and_then(|reply| reply.quoted.as_deref()),
            "state": if self.mine { Some(&self.state) } else { None }, "cause": self.cause, "file": self.file,
            "edited": self.edited, "revoked": self.revoked, "unread": self.unread, "reactions": reactions,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_oldest_messages_make_room() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(TABLES).unwrap();
        let history = History::keeping(db, 3).unwrap();
        for id in 0..5 {
            let insert =
                "INSERT INTO message (chat, id, mine, at, kind, text, state) VALUES ('c', ?1, 0, 0, 'text', '', '')";
            history.0.execute(insert, [id]).unwrap();
        }
        let kept = |sql| history.0.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!(
            (kept("SELECT count(*) FROM message"), kept("SELECT CAST(min(id) AS INTEGER) FROM message")),
            (3, 2)
        );
    }
}
