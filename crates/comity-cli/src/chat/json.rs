//! `comity chat --json`: one JSON object a line, calls in, answers and events out. docs/chat-json.md has them all.
#![allow(clippy::indexing_slicing, reason = "indexing a JSON value gives null for what is missing")]

use super::history::{Entry, Taken, state_name};
use super::session::Session;
use super::{Chat, hex};
use crate::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_client::{
    Content, Event, EventId, Failure as SendFailure, Fetched, FileToSend, LookUp, Media, MessageEvent, PartnerServer,
    Progress, Quote, Side, Target,
};
use comity_core::{IntegratorId, Jid, MessageId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
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
        /// Repeating a call with the same id changes nothing.
        #[serde(default)]
        id: Option<String>,
    },
    Reply {
        to: String,
        id: String,
        quoted: String,
        text: String,
        /// Whether the message answered is our own.
        #[serde(default)]
        mine: bool,
    },
    React {
        to: String,
        id: String,
        text: String,
        #[serde(default)]
        mine: bool,
    },
    Edit {
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
        #[serde(default)]
        caption: Option<String>,
    },
    /// Fetches a message's file once more.
    Fetch {
        from: String,
        id: String,
    },
    Read {
        to: String,
        ids: Vec<String>,
    },
    Played {
        to: String,
        ids: Vec<String>,
    },
    Typing {
        to: String,
        composing: bool,
    },
    /// With `--manual-confirm`: the event is taken for good.
    Confirm {
        event_id: String,
    },
    /// The last messages, of a chat or of all.
    History {
        #[serde(default)]
        chat: Option<String>,
        #[serde(default)]
        limit: Option<usize>,
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
    Blocklist,
    Report {
        jid: String,
        #[serde(default)]
        flow: Option<String>,
        ids: Vec<String>,
    },
    /// Takes a peer's new identity key, as the event `identity_changed` gave it.
    AcceptIdentity {
        jid: String,
        identity: String,
    },
    Ping {
        jid: String,
    },
    SafetyNumber {
        jid: String,
    },
    Offline,
    Online,
    NetworkChanged,
    /// Wait for the partner server's word that something is there, then connect.
    Wake,
    DeleteAccount,
}

impl What {
    /// Whether later calls must wait for it, so that messages keep their order.
    const fn in_order(&self) -> bool {
        matches!(
            self,
            Self::Send { .. }
                | Self::Reply { .. }
                | Self::React { .. }
                | Self::Edit { .. }
                | Self::Revoke { .. }
                | Self::Read { .. }
                | Self::Played { .. }
                | Self::Confirm { .. }
                | Self::History { .. }
        )
    }
}

/// At most so many progress lines a second.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Longest line that is taken, in bytes.
const MAX_LINE: u64 = 1 << 20;
/// Messages of a `history` call that does not say how many.
const HISTORY: usize = 50;

/// Where a report says it comes from.
pub(super) const REPORT_FLOW: &str = "chat";

struct Face {
    session: Arc<Session>,
    tell: mpsc::UnboundedSender<Value>,
    partner: Option<PartnerServer>,
    me: Mutex<Option<Jid>>,
    manual: bool,
}

pub(super) async fn run(chat: Chat, manual: bool) -> Result<ExitCode, Failure> {
    let Chat { session, mut events, partner, jid, .. } = chat;
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
    let _closed = tell.send(json!({ "event": "ready", "jid": jid.as_ref().map(Jid::to_string) }));
    let face = Arc::new(Face { session, tell, partner, me: Mutex::new(jid), manual });
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => on_event(&face, event).await?,
                None => break,
            },
            read = read_line(&mut input, &mut line) => {
                if !read? {
                    break;
                }
                let call = serde_json::from_slice::<Call>(&line);
                line.clear();
                match call {
                    Ok(call) if call.what.in_order() => answer(Arc::clone(&face), call).await,
                    Ok(call) => drop(tokio::spawn(answer(Arc::clone(&face), call))),
                    Err(error) => face.tell(json!({ "error": format!("not a call: {error}; see docs/chat-json.md") })),
                }
            }
            done = crate::servers::told_to_stop() => { done?; break }
        }
    }
    drop(face);
    let _writer_done = tokio::time::timeout(Duration::from_secs(1), writer).await;
    Ok(ExitCode::SUCCESS)
}

