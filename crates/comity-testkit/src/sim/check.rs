//! What must hold, and what the world has to remember to tell.

use comity_core::{ErrorKind, Jid, MessageId};
use comity_engine::{Content, Error, Failure, MessageEvent, Side, Target};
use comity_signal::EncKind;
use comity_signal::wire::{PreKeyMessage, SignalMessage};
use comity_xmpp::stanza::KeyUpload;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// What must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Invariant {
    /// What the gatekeeper acknowledged arrives, whoever crashes.
    NothingLost,
    /// No message is given to the application twice, but for an unconfirmed one after a restart.
    DeliveredOnce,
    /// What is delivered was sent, to this account, as it is.
    OnlyWhatWasSent,
    /// The messages of a chat arrive in the order in which they became durable at the sender; one that could not be
    /// decrypted keeps its place by its notice.
    InOrder,
    /// Receipts, ciphertexts, pre-keys and events leave only after what they stand for is durable.
    DurableFirst,
    /// No message key encrypts two texts.
    MessageKeyOnce,
    /// No pre-key id is published with two keys.
    PreKeyIdOnce,
    /// An identity change is told only where there was one.
    TrueIdentityChanges,
    /// No message fails that could arrive.
    NoFalseFailure,
    /// No warning tells of a damaged store or a fault of the engine.
    NoFault,
    /// Without faults everything arrives, in bounded time.
    Drains,
    /// Nothing panics.
    NoPanic,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A message that an application sent.
pub(super) struct Sent {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Which installation of the sender.
    pub(super) installation: u32,
    /// As the recipient sees it.
    content: Content,
    /// Its place in the sender's outbox, once durable.
    pub(super) place: Option<u64>,
    /// The gatekeeper has stored it and says so.
    pub(super) acked: bool,
    /// Dropped by a block, or refused.
    pub(super) excused: bool,
    /// The delivery receipt was dropped by a block.
    pub(super) receipt_dropped: bool,
    undecryptable: bool,
    pub(super) delivered: bool,
    /// The sender has been told that it arrived.
    pub(super) arrived: bool,
    pub(super) failed: bool,
}

/// What an installation's application has been given.
#[derive(Default)]
pub(super) struct Given {
    /// Event and whether it was given since the last start.
    events: BTreeMap<MessageId, (String, bool)>,
    /// The last place, by sender.
    last: BTreeMap<usize, u64>,
}

impl Given {
    pub(super) fn restarted(&mut self) {
        for (_, fresh) in self.events.values_mut() {
            *fresh = false;
        }
    }
}

/// Sender, ratchet key and counter.
type MessageKey = (Jid, [u8; 32], u32);

