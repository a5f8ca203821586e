//! Requests to the server and their answers (PROTOCOL §7 iq).

use crate::Error;
use crate::commands::Asked;
use crate::connection::server;
use crate::engine::Engine;
use crate::io::{CommandId, Event};
use crate::lane::LaneKey;
use crate::limits::{IQ_TIMEOUT, MAX_PENDING_IQS};
use comity_core::{Jid, Timestamp};
use comity_xmpp::stanza::{Iq, IqType, Ping, Request, ServerPing};
use std::collections::BTreeMap;

/// What waits for an answer.
#[derive(Default)]
pub(crate) struct Iqs {
    pending: BTreeMap<u64, Pending>,
    next: u64,
}

struct Pending {
    deadline: Timestamp,
    purpose: Purpose,
}

/// What a request was for.
pub(crate) enum Purpose {
    KeepAlive,
    KeyCount,
    KeyUpload { one_time: usize, post_quantum: bool },
    Active,
    Bundle(LaneKey),
    Digest,
    Rotate,
    Command(CommandId, Asked),
}

impl Iqs {
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.pending.values().map(|pending| pending.deadline).min()
    }
}

impl Engine {
    /// Sends a request; its answer, or the lack of one, comes to `on_answer`.
    ///
    /// # Errors
    /// Without a session, or with too many requests under way; `purpose` is dropped then.
    pub(crate) fn ask<R: Request>(&mut self, payload: R, purpose: Purpose) -> Result<(), Error> {
        self.ask_of(payload, None, purpose)
    }

    /// As [`Engine::ask`], of `to` instead of the server.
    pub(crate) fn ask_of<R: Request>(&mut self, payload: R, to: Option<Jid>, purpose: Purpose) -> Result<(), Error> {
        self.link.session().ok_or(Error::NotConnected)?;
        if self.iqs.pending.len() >= MAX_PENDING_IQS {
            return Err(Error::Full("requests"));
        }
        self.iqs.next += 1;
        let id = self.iqs.next;
        self.iqs.pending.insert(id, Pending { deadline: self.now.after(IQ_TIMEOUT), purpose });
        let mut iq = Iq::request(id.to_string(), payload);
        if let Some(to) = to {
            iq = iq.with_to(to);
        }
        self.send(&iq.into_node());
        Ok(())
    }

    pub(crate) fn keep_alive(&mut self) {
        if let Err(error) = self.ask(Ping, Purpose::KeepAlive) {
            self.hang_up(Some(error));
        }
    }

    pub(crate) fn on_iq(&mut self, iq: Iq) {
        match iq.kind {
            IqType::Get if iq.is::<ServerPing>() => self.send(&ServerPing::pong(&iq).into_node()),
            IqType::Get | IqType::Set => {
                let mut refusal = iq.refuse(501);
                refusal.to = iq.from.or_else(|| Some(server()));
                refusal.from = None;
                self.send(&refusal.into_node());
            }
            IqType::Result | IqType::Error => {
                let Some(pending) = iq.id.parse().ok().and_then(|id: u64| self.iqs.pending.remove(&id)) else { return };
                let answer = match iq.kind {
                    IqType::Result => Ok(iq),
                    _ => {
                        let (code, text) = iq.error().map_or((500, String::new()), |e| (e.code, e.text.to_string()));
                        Err(Error::Refused { code, text })
                    }
                };
                self.on_answer(pending.purpose, answer);
            }
        }
    }

    fn on_answer(&mut self, purpose: Purpose, answer: Result<Iq, Error>) {
        match purpose {
            Purpose::KeepAlive => {}
            Purpose::KeyCount => self.on_key_count(answer),
            Purpose::KeyUpload { one_time, post_quantum } => self.on_key_upload(answer, one_time, post_quantum),
            Purpose::Active => self.on_active(answer),
            Purpose::Bundle(lane) => self.on_key_fetch(&lane, answer),
            Purpose::Digest => self.on_digest(answer),
            Purpose::Rotate => self.on_rotate(answer),
            Purpose::Command(id, asked) => {
                let result = self.on_asked(asked, answer);
                self.reply(id, result);
            }
        }
    }

    /// The connection is gone, and with it every answer.
    pub(crate) fn connection_gone(&mut self) {
        self.outbox.connection_gone();
        for (_, pending) in core::mem::take(&mut self.iqs.pending) {
            match pending.purpose {
                Purpose::Bundle(lane) => self.on_bundle(&lane, Err(Error::ConnectionLost)),
                Purpose::Command(id, _) => self.reply(id, Err(Error::ConnectionLost)),
                Purpose::Rotate => self.on_rotate(Err(Error::ConnectionLost)),
                _ => {}
            }
        }
    }

    pub(crate) fn expire_iqs(&mut self) {
        let now = self.now;
        let late: Vec<u64> =
            self.iqs.pending.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            let Some(pending) = self.iqs.pending.remove(&id) else { continue };
            match pending.purpose {
                Purpose::Command(id, _) => self.reply(id, Err(Error::TimedOut)),
                Purpose::Rotate => self.on_rotate(Err(Error::TimedOut)),
                Purpose::Digest => self.on_digest(Err(Error::TimedOut)),
                // Without these a session is of no use; a bundle is asked for again in the next.
                Purpose::Bundle(lane) => {
                    self.on_bundle(&lane, Err(Error::ConnectionLost));
                    self.hang_up(Some(Error::TimedOut));
                }
                Purpose::KeyCount | Purpose::KeyUpload { .. } | Purpose::Active | Purpose::KeepAlive => {
                    self.emit(Event::Warning(Error::TimedOut));
                    self.hang_up(None);
                }
            }
        }
    }
}