/// Reads on into `line`, up to its end; `false` at the end of the input. Cancelled, it has lost nothing.
async fn read_line(input: &mut BufReader<tokio::io::Stdin>, line: &mut Vec<u8>) -> Result<bool, Failure> {
    use tokio::io::AsyncReadExt as _;
    let room = (MAX_LINE + 1).saturating_sub(line.len() as u64);
    let read = (&mut *input).take(room).read_until(b'\n', line).await?;
    if line.len() as u64 > MAX_LINE {
        return Err(format!("a line longer than {MAX_LINE} bytes").into());
    }
    Ok(read > 0)
}

async fn answer(face: Arc<Face>, call: Call) {
    let line = match face.act(call.what).await {
        Ok(value) => json!({ "answer": call.call, "ok": value }),
        Err(error) => json!({ "answer": call.call, "error": error.to_string() }),
    };
    face.tell(line);
}

fn target(id: &str, mine: bool) -> Result<Target, Failure> {
    Ok(Target { author: if mine { Side::Me } else { Side::Peer }, id: id.parse()? })
}

fn message_ids(ids: &[String]) -> Result<Vec<MessageId>, Failure> {
    Ok(ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?)
}

fn integrator_ids(ids: Vec<u16>) -> Result<Vec<IntegratorId>, Failure> {
    Ok(ids.into_iter().map(IntegratorId::new).collect::<Result<_, _>>()?)
}

fn sent(id: &MessageId) -> Value {
    json!({ "id": id.as_str() })
}

impl Face {
    fn tell(&self, line: Value) {
        let _closed = self.tell.send(line);
    }

    async fn act(&self, what: What) -> Result<Value, Failure> {
        let (session, client) = (&self.session, &self.session.client);
        match what {
            What::Send { to, text, id } => {
                let id = id.map(|id| id.parse()).transpose()?;
                return Ok(sent(&session.send_text(&to.parse()?, Content::text(text), id).await?.id));
            }
            What::Reply { to, id, quoted, text, mine } => {
                let reply_to = Some(Quote { target: target(&id, mine)?, quoted: Some(quoted) });
                return Ok(sent(&session.send_text(&to.parse()?, Content::Text { text, reply_to }, None).await?.id));
            }
            What::React { to, id, text, mine } => {
                let content = Content::Reaction { target: target(&id, mine)?, text };
                return Ok(sent(&session.send_change(&to.parse()?, content).await?.0));
            }
            What::Edit { to, id, text } => {
                return Ok(sent(&session.send_change(&to.parse()?, Content::Edit { id: id.parse()?, text }).await?.0));
            }
            What::Revoke { to, id } => {
                return Ok(sent(&session.send_change(&to.parse()?, Content::Revoke { id: id.parse()? }).await?.0));
            }
            What::File { to, path, caption } => {
                let file = FileToSend { caption, ..FileToSend::new(path) };
                let done = session.send_file(&to.parse()?, file, &progress(&self.tell, "upload", None)).await?;
                return Ok(json!({ "id": done.id.as_str(), "kind": done.kind.mms_type(), "bytes": done.file_length,
                    "sha256": hex(&done.file_sha256), "direct_path": done.direct_path }));
            }
            What::Fetch { from, id } => {
                let (from, id): (Jid, MessageId) = (from.parse()?, id.parse()?);
                let me = self.me.lock().ok().and_then(|me| me.clone()).ok_or("this account has no id yet")?;
                let media = session.media(&me, &from, &id)?;
                return download(&self.session, &self.tell, &from, &id, &media).await;
            }
            What::Read { to, ids } => drop(session.mark_read(&to.parse()?, Some(message_ids(&ids)?)).await?),
            What::Played { to, ids } => client.mark_played(&to.parse()?, message_ids(&ids)?).await?,
            What::Typing { to, composing } => client.typing(&to.parse()?, composing).await?,
            What::Confirm { event_id } => session.confirm(EventId(event_id.into())).await?,
            What::History { chat, limit } => {
                let chat = chat.map(|chat| chat.parse::<Jid>()).transpose()?;
                let entries = session.history().last(chat.as_ref(), limit.unwrap_or(HISTORY))?;
                return Ok(entries.iter().map(Entry::to_json).collect());
            }
            What::LookUp { id, integrator } => {
                let integrator = integrator.map(IntegratorId::new).transpose()?;
                let found = client.look_up(vec![LookUp { external_id: id, integrator }]).await?;
                return Ok(json!(found.first().and_then(|(_, jid)| jid.as_ref()).map(Jid::to_string)));
            }
            What::OptIn { integrators } => client.opt_in(integrator_ids(integrators)?).await?,
            What::Reachable { enabled } => client.set_reachable(enabled).await?,
            What::Block { jid, block } => client.block(&jid.parse()?, block).await?,
            What::Blocklist => {
                return Ok(client.blocklist().await?.iter().map(|jid| Value::from(jid.to_string())).collect());
            }
            What::Report { jid, flow, ids } => {
                let flow = flow.as_deref().unwrap_or(REPORT_FLOW);
                return Ok(json!(session.report(&jid.parse()?, flow, message_ids(&ids)?).await?));
            }
            What::AcceptIdentity { jid, identity } => {
                client
                    .accept_identity(&jid.parse()?, super::key(&identity).ok_or("not 64 hexadecimal digits")?)
                    .await?;
            }
            What::Ping { jid } => client.ping(&jid.parse()?).await?,
            What::SafetyNumber { jid } => return Ok(json!(client.safety_number(&jid.parse()?).await?)),
            What::Offline => client.go_offline().await?,
            What::Online => client.go_online().await?,
            What::NetworkChanged => client.network_changed().await?,
            What::Wake => {
                let partner = self.partner.as_ref().ok_or("only a partner's user is woken")?;
                while !partner.wake(Duration::from_secs(25)).await? {}
                client.go_online().await?;
                return Ok(json!("woken"));
            }
            What::DeleteAccount => client.delete_account().await?,
        }
        Ok(Value::Null)
    }
}

