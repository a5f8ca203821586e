//! The demo's conversation, step by step.

use super::narrate::Narrator;
use super::party::{Party, peak_memory};
use super::sha256_of;
use crate::Failure;
use crate::chat::json::What;
use crate::place::{INTEGRATOR, Partner, Place};
use crate::servers::{Ports, Server, gatekeeper_of, partner_users, write_partner_config, write_sandbox_config};
use comity_client::SqliteStore;
use comity_core::{Batch, RecordKind, Store as _};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

const ALICE: &str = "alice@partner.test";
const BOB: &str = "+4915100000001";
const CAROL: &str = "+4915100000002";

/// A transfer that moves nothing for so long has failed.
const STALL: Duration = Duration::from_secs(30);

/// Encryption and decryption, which nothing tells of, pass more bytes than this in a second.
const SLOWEST: u64 = 8 << 20;

/// More sessions than anyone in the demo has.
const MAX_SESSIONS: usize = 16;

/// A server under watch: its unexpected end is told to everyone who waits.
struct Watched {
    name: &'static str,
    pid: Option<u32>,
    stop: oneshot::Sender<()>,
    stopped: tokio::task::JoinHandle<Result<(), Failure>>,
}

fn watch_server(mut server: Server, alarm: watch::Sender<Option<String>>) -> Watched {
    let (stop, told) = oneshot::channel();
    let (name, pid) = (server.name, server.pid());
    let stopped = tokio::spawn(async move {
        tokio::select! {
            status = server.ended() => {
                let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
                alarm.send_replace(Some(format!("{name} ended unexpectedly ({status})")));
                Ok(())
            }
            _ = told => server.stop().await,
        }
    });
    Watched { name, pid, stop, stopped }
}

/// Two different ports that are free now.
fn free_ports() -> Result<(u16, u16), Failure> {
    let (a, b) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((a.local_addr()?.port(), b.local_addr()?.port()))
}

