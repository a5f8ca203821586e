//! Every stanza of an open session goes to its conversation (PROTOCOL §7).

use crate::engine::Engine;
use crate::io::Event;
use crate::keys::IdentityChanged;
use crate::lane::{Job, LaneKey};
use comity_signal::Address;
use comity_xmpp::Node;
use comity_xmpp::stanza::{Ack, Chatstate, InteropPingNotice, KeyCount, Notification, Stanza, Typing, nack, notice};

impl Engine {
    pub(crate) fn on_stanza(&mut self, node: Node) {
        if node.attr("offline").is_some() {
            self.came_offline();
        }
        // Messages and receipts are acknowledged by what is in them, whether they parse or not.
        match node.tag() {
            "message" => return self.on_message(&node),
            "receipt" => return self.on_receipt(&node),
            _ => {}
        }
        let ack = Ack::of(&node).filter(|ack| ack.to.is_some());
        match Stanza::from_node(node) {
            Ok(Stanza::Ack(ack)) => self.on_ack(ack),
            Ok(Stanza::Iq(iq)) => self.on_iq(iq),
            Ok(Stanza::Ib(ib)) => self.on_ib(&ib),
            Ok(Stanza::Chatstate(chatstate)) => self.on_chatstate(chatstate),
            Ok(Stanza::Notification(notification)) => self.on_notification(notification, ack),
            Ok(Stanza::StreamError(error)) => self.on_stream_error(&error),
            Ok(Stanza::StreamEnd) => self.hang_up(None),
            Ok(Stanza::Call(_)) => self.answer(ack, None),
            Ok(Stanza::Unknown(_)) => self.answer(ack, Some(nack::UNKNOWN_STANZA)),
            Ok(_) => {}
            Err(_) => self.answer(ack, Some(nack::PARSE)),
        }
    }

    pub(crate) fn answer(&mut self, ack: Option<Ack>, refusal: Option<u16>) {
        let Some(mut ack) = ack else { return };
        ack.error = refusal;
        self.send(&ack.into_node());
    }

    fn on_chatstate(&mut self, chatstate: Chatstate) {
        if let Some(from) = chatstate.from {
            let composing = matches!(chatstate.state, Typing::Composing { .. });
            self.emit(Event::Typing { from, composing });
        }
    }

    fn on_notification(&mut self, notification: Notification, ack: Option<Ack>) {
        match &*notification.kind {
            notice::ENCRYPT if notification.has("identity") => {
                let peer = notification.from.as_ref().and_then(|jid| Some((jid.clone(), Address::of_jid(jid).ok()?)));
                if let (Some((jid, peer)), Some(ack)) = (peer, ack.clone()) {
                    let job = IdentityChanged { jid, peer: peer.clone(), ack: ack.into_node() };
                    return self.enqueue(LaneKey::Peer(peer), Job::IdentityChanged(job));
                }
            }
            notice::MEDIA_RETRY => return self.on_media_retry(&notification, ack),
            notice::ENCRYPT if notification.payload::<KeyCount>().is_ok() => self.refill(),
            notice::INTEROP => {
                if let Ok(ping) = notification.payload::<InteropPingNotice>() {
                    self.emit(Event::Pinged {
                        display_name: ping.display_name.to_string(),
                        integrator: ping.integrator,
                        integrator_name: ping.integrator_name.to_string(),
                    });
                }
            }
            _ => {}
        }
        self.answer(ack, None);
    }
}
