//! `comity chat --json`: one JSON object a line, calls in, answers and events out.
#![allow(clippy::indexing_slicing, reason = "indexing a JSON value gives null for what is missing")]

use super::Chat;
use crate::Failure;
use comity_client::{
    Client, Content, Event, FileToSend, LookUp, Media, MessageEvent, MessageState, Progress, Side, Target,
};
use comity_core::{IntegratorId, Jid, MessageId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

/// A line in: a call, answered by `{"answer":N,…}`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) call: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What to do.
#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum What {
    Send {
        to: String,
        text: String,
    },
    Reply {
        to: String,
        id: String,
        quoted: String,
        text: String,
    },
    React {
        to: String,
        id: String,
        text: String,
    },
    Revoke {
        to: String,
        id: String,
    },
    File {
        to: String,
        path: PathBuf,
    },
    Read {
        to: String,
        ids: Vec<String>,
    },
    Typing {
        to: String,
        composing: bool,
    },
    LookUp {
        id: String,
        integrator: Option<u16>,
    },
    OptIn {
        integrators: Vec<u16>,
    },
    Reachable {
        enabled: bool,
    },
    Block {
        jid: String,
        block: bool,
    },
    Ping {
        jid: String,
    },
    SafetyNumber {
        jid: String,
    },
    Offline,
    Online,
    /// Wait for the partner server's word that something is there, then connect.
    Wake,
    DeleteAccount,
}

/// At most so many progress lines a second.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn run(chat: Chat) -> Result<ExitCode, Failure> {
    let Chat { client, mut events, partner, jid, .. } = chat;
    // Written by one task, so that lines stay whole and a slow reader slows nobody else down.
    let (tell, mut lines) = mpsc::unbounded_channel::<Value>();
    let writer = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        while let Some(line) = lines.blocking_recv() {
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                return; // nobody reads any more
            }
        }
    });
    let _closed = tell.send(json!({ "event": "ready", "jid": jid.map(|jid| jid.to_string()) }));
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => on_event(&client, &tell, event).await,
                None => break,
            },
            line = input.next_line() => {
                let Some(line) = line? else { break };
                let call: Call = match serde_json::from_str(&line) {
                    Ok(call) => call,
                    Err(error) => {
                        let _closed = tell.send(json!({ "error": error.to_string() }));
                        continue;
                    }
                };
                let (client, tell, partner) = (client.clone(), tell.clone(), partner.clone());
                tokio::spawn(async move {
                    let answer = match call.what {
                        What::Wake => wake(&client, partner.as_ref()).await,
                        what => act(&client, &tell, what).await,
                    };
                    let line = match answer {
                        Ok(value) => json!({ "answer": call.call, "ok": value }),
                        Err(error) => json!({ "answer": call.call, "error": error.to_string() }),
                    };
                    let _closed = tell.send(line);
                });
            }
            done = crate::servers::told_to_stop() => { done?; break }
        }
    }
    drop(tell);
    drop(client);
    let _writer_done = tokio::time::timeout(Duration::from_secs(1), writer).await;
    Ok(ExitCode::SUCCESS)
}

async fn wake(client: &Client, partner: Option<&comity_client::PartnerServer>) -> Result<Value, Failure> {
    let partner = partner.ok_or("only a partner's user is woken")?;
    while !partner.wake(Duration::from_secs(25)).await? {}
    client.go_online().await?;
    Ok(json!("woken"))
}

async fn act(client: &Client, tell: &mpsc::UnboundedSender<Value>, what: What) -> Result<Value, Failure> {
    let peer = |id: String| -> Result<Target, Failure> { Ok(Target { author: Side::Peer, id: id.parse()? }) };
    Ok(match what {
        What::Send { to, text } => sent(client.send_text(&to.parse()?, &text).await?),
        What::Reply { to, id, quoted, text } => {
            let reply_to = Some(comity_client::Quote { target: peer(id)?, quoted: Some(quoted) });
            sent(client.send(&to.parse()?, Content::Text { text, reply_to }, None).await?)
        }
        What::React { to, id, text } => sent(client.react(&to.parse()?, peer(id)?, &text).await?),
        What::Revoke { to, id } => sent(client.send(&to.parse()?, Content::Revoke { id: id.parse()? }, None).await?),
        What::File { to, path } => {
            let file = FileToSend { path, kind: None, caption: None };
            let done = client.send_file(&to.parse()?, file, &progress(tell, "upload")).await?;
            json!({ "id": done.id.as_str(), "kind": done.kind.mms_type(), "bytes": done.file_length,
                "sha256": hex(&done.file_sha256) })
        }
        What::Read { to, ids } => {
            let ids: Result<Vec<MessageId>, _> = ids.iter().map(|id| id.parse()).collect();
            client.mark_read(&to.parse()?, ids?).await?;
            Value::Null
        }
        What::Typing { to, composing } => {
            client.typing(&to.parse()?, composing).await?;
            Value::Null
        }
        What::LookUp { id, integrator } => {
            let integrator = integrator.map(IntegratorId::new).transpose()?;
            let found = client.look_up(vec![LookUp { external_id: id, integrator }]).await?;
            json!(found.first().and_then(|(_, jid)| jid.as_ref()).map(Jid::to_string))
        }
        What::OptIn { integrators } => {
            client.opt_in(integrator_ids(integrators)?).await?;
            Value::Null
        }
        What::Reachable { enabled } => {
            client.set_reachable(enabled).await?;
            Value::Null
        }
        What::Block { jid, block } => {
            client.block(&jid.parse()?, block).await?;
            Value::Null
        }
        What::Ping { jid } => {
            client.ping(&jid.parse()?).await?;
            Value::Null
        }
        What::SafetyNumber { jid } => json!(client.safety_number(&jid.parse()?).await?),
        What::Offline => {
            client.go_offline().await?;
            Value::Null
        }
        What::Online => {
            client.go_online().await?;
            Value::Null
        }
        What::Wake => Value::Null,
        What::DeleteAccount => {
            client.delete_account().await?;
            Value::Null
        }
    })
}