#[derive(Default)]
pub(super) struct Check {
    pub(super) broken: Option<(Invariant, String)>,
    pub(super) sent: BTreeMap<MessageId, Sent>,
    /// By sender, ratchet key and counter: what was encrypted, and for which message.
    message_keys: BTreeMap<MessageKey, ([u8; 32], String)>,
    pre_keys: BTreeMap<(&'static str, [u8; 32], u32), [u8; 32]>,
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A content as its recipient sees it.
fn mirrored(content: &Content) -> Content {
    match content {
        Content::Reaction { target: Target { author, id }, text } => {
            let author = if *author == Side::Me { Side::Peer } else { Side::Me };
            Content::Reaction { target: Target { author, id: id.clone() }, text: text.clone() }
        }
        other => other.clone(),
    }
}

impl Check {
    /// The first breach ends the run.
    pub(super) fn fail(&mut self, invariant: Invariant, what: String) {
        self.broken.get_or_insert((invariant, what));
    }

    pub(super) fn sends(&mut self, id: &MessageId, from: (usize, u32), to: usize, content: &Content) {
        self.sent.entry(id.clone()).or_insert_with(|| Sent {
            from: from.0,
            to,
            installation: from.1,
            content: mirrored(content),
            place: None,
            acked: false,
            excused: false,
            receipt_dropped: false,
            undecryptable: false,
            delivered: false,
            arrived: false,
            failed: false,
        });
    }

    /// A message came to the application of `to`; whether for the first time.
    pub(super) fn given(
        &mut self,
        to: usize,
        given: &mut Given,
        message: &MessageEvent,
        from: Option<usize>,
        durable: bool,
    ) -> bool {
        let id = &message.id;
        let Some(sent) = self.sent.get_mut(id).filter(|sent| sent.to == to && Some(sent.from) == from) else {
            self.fail(Invariant::OnlyWhatWasSent, format!("{id} was not sent by {from:?} to {to}"));
            return false;
        };
        // One that a block dropped goes out again if its ack was lost, whenever that is.
        let (place, excused) = (sent.place, sent.undecryptable || sent.excused);
        let (same, first_ever) = (sent.content == message.content, !sent.delivered);
        sent.delivered = true;
        let sender = sent.from;
        if !same {
            self.fail(Invariant::OnlyWhatWasSent, format!("{id} has another content"));
        }
        if !durable {
            self.fail(Invariant::DurableFirst, format!("{id} was shown before it was durable"));
        }
        let event = message.event.0.to_string();
        match given.events.get_mut(id) {
            Some((before, fresh)) if *before == event && !*fresh => *fresh = true,
            Some((before, fresh)) => {
                let what = format!("{id} again as {event}, before as {before}, since the start: {fresh}");
                self.fail(Invariant::DeliveredOnce, what);
            }
            None => {
                given.events.insert(id.clone(), (event, true));
                let last = given.last.entry(sender).or_default();
                match place {
                    Some(place) if place <= *last && !excused => {
                        self.fail(Invariant::InOrder, format!("{id} at {place:x} came after {last:x}"));
                    }
                    Some(place) => *last = place.max(*last),
                    None => self.fail(Invariant::DurableFirst, format!("{id} was sent before it was durable")),
                }
            }
        }
        first_ever
    }

    /// A message could not be decrypted: its notice keeps its place.
    pub(super) fn undecryptable(&mut self, id: &MessageId) {
        if let Some(sent) = self.sent.get_mut(id) {
            sent.undecryptable = true;
        }
    }

    /// A ciphertext is on the wire.
    pub(super) fn ciphertext(&mut self, from: &Jid, id: &str, kind: EncKind, body: &[u8]) {
        let inner = match kind {
            EncKind::Pkmsg => PreKeyMessage::parse(body).map(|message| message.inner),
            _ => Ok(body),
        };
        let Ok(inner) = inner else { return };
        let Ok(message) = SignalMessage::parse(inner) else { return };
        let key = (from.clone(), *message.ratchet_key.as_bytes(), message.counter);
        let this = (hash(inner), id.to_owned());
        let before = self.message_keys.entry(key).or_insert_with(|| this.clone());
        if *before != this {
            let what = format!("counter {} of one chain encrypts {} and {id}", message.counter, before.1);
            self.fail(Invariant::MessageKeyOnce, what);
        }
    }

    /// Pre-keys are on the wire.
    pub(super) fn upload(&mut self, upload: &KeyUpload) {
        for key in &upload.keys {
            self.pre_key("one-time", upload.identity, key.id, &key.value);
        }
        for key in upload.pq_keys.iter().chain(&upload.pq_last) {
            self.pre_key("post-quantum", upload.identity, key.id, &key.value);
        }
        self.pre_key("signed", upload.identity, upload.skey.id, &upload.skey.value);
    }

    pub(super) fn pre_key(&mut self, kind: &'static str, identity: [u8; 32], id: u32, value: &[u8]) {
        let value = hash(value);
        if *self.pre_keys.entry((kind, identity, id)).or_insert(value) != value {
            self.fail(Invariant::PreKeyIdOnce, format!("{kind} pre-key {id} is published with two values"));
        }
    }

    pub(super) fn failed(&mut self, id: &MessageId, failure: &Failure) {
        if let Some(sent) = self.sent.get_mut(id) {
            sent.failed = true;
            if !matches!(failure, Failure::Server(_) | Failure::UnknownRecipient) {
                self.fail(Invariant::NoFalseFailure, format!("{id}: {failure:?}"));
            }
        }
    }

    pub(super) fn warning(&mut self, who: &str, error: &Error) {
        let text = error.to_string();
        let fault = ["engine fault", "misuse", "not loaded", "damaged"].iter().any(|word| text.contains(word));
        if fault || matches!(error.kind(), ErrorKind::StateCorrupt | ErrorKind::Bug) {
            self.fail(Invariant::NoFault, format!("{who}: {text}"));
        }
    }

    /// What is missing when everything should have drained.
    pub(super) fn missing(&self, installations: &[u32]) -> Vec<(Invariant, String)> {
        let mut missing = Vec::new();
        for (id, sent) in &self.sent {
            if sent.excused || sent.failed {
                continue;
            }
            // An installation that is gone cannot repeat what could not be decrypted.
            let gone = installations[sent.from] != sent.installation;
            if sent.acked && !sent.delivered && !(gone && sent.undecryptable) {
                missing.push((Invariant::NothingLost, format!("{id} from {} to {}", sent.from, sent.to)));
            }
            if sent.acked && sent.delivered && !gone && !sent.arrived && !sent.receipt_dropped {
                missing.push((Invariant::Drains, format!("{id} arrived and its sender does not know")));
            }
        }
        missing
    }
}
