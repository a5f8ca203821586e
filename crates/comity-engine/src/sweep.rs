//! What is kept of messages goes when the server can no longer have them: Seen, Sent and MediaRetry records grow with nothing else.

use crate::Error;
use crate::engine::{Engine, Loading, Then};
use crate::io::{Event, Query};
use crate::lane::{Job, LaneKey};
use crate::limits::{MESSAGE_RETENTION, SWEEP_INTERVAL, SWEEP_PAGE};
use crate::record::{AskedMedia, Seen, Sent, parse};
use crate::upkeep::Prune;
use comity_core::{Batch, Record, RecordKey, RecordKind, StoreError, Timestamp};

/// When the next sweep is due.
#[derive(Default)]
pub(crate) struct Sweep {
    due: Option<Timestamp>,
    /// One-time pre-keys found so far, and how many kinds of them have come to their end.
    pre_keys: Vec<RecordKey>,
    kinds: u8,
}

impl Engine {
    /// Starts a sweep if one is due; the first soon after the start.
    pub(crate) fn sweep(&mut self) {
        if self.sweep.due.is_some_and(|due| due <= self.now) {
            self.schedule_sweep();
            (self.sweep.pre_keys, self.sweep.kinds) = (Vec::new(), 0);
            let kinds =
                [RecordKind::Seen, RecordKind::Sent, RecordKind::MediaRetry, RecordKind::PreKey, RecordKind::PqPreKey];
            for kind in kinds {
                self.load(Query::After(kind, "".into(), SWEEP_PAGE), Loading::Sweep(kind));
            }
        }
    }

    /// Once all pre-keys are known, those nobody can use any more go.
    fn on_pre_keys(&mut self, kind: RecordKind, records: &[Record]) {
        self.sweep.pre_keys.extend(records.iter().map(|record| record.key.clone()));
        if let Some(last) = records.last().filter(|_| records.len() >= SWEEP_PAGE) {
            self.load(Query::After(kind, last.key.id.clone(), SWEEP_PAGE), Loading::Sweep(kind));
            return;
        }
        self.sweep.kinds += 1;
        if self.sweep.kinds == 2 {
            self.sweep.kinds = 0;
            let stored = core::mem::take(&mut self.sweep.pre_keys);
            self.enqueue(LaneKey::Account, Job::Prune(Prune(stored)));
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
        if matches!(kind, RecordKind::PreKey | RecordKind::PqPreKey) {
            return self.on_pre_keys(kind, &records);
        }
        let mut batch = Batch::new();
        for record in &records {
            let at = match kind {
                RecordKind::Seen => parse::<Seen>(record, "seen").ok().flatten().map(|seen| seen.at),
                RecordKind::MediaRetry => parse::<AskedMedia>(record, "request").ok().flatten().map(|asked| asked.at),
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
