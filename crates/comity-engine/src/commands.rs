//! What the application asks for, beyond messages: reachability, blocking, deletion, typing (PROTOCOL §12, §13).

use crate::Error;
use crate::config::Role;
use crate::connection::State;
use crate::engine::{Effect, Engine, Then};
use crate::io::{Command, CommandId, ConnectionState, Event, LookUp, MediaConn, Reply};
use crate::iq::Purpose;
use crate::keys::{Accept, SafetyNumber};
use crate::lane::{Job, LaneKey};
use crate::limits::MAX_REPORT_MESSAGES;
use crate::record::login_key;
use comity_core::{Batch, CryptoRng, RecordKey, RecordKind};
use comity_signal::{Address, PublicKey};
use comity_xmpp::stanza::{
    BlockAction, BlockChange, Blocklist, BlocklistQuery, Chatstate, DeleteAccount, InteropPing, Iq, MediaConnQuery,
    NativeBlockChange, OptIn, Reachability, Request, SpamReport, Typing, UserQuery, UsersQuery, UsersResult,
};
use core::time::Duration;

/// What a command's request is about.
pub(crate) enum Asked {
    Done,
    LookUp(Vec<String>),
    Blocklist,
    MediaConn,
    Delete,
}

impl Engine {
    /// Begins a command. An error is its reply; without one, the reply comes later or has been given.
    pub(crate) fn run_command(
        &mut self,
        id: CommandId,
        command: Command,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        match command {
            Command::GoOnline => {
                self.link.wanted = true;
                self.go();
                self.reply(id, Ok(Reply::Done));
            }
            Command::GoOffline => {
                self.link.wanted = false;
                self.hang_up(None);
                if !matches!(self.link.state, State::Closing) {
                    self.link.state = State::Offline;
                    self.show(ConnectionState::Offline);
                }
                self.reply(id, Ok(Reply::Done));
            }
            Command::NetworkChanged => {
                self.on_network_changed();
                self.reply(id, Ok(Reply::Done));
            }
            Command::Send { to, content, id: message } => {
                self.queue_message(id, &to, &content, message, String::new(), rng)?
            }
            Command::SendMedia { to, media, id: message, source } => {
                self.queue_media(id, &to, *media, message, source, rng)?;
            }
            Command::AskMedia { chat, id: message, key } => self.ask_media(id, chat, message, key)?,
            Command::AnswerMedia { event, to, direct_path } => self.answer_media(id, event, to, direct_path)?,
            Command::MarkRead { chat, ids, played } => self.queue_receipts(id, &chat, &ids, played)?,
            Command::Typing { to, composing } => {
                if self.is_active() {
                    let state = if composing { Typing::Composing { media: None } } else { Typing::Paused };
                    self.send(&Chatstate::new(to, state).into_node());
                }
                self.reply(id, Ok(Reply::Done));
            }
            Command::Confirm(event) => {
                let mut batch = Batch::new();
                batch.delete_owned(RecordKey { kind: RecordKind::Inbox, id: event.0 });
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                self.commit(batch, Then { effects: vec![Effect::Reply(id, Ok(Reply::Done))], lane: None });
            }
            Command::LookUp(whom) => {
                let asked = Asked::LookUp(whom.iter().map(|user| user.external_id.clone()).collect());
                let users: Vec<_> = whom.into_iter().map(user_query).collect();
                self.command(id, UsersQuery::from(users), asked)?;
            }
            Command::OptIn(integrators) => self.command(id, OptIn::from(integrators), Asked::Done)?,
            Command::SetReachable(enabled) => {
                let settings = Reachability { enabled, integrators: Vec::new(), rest: Default::default() };
                self.command(id, settings, Asked::Done)?;
            }
            Command::Block { jid, block } => {
                let action = if block { BlockAction::Block } else { BlockAction::Unblock };
                let change = BlockChange { action, jid, dhash: None, rest: Default::default() };
                match self.config.role {
                    Role::Partner { .. } => self.command(id, change, Asked::Done)?,
                    Role::Native { .. } => self.command(id, NativeBlockChange::from(change), Asked::Done)?,
                }
            }
            Command::Blocklist => self.command(id, BlocklistQuery, Asked::Blocklist)?,
            Command::Report { jid, flow, messages } => {
                if messages.len() > MAX_REPORT_MESSAGES {
                    return Err(Error::Content("more messages than a report may have"));
                }
                let messages = messages.into_iter().map(|message| comity_xmpp::stanza::ReportedMessage {
                    id: message.id,
                    from: jid.clone(),
                    t: message.t,
                    raw: message.raw,
                    rest: Default::default(),
                });
                let messages = messages.collect();
                let report = SpamReport { jid, spam_flow: flow.as_str().into(), messages, rest: Default::default() };
                self.command(id, report, Asked::Done)?;
            }
            Command::AcceptIdentity { peer, identity } => {
                let peer = Address::of_jid(&peer).map_err(|_| Error::Content("not somebody with keys"))?;
                let identity = PublicKey::new(identity).map_err(|_| Error::Content("not a public key"))?;
                self.enqueue(LaneKey::Peer(peer.clone()), Job::Accept(Accept { command: id, peer, identity }));
            }
            Command::Ping(jid) => {
                let ping =
                    InteropPing { display_name: self.config.display_name.as_str().into(), rest: Default::default() };
                self.command_to(id, ping, Some(jid), Asked::Done)?;
            }
            Command::MediaConn => self.command(id, MediaConnQuery, Asked::MediaConn)?,
            Command::DeleteAccount => self.command(id, DeleteAccount, Asked::Delete)?,
            Command::SafetyNumber(jid) => {
                let peer = Address::of_jid(&jid).map_err(|_| Error::Content("not somebody with keys"))?;
                let job = SafetyNumber { command: id, jid, peer: peer.clone() };
                self.enqueue(LaneKey::Peer(peer), Job::SafetyNumber(job));
            }
        }
        Ok(())
    }

