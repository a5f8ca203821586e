//! What the files and stores of both ends say in the end.

use crate::client::{Journal, Setup, message_id, text};
use comity_client::SqliteStore;
use comity_core::{RecordKind, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What was found.
#[derive(Default)]
pub(crate) struct Total {
    pub(crate) messages: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    /// Unconfirmed events given again after a kill, as promised.
    pub(crate) again: u64,
    /// The first few of everything that is wrong.
    pub(crate) faults: Vec<String>,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, lost, repeated, reordered, again, .. } = self;
        write!(
            f,
            "{messages} messages, {lost} lost, {repeated} repeated, {reordered} out of order; {again} unconfirmed events given again"
        )
    }
}

impl Total {
    fn fault(&mut self, what: String) {
        if self.faults.len() < 20 {
            self.faults.push(what);
        }
    }

    /// Judges the way from one end to the other, which sent `sent` messages.
    pub(crate) fn judge(&mut self, from: &Setup, to: &Setup, sent: usize) {
        let way = format!("{} to {}", from.who, to.who);
        let noted = Journal::open(&from.dir.join("sent")).1;
        if noted.iter().enumerate().any(|(n, id)| *id != message_id(n)) || noted.len() != sent {
            self.fault(format!("{way}: {} noted as sent, {sent} said", noted.len()));
        }
        let (mut events, mut seen, mut next) = (BTreeMap::new(), BTreeSet::new(), 0);
        for line in Journal::open(&to.dir.join("received")).1 {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (mark, event, id, body) = (word(), word(), word(), word());
            match &*mark {
                "+" => {
                    events.insert(event, (id.clone(), body.clone()));
                    let n = id.strip_prefix('M').and_then(|n| n.parse::<usize>().ok()).filter(|n| *n < sent);
                    let Some(n) = n.filter(|n| body == text(*n)) else {
                        self.fault(format!("{way}: {id} was never sent so"));
                        continue;
                    };
                    self.messages += 1;
                    if !seen.insert(n) {
                        self.repeated += 1;
                        self.fault(format!("{way}: {id} came twice"));
                    } else if n < next {
                        self.reordered += 1;
                        self.fault(format!("{way}: {id} came after {}", message_id(next - 1)));
                    }
                    next = next.max(n + 1);
                }
                "=" if events.get(&event) == Some(&(id.clone(), body)) => self.again += 1,
                _ => self.fault(format!("{way}: {mark} {event} {id}")),
            }
        }
        for n in (0..sent).filter(|n| !seen.contains(n)) {
            self.lost += 1;
            self.fault(format!("{way}: {} is lost", message_id(n)));
        }
        // The stores say the same: each was given to the application once, and nothing waits.
        let store = SqliteStore::open(&to.dir.join("store.db")).unwrap();
        let given: BTreeSet<String> =
            ids(&store, RecordKind::Seen).iter().map(|id| id.rsplit('/').next().unwrap().to_owned()).collect();
        if given != (0..sent).map(message_id).collect() {
            self.fault(format!("{way}: the store knows {} messages, {sent} were sent", given.len()));
        }
        for kind in [RecordKind::Outbox, RecordKind::Inbox] {
            let waiting = ids(&store, kind).len();
            if waiting > 0 {
                self.fault(format!("{}: {waiting} of {kind:?} wait", to.who));
            }
        }
    }
}

pub(crate) fn ids(store: &dyn Store, kind: RecordKind) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = store.scan(kind, "", &after, 1000).unwrap();
        let Some(last) = page.last() else { return all };
        after = last.key.id.to_string();
        all.extend(page.into_iter().map(|record| record.key.id.to_string()));
    }
}
