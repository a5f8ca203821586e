//! One request at a time for each file that comes in parts; a later one asks the earlier to save what it has and go.

use crate::limits::UPLOAD_TAKE_OVER;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
pub(crate) struct Locks(Arc<Mutex<HashMap<String, Arc<Slot>>>>);

#[derive(Default)]
struct Slot {
    gate: Arc<tokio::sync::Mutex<()>>,
    holder: Mutex<CancellationToken>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to touch a file; given back on drop.
pub(crate) struct Held {
    gate: Option<OwnedMutexGuard<()>>,
    slot: Option<Arc<Slot>>,
    name: String,
    locks: Locks,
    asked: CancellationToken,
}

impl Locks {
    /// Waits for whoever has the file now; `None` if that takes too long.
    pub(crate) async fn take(&self, name: &str) -> Option<Held> {
        let slot = Arc::clone(locked(&self.0).entry(name.to_owned()).or_default());
        let mut held = Held {
            gate: None,
            slot: Some(Arc::clone(&slot)),
            name: name.to_owned(),
            locks: self.clone(),
            asked: CancellationToken::new(),
        };
        locked(&slot.holder).cancel();
        let gate = tokio::time::timeout(UPLOAD_TAKE_OVER, Arc::clone(&slot.gate).lock_owned()).await.ok()?;
        held.gate = Some(gate);
        *locked(&slot.holder) = held.asked.clone();
        Some(held)
    }
}

impl Held {
    /// Resolves when another request wants the file.
    pub(crate) async fn asked_to_go(&self) {
        self.asked.cancelled().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut slots = locked(&self.locks.0);
        self.gate = None;
        self.slot = None;
        // Others hold it if they wait; new ones can only come through the map.
        if slots.get(&self.name).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_request_takes_over_and_nothing_stays() {
        let locks = Locks::default();
        let first = locks.take("a").await.unwrap();
        let other = locks.take("b").await.unwrap();
        let task = tokio::spawn(async move {
            first.asked_to_go().await;
            drop(first);
        });
        let second = locks.take("a").await.unwrap();
        task.await.unwrap();
        drop((second, other));
        assert!(locked(&locks.0).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_go_is_not_disturbed() {
        let locks = Locks::default();
        let first = locks.take("a").await.unwrap();
        assert!(locks.take("a").await.is_none());
        drop(first);
        assert!(locked(&locks.0).is_empty());
        assert!(locks.take("a").await.is_some());
    }
}
