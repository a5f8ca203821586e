//! Where the servers are: the files that `comity sandbox` and `comity partner` leave in their directory.

use comity::{Client, Config, Events, PartnerServer, SqliteStore, Suites, TrustRoot, X3dh};
use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// Starts the client of a partner's user, with its store in that directory.
pub(crate) fn start(dir: &Path, user: &str) -> Result<(Client, Events), Box<dyn Error>> {
    let read = |name| -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::from_str(&std::fs::read_to_string(dir.join(name)).map_err(|e| format!("{name}: {e}"))?)?)
    };
    let text = |value: &Value, name| {
        let found = value.get(name).and_then(Value::as_str);
        found.map(str::to_owned).ok_or_else(|| format!("no `{name}`"))
    };
    let (gatekeeper, partner) = (read("gatekeeper.json")?, read("partner.json")?);
    let users = partner.get("users").and_then(Value::as_array);
    let account = users.and_then(|users| users.iter().find(|u| u.get("id").and_then(Value::as_str) == Some(user)));
    let secret = text(account.ok_or("the partner server knows no such user")?, "secret")?;

    let config = Config::partner(user.parse()?, TrustRoot(text(&gatekeeper, "root")?.parse()?));
    let store = Arc::new(SqliteStore::open(&dir.join(format!("example-{user}.db")))?);
    let server = PartnerServer::new(&text(&partner, "http")?, user, &secret)?;
    let (chat, http) = (text(&gatekeeper, "chat")?, text(&gatekeeper, "http")?);
    let client = Client::builder(config, Suites::new().with(X3dh), store, &chat, &http);
    Ok(client.partner(server).files(dir.join("example-files")).start()?)
}