    fn command<R: Request>(&mut self, id: CommandId, payload: R, asked: Asked) -> Result<(), Error> {
        self.command_to(id, payload, None, asked)
    }

    fn command_to<R: Request>(
        &mut self,
        id: CommandId,
        payload: R,
        to: Option<comity_core::Jid>,
        asked: Asked,
    ) -> Result<(), Error> {
        if !self.is_active() {
            return Err(Error::NotConnected);
        }
        self.ask_of(payload, to, Purpose::Command(id, asked))
    }

    pub(crate) fn on_asked(&mut self, asked: Asked, answer: Result<Iq, Error>) -> Result<Reply, Error> {
        let iq = answer?;
        Ok(match asked {
            Asked::Done => Reply::Done,
            Asked::LookUp(ids) => {
                let users = iq.into_payload::<UsersResult>().map_err(|_| Error::BadAnswer("look-up"))?.users;
                let found = |id: &String| {
                    let user = users.iter().find(|user| *user.external_id == **id)?;
                    user.found.as_ref().ok().map(|found| found.jid.clone())
                };
                Reply::Found(ids.into_iter().map(|id| (id.clone(), found(&id))).collect())
            }
            Asked::Blocklist => {
                let list = iq.into_payload::<Blocklist>().map_err(|_| Error::BadAnswer("block list"))?;
                Reply::Blocked(list.blocked)
            }
            Asked::MediaConn => {
                let conn =
                    iq.into_payload::<comity_xmpp::stanza::MediaConn>().map_err(|_| Error::BadAnswer("media_conn"))?;
                Reply::MediaConn(MediaConn {
                    auth: conn.auth.to_string(),
                    hosts: conn.hosts.iter().map(|host| host.hostname.to_string()).collect(),
                    valid_until: self.now.after(Duration::from_secs(conn.auth_ttl.min(conn.ttl))),
                })
            }
            Asked::Delete => {
                self.link.wanted = false;
                if let Some(account) = &mut self.account {
                    account.jid = None;
                    let mut batch = Batch::new();
                    batch.put_owned(login_key(), account.login_record());
                    self.commit(batch, Then { effects: vec![Effect::Emit(Event::Deleted)], lane: None });
                }
                self.hang_up(None);
                Reply::Done
            }
        })
    }
}

fn user_query(user: LookUp) -> UserQuery {
    match user.integrator {
        Some(integrator) => UserQuery::partner(user.external_id, integrator),
        None => UserQuery::native(user.external_id),
    }
}
