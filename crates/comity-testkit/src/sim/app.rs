//! The application on top of an account: writes, reads, confirms late, asks again for what it has no answer to.

use super::world::{Event, World};
use comity_core::MessageId;
use comity_engine::{Command, CommandId, Content, Error, EventId, MessageEvent, Reply, Side, Target};
use rand::RngExt as _;
use std::collections::{BTreeMap, BTreeSet};

/// What it waits for an answer to.
enum Asked {
    Send(MessageId, usize, Content),
    Confirm(EventId),
    Unblock,
    Other,
}

/// What an application knows. It survives a crash but for the questions under way.
#[derive(Default)]
pub(super) struct App {
    asked: BTreeMap<u64, Asked>,
    next: u64,
    /// To be queued (again): whether it is already is unknown.
    unsent: Vec<(MessageId, usize, Content)>,
    unconfirmed: BTreeSet<EventId>,
    received: Vec<(usize, MessageId)>,
    own: Vec<(usize, MessageId)>,
    blocked: Option<usize>,
}

impl App {
    pub(super) fn restarted(&mut self) {
        for (_, asked) in std::mem::take(&mut self.asked) {
            if let Asked::Send(id, to, content) = asked {
                self.unsent.push((id, to, content));
            }
        }
        self.unconfirmed.clear(); // they are given again
    }

    /// Everything was installed anew: what was written is gone with the rest.
    pub(super) fn forget(&mut self) {
        let next = self.next;
        *self = Self { next, blocked: self.blocked, ..Self::default() };
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.unsent.is_empty() && self.unconfirmed.is_empty() && self.blocked.is_none()
    }
}

impl World<'_> {
    pub(super) fn on_app(&mut self, device: usize) {
        if self.devices[device].engine.is_none() || self.devices[device].jid.is_none() {
            return;
        }
        for (id, to, content) in std::mem::take(&mut self.devices[device].app.unsent) {
            self.send(device, id, to, content);
        }
        if let Some(peer) = self.devices[device].app.blocked
            && (self.calm || self.rng.random_ratio(1, 4))
        {
            self.block(device, peer, false);
        }
        if self.calm {
            return self.ask(device, Command::GoOnline);
        }
        let peers: Vec<_> = (0..self.devices.len())
            .filter(|other| self.devices[device].writes_to(*other) && self.devices[*other].jid.is_some())
            .collect();
        let Some(peer) = peers.get(self.rng.random_range(0..peers.len().max(1))).copied() else { return };
        let jid = self.devices[peer].jid.clone().expect("filtered");
        match self.rng.random_range(0..100_u32) {
            0..62 => {
                for _ in 0..self.rng.random_range(1..=3) {
                    let content = self.draw_content(device, peer);
                    let id = MessageId::random(&mut self.keys);
                    let installation = self.devices[device].installation;
                    self.check.sends(&id, (device, installation), peer, &content);
                    self.send(device, id, peer, content);
                }
            }
            62..72 => {
                let received = self.devices[device].app.received.iter().rev().filter(|(from, _)| *from == peer);
                let ids: Vec<_> = received.take(3).map(|(_, id)| id.clone()).collect();
                self.ask(device, Command::MarkRead { chat: jid, ids, played: false });
            }
            72..82 => self.ask(device, Command::Typing { to: jid, composing: true }),
            82..84 => self.block(device, peer, true),
            84..86 => self.ask(device, Command::SafetyNumber(jid)),
            86..88 => {
                self.ask(device, Command::GoOffline);
                self.go_online_soon(device);
            }
            _ => {}
        }
    }

    fn draw_content(&mut self, device: usize, peer: usize) -> Content {
        let app = &self.devices[device].app;
        let text = format!("text {} of {device}", app.next);
        let of =
            |list: &[(usize, MessageId)]| list.iter().rev().find(|(other, _)| *other == peer).map(|(_, id)| id.clone());
        match (self.rng.random_range(0..20_u32), of(&app.received), of(&app.own)) {
            (0 | 1, Some(id), _) => {
                Content::Reaction { target: Target { author: Side::Peer, id }, text: "👍".into() }
            }
            (2, _, Some(id)) => Content::Edit { id, text },
            (3, _, Some(id)) => Content::Revoke { id },
            _ => Content::text(text),
        }
    }

    fn send(&mut self, device: usize, id: MessageId, to: usize, content: Content) {
        let jid = self.devices[to].jid.clone().expect("it had one");
        self.note(format_args!("{device} wants to send {id} to {to}"));
        let command = Command::Send { to: jid, content: content.clone(), id: Some(id.clone()) };
        self.ask_for(device, command, Asked::Send(id, to, content));
    }

    fn block(&mut self, device: usize, peer: usize, block: bool) {
        let jid = self.devices[peer].jid.clone().expect("it had one");
        self.devices[device].app.blocked = Some(peer);
        self.ask_for(device, Command::Block { jid, block }, if block { Asked::Other } else { Asked::Unblock });
    }

    pub(super) fn go_online_soon(&mut self, device: usize) {
        let (wait, process) = (self.between(500, 6_000), self.devices[device].process);
        self.later(wait, Event::Ask(device, process, Command::GoOnline));
    }

    pub(super) fn ask(&mut self, device: usize, command: Command) {
        let asked = match &command {
            Command::Confirm(event) => Asked::Confirm(event.clone()),
            _ => Asked::Other,
        };
        self.ask_for(device, command, asked);
    }

    fn ask_for(&mut self, device: usize, command: Command, asked: Asked) {
        let app = &mut self.devices[device].app;
        app.next += 1;
        let id = app.next;
        app.asked.insert(id, asked);
        self.feed(device, comity_engine::Input::Command(CommandId(id), command));
    }

    pub(super) fn on_reply(&mut self, device: usize, id: CommandId, result: Result<Reply, Error>) {
        let Some(asked) = self.devices[device].app.asked.remove(&id.0) else { return };
        match (asked, result) {
            (Asked::Send(id, to, _), Ok(_)) => {
                self.counts.sends += 1;
                self.devices[device].app.own.push((to, id));
            }
            (Asked::Send(id, to, content), Err(_)) => self.devices[device].app.unsent.push((id, to, content)),
            (Asked::Confirm(event), Ok(_)) => _ = self.devices[device].app.unconfirmed.remove(&event),
            (Asked::Confirm(event), Err(_)) => self.confirm_later(device, event),
            (Asked::Unblock, Ok(_)) => self.devices[device].app.blocked = None,
            _ => {}
        }
    }

    pub(super) fn on_message_event(&mut self, device: usize, message: &MessageEvent) {
        let from = self.devices.iter().position(|other| other.jid.as_ref() == Some(&message.from));
        let app = &mut self.devices[device].app;
        app.unconfirmed.insert(message.event.clone());
        app.received.extend(from.map(|from| (from, message.id.clone())));
        self.confirm_later(device, message.event.clone());
    }

    fn confirm_later(&mut self, device: usize, event: EventId) {
        let wait = if self.calm { 50 } else { self.between(0, 1_500) };
        let process = self.devices[device].process;
        self.later(wait, Event::Ask(device, process, Command::Confirm(event)));
    }
}
