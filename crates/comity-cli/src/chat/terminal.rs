//! `comity chat` for a person: lines in, lines out.

use super::Chat;
use super::json::hex;
use crate::Failure;
use crate::place::INTEGRATOR;
use comity_client::{
    ConnectionState, Content, Event, FileToSend, MessageEvent, MessageState, Progress, Quote, Side, Target,
};
use comity_core::{IntegratorId, Jid, MessageId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

const HELP: &str = "\
/to WHO        choose the chat           /file PATH     send a file
/reply TEXT    answer the last message   /react EMOJI   react to it; without EMOJI, take it back
/block /unblock the chat                 /safety        show the chat's safety number
/ping WHO      ask to be reachable       /help  /quit";

struct Terminal {
    chat: Chat,
    to: Option<Jid>,
    /// The last message of the other side, to reply and react to.
    last: Option<(Jid, MessageId, String)>,
    names: HashMap<Jid, String>,
    tell: mpsc::UnboundedSender<String>,
}

pub(super) async fn run(chat: Chat, who: &str, to: Option<String>) -> Result<ExitCode, Failure> {
    println!("You are {who}. /help shows the commands.");
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut terminal = Terminal { chat, to: None, last: None, names: HashMap::new(), tell };
    let mut wish = to;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            event = terminal.chat.events.next() => {
                let Some(event) = event else { break };
                let up = matches!(event, Event::Connection(ConnectionState::UpToDate));
                terminal.on_event(event).await;
                if up && terminal.chat.native {
                    terminal.opt_in().await;
                }
                if up && let Some(who) = wish.take() {
                    terminal.choose(&who).await;
                }
            }
            Some(line) = told.recv() => println!("{line}"),
            line = input.next_line() => match line? {
                Some(line) if line.trim() == "/quit" => break,
                Some(line) => {
                    if let Err(error) = terminal.on_line(line.trim()).await {
                        println!("! {error}");
                    }
                }
                None => break,
            },
            done = crate::servers::told_to_stop() => { done?; break }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Terminal {
    /// A native user takes messages from no one who was not let in.
    async fn opt_in(&self) {
        let Ok(integrator) = IntegratorId::new(INTEGRATOR) else { return };
        match self.chat.client.opt_in(vec![integrator]).await {
            Ok(()) => println!("* you are reachable for the partner's users"),
            Err(error) => println!("! opt-in: {error}"),
        }
    }

    async fn choose(&mut self, who: &str) {
        match self.chat.find(who).await {
            Ok(jid) => {
                println!("* chat with {who}");
                self.names.insert(jid.clone(), who.to_owned());
                self.to = Some(jid);
            }
            Err(error) => println!("! {error}"),
        }
    }

    async fn on_line(&mut self, line: &str) -> Result<(), Failure> {
        let (command, rest) = line.split_once(' ').map_or((line, ""), |(command, rest)| (command, rest.trim()));
        let to = || self.to.clone().ok_or("no chat chosen: /to WHO");
        let client = &self.chat.client;
        let last = || {
            let (jid, id, text) = self.last.clone().ok_or("there is no message to answer yet")?;
            Ok::<_, Failure>((jid, Target { author: Side::Peer, id }, text))
        };
        match command {
            "" => {}
            "/help" => println!("{HELP}"),
            "/to" => self.choose(rest).await,
            "/file" => {
                let file = FileToSend { path: PathBuf::from(rest), kind: None, caption: None };
                let (client, to, tell) = (client.clone(), to()?, self.tell.clone());
                tokio::spawn(async move {
                    let line = match client.send_file(&to, file, &Progress::none()).await {
                        Ok(sent) => format!(
                            "* {} of {} bytes sent, sha256 {}",
                            sent.kind,
                            sent.file_length,
                            hex(&sent.file_sha256)
                        ),
                        Err(error) => format!("! {error}"),
                    };
                    let _closed = tell.send(line);
                });
            }
            "/reply" => {
                let (jid, target, quoted) = last()?;
                let reply_to = Some(Quote { target, quoted: Some(quoted) });
                client.send(&jid, Content::Text { text: rest.to_owned(), reply_to }, None).await?;
            }
            "/react" => {
                let (jid, target, _) = last()?;
                client.react(&jid, target, rest).await?;
            }
            "/block" | "/unblock" => {
                client.block(&to()?, command == "/block").await?;
                println!("* done");
            }
            "/safety" => println!("* {}", client.safety_number(&to()?).await?),
            "/ping" => client.ping(&self.chat.find(rest).await?).await?,
            _ if command.starts_with('/') => println!("! no such command; /help"),
            _ => {
                client.send_text(&to()?, line).await?;
            }
        }
        Ok(())
    }

    fn name(&self, jid: &Jid) -> String {
        self.names.get(jid).cloned().unwrap_or_else(|| jid.to_string())
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.on_message(*message).await,
            Event::Connection(state) => match state {
                ConnectionState::UpToDate => println!("* connected"),
                ConnectionState::Waiting => println!("* no connection; trying again"),
                ConnectionState::Offline | ConnectionState::Stopped => println!("* offline"),
                _ => {}
            },
            Event::Enlisted { jid } => println!("* enlisted as {jid}"),
            Event::EnlistFailed(error) => println!("! {error}"),
            Event::LoginRefused { reason, .. } => println!("! the server refuses the login: {reason}"),
            Event::Replaced => println!("! another login took over"),
            Event::State { chat, state: MessageState::Delivered, .. } => println!("  ✓✓ {}", self.name(&chat)),
            Event::State { chat, state: MessageState::Read, .. } => println!("  ✓✓ {} has read it", self.name(&chat)),
            Event::State { state: MessageState::Failed(failure), .. } => println!("! not sent: {failure:?}"),
            Event::IdentityChanged { peer, .. } => {
                println!("! the security number of {} changed: compare it (/safety)", self.name(&peer));
            }
            Event::Pinged { display_name, integrator_name, .. } => {
                println!("* {display_name} ({integrator_name}) would like to write to you");
            }
            Event::Undecryptable { from, .. } => println!("* a message of {} could not be read yet", self.name(&from)),
            Event::Warning(error) => println!("! {error}"),
            _ => {}
        }
    }

    async fn on_message(&mut self, message: MessageEvent) {
        let MessageEvent { event, from, id, notify, content, .. } = message;
        if let Some(name) = notify {
            self.names.entry(from.clone()).or_insert(name);
        }
        let name = self.name(&from);
        let mut seen = true;
        match content {
            Content::Text { text, reply_to } => {
                let quoted =
                    reply_to.and_then(|reply| reply.quoted).map(|q| format!(" (to “{q}”)")).unwrap_or_default();
                println!("{name}{quoted}: {text}");
                self.last = Some((from.clone(), id.clone(), text));
            }
            Content::Media(media) => {
                println!("{name}: [{} of {} bytes] fetching…", media.kind, media.file_length);
                self.last = Some((from.clone(), id.clone(), format!("[{}]", media.kind)));
                let (client, tell) = (self.chat.client.clone(), self.tell.clone());
                tokio::spawn(async move {
                    let line = match client.download(&media, &Progress::none()).await {
                        Ok(file) => format!("* {} sha256 {}", file.path.display(), hex(&file.file_sha256)),
                        Err(error) => format!("! {error}"),
                    };
                    let _closed = tell.send(line);
                });
            }
            Content::Reaction { text, .. } if text.is_empty() => println!("{name} took a reaction back"),
            Content::Reaction { text, .. } => println!("{name} reacted {text}"),
            Content::Revoke { .. } => println!("{name} took a message back"),
            Content::Edit { text, .. } => println!("{name} edited: {text}"),
            _ => {
                println!("{name}: [a kind of message this version does not know]");
                seen = false;
            }
        }
        if self.to.is_none() {
            self.to = Some(from.clone());
        }
        let client = &self.chat.client;
        let done = client.confirm(event).await;
        let done = match done {
            Ok(()) if seen => client.mark_read(&from, vec![id]).await,
            done => done,
        };
        if let Err(error) = done {
            println!("! {error}");
        }
    }
}
