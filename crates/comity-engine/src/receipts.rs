//! Receipts of the peer: how far our messages are (PROTOCOL §7).

use crate::Error;
use crate::engine::{Effect, Engine};
use crate::io::{Event, MessageState};
use crate::lane::{Job, LaneKey, Outcome};
use crate::limits::MAX_RECEIPT_IDS;
use crate::outbox::sent_key;
use crate::record::{Sent, parse};
use comity_core::{Batch, Jid, MessageId, RecordKey};
use comity_proto::Codec;
use comity_signal::{Address, Records};
use comity_xmpp::Node;
use comity_xmpp::stanza::{Ack, ReceiptType};

/// Some messages got further.
pub(crate) struct Receipt {
    from: Jid,
    ids: Vec<MessageId>,
    state: MessageState,
    ack: Node,
}

impl Receipt {
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        self.ids.iter().map(|id| sent_key(&self.from, id)).collect()
    }

    /// What has arrived is not asked for again: its copy goes, its id stays.
    pub(crate) fn run(&self, records: &Records) -> Result<Outcome, Error> {
        let mut batch = Batch::new();
        let mut effects = Vec::new();
        for id in &self.ids {
            let record = records.get(&sent_key(&self.from, id)).map_err(|_| Error::Corrupt("sent"))?;
            let sent = parse::<Sent>(record, "sent")?.filter(|sent| sent.outgoing.is_some());
            if let Some(sent) = sent.filter(|_| batch.changes.iter().all(|change| change.key != record.key)) {
                batch.put(record, Sent { outgoing: None, ..sent }.encode_to_vec());
            }
            let (chat, id, state) = (self.from.clone(), id.clone(), self.state.clone());
            effects.push(Effect::Emit(Event::State { chat, id, state }));
        }
        effects.push(Effect::Send(self.ack.clone()));
        Ok(if batch.is_empty() { Outcome::Done(effects) } else { Outcome::Commit(batch, effects) })
    }
}

impl Engine {
    pub(crate) fn on_receipt(&mut self, node: &Node) {
        let Some(ack) = Ack::of(node).map(|ack| ack.into_node()) else { return };
        let Ok(receipt) = comity_xmpp::stanza::Receipt::parse(node) else { return self.send(&ack) };
        let Some(from) = receipt.from.clone() else { return self.send(&ack) };
        let Ok(peer) = Address::of_jid(&from) else { return self.send(&ack) };
        let state = match &receipt.kind {
            None | Some(ReceiptType::Inactive) => MessageState::Delivered,
            Some(ReceiptType::Read) => MessageState::Read,
            Some(ReceiptType::Played) => MessageState::Played,
            Some(ReceiptType::Retry) => return self.on_retry_receipt(receipt, from, peer, ack),
            Some(ReceiptType::ServerError) => return self.on_server_error(receipt, from, ack),
            Some(_) => return self.send(&ack),
        };
        let ids = receipt.ids().take(MAX_RECEIPT_IDS).cloned().collect();
        self.enqueue(LaneKey::Peer(peer), Job::Receipt(Receipt { from, ids, state, ack }));
    }
}