/// Plays it; no process may have had more than `max_memory` bytes.
pub(super) async fn play(
    place: &Place,
    files: &[PathBuf],
    max_memory: Option<u64>,
    n: &mut Narrator,
) -> Result<(), Failure> {
    n.scene("The servers");
    let (tell, alarm) = watch::channel(None);
    let (http, partner_port) = free_ports()?;
    let (partner_http, ports) =
        (format!("http://127.0.0.1:{partner_port}"), Ports { chat: 0, http, partner: partner_port });

    let config = write_partner_config(place, partner_port, &format!("http://127.0.0.1:{http}"), &[ALICE])?;
    let server = Server::start("comity-partner", &config, Some(&place.path("partner.log"))).await?;
    let partner = Partner { http: server.field("http")?, users: partner_users(&config)? };
    place.write("partner.json", &partner)?;
    let partner_server = watch_server(server, tell.clone());
    n.step(
        "partner_ready",
        &format!("partner server ready at {partner_http}"),
        json!({ "http": partner_http, "pid": partner_server.pid }),
    );
    let kid = published_key(&partner.http).await?;
    n.step("keys_published", &format!("partner publishes its signing key {kid} (JWKS)"), json!({ "kid": kid }));

    let config = write_sandbox_config(place, &ports, &partner_http)?;
    let server = Server::start("comity-gatekeeper", &config, Some(&place.path("gatekeeper.log"))).await?;
    let gatekeeper = gatekeeper_of(&server, &config)?;
    place.write("gatekeeper.json", &gatekeeper)?;
    let gatekeeper_server = watch_server(server, tell);
    let text = format!(
        "gatekeeper ready: chat {}, HTTP {}, root key {}…",
        gatekeeper.chat,
        gatekeeper.http,
        gatekeeper.root.get(..16).unwrap_or_default()
    );
    n.step("gatekeeper_ready", &text, json!({ "root": gatekeeper.root }));
    until_ready("gatekeeper", &gatekeeper.http).await?;
    until_ready("partner server", &partner.http).await?;
    n.step("keys_fetched", "each server has fetched the other's keys (/readyz)", json!({}));

    n.scene("The users");
    let mut alice = Party::start("alice", ALICE, true, place, alarm.clone())?;
    let enlisted = alice.event("enlisted", |_| true).await?;
    alice.jid = text_of(&enlisted, "jid")?;
    let text = format!("alice's ownership token verified with the partner's key: enlisted as {}", alice.jid);
    n.step("enlisted", &text, json!({ "login": alice.jid }));
    log_in(&mut alice, n).await?;
    let mut bob = Party::start("bob", BOB, false, place, alarm.clone())?;
    log_in(&mut bob, n).await?;

    reach(&mut alice, &mut bob, n).await?;
    talk(&mut alice, &mut bob, n).await?;
    let mut sent = Vec::new();
    for file in files {
        sent.push((file, send_file(&mut alice, &mut bob, file, n).await?));
    }
    if let Some((file, sent)) = sent.iter().min_by_key(|(_, sent)| sent["bytes"].as_u64()) {
        lose_file(&mut alice, &mut bob, file, sent, &partner, n).await?;
    }
    let back = files.iter().min_by_key(|file| file.metadata().map_or(u64::MAX, |m| m.len()));
    if let Some(file) = back {
        send_file(&mut bob, &mut alice, file, n).await?;
    }
    be_away(&mut alice, &mut bob, n).await?;
    n.scene("Lost sessions");
    lose_session(&mut alice, &mut bob, n).await?;
    lose_session(&mut bob, &mut alice, n).await?;

    n.scene("Post-quantum: alice and carol");
    let mut carol = Party::start("carol", CAROL, true, place, alarm.clone())?;
    log_in(&mut carol, n).await?;
    opt_in(&mut carol, n).await?;
    find(&mut alice, &mut carol, CAROL, n).await?;
    let (id, version) = exchange(&mut alice, &mut carol, "The same words, safe from tomorrow's computers.", n).await?;
    expect(version == 4, "alice's and carol's session is not version 4")?;
    n.step(
        "pqxdh",
        "both published post-quantum keys: PQXDH session (message version 4)",
        json!({ "id": id, "version": 4 }),
    );
    exchange(&mut carol, &mut alice, "Received, and answered in kind.", n).await?;

    n.memory("alice", peak_memory(alice.pid()));
    alice = start_anew(alice, &mut bob, place, alarm, n).await?;
    leave(&mut alice, &mut bob, n).await?;

    n.scene("The end");
    for (who, pid) in [
        ("alice anew", alice.pid()),
        ("bob", bob.pid()),
        ("carol", carol.pid()),
        ("the demo", Some(std::process::id())),
        ("gatekeeper", gatekeeper_server.pid),
        ("partner", partner_server.pid),
    ] {
        n.memory(who, peak_memory(pid));
    }
    if let (Some(max), Some((who, most))) = (max_memory, n.most_memory()) {
        expect(most <= max, &format!("{who} had {most} bytes of memory, more than {max}"))?;
        let text = format!("no process had more than {max} bytes of memory: the most was {most}, {who}'s");
        n.step("memory", &text, json!({ "max": max, "most": most, "who": who }));
    }
    for party in [alice, bob, carol] {
        party.quit().await?;
    }
    for server in [gatekeeper_server, partner_server] {
        let _already_gone = server.stop.send(());
        server.stopped.await??;
        n.note(&format!("{} finished", server.name));
    }
    Ok(())
}

