//! The SQLite schema and its migrations: one entry per version, applied in order, each in one transaction.

use comity_core::StoreError;
use rusqlite::Connection;

const V1: &str = "
-- One row per account, partner or native (integrator NULL). `account` is the canonical JID text.
CREATE TABLE user (
    account TEXT PRIMARY KEY NOT NULL,
    integrator INTEGER,
    visible_id TEXT,
    auth_key BLOB NOT NULL,
    display_name TEXT NOT NULL DEFAULT '',
    status INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    queued INTEGER NOT NULL DEFAULT 0,
    queued_bytes INTEGER NOT NULL DEFAULT 0,
    reachable INTEGER,
    blocklist_version INTEGER NOT NULL DEFAULT 0,
    push_gone INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX user_visible ON user(integrator, visible_id) WHERE integrator IS NOT NULL;
CREATE INDEX user_seen ON user(last_seen) WHERE integrator IS NOT NULL AND status = 0;
CREATE TABLE tombstone (account TEXT PRIMARY KEY NOT NULL, at INTEGER NOT NULL) STRICT;

CREATE TABLE key_bundle (
    account TEXT PRIMARY KEY NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    registration INTEGER NOT NULL,
    identity BLOB NOT NULL,
    skey_id INTEGER NOT NULL,
    skey_value BLOB NOT NULL,
    skey_signature BLOB NOT NULL,
    pq_id INTEGER,
    pq_value BLOB,
    pq_signature BLOB
) STRICT;
-- One-time keys, handed out oldest first; kind 0 Curve25519, 1 post-quantum.
CREATE TABLE one_time (
    seq INTEGER PRIMARY KEY,
    account TEXT NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    kind INTEGER NOT NULL,
    id INTEGER NOT NULL,
    value BLOB NOT NULL,
    signature BLOB,
    UNIQUE (account, kind, id)
) STRICT;

-- What waits for its recipient's answer, in order of `seq`, which is never used again.
CREATE TABLE mailbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    class INTEGER NOT NULL,
    sender TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    stanza BLOB NOT NULL,
    expires INTEGER NOT NULL,
    UNIQUE (account, class, sender, id, kind)
) STRICT;
CREATE INDEX mailbox_order ON mailbox(account, seq);
CREATE INDEX mailbox_expires ON mailbox(expires);
CREATE TRIGGER mailbox_in AFTER INSERT ON mailbox BEGIN
    UPDATE user SET queued = queued + 1, queued_bytes = queued_bytes + length(NEW.stanza) WHERE account = NEW.account;
END;
CREATE TRIGGER mailbox_out AFTER DELETE ON mailbox BEGIN
    UPDATE user SET queued = queued - 1, queued_bytes = queued_bytes - length(OLD.stanza) WHERE account = OLD.account;
END;

CREATE TABLE opt_in (
    account TEXT NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    integrator INTEGER NOT NULL,
    PRIMARY KEY (account, integrator)
) STRICT, WITHOUT ROWID;
CREATE TABLE unreachable (
    account TEXT NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    integrator INTEGER NOT NULL,
    PRIMARY KEY (account, integrator)
) STRICT, WITHOUT ROWID;
CREATE TABLE block (
    account TEXT NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    peer TEXT NOT NULL,
    PRIMARY KEY (account, peer)
) STRICT, WITHOUT ROWID;
-- Who has exchanged a message with whom: the contacts told of an identity change.
CREATE TABLE contact (
    account TEXT NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    peer TEXT NOT NULL,
    PRIMARY KEY (account, peer)
) STRICT, WITHOUT ROWID;
CREATE TABLE ping (
    account TEXT NOT NULL REFERENCES user(account) ON DELETE CASCADE,
    peer TEXT NOT NULL,
    day INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (account, peer)
) STRICT, WITHOUT ROWID;
CREATE TABLE report (
    seq INTEGER PRIMARY KEY,
    reporter TEXT NOT NULL,
    subject TEXT NOT NULL,
    flow TEXT NOT NULL,
    stanza BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT;
";

const V2: &str = "
-- Unbound tokens that were used, kept as long as they would verify; and how many of each issuer.
CREATE TABLE used_token (
    issuer TEXT NOT NULL,
    jti TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (issuer, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_token_until ON used_token(until);
CREATE TABLE used_tokens (issuer TEXT PRIMARY KEY NOT NULL, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER used_token_in AFTER INSERT ON used_token BEGIN
    INSERT INTO used_tokens (issuer, count) VALUES (NEW.issuer, 1)
        ON CONFLICT (issuer) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER used_token_out AFTER DELETE ON used_token BEGIN
    UPDATE used_tokens SET count = count - 1 WHERE issuer = OLD.issuer;
    DELETE FROM used_tokens WHERE issuer = OLD.issuer AND count = 0;
END;
";

const V3: &str = "
-- Native accounts that see partner users by their aliases, and the aliases: never changed, never used again.
ALTER TABLE user ADD COLUMN alias_view INTEGER NOT NULL DEFAULT 0;
CREATE TABLE alias (number INTEGER PRIMARY KEY, account TEXT NOT NULL UNIQUE) STRICT;
";

const MIGRATIONS: &[&str] = &[V1, V2, V3];

/// Brings the database to the newest version.
pub(super) fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as u32;
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(super::medium)?;
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    for (version, sql) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        let tx = db.transaction().map_err(super::medium)?;
        tx.execute_batch(sql).map_err(super::medium)?;
        tx.pragma_update(None, "user_version", version).map_err(super::medium)?;
        tx.commit().map_err(super::medium)?;
    }
    Ok(())
}