fn integrator_ids(ids: Vec<u16>) -> Result<Vec<IntegratorId>, Failure> {
    Ok(ids.into_iter().map(IntegratorId::new).collect::<Result<_, _>>()?)
}

fn sent(id: MessageId) -> Value {
    json!({ "id": id.as_str() })
}

async fn on_event(client: &Client, tell: &mpsc::UnboundedSender<Value>, event: Event) {
    let line = match event {
        Event::Message(message) => return on_message(client, tell, *message).await,
        Event::Enlisted { jid } => json!({ "event": "enlisted", "jid": jid.to_string() }),
        Event::EnlistFailed(error) => json!({ "event": "enlist_failed", "error": error.to_string() }),
        Event::Connection(state) => json!({ "event": "connection", "state": format!("{state:?}") }),
        Event::HandshakeDone { pattern, valid_until } => {
            json!({ "event": "handshake", "pattern": pattern.name(), "valid_until": valid_until.as_secs() })
        }
        Event::LoginRefused { reason, next, .. } => {
            json!({ "event": "login_refused", "reason": reason, "next": format!("{next:?}") })
        }
        Event::StreamEnded(end) => json!({ "event": "stream_ended", "why": format!("{end:?}") }),
        Event::SignedPreKeyRotated => json!({ "event": "signed_pre_key_rotated" }),
        Event::Replaced => json!({ "event": "replaced" }),
        Event::KeysUploaded { one_time, post_quantum } => {
            json!({ "event": "keys_uploaded", "one_time": one_time, "post_quantum": post_quantum })
        }
        Event::UpToDate { count } => json!({ "event": "up_to_date", "count": count }),
        Event::Undecryptable { from, id, count, cause } => {
            json!({ "event": "undecryptable", "from": from.to_string(), "id": id.as_str(), "count": count, "cause": cause })
        }
        Event::SessionReady { peer, version } => {
            json!({ "event": "session", "peer": peer.to_string(), "version": version })
        }
        Event::State { chat, id, state } => {
            let (state, cause) = match state {
                MessageState::Failed(failure) => ("failed".to_owned(), Some(format!("{failure:?}"))),
                state => (format!("{state:?}").to_lowercase(), None),
            };
            json!({ "event": "state", "chat": chat.to_string(), "id": id.as_str(), "state": state, "cause": cause })
        }
        Event::Resent { chat, id, count } => {
            json!({ "event": "resent", "chat": chat.to_string(), "id": id.as_str(), "count": count })
        }
        Event::Typing { from, composing } => {
            json!({ "event": "typing", "from": from.to_string(), "composing": composing })
        }
        Event::IdentityChanged { peer, blocked, .. } => {
            json!({ "event": "identity_changed", "peer": peer.to_string(), "blocked": blocked })
        }
        Event::Pinged { display_name, integrator, integrator_name } => json!({ "event": "pinged",
            "display_name": display_name, "integrator": integrator.get(), "integrator_name": integrator_name }),
        Event::Deleted => json!({ "event": "deleted" }),
        Event::Warning(error) => json!({ "event": "warning", "error": error.to_string() }),
        _ => return,
    };
    let _closed = tell.send(line);
}

async fn on_message(client: &Client, tell: &mpsc::UnboundedSender<Value>, message: MessageEvent) {
    let mut line = json!({ "event": "message", "from": message.from.to_string(), "id": message.id.as_str(),
        "version": message.version, "offline": message.offline });
    match &message.content {
        Content::Text { text, reply_to } => {
            line["text"] = json!(text);
            line["reply_to"] = json!(reply_to.as_ref().map(|reply| reply.target.id.as_str()));
        }
        Content::Reaction { target, text } => {
            line["reaction"] = json!(text);
            line["target"] = json!(target.id.as_str());
        }
        Content::Revoke { id } => line["revoked"] = json!(id.as_str()),
        Content::Edit { id, text } => {
            line["edited"] = json!(id.as_str());
            line["text"] = json!(text);
        }
        Content::Media(media) => {
            line["kind"] = json!(media.kind.mms_type());
            tokio::spawn(download(client.clone(), tell.clone(), message.id.clone(), (**media).clone()));
        }
        Content::Unsupported { raw } => line["unsupported"] = json!(raw.len()),
        _ => {}
    }
    let _closed = tell.send(line);
    if let Err(error) = client.confirm(message.event).await {
        let _closed = tell.send(json!({ "event": "warning", "error": error.to_string() }));
    }
}

async fn download(client: Client, tell: mpsc::UnboundedSender<Value>, id: MessageId, media: Media) {
    let line = match client.download(&media, &progress(&tell, "download")).await {
        Ok(file) => json!({ "event": "file", "id": id.as_str(), "path": file.path, "bytes": file.file_length,
            "sha256": hex(&file.file_sha256) }),
        Err(error) => json!({ "event": "file_failed", "id": id.as_str(), "error": error.to_string() }),
    };
    let _closed = tell.send(line);
}

fn progress(tell: &mpsc::UnboundedSender<Value>, what: &'static str) -> Progress {
    let (tell, last) = (tell.clone(), Mutex::new(None::<Instant>));
    Progress::new(move |done, total| {
        let Ok(mut last) = last.lock() else { return };
        if done < total && last.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        let _closed = tell.send(json!({ "event": "progress", "what": what, "done": done, "total": total }));
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