/// Waits until a server says that it is ready: it has the keys of the other.
async fn until_ready(name: &str, base: &str) -> Result<(), Failure> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let deadline = tokio::time::Instant::now() + super::party::PATIENCE;
    while tokio::time::Instant::now() < deadline {
        match http.get(format!("{base}/readyz")).send().await {
            Ok(answer) if answer.status().is_success() => {
                let state: Value = answer.json().await.unwrap_or_default();
                if state["gatekeeper_keys"] != false {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    Err(format!("the {name} at {base} is not ready: it has not got the other's keys").into())
}

/// The id of the key that a partner server publishes.
async fn published_key(base: &str) -> Result<String, Failure> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?;
    let answer = http.get(format!("{base}/.well-known/oauth/openid/jwks")).send().await?.error_for_status()?;
    let keys: Value = answer.json().await?;
    text_of(&keys["keys"][0], "kid")
}

/// Handshake, login and pre-keys of a user.
async fn log_in(party: &mut Party, n: &mut Narrator) -> Result<(), Failure> {
    let name = party.name;
    let done = party.event("handshake", |_| true).await?;
    let pattern = text_of(&done, "pattern")?;
    let text = format!("{name}: {pattern} handshake, server certificate verified up to the root");
    n.step("handshake", &text, json!({ "who": name, "pattern": pattern, "valid_until": done["valid_until"] }));
    let keys = party.event("keys_uploaded", |_| true).await?;
    let pq = if keys["post_quantum"] == true { ", post-quantum keys too" } else { "" };
    let text = format!("{name}: logged in, {} one-time pre-keys uploaded{pq}", keys["one_time"]);
    n.step(
        "pre_keys",
        &text,
        json!({ "who": name, "one_time": keys["one_time"], "post_quantum": keys["post_quantum"] }),
    );
    party.event("up_to_date", |_| true).await?;
    if party.jid.is_empty() {
        party.jid = party.event("ready", |v| v["jid"].is_string()).await.and_then(|v| text_of(&v, "jid"))?;
    }
    Ok(())
}

async fn opt_in(party: &mut Party, n: &mut Narrator) -> Result<(), Failure> {
    party.call(What::OptIn { integrators: vec![INTEGRATOR] }).await?;
    n.step("opt_in", &format!("{} opts in to the partner's service", party.name), json!({ "who": party.name }));
    Ok(())
}

/// `from` looks `to` up by phone number.
async fn find(from: &mut Party, to: &mut Party, phone: &str, n: &mut Narrator) -> Result<(), Failure> {
    let found = from.call(What::LookUp { id: phone.to_owned(), integrator: None }).await?;
    expect(found == to.jid.as_str(), &format!("{} is not found by phone number", to.name))?;
    let text = format!("{} finds {phone}: {}", from.name, to.jid);
    n.step("look_up", &text, json!({ "jid": to.jid }));
    Ok(())
}

async fn reach(alice: &mut Party, bob: &mut Party, n: &mut Narrator) -> Result<(), Failure> {
    n.scene("Reachability");
    let found = alice.call(What::LookUp { id: BOB.to_owned(), integrator: None }).await?;
    expect(found.is_null(), "bob is found although he has not opted in")?;
    let early = alice.call(What::Send { to: bob.jid.clone(), text: "Too early.".into(), id: None }).await?;
    let id = text_of(&early, "id")?;
    alice.event("state", |v| v["id"] == id && v["state"] == "failed").await?;
    n.step("not_opted_in", "bob has not opted in: not to be found, and a message to him is refused (475)", json!({}));
    bob.call(What::Reachable { enabled: true }).await?;
    n.step("reachable", "bob lets users of other services ask to be let in", json!({}));
    alice.call(What::Ping { jid: bob.jid.clone() }).await?;
    let ping = bob.event("pinged", |_| true).await?;
    let text = format!(
        "reachability ping: bob is told that {} ({}) would like to write",
        ping["display_name"].as_str().unwrap_or_default(),
        ping["integrator_name"].as_str().unwrap_or_default()
    );
    n.step("ping", &text, json!({}));
    opt_in(bob, n).await?;
    find(alice, bob, BOB, n).await
}

/// A text from one to the other: sent, delivered, received, read. Gives its id and the session's version.
async fn exchange(from: &mut Party, to: &mut Party, text: &str, n: &mut Narrator) -> Result<(String, u64), Failure> {
    let sent = from.call(What::Send { to: to.jid.clone(), text: text.into(), id: None }).await?;
    let (id, version) = receive(from, to, &sent, |v| v["text"] == text).await?;
    n.messages += 1;
    let line = format!("{} → {}: “{text}” received (version {version}), delivery receipt", from.name, to.name);
    n.step("text", &line, json!({ "from": from.name, "to": to.name, "id": id, "version": version }));
    to.call(What::Read { to: from.jid.clone(), ids: vec![id.clone()] }).await?;
    from.event("state", |v| v["id"] == id && v["state"] == "read").await?;
    n.step("read", &format!("{} sees that {} has read it", from.name, to.name), json!({ "id": id }));
    Ok((id, version))
}

/// Waits until the message that was `sent` has arrived as it `should`, and the sender knows.
async fn receive(
    from: &mut Party,
    to: &mut Party,
    sent: &Value,
    should: impl Fn(&Value) -> bool,
) -> Result<(String, u64), Failure> {
    let id = text_of(sent, "id")?;
    let got = to.event("message", |v| v["id"] == id).await?;
    expect(got["from"] == from.jid.as_str() && should(&got), "the message arrived changed")?;
    from.event("state", |v| v["id"] == id && v["state"] == "delivered").await?;
    Ok((id, got["version"].as_u64().unwrap_or_default()))
}

async fn talk(alice: &mut Party, bob: &mut Party, n: &mut Narrator) -> Result<(), Failure> {
    n.scene("A conversation: alice and bob");
    let text = "Hello Bob! I am on another service.";
    let sent = alice.call(What::Send { to: bob.jid.clone(), text: text.into(), id: None }).await?;
    let session = alice.event("session", |v| v["peer"] == bob.jid.as_str()).await?;
    n.step(
        "key_fetch",
        "bob's keys fetched, signature verified, X3DH session built (message version 3)",
        json!({ "version": session["version"] }),
    );
    let (hello, version) = receive(alice, bob, &sent, |v| v["text"] == text).await?;
    expect(version == 3 && session["version"] == 3, "alice's and bob's session is not version 3")?;
    n.messages += 1;
    n.step(
        "text",
        &format!("alice → bob: “{text}” received (version 3), delivery receipt"),
        json!({ "id": hello, "version": 3 }),
    );
    bob.call(What::Read { to: alice.jid.clone(), ids: vec![hello.clone()] }).await?;
    alice.event("state", |v| v["id"] == hello && v["state"] == "read").await?;
    n.step("read", "alice sees that bob has read it", json!({ "id": hello }));

    bob.call(What::Typing { to: alice.jid.clone(), composing: true }).await?;
    alice.event("typing", |v| v["from"] == bob.jid.as_str() && v["composing"] == true).await?;
    n.step("typing", "alice sees bob typing", json!({}));
    exchange(bob, alice, "Hello Alice! So it works.", n).await?;

    let sent = bob
        .call(What::Reply {
            to: alice.jid.clone(),
            id: hello.clone(),
            quoted: text.into(),
            text: "Which one?".into(),
            mine: false,
        })
        .await?;
    receive(bob, alice, &sent, |v| v["text"] == "Which one?" && v["reply_to"] == hello).await?;
    n.messages += 1;
    n.step("reply", "bob replies to alice's first message", json!({ "reply_to": hello }));
    let sent =
        bob.call(What::React { to: alice.jid.clone(), id: hello.clone(), text: "👍".into(), mine: false }).await?;
    receive(bob, alice, &sent, |v| v["reaction"] == "👍" && v["target"] == hello).await?;
    n.step("reaction", "bob reacts 👍", json!({ "target": hello }));
    let sent =
        bob.call(What::React { to: alice.jid.clone(), id: hello.clone(), text: String::new(), mine: false }).await?;
    receive(bob, alice, &sent, |v| v["reaction"] == "" && v["target"] == hello).await?;
    n.step("reaction_revoke", "bob takes the reaction back", json!({ "target": hello }));
    let (oops, _) = exchange(alice, bob, "This goes to the wrong chat.", n).await?;
    let sent = alice.call(What::Revoke { to: bob.jid.clone(), id: oops.clone() }).await?;
    receive(alice, bob, &sent, |v| v["revoked"] == oops).await?;
    n.step("revoke", "alice takes that message back", json!({ "revoked": oops }));

    let ours = alice.call(What::SafetyNumber { jid: bob.jid.clone() }).await?;
    let theirs = bob.call(What::SafetyNumber { jid: alice.jid.clone() }).await?;
    expect(ours == theirs && ours.is_string(), "the safety numbers differ")?;
    n.step(
        "safety_number",
        &format!("safety numbers are equal: {}…", ours.as_str().and_then(|s| s.get(..15)).unwrap_or_default()),
        json!({ "digits": ours }),
    );
    Ok(())
}

async fn send_file(from: &mut Party, to: &mut Party, file: &Path, n: &mut Narrator) -> Result<Value, Failure> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    n.scene(&format!("A file: {name}, {} → {}", from.name, to.name));
    let before = sha256_of(file).await?;
    let patience = STALL + Duration::from_secs(file.metadata()?.len() / SLOWEST);
    n.note(&format!("SHA-256 before  {before}"));
    let call = from.begin(What::File { to: to.jid.clone(), path: file.canonicalize()?, caption: None }).await?;
    let sent = from.answer(call, patience, &mut |v| progress(n, v)).await?;
    let id = text_of(&sent, "id")?;
    let kind = text_of(&sent, "kind")?;
    expect(sent["sha256"] == before.as_str(), "the file changed while it was sent")?;
    let host = if from.jid.ends_with("@interop") { "the partner" } else { "the gatekeeper" };
    n.step(
        "file_hosted",
        &format!("encrypted and hosted by {host}; sent as {kind}"),
        json!({ "id": id, "kind": kind }),
    );
    let got = to.event("message", |v| v["id"] == id).await?;
    expect(got["kind"] == kind.as_str(), "the file arrived as another kind")?;
    let mut fits = |v: &Value| v["event"] == "file" && v["id"] == id;
    let file = to.find("the file", patience, &mut fits, &mut |v| progress(n, v)).await?;
    let path = text_of(&file, "path")?;
    let after = sha256_of(Path::new(&path)).await?;
    n.note(&format!("SHA-256 after   {after}"));
    expect(before == after, "the file that arrived is another one")?;
    n.messages += 1;
    n.files += 1;
    n.bytes += file["bytes"].as_u64().unwrap_or_default();
    let text = format!("{} fetched it through the gatekeeper, verified and decrypted: hashes are equal", to.name);
    let facts = json!({ "name": name, "kind": kind, "bytes": file["bytes"], "sha256_before": before, "sha256_after": after, "path": path });
    n.step("file_received", &text, facts);
    Ok(sent)
}

/// The file that alice sent is gone from the partner's host: bob's client asks her client, which uploads it again.
async fn lose_file(
    alice: &mut Party,
    bob: &mut Party,
    file: &Path,
    sent: &Value,
    partner: &Partner,
    n: &mut Narrator,
) -> Result<(), Failure> {
    n.scene("A file that is gone");
    let (id, path) = (text_of(sent, "id")?, text_of(sent, "direct_path")?);
    let reference = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let alices = partner.users.iter().find(|user| user.id == ALICE).ok_or("the partner has no alice")?;
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?;
    let delete = http.delete(format!("{}/v1/uploads/{reference}", partner.http)).header("tus-resumable", "1.0.0");
    delete.basic_auth(&alices.id, Some(&alices.secret)).send().await?.error_for_status()?;
    n.step("file_deleted", "the partner's host deletes the file that alice sent", json!({ "id": id }));
    let call = bob.begin(What::Fetch { from: alice.jid.clone(), id: id.clone() }).await?;
    let asked = bob.answer(call, STALL, &mut |v| progress(n, v)).await?;
    expect(asked["event"] == "file_asked", "a file that was deleted is still to be had")?;
    let text = format!(
        "bob fetches it again: {}; his client asks alice's (server-error receipt)",
        asked["cause"].as_str().unwrap_or_default()
    );
    n.step("file_asked", &text, json!({ "id": id }));
    alice.event("file_requested", |v| v["id"] == id).await?;
    let refreshed = |v: &Value| v["event"] == "file_refreshed" && v["id"] == id;
    bob.find("the file's new path", STALL, &mut { refreshed }, &mut |v| progress(n, v)).await?;
    let text = "alice's client uploads it again, and says where (mediaretry notification)";
    n.step("file_refreshed", text, json!({ "id": id }));
    // One `file` line for each time that it was fetched; `file_received` took the first.
    let mut fits = |v: &Value| v["event"] == "file" && v["id"] == id;
    let again = bob.find("the file", STALL, &mut fits, &mut |v| progress(n, v)).await?;
    let after = sha256_of(Path::new(&text_of(&again, "path")?)).await?;
    expect(after == sha256_of(file).await?, "the file that came again is another one")?;
    n.step("file_again", "bob has it again: the same file, under the same key", json!({ "id": id, "sha256": after }));
    Ok(())
}

fn progress(n: &mut Narrator, line: &Value) {
    if let (Some(what), Some(done), Some(total)) =
        (line["what"].as_str(), line["done"].as_u64(), line["total"].as_u64())
    {
        n.progress(what, done, total);
    }
}

async fn be_away(alice: &mut Party, bob: &mut Party, n: &mut Narrator) -> Result<(), Failure> {
    n.scene("Away");
    alice.call(What::Offline).await?;
    n.step("offline", "alice's client disconnects", json!({}));
    let mut ids = Vec::new();
    let texts = ["Are you there?", "Take your time."];
    // The wait for the push begins before its cause.
    let waking = alice.begin(What::Wake).await?;
    for text in texts {
        let sent = bob.call(What::Send { to: alice.jid.clone(), text: text.into(), id: None }).await?;
        let id = text_of(&sent, "id")?;
        bob.event("state", |v| v["id"] == id && v["state"] == "sent").await?;
        ids.push(id);
    }
    n.step("queued", "bob sends two messages; the gatekeeper has stored both", json!({ "ids": ids }));
    alice.answer(waking, STALL, &mut |_| {}).await?;
    n.step("push", "the gatekeeper's push call arrived at the partner server, which wakes alice's client", json!({}));
    let pattern = text_of(&alice.event("handshake", |_| true).await?, "pattern")?;
    n.step("resume", &format!("alice logs in again: {pattern}"), json!({ "pattern": pattern }));
    for (id, text) in ids.iter().zip(texts) {
        let got = alice
            .find("a queued message", super::party::PATIENCE, &mut |v| v["event"] == "message", &mut |_| {})
            .await?;
        expect(got["id"] == id.as_str() && got["text"] == text, "a queued message is missing or out of order")?;
        bob.event("state", |v| v["id"] == id.as_str() && v["state"] == "delivered").await?;
        n.messages += 1;
    }
    n.step("drained", "both messages arrive, in order", json!({ "ids": ids }));
    Ok(())
}

/// Alice loses her phone: a new client with an empty store, the same user, another identity key.
async fn start_anew(
    alice: Party,
    bob: &mut Party,
    place: &Place,
    alarm: watch::Receiver<Option<String>>,
    n: &mut Narrator,
) -> Result<Party, Failure> {
    n.scene("A new phone");
    let jid = alice.jid.clone();
    let before = bob.call(What::SafetyNumber { jid: jid.clone() }).await?;
    alice.quit().await?;
    let anew = Place::open(&place.path("alice-anew"))?;
    anew.write("gatekeeper.json", &place.gatekeeper()?)?;
    anew.write("partner.json", &place.partner()?)?;
    let mut alice = Party::start("alice", ALICE, true, &anew, alarm)?;
    alice.jid = text_of(&alice.event("enlisted", |_| true).await?, "jid")?;
    expect(alice.jid == jid, "the same user got another id")?;
    n.step("enlisted_again", &format!("alice enlists with new keys, and is {jid} again"), json!({ "login": jid }));
    log_in(&mut alice, n).await?;
    bob.event("identity_changed", |v| v["peer"] == jid.as_str()).await?;
    n.step("identity_changed", "bob gets a security notification: alice's identity changed", json!({ "peer": jid }));
    exchange(bob, &mut alice, "Is it still you?", n).await?;
    let after = bob.call(What::SafetyNumber { jid: alice.jid.clone() }).await?;
    let hers = alice.call(What::SafetyNumber { jid: bob.jid.clone() }).await?;
    expect(after == hers && after != before, "the safety number did not follow the identity")?;
    n.step("safety_number_changed", "the safety number is another one, and both see it", json!({ "digits": after }));
    Ok(alice)
}

/// What the loser has of its sessions is deleted under its feet, as a damaged disk would; the next message is asked for
/// again, encrypted anew, and shown once.
async fn lose_session(loser: &mut Party, writer: &mut Party, n: &mut Narrator) -> Result<(), Failure> {
    let store = SqliteStore::open(&loser.home.join("store.db"))?;
    let mut batch = Batch::new();
    for session in store.scan(RecordKind::Session, "", "", MAX_SESSIONS)? {
        batch.delete_owned(session.key);
    }
    expect(!batch.is_empty(), "there was no session")?;
    for committed in store.commit(&[batch]) {
        committed?;
    }
    let text = "Can you still read this?";
    let sent = writer.call(What::Send { to: loser.jid.clone(), text: text.into(), id: None }).await?;
    let id = text_of(&sent, "id")?;
    loser.event("undecryptable", |v| v["id"] == id).await?;
    writer.event("resent", |v| v["id"] == id).await?;
    receive(writer, loser, &sent, |v| v["text"] == text).await?;
    n.messages += 1;
    n.step(
        "retry",
        &format!(
            "{}'s session is gone: {}'s message cannot be read, is asked for again, encrypted anew, and arrives",
            loser.name, writer.name
        ),
        json!({ "id": id, "asked_by": loser.name, "resent_by": writer.name }),
    );
    Ok(())
}

async fn leave(alice: &mut Party, bob: &mut Party, n: &mut Narrator) -> Result<(), Failure> {
    n.scene("Blocking and leaving");
    bob.call(What::Block { jid: alice.jid.clone(), block: true }).await?;
    let sent = alice.call(What::Send { to: bob.jid.clone(), text: "Can you hear me?".into(), id: None }).await?;
    let blocked = text_of(&sent, "id")?;
    alice.event("state", |v| v["id"] == blocked && v["state"] == "sent").await?;
    bob.call(What::Block { jid: alice.jid.clone(), block: false }).await?;
    let (after, _) = exchange(alice, bob, "And now?", n).await?;
    expect(!bob.has_event("message", |v| v["id"] == blocked), "a blocked sender's message was delivered")?;
    n.step(
        "block",
        "while blocked, alice's message is acknowledged and goes nowhere; unblocked, the next arrives",
        json!({ "after": after }),
    );
    alice.call(What::DeleteAccount).await?;
    alice.event("deleted", |_| true).await?;
    n.step("deleted", "alice's account is deleted on the gatekeeper", json!({}));
    let sent = bob.call(What::Send { to: alice.jid.clone(), text: "Gone?".into(), id: None }).await?;
    let id = text_of(&sent, "id")?;
    bob.event("state", |v| v["id"] == id && v["state"] == "failed").await?;
    n.step("deleted_unknown", "bob can no longer write to her", json!({}));
    Ok(())
}

fn text_of(value: &Value, name: &str) -> Result<String, Failure> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {value}").into())
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
