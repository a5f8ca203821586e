//! Token buckets, one per key, for as many keys as a bound allows.

use crate::limits::MAX_ADDRESSES;
use comity_core::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

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

    /// Takes a token, or says in how many seconds there is one.
    pub(crate) fn take(&mut self, burst: u32, per_second: f64, now: Timestamp) -> Result<(), u64> {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * per_second).min(burst.into());
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - self.tokens) / per_second).ceil().max(1.0) as u64)
    }
}

/// Buckets by key.
pub(crate) struct Buckets<K> {
    burst: u32,
    per_second: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(burst: u32, per_second: f64) -> Self {
        Self { burst, per_second, buckets: Mutex::default() }
    }

    /// Takes a token of `key`, or says in how many seconds there is one.
    pub(crate) fn take(&self, key: K, now: Timestamp) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES {
            // Whoever would have a full bucket by now is as good as forgotten.
            let refill = std::time::Duration::from_secs_f64(f64::from(self.burst) / self.per_second);
            buckets.retain(|_, bucket| now.since(bucket.at) < refill);
            if buckets.len() >= MAX_ADDRESSES {
                return Err(refill.as_secs().max(1));
            }
        }
        let burst = self.burst;
        buckets.entry(key).or_insert_with(|| Bucket::full(burst, now)).take(burst, self.per_second, now)
    }
}
