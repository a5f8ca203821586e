//! What is kept of messages goes when the server can no longer have them: Seen and Sent records grow with nothing else.

use crate::Error;
use crate::engine::{Engine, Loading, Then};
use crate::io::{Event, Query};
use crate::limits::{MESSAGE_RETENTION, SWEEP_INTERVAL, SWEEP_PAGE};
use crate::record::{Seen, Sent, parse};
use comity_core::{Batch, Record, RecordKind, StoreError, Timestamp};

/// When the next sweep is due.
#[derive(Default)]
pub(crate) struct Sweep {
    due: Option<Timestamp>,
}

impl Engine {
    /// Starts a sweep if one is due; the first soon after the start.
    pub(crate) fn sweep(&mut self) {
        if self.sweep.due.is_some_and(|due| due <= self.now) {
            self.schedule_sweep();
            for kind in [RecordKind::Seen, RecordKind::Sent] {
                self.load(Query::After(kind, "".into(), SWEEP_PAGE), Loading::Sweep(kind));
            }
        }
    }

    pub(crate) fn schedule_sweep(&mut self) {
        let wait = if self.sweep.due.is_some() { SWEEP_INTERVAL } else { SWEEP_INTERVAL / 60 };
        self.sweep.due = Some(self.now.after(wait));
    }

    pub(crate) fn sweep_due(&self) -> Option<Timestamp> {
        self.sweep.due
    }

    pub(crate) fn on_swept(&mut self, kind: RecordKind, result: Result<Vec<Record>, StoreError>) {
        let records = match result {
            Ok(records) => records,
            Err(error) => return self.emit(Event::Warning(Error::Store(error))),
        };
        let mut batch = Batch::new();
        for record in &records {
            let at = match kind {
                RecordKind::Seen => parse::<Seen>(record, "seen").ok().flatten().map(|seen| seen.at),
                _ => parse::<Sent>(record, "sent").ok().flatten().map(|sent| sent.at),
            };
            if at.is_some_and(|at| Timestamp::from_millis(at).after(MESSAGE_RETENTION) <= self.now) {
                batch.delete(record);
            }
        }
        if !batch.is_empty() {
            // Whoever changed one of them meanwhile wins; the next sweep sees the rest.
            self.commit(batch, Then::default());
        }
        if let Some(last) = records.last().filter(|_| records.len() >= SWEEP_PAGE) {
            self.load(Query::After(kind, last.key.id.clone(), SWEEP_PAGE), Loading::Sweep(kind));
        }
    }
}
