//! `comity chat` for a person: lines in, lines out. A message is shown under its number; when it changes, it is shown
//! again under the same number, and `/history` shows each as it stands.

use super::command::{Command, HELP, parse};
use super::history::{Entry, Taken, UNDECRYPTABLE};
use super::json::REPORT_FLOW;
use super::session::Session;
use super::{Chat, hex};
use crate::Failure;
use crate::place::INTEGRATOR;
use comity_client::{
    ConnectionState, Content, Event, Failure as SendFailure, Fetched, FileToSend, Media, MessageEvent, MessageState,
    Progress, Quote, Side, Target,
};
use comity_core::{IntegratorId, Jid, MessageId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Messages shown at the start.
const AT_START: usize = 20;
/// Messages that `/history` shows without a number.
const HISTORY: usize = 20;
/// Characters of a message that is only named.
const SHORT: usize = 40;

struct Terminal {
    chat: Chat,
    to: Option<Jid>,
    names: HashMap<Jid, String>,
    /// The key a peer showed last, where it is to be accepted.
    offered: HashMap<Jid, [u8; 32]>,
    state: Option<ConnectionState>,
    opted_in: bool,
    bars: MultiProgress,
}

pub(super) async fn run(chat: Chat, who: &str, to: Option<String>) -> Result<ExitCode, Failure> {
    println!("You are {who}. /help shows the commands.");
    let names = chat.session.history().names()?.into_iter().collect();
    let mut terminal = Terminal {
        chat,
        to: None,
        names,
        offered: HashMap::new(),
        state: None,
        opted_in: false,
        bars: MultiProgress::new(),
    };
    terminal.history(None, AT_START)?;
    terminal.unread()?;
    let mut wish = to;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            event = terminal.chat.events.next() => {
                let Some(event) = event else { break };
                let up = matches!(event, Event::Connection(ConnectionState::UpToDate));
                terminal.on_event(event).await?;
                if up {
                    terminal.up().await;
                }
                if up && let Some(who) = wish.take() {
                    terminal.choose(&who).await;
                }
            }
            line = input.next_line() => {
                let Some(line) = line? else { break };
                match parse(&line) {
                    Ok(Command::Quit) => break,
                    Ok(command) => {
                        if let Err(error) = terminal.on_command(command).await {
                            terminal.say(&format!("! {error}"));
                        }
                    }
                    Err(why) => terminal.say(&format!("! {why}")),
                }
            }
            done = crate::servers::told_to_stop() => { done?; break }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Terminal {
    fn say(&self, line: &str) {
        self.bars.suspend(|| println!("{line}"));
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.chat.session)
    }

    fn name(&self, jid: &Jid) -> String {
        self.names.get(&jid.account()).cloned().unwrap_or_else(|| jid.to_string())
    }

    fn to(&self) -> Result<Jid, Failure> {
        self.to.clone().ok_or_else(|| "no chat is chosen: /to WHO, with an e-mail address, a number or a JID".into())
    }

    /// The connection is there: what the client may have missed goes out, and a native user opens up.
    async fn up(&mut self) {
        if let Err(error) = self.chat.session.resend().await {
            self.say(&format!("! {error}"));
        }
        // A native user takes messages from no one who was not let in.
        if self.chat.native
            && !self.opted_in
            && let Ok(integrator) = IntegratorId::new(INTEGRATOR)
        {
            match self.chat.session.client.opt_in(vec![integrator]).await {
                Ok(()) => {
                    self.opted_in = true;
                    self.say("* you are reachable for the partner's users");
                }
                Err(error) => self.say(&format!("! opt-in: {error}")),
            }
        }
    }

    async fn choose(&mut self, who: &str) {
        match self.chat.find(who).await {
            Ok(jid) => {
                self.say(&format!("* chat with {who}"));
                self.names.insert(jid.account(), who.to_owned());
                let named = self.session().history().name(&jid, who);
                let read = self.session().mark_read(&jid, None).await;
                if let Err(error) = named.and(read) {
                    self.say(&format!("! {error}"));
                }
                self.to = Some(jid);
            }
            Err(error) => self.say(&format!("! {error}")),
        }
    }

    fn history(&self, chat: Option<&Jid>, limit: usize) -> Result<(), Failure> {
        let entries = self.chat.session.history().last(chat, limit)?;
        for entry in &entries {
            self.say(&self.line(entry));
        }
        Ok(())
    }

    fn unread(&self) -> Result<(), Failure> {
        let unread = self.chat.session.history().unread_chats()?;
        for (chat, count) in unread {
            self.say(&format!("* {count} unread of {}", self.name(&chat)));
        }
        Ok(())
    }

    /// A message as it stands.
    fn line(&self, entry: &Entry) -> String {
        let secs = entry.at.as_secs();
        let mut line = format!("[{}] {:02}:{:02} ", entry.number, secs / 3600 % 24, secs / 60 % 60);
        line += &if entry.mine { format!("me to {}", self.name(&entry.chat)) } else { self.name(&entry.chat) };
        if let Some(quoted) = entry.reply.as_ref().and_then(|reply| reply.quoted.as_deref()) {
            line += &format!(" (to “{}”)", short(quoted));
        }
        line += ": ";
        line += &match &*entry.kind {
            _ if entry.revoked => "(taken back)".to_owned(),
            "text" => entry.text.clone(),
            UNDECRYPTABLE => "(cannot be read yet; it was asked for again)".to_owned(),
            "unsupported" => "(a kind of message this version does not know)".to_owned(),
            kind => match &entry.file {
                Some(file) => format!("[{kind}] {} {file}", entry.text),
                None => format!("[{kind}] {}", entry.text),
            },
        };
        if entry.edited && !entry.revoked {
            line += " (edited)";
        }
        for (mine, text) in &entry.reactions {
            line += &format!(" {text}{}", if *mine { " (you)" } else { "" });
        }
        if entry.mine {
            line += "  ";
            line += &mark(entry);
        } else if entry.unread {
            line += "  (unread)";
        }
        line
    }

    /// The message with that number in the chat at hand; without one, the last that the other side wrote, or `mine` did.
    fn entry(&self, number: Option<u64>, mine: Option<bool>) -> Result<Entry, Failure> {
        if let Some(number) = number {
            let found = self.chat.session.history().number(number)?;
            let found = found.filter(|entry| mine.is_none_or(|mine| entry.mine == mine));
            let whose = match mine {
                Some(true) => " of yours",
                Some(false) => " of the other side's",
                None => "",
            };
            return found
                .ok_or_else(|| format!("there is no message {number}{whose}; /history shows the numbers").into());
        }
        let mine = mine.unwrap_or(false);
        let last = self.chat.session.history().last(self.to.as_ref(), super::history::MAX_SHOWN)?;
        let last = last.into_iter().rev().find(|entry| entry.mine == mine && !entry.revoked);
        last.ok_or_else(|| {
            if mine { "you have written nothing yet" } else { "there is no message to answer yet" }.into()
        })
    }

    async fn on_command(&mut self, command: Command) -> Result<(), Failure> {
        let session = self.session();
        let client = &session.client;
        match command {
            Command::Nothing | Command::Quit => {}
            Command::Help => self.say(HELP),
            Command::To(who) => {
                self.choose(&who).await;
                let to = self.to.clone();
                self.history(to.as_ref(), AT_START / 2)?;
            }
            Command::Text(text) => {
                let entry = session.send_text(&self.to()?, Content::text(text), None).await?;
                self.say(&self.line(&entry));
            }
            Command::Reply(number, text) => {
                let answered = self.entry(number, None)?;
                let target = target(&answered);
                let reply_to = Some(Quote { target, quoted: Some(answered.text) });
                let entry = session.send_text(&answered.chat, Content::Text { text, reply_to }, None).await?;
                self.say(&self.line(&entry));
            }
            Command::React(number, text) => {
                let entry = self.entry(number, None)?;
                let content = Content::Reaction { target: target(&entry), text };
                self.changed(&session.send_change(&entry.chat, content).await?.1);
            }
            Command::Edit(number, text) => {
                let entry = self.entry(number, Some(true))?;
                self.changed(&session.send_change(&entry.chat, Content::Edit { id: entry.id, text }).await?.1);
            }
            Command::Revoke(number) => {
                let entry = self.entry(number, Some(true))?;
                self.changed(&session.send_change(&entry.chat, Content::Revoke { id: entry.id }).await?.1);
            }
            Command::File(path) => self.send_file(FileToSend::new(path))?,
            Command::Get(number) => {
                let entry = self.entry(number, Some(false))?;
                let me = self.chat.jid.clone().ok_or("this account has no id yet")?;
                let media = session.media(&me, &entry.chat, &entry.id)?;
                self.fetch(entry.chat, entry.id, media);
            }
            Command::History(limit) => self.history(self.to.as_ref(), limit.unwrap_or(HISTORY))?,
            Command::Read => {
                let count = session.mark_read(&self.to()?, None).await?;
                self.say(&format!("* {count} marked as read"));
            }
            Command::Played(number) => {
                let entry = self.entry(number, Some(false))?;
                client.mark_played(&entry.chat, vec![entry.id]).await?;
            }
            Command::Unread => self.unread()?,
            Command::Typing(composing) => client.typing(&self.to()?, composing).await?,
            Command::Block(block) => {
                client.block(&self.to()?, block).await?;
                self.say("* done");
            }
            Command::Blocklist => {
                let list = client.blocklist().await?;
                self.say(&format!("* {} blocked", list.len()));
                list.iter().for_each(|jid| self.say(&format!("  {}", self.name(jid))));
            }
            Command::Report(numbers) => {
                let to = self.to()?;
                let entries = numbers.into_iter().map(|number| self.entry(Some(number), Some(false)));
                let ids = entries.map(|entry| Ok(entry?.id)).collect::<Result<Vec<_>, Failure>>()?;
                let count = session.report(&to, REPORT_FLOW, ids).await?;
                self.say(&format!("* reported, with {count} messages"));
            }
            Command::Safety => {
                let digits = client.safety_number(&self.to()?).await?;
                self.say(&format!("* safety number {digits}"));
            }
            Command::Accept => {
                let to = self.to()?;
                let key = self.offered.get(&to.account()).copied().ok_or("no new key waits to be accepted")?;
                client.accept_identity(&to, key).await?;
                self.offered.remove(&to.account());
                self.say("* accepted");
            }
            Command::Ping(who) => {
                client.ping(&self.chat.find(&who).await?).await?;
                self.say("* asked");
            }
            Command::Online(true) => client.go_online().await?,
            Command::Online(false) => client.go_offline().await?,
            Command::Doctor => {
                self.say("* run `comity doctor` in another terminal: it looks at servers, keys, clocks and files")
            }
        }
        Ok(())
    }

    fn changed(&self, taken: &Taken) {
        match taken.entry() {
            Some(entry) => self.say(&self.line(entry)),
            None => self.say("* done"),
        }
    }

    async fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Message(message) => return self.on_message(*message).await,
            Event::Connection(state) => {
                let before = self.state.replace(state);
                match state {
                    _ if before == Some(state) => {}
                    ConnectionState::Connecting => self.say("* connecting…"),
                    ConnectionState::LoggedIn => self.say("* logged in; what waited comes in"),
                    ConnectionState::UpToDate => self.say("* connected"),
                    ConnectionState::Waiting => {
                        self.say("* no connection; trying again by itself (`comity doctor` looks why)")
                    }
                    ConnectionState::Offline => self.say("* offline; /online connects"),
                    ConnectionState::Stopped => self.say("* stopped; /online tries again"),
                    _ => {}
                }
            }
            Event::Enlisted { jid } => {
                self.say(&format!("* enlisted as {jid}"));
                self.chat.jid = Some(jid);
            }
            Event::EnlistFailed(error) => self.say(&format!("! enlistment: {error}")),
            Event::LoginRefused { reason, refusal, next } => {
                self.say(&format!("! the server refuses the login: {refusal:?} ({reason}); next: {next:?}"));
            }
            Event::StreamEnded(end) => self.say(&format!("* the server ended the session: {end:?}")),
            Event::Replaced => self.say("! another login took over; /online takes it back"),
            Event::State { chat, id, state } => {
                if let MessageState::Failed(SendFailure::IdentityChanged { identity }) = &state {
                    self.offered.insert(chat.account(), *identity);
                }
                let changed = self.chat.session.on_state(&chat, &id, &state)?;
                if let Some(entry) = changed {
                    let text = short(if entry.text.is_empty() { &entry.kind } else { &entry.text });
                    self.say(&format!("[{}] {}  {text}", entry.number, mark(&entry)));
                }
            }
            Event::Typing { from, composing } => {
                self.say(&format!("… {} {}", self.name(&from), if composing { "is typing" } else { "stopped typing" }));
            }
            Event::IdentityChanged { peer, identity, blocked } => {
                if let Some(identity) = identity {
                    self.offered.insert(peer.account(), identity);
                }
                let name = self.name(&peer);
                let then = if blocked { "; theirs wait and yours fail until you /accept it" } else { "" };
                self.say(&format!("! the security number of {name} changed: compare it (/safety){then}"));
            }
            Event::Pinged { display_name, integrator_name, .. } => {
                self.say(&format!("* {display_name} ({integrator_name}) would like to write to you"));
            }
            Event::Undecryptable { from, id, .. } => {
                let taken = self.chat.session.undecryptable(&from, &id)?;
                if let Some(entry) = taken.entry() {
                    self.say(&self.line(entry));
                }
            }
            Event::MediaRequested(request) => {
                let name = self.name(&request.from);
                self.say(&format!("* {name} asks for a file of yours again: it is uploaded if it is here as it was"));
            }
            Event::MediaRefreshed { event, chat, id, direct_path } => {
                let me = self.chat.jid.clone().ok_or("this account has no id yet")?;
                if let Some(media) = self.chat.session.refreshed(&me, (&chat, &id), event, direct_path).await? {
                    self.say(&format!("* {} has sent the file again", self.name(&chat)));
                    self.fetch(chat, id, media);
                }
            }
            Event::MediaGone { event, chat, id } => {
                self.chat.session.gone(&chat, &id, event).await?;
                self.say(&format!("! {} has the file no more", self.name(&chat)));
            }
            Event::Deleted => self.say("* the account is deleted"),
            Event::Warning(error) => self.say(&format!("! {error}")),
            _ => {}
        }
        Ok(())
    }

    /// In the history first, then shown, then confirmed.
    async fn on_message(&mut self, message: MessageEvent) -> Result<(), Failure> {
        let session = self.session();
        let taken = session.take(&message)?;
        let MessageEvent { event, from, id, notify, content, .. } = message;
        if let Some(name) = notify {
            self.names.entry(from.account()).or_insert(name);
        }
        if self.to.is_none() {
            self.to = Some(from.account());
        }
        let shown = self.to.as_ref().is_some_and(|to| to.account() == from.account());
        if let Some(entry) = taken.entry() {
            // In the chat at hand it counts as read.
            let entry = Entry { unread: entry.unread && !shown, ..entry.clone() };
            let place = if matches!(taken, Taken::Replaced(_)) { "(in place of what could not be read) " } else { "" };
            self.say(&format!("{place}{}", self.line(&entry)));
        }
        if let Err(error) = session.confirm(event).await {
            self.say(&format!("! {error}"));
        }
        if matches!(taken, Taken::New(_) | Taken::Replaced(_)) {
            if let Content::Media(media) = content {
                self.fetch(from.clone(), id.clone(), *media);
            }
            if shown && let Err(error) = session.mark_read(&from, Some(vec![id])).await {
                self.say(&format!("! {error}"));
            }
        }
        Ok(())
    }

    fn bar(&self, what: &str) -> Result<(ProgressBar, Progress), Failure> {
        let style = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let bar = self.bars.add(ProgressBar::no_length().with_prefix(what.to_owned()));
        bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
        let hear = bar.clone();
        let progress = Progress::new(move |done, total| {
            hear.set_length(total);
            hear.set_position(done);
        });
        Ok((bar, progress))
    }

    fn send_file(&self, file: FileToSend) -> Result<(), Failure> {
        let (session, to, bars) = (self.session(), self.to()?, self.bars.clone());
        let (bar, progress) = self.bar(&file.path.file_name().unwrap_or_default().to_string_lossy())?;
        tokio::spawn(async move {
            let line = match session.send_file(&to, file, &progress).await {
                Ok(sent) => {
                    let hash = hex(&sent.file_sha256);
                    format!("* {} of {} bytes sent, sha256 {hash}", sent.kind, sent.file_length)
                }
                Err(error) => format!("! not sent: {error}"),
            };
            bar.finish_and_clear();
            bars.suspend(|| println!("{line}"));
        });
        Ok(())
    }

    fn fetch(&self, from: Jid, id: MessageId, media: Media) {
        let (session, bars) = (self.session(), self.bars.clone());
        let Ok((bar, progress)) = self.bar(media.file_name.as_deref().unwrap_or(media.kind.mms_type())) else { return };
        tokio::spawn(async move {
            let line = match session.fetch(&from, &id, &media, &progress).await {
                Ok(Fetched::File(file)) => {
                    let size =
                        media.dimensions.map(|(width, height)| format!("{width} × {height}, ")).unwrap_or_default();
                    format!("* {} {size}sha256 {}", file.path.display(), hex(&file.file_sha256))
                }
                Ok(Fetched::Asked(error)) => format!("* {error}: its sender is asked for it again"),
                Err(error) => format!("! not fetched: {error}; /get tries again"),
            };
            bar.finish_and_clear();
            bars.suspend(|| println!("{line}"));
        });
    }
}

fn target(entry: &Entry) -> Target {
    Target { author: if entry.mine { Side::Me } else { Side::Peer }, id: entry.id.clone() }
}

/// How far a message of ours is.
fn mark(entry: &Entry) -> String {
    match &*entry.state {
        "queued" => "(queued)".to_owned(),
        "sent" => "✓".to_owned(),
        "delivered" => "✓✓".to_owned(),
        "read" => "✓✓ read".to_owned(),
        "played" => "✓✓ played".to_owned(),
        _ => format!("✗ failed: {}", entry.cause.as_deref().unwrap_or("unknown")),
    }
}

fn short(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(SHORT).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
