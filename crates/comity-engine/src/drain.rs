//! The mailbox as it comes after a login: pulled in batches, and over only when all of it is stored (PROTOCOL §7).

use crate::engine::Engine;
use crate::io::{ConnectionState, Event};
use crate::lane::LaneKey;
use crate::limits::OFFLINE_BATCH;
use comity_xmpp::stanza::{Ib, IbBody};
use std::collections::BTreeMap;

/// Where a session is in the mailbox.
#[derive(Default)]
pub(crate) struct Offline {
    /// Queued stanzas that came since the last pull.
    came: u32,
    /// Jobs that must be over before what follows, by lane: how many of it, those aside that encrypt.
    awaited: BTreeMap<LaneKey, usize>,
    then: Option<Then>,
}

#[derive(Clone, Copy)]
enum Then {
    /// The next batch is pulled.
    Pull,
    /// The application is told that it is up to date.
    UpToDate { count: u32 },
}

impl Engine {
    pub(crate) fn on_ib(&mut self, ib: &Ib) {
        match ib.body {
            IbBody::OfflinePreview(preview) if preview.count > 0 => self.pull(),
            IbBody::Offline { count } => self.after_all(Then::UpToDate { count }),
            _ => {}
        }
    }

    /// A stanza came that had waited on the server.
    pub(crate) fn came_offline(&mut self) {
        let Some(session) = self.link.session() else { return };
        session.offline.came += 1;
        if session.offline.came >= OFFLINE_BATCH {
            session.offline.came = 0;
            self.after_all(Then::Pull);
        }
    }

    fn pull(&mut self) {
        let batch = Ib { from: None, body: IbBody::OfflineBatch { count: OFFLINE_BATCH }, rest: Default::default() };
        self.send(&comity_xmpp::stanza::Stanza::Ib(batch).into_node());
    }

    /// Does it when every job that is queued now is over.
    fn after_all(&mut self, then: Then) {
        let awaited = self.lanes.queued();
        if let Some(session) = self.link.session() {
            (session.offline.awaited, session.offline.then) = (awaited, Some(then));
            self.settle();
        }
    }

    /// A job of that lane is over.
    pub(crate) fn job_over(&mut self, lane: &LaneKey) {
        let Some(session) = self.link.session() else { return };
        if let Some(left) = session.offline.awaited.get_mut(lane) {
            *left -= 1;
            if *left == 0 {
                session.offline.awaited.remove(lane);
                self.settle();
            }
        }
    }

    fn settle(&mut self) {
        let Some(session) = self.link.session().filter(|session| session.offline.awaited.is_empty()) else { return };
        match session.offline.then.take() {
            Some(Then::Pull) => self.pull(),
            Some(Then::UpToDate { count }) => {
                self.show(ConnectionState::UpToDate);
                self.emit(Event::UpToDate { count });
            }
            None => {}
        }
    }
}
