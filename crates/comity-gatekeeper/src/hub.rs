//! Who is connected: one live connection per account (PROTOCOL §5.5).

use crate::limits::MAX_LIVE;
use bytes::Bytes;
use comity_core::Jid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Why a connection is ended by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A newer log-in took over.
    Replaced,
    /// The credentials are gone: re-enlisted with another key, deleted, lapsed.
    DeviceRemoved,
}

/// The hub's side of a connection.
pub(crate) struct Line {
    id: u64,
    active: Arc<AtomicBool>,
    mail: Arc<Notify>,
    live: mpsc::Sender<Bytes>,
    ending: mpsc::Sender<Ending>,
}

/// The connection's side.
pub(crate) struct Port {
    id: u64,
    account: Jid,
    hub: Arc<Hub>,
    /// Set once the client has asked for delivery.
    pub(crate) active: Arc<AtomicBool>,
    /// Told when mail was stored.
    pub(crate) mail: Arc<Notify>,
    /// Stanzas that are never queued.
    pub(crate) live: mpsc::Receiver<Bytes>,
    /// The server's order to end.
    pub(crate) ending: mpsc::Receiver<Ending>,
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut lines = self.hub.lock();
        if lines.get(&self.account).is_some_and(|line| line.id == self.id) {
            lines.remove(&self.account);
        }
    }
}

/// All connections that have logged in.
#[derive(Default)]
pub(crate) struct Hub {
    lines: Mutex<HashMap<Jid, Line>>,
    next: AtomicU64,
}

impl Hub {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Jid, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this the account's connection; an older one is told to end.
    pub(crate) fn register(self: &Arc<Self>, account: Jid) -> Port {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (live_in, live) = mpsc::channel(MAX_LIVE);
        let (ending_in, ending) = mpsc::channel(1);
        let (active, mail) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let line = Line { id, active: Arc::clone(&active), mail: Arc::clone(&mail), live: live_in, ending: ending_in };
        if let Some(old) = self.lock().insert(account.clone(), line) {
            let _already_ending = old.ending.try_send(Ending::Replaced);
        }
        Port { id, account, hub: Arc::clone(self), active, mail, live, ending }
    }

    /// Tells the account's connection that mail waits. `false` if nobody is there to take it.
    pub(crate) fn nudge(&self, account: &Jid) -> bool {
        self.lock().get(account).is_some_and(|line| {
            line.mail.notify_one();
            line.active.load(Ordering::Acquire)
        })
    }

    /// Whose connections there are.
    pub(crate) fn connected(&self) -> Vec<Jid> {
        self.lock().keys().cloned().collect()
    }

    /// Whether a connection of the account takes deliveries.
    pub(crate) fn is_active(&self, account: &Jid) -> bool {
        self.lock().get(account).is_some_and(|line| line.active.load(Ordering::Acquire))
    }

    /// Gives a stanza (an encoded frame) to the account's connection, or drops it: not connected, passive, or too slow.
    pub(crate) fn live(&self, account: &Jid, frame: Bytes) {
        if let Some(line) = self.lock().get(account).filter(|line| line.active.load(Ordering::Acquire)) {
            let _dropped_when_slow = line.live.try_send(frame);
        }
    }

    /// Ends the account's connection.
    pub(crate) fn end(&self, account: &Jid, ending: Ending) {
        if let Some(line) = self.lock().remove(account) {
            let _already_ending = line.ending.try_send(ending);
        }
    }
}
