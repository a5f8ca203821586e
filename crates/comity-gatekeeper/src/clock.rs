//! The gatekeeper's wall clock: the system's, plus an offset that a test or an operator of the sandbox may move.

use comity_core::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// A clock that can be put forward. Clones share the offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_millis: Arc<AtomicU64>,
    moved: Arc<Notify>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(since.as_millis() as u64)
            .after(Duration::from_millis(self.ahead_millis.load(Ordering::Relaxed)))
    }

    /// Puts the clock forward by `by` (30 days of mailbox are not waited for).
    pub fn advance(&self, by: Duration) {
        self.ahead_millis.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Waits until `wait` has passed, or the clock was put forward after the call.
    pub(crate) fn sleep(&self, wait: Duration) -> impl Future<Output = ()> + Send + 'static {
        let mut moved = Box::pin(Arc::clone(&self.moved).notified_owned());
        moved.as_mut().enable();
        async move {
            let _whichever_first = tokio::time::timeout(wait, moved).await;
        }
    }
}