async fn on_event(face: &Arc<Face>, event: Event) -> Result<(), Failure> {
    let line = match event {
        Event::Message(message) => return on_message(face, *message).await,
        Event::Enlisted { jid } => {
            if let Ok(mut me) = face.me.lock() {
                *me = Some(jid.clone());
            }
            json!({ "event": "enlisted", "jid": jid.to_string() })
        }
        Event::EnlistFailed(error) => json!({ "event": "enlist_failed", "error": error.to_string() }),
        Event::Connection(state) => {
            if state == comity_client::ConnectionState::UpToDate {
                let face = Arc::clone(face);
                tokio::spawn(async move {
                    if let Err(error) = face.session.resend().await {
                        face.tell(json!({ "event": "warning", "error": error.to_string() }));
                    }
                });
            }
            json!({ "event": "connection", "state": format!("{state:?}") })
        }
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
            face.session.undecryptable(&from, &id)?;
            json!({ "event": "undecryptable", "from": from.to_string(), "id": id.as_str(), "count": count, "cause": cause })
        }
        Event::SessionReady { peer, version } => {
            json!({ "event": "session", "peer": peer.to_string(), "version": version })
        }
        Event::State { chat, id, state } => {
            face.session.on_state(&chat, &id, &state)?;
            let (name, cause) = state_name(&state);
            let identity = match &state {
                comity_client::MessageState::Failed(SendFailure::IdentityChanged { identity }) => Some(hex(identity)),
                _ => None,
            };
            json!({ "event": "state", "chat": chat.to_string(), "id": id.as_str(), "state": name, "cause": cause,
                "identity": identity })
        }
        Event::Resent { chat, id, count } => {
            json!({ "event": "resent", "chat": chat.to_string(), "id": id.as_str(), "count": count })
        }
        Event::Typing { from, composing } => {
            json!({ "event": "typing", "from": from.to_string(), "composing": composing })
        }
        Event::IdentityChanged { peer, identity, blocked } => {
            json!({ "event": "identity_changed", "peer": peer.to_string(), "blocked": blocked,
                "identity": identity.map(|identity| hex(&identity)) })
        }
        Event::Pinged { display_name, integrator, integrator_name } => json!({ "event": "pinged",
            "display_name": display_name, "integrator": integrator.get(), "integrator_name": integrator_name }),
        Event::MediaRequested(request) => {
            json!({ "event": "file_requested", "from": request.from.to_string(), "id": request.id.as_str() })
        }
        Event::MediaRefreshed { event, chat, id, direct_path } => {
            let me = face.me.lock().ok().and_then(|me| me.clone()).ok_or("this account has no id yet")?;
            if let Some(media) = face.session.refreshed(&me, (&chat, &id), event, direct_path).await? {
                fetch(face, chat.clone(), id.clone(), media);
            }
            json!({ "event": "file_refreshed", "from": chat.to_string(), "id": id.as_str() })
        }
        Event::MediaGone { event, chat, id } => {
            face.session.gone(&chat, &id, event).await?;
            json!({ "event": "file_gone", "from": chat.to_string(), "id": id.as_str() })
        }
        Event::Deleted => json!({ "event": "deleted" }),
        Event::Warning(error) => json!({ "event": "warning", "error": error.to_string() }),
        _ => return Ok(()),
    };
    face.tell(line);
    Ok(())
}

