//! Token buckets, one per key, for as many keys as a bound allows.

use crate::limits::MAX_BUCKETS;
use comity_core::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One token bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    pub(crate) fn full(burst: u32, now: Timestamp) -> Self {
        Self { tokens: burst.into(), at: now }
    }

    fn refill(&mut self, burst: u32, per_second: f64, now: Timestamp) {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * per_second).min(burst.into());
        self.at = now;
    }

    /// Takes a token, in advance if there is none, and says how long to wait before the next.
    pub(crate) fn reserve(&mut self, burst: u32, per_second: f64, now: Timestamp) -> Duration {
        self.refill(burst, per_second, now);
        self.tokens -= 1.0;
        Duration::from_secs_f64((-self.tokens / per_second).max(0.0))
    }

    /// Takes a token, or says in how many seconds there is one.
    pub(crate) fn take(&mut self, burst: u32, per_second: f64, now: Timestamp) -> Result<(), u64> {
        self.refill(burst, per_second, now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - self.tokens) / per_second).ceil().max(1.0) as u64)
    }
}

/// Buckets by key, each full again after the same time.
pub(crate) struct Buckets<K> {
    refill: Duration,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(refill: Duration) -> Self {
        Self { refill, buckets: Mutex::default() }
    }

    /// Takes one of the `burst` tokens that `key` has per time of refill, or says in how many seconds there is one.
    pub(crate) fn take(&self, key: K, burst: u32, now: Timestamp) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&key) {
            // Whoever would have a full bucket by now is as good as forgotten.
            buckets.retain(|_, bucket| now.since(bucket.at) < self.refill);
            if buckets.len() >= MAX_BUCKETS {
                return Err(self.refill.as_secs().max(1));
            }
        }
        let per_second = f64::from(burst) / self.refill.as_secs_f64();
        buckets.entry(key).or_insert_with(|| Bucket::full(burst, now)).take(burst, per_second, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_764_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_bucket_refills_and_says_when() {
        let buckets = Buckets::new(MINUTE);
        for _ in 0..3 {
            buckets.take("a", 3, START).unwrap();
        }
        assert_eq!(buckets.take("a", 3, START), Err(20));
        buckets.take("b", 3, START).unwrap();
        assert_eq!(buckets.take("a", 3, START.after(Duration::from_secs(19))), Err(1));
        buckets.take("a", 3, START.after(Duration::from_secs(20))).unwrap();
        assert!(buckets.take("a", 3, START.after(Duration::from_secs(20))).is_err());
        // A clock set back gives nothing away.
        assert!(buckets.take("a", 3, START).is_err());
    }

    #[test]
    fn what_is_taken_in_advance_is_waited_for() {
        let mut bucket = Bucket::full(2, START);
        assert_eq!([0, 0, 100, 200], [(); 4].map(|()| bucket.reserve(2, 10.0, START).as_millis()));
        assert_eq!(bucket.reserve(2, 10.0, START.after(Duration::from_millis(300))).as_millis(), 0);
        assert_eq!(bucket.reserve(2, 10.0, START.after(Duration::from_secs(60))).as_millis(), 0);
        assert_eq!(
            [0, 100],
            [(); 2].map(|()| bucket.reserve(2, 10.0, START.after(Duration::from_secs(60))).as_millis())
        );
    }

    #[test]
    fn memory_is_bounded_and_who_is_known_is_not_locked_out() {
        let buckets = Buckets::new(MINUTE);
        for key in 0..MAX_BUCKETS {
            buckets.take(key, 2, START).unwrap();
        }
        assert_eq!(buckets.take(MAX_BUCKETS, 2, START), Err(60));
        buckets.take(7, 2, START).unwrap();
        assert_eq!(buckets.buckets.lock().unwrap().len(), MAX_BUCKETS);
        // Once they are full again, newcomers take their places.
        buckets.take(MAX_BUCKETS, 2, START.after(MINUTE)).unwrap();
        assert_eq!(buckets.buckets.lock().unwrap().len(), 1);
    }
}
