//! A client's durable store: commits in groups after a while, fails, is full, and in a crash keeps a prefix of what was
//! queued.

use comity_core::{Batch, Record, RecordKey, RecordKind, Revision, Secret, StoreError};
use comity_engine::{BatchId, Input, Query, RequestId};
use std::collections::{BTreeMap, VecDeque};

pub(super) type Records = BTreeMap<RecordKey, (u64, Vec<u8>)>;

pub(super) enum Job {
    Persist(BatchId, Batch),
    Load(RequestId, Query),
}

#[derive(Default)]
pub(super) struct SimStore {
    records: Records,
    revision: u64,
    pub(super) queue: VecDeque<Job>,
    /// A group is being worked on.
    pub(super) busy: bool,
    /// Nothing can be written until then.
    pub(super) full_until: u64,
    /// Nothing can be read until then.
    pub(super) unreadable_until: u64,
    /// What a crash goes back to, under [`super::Sabotage::EarlyPersisted`]; `None`: every commit is synced.
    pub(super) synced: Option<Records>,
    /// The account as it was first stored, for [`super::Sabotage::OldAccount`].
    first_account: Option<(RecordKey, Vec<u8>)>,
}

impl SimStore {
    /// What a crash would leave.
    pub(super) fn durable(&self) -> &Records {
        self.synced.as_ref().unwrap_or(&self.records)
    }

    pub(super) fn count(&self, kind: RecordKind) -> usize {
        self.records.keys().filter(|key| key.kind == kind).count()
    }

    /// Commits a batch or changes nothing.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let revision = |key: &RecordKey| self.records.get(key).map_or(0, |(revision, _)| *revision);
        if batch.changes.iter().any(|c| c.expected.is_some_and(|expected| expected.0 != revision(&c.key))) {
            return Err(StoreError::Conflict);
        }
        self.revision += 1;
        for change in &batch.changes {
            match &change.value {
                Some(value) => {
                    if change.key.kind == RecordKind::Account && self.first_account.is_none() {
                        self.first_account = Some((change.key.clone(), value.expose().clone()));
                    }
                    self.records.insert(change.key.clone(), (self.revision, value.expose().clone()));
                }
                None => _ = self.records.remove(&change.key),
            }
        }
        Ok(())
    }

    pub(super) fn load(&self, query: &Query) -> Vec<Record> {
        let record = |(key, (revision, value)): (&RecordKey, &(u64, Vec<u8>))| Record {
            key: key.clone(),
            revision: Revision(*revision),
            value: Some(Secret::new(value.clone())),
        };
        let scan = |kind: RecordKind, after: &str, limit: usize| {
            let of_kind = self.records.range(RecordKey { kind, id: "".into() }..);
            let of_kind = of_kind.take_while(|(key, _)| key.kind == kind).filter(|(key, _)| *key.id > *after);
            of_kind.take(limit).map(record).collect()
        };
        match query {
            Query::Keys(keys) => keys
                .iter()
                .map(|key| match self.records.get_key_value(key) {
                    Some(found) => record(found),
                    None => Record { key: key.clone(), revision: Revision::ABSENT, value: None },
                })
                .collect(),
            Query::First(kind, limit) => scan(*kind, "", *limit),
            Query::After(kind, after, limit) => scan(*kind, after, *limit),
            other => panic!("unknown query {other:?}"),
        }
    }

    /// The process is gone: of what was queued, the first `kept` batches reached the medium. How many did not.
    pub(super) fn crash(&mut self, kept: usize) -> u64 {
        let queue = std::mem::take(&mut self.queue);
        let batches: Vec<_> = queue
            .into_iter()
            .filter_map(|job| match job {
                Job::Persist(_, batch) => Some(batch),
                Job::Load(..) => None,
            })
            .collect();
        self.busy = false;
        if let Some(synced) = &self.synced {
            self.records.clone_from(synced);
        }
        for batch in batches.iter().take(kept) {
            let _a_conflict_changes_nothing = self.commit(batch);
        }
        batches.len().saturating_sub(kept) as u64
    }

    /// The account record of the beginning is there again.
    pub(super) fn roll_back_account(&mut self) {
        if let Some((key, value)) = self.first_account.clone() {
            self.revision += 1;
            self.records.insert(key, (self.revision, value));
        }
    }

    /// A new installation begins with nothing.
    pub(super) fn wipe(&mut self) {
        self.records.clear();
        self.first_account = None;
        if let Some(synced) = &mut self.synced {
            synced.clear();
        }
    }

    /// What is written is on the medium now.
    pub(super) fn sync(&mut self) {
        if let Some(synced) = &mut self.synced {
            synced.clone_from(&self.records);
        }
    }

    pub(super) fn answer(id: BatchId, result: Result<(), StoreError>) -> Input {
        match result {
            Ok(()) => Input::Persisted(id),
            Err(error) => Input::PersistFailed(id, error),
        }
    }
}