/// In the history first, then told, then confirmed.
async fn on_message(face: &Arc<Face>, message: MessageEvent) -> Result<(), Failure> {
    let taken = face.session.take(&message)?;
    let mut line = json!({ "event": "message", "event_id": &*message.event.0, "from": message.from.to_string(),
        "id": message.id.as_str(), "t": message.t.as_secs(), "name": message.notify, "version": message.version,
        "offline": message.offline, "again": taken == Taken::Again,
        "replaces": matches!(taken, Taken::Replaced(_)), "number": taken.entry().map(|entry| entry.number) });
    match &message.content {
        Content::Text { text, reply_to } => {
            line["text"] = json!(text);
            line["reply_to"] = json!(reply_to.as_ref().map(|reply| reply.target.id.as_str()));
            line["quoted"] = json!(reply_to.as_ref().and_then(|reply| reply.quoted.as_deref()));
        }
        Content::Reaction { target, text } => {
            line["reaction"] = json!(text);
            line["target"] = json!(target.id.as_str());
            line["target_mine"] = json!(target.author == Side::Me);
        }
        Content::Revoke { id } => line["revoked"] = json!(id.as_str()),
        Content::Edit { id, text } => {
            line["edited"] = json!(id.as_str());
            line["text"] = json!(text);
        }
        Content::Media(media) => {
            line["kind"] = json!(media.kind.mms_type());
            line["bytes"] = json!(media.file_length);
            line["caption"] = json!(media.caption);
            line["file_name"] = json!(media.file_name);
            line["dimensions"] = json!(media.dimensions);
            line["thumbnail"] = json!(media.thumbnail.as_ref().map(|jpeg| STANDARD.encode(jpeg)));
            fetch(face, message.from.clone(), message.id.clone(), (**media).clone());
        }
        Content::Unsupported { raw } => line["unsupported"] = json!(raw.len()),
        _ => {}
    }
    face.tell(line);
    if !face.manual
        && let Err(error) = face.session.confirm(message.event).await
    {
        face.tell(json!({ "event": "warning", "error": error.to_string() }));
    }
    Ok(())
}

fn fetch(face: &Arc<Face>, from: Jid, id: MessageId, media: Media) {
    let face = Arc::clone(face);
    tokio::spawn(async move {
        if let Err(error) = download(&face.session, &face.tell, &from, &id, &media).await {
            face.tell(json!({ "event": "file_failed", "id": id.as_str(), "error": error.to_string() }));
        }
    });
}

async fn download(
    session: &Session,
    tell: &mpsc::UnboundedSender<Value>,
    from: &Jid,
    id: &MessageId,
    media: &Media,
) -> Result<Value, Failure> {
    let line = match session.fetch(from, id, media, &progress(tell, "download", Some(id))).await? {
        Fetched::File(file) => json!({ "event": "file", "id": id.as_str(), "path": file.path,
            "bytes": file.file_length, "sha256": hex(&file.file_sha256) }),
        Fetched::Asked(error) => json!({ "event": "file_asked", "id": id.as_str(), "cause": error.to_string() }),
    };
    let _closed = tell.send(line.clone());
    Ok(line)
}

fn progress(tell: &mpsc::UnboundedSender<Value>, what: &'static str, id: Option<&MessageId>) -> Progress {
    let (tell, last, id) = (tell.clone(), Mutex::new(None::<Instant>), id.map(|id| id.to_string()));
    Progress::new(move |done, total| {
        let Ok(mut last) = last.lock() else { return };
        if done < total && last.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        let _closed = tell.send(json!({ "event": "progress", "what": what, "id": id, "done": done, "total": total }));
    })
}
