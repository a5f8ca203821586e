//! Chats' stores: sound, of a schema we know, not locked, with an account that is enlisted. A copy is opened, so that
//! nothing changes.

use super::Report;
use crate::Failure;
use crate::chat::root;
use crate::place::{Gatekeeper, Place};
use comity_client::{Client, Config, Event, PartnerServer, SqliteStore};
use comity_core::Profile;
use comity_signal::Suites;
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long another process may hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How long an account may take to load.
const LOAD_PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn stores(report: &mut Report, place: &Place, gatekeeper: &Gatekeeper, profile: &Profile) {
    let entries = std::fs::read_dir(place.path("")).into_iter().flatten().flatten();
    let mut homes: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.join("store.db").exists()).collect();
    homes.sort();
    if homes.is_empty() {
        report.warn("stores", "no chat has run here", "run `comity chat --as …`");
    }
    for home in homes {
        let name = home.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let check = format!("store of {name}");
        let path = home.join("store.db");
        let advice = "stop the chat that uses it; if it is damaged, restore it or begin anew under another directory";
        let Some(()) = report.take(&check, sound(&path), advice) else { continue };
        // A native user's number is in the directory's name: `chat-_4915…`.
        let phone = name.strip_prefix("chat-_").and_then(|digits| digits.parse().ok());
        let jid = account(&path, phone, place, gatekeeper, profile).await;
        let advice = "a newer version of this program wrote it, or it is sealed or damaged";
        match report.take(&check, jid, advice) {
            Some(Some(jid)) => report.ok(&check, format!("sound; the account is {jid}")),
            Some(None) => report.warn(&check, "sound; not enlisted yet", "run the chat while both servers are up"),
            None => {}
        }
    }
}

/// Readable, and writable by us now.
fn sound(path: &Path) -> Result<(), Failure> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(format!("damaged: {found}").into());
    }
    db.busy_timeout(LOCK_PATIENCE)?;
    db.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(|e| format!("cannot be written: {e}"))?;
    Ok(())
}

/// The account in a copy of the store: whoever it is, it does not go online.
async fn account(
    path: &Path,
    phone: Option<u64>,
    place: &Place,
    gatekeeper: &Gatekeeper,
    profile: &Profile,
) -> Result<Option<String>, Failure> {
    let dir = tempfile::Builder::new().prefix("doctor-").tempdir_in(place.path(""))?;
    let copy = dir.path().join("store.db");
    let to = copy.to_str().ok_or("the directory's name is not UTF-8")?;
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?.execute("VACUUM INTO ?1", [to])?;
    let store = Arc::new(SqliteStore::open(&copy)?);
    let config = match phone {
        Some(phone) => Config::native(phone, root(gatekeeper)?),
        None => Config::partner("doctor".parse()?, root(gatekeeper)?),
    };
    let config = config.with_profile(profile.clone()).offline();
    let suites = Suites::new().with(X3dh).with(Pqxdh::new());
    // It is never asked for a token.
    let partner = PartnerServer::new(&gatekeeper.http, "doctor", "")?;
    let builder = Client::builder(config, suites, store, &gatekeeper.chat, &gatekeeper.http).partner(partner);
    let (_client, mut events) = builder.start()?;
    let found = tokio::time::timeout(LOAD_PATIENCE, async {
        loop {
            match events.next().await {
                Some(Event::AccountReady { jid, .. }) => return Ok(jid.map(|jid| jid.to_string())),
                Some(Event::Warning(error)) => return Err(error.into()),
                Some(_) => {}
                None => return Err("the account does not load".into()),
            }
        }
    });
    found.await.map_err(|_| "the account does not load")?
}
