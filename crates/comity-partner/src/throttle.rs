//! Limits on failed authentication, per address and per claimed user, in constant memory.

use crate::auth::{Authenticator, basic};
use crate::limits::{AUTH_SLOTS, AUTH_TRIES_PER_ADDRESS, AUTH_TRIES_PER_USER};
use crate::metrics::{AUTH_FAILURES, count};
use crate::{BoxFuture, Problem};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderValue, RETRY_AFTER};
use axum::http::request::Parts;
use comity_core::UserVisibleId;
use comity_server::client_address;
use core::hash::BuildHasher as _;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::sync::Arc;
use tokio::time::Instant;

/// How often something may fail: so many times at once, and once more per interval.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// At once.
    pub burst: u32,
    /// One more per so long.
    pub every: Duration,
}

/// An [`Authenticator`] behind limits on failures ([`AUTH_TRIES_PER_ADDRESS`], [`AUTH_TRIES_PER_USER`]): over them 429 is
/// answered, without asking it. What succeeds does not count, requests without credentials neither; one that is broken off does.
///
/// An IPv6 address counts as its /64. A user is who HTTP Basic credentials claim to be: who guesses at a user's secret also
/// keeps that user waiting. What is counted is kept in tables of [`AUTH_SLOTS`] places each, found by a keyed hash: no
/// request makes them grow, and two that share a place share their tries.
pub struct Throttled {
    inner: Arc<dyn Authenticator>,
    addresses: Buckets,
    users: Buckets,
    forwarded_for: bool,
    started: Instant,
    hasher: RandomState,
}

impl core::fmt::Debug for Throttled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Throttled").finish_non_exhaustive()
    }
}

impl Throttled {
    /// Limits `inner`. With `forwarded_for` the client's address is the last one in `X-Forwarded-For`, which a proxy in front
    /// has to append: without such a proxy, clients could write what they like.
    pub fn new(inner: Arc<dyn Authenticator>, forwarded_for: bool) -> Self {
        Self {
            inner,
            addresses: Buckets::new(AUTH_TRIES_PER_ADDRESS),
            users: Buckets::new(AUTH_TRIES_PER_USER),
            forwarded_for,
            started: Instant::now(),
            hasher: RandomState::new(),
        }
    }

    fn places(&self, request: &Parts) -> [Option<(&Buckets, u64)>; 2] {
        let address = client_address(&request.headers, &request.extensions, self.forwarded_for).map(network);
        let user = basic(&request.headers).map(|pair| {
            let user = pair.expose().split(|byte| *byte == b':').next().unwrap_or_default();
            self.hasher.hash_one(user)
        });
        [address.map(|address| (&self.addresses, self.hasher.hash_one(address))), user.map(|user| (&self.users, user))]
    }
}

impl Authenticator for Throttled {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<UserVisibleId, Problem>> {
        Box::pin(async move {
            let headers = &request.headers;
            if !headers.contains_key(AUTHORIZATION) && !headers.contains_key(COOKIE) {
                return self.inner.authenticate(request).await;
            }
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let places = self.places(request);
            // Paid before, given back on success: guesses made at the same time count as well.
            for (n, (buckets, hash)) in places.iter().flatten().enumerate() {
                if let Err(wait) = buckets.pay(*hash, now) {
                    places.iter().flatten().take(n).for_each(|(buckets, hash)| buckets.give_back(*hash));
                    count(AUTH_FAILURES, "reason", "throttled");
                    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many failed authentications");
                    return Err(problem.with_header(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1)));
                }
            }
            let outcome = self.inner.authenticate(request).await;
            match &outcome {
                Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
                    count(AUTH_FAILURES, "reason", "refused")
                }
                _ => places.iter().flatten().for_each(|(buckets, hash)| buckets.give_back(*hash)),
            }
            outcome
        })
    }
}

/// One place for all addresses that one subscriber has.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64,
    }
}

/// Token buckets, each one number: when it will be full again (GCRA).
struct Buckets {
    full_at: Box<[AtomicU64]>,
    every: u64,
    room: u64,
}

impl Buckets {
    fn new(tries: Tries) -> Self {
        let every = u64::try_from(tries.every.as_millis()).unwrap_or(u64::MAX).max(1);
        let full_at = (0..AUTH_SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { full_at, every, room: every.saturating_mul(u64::from(tries.burst)) }
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.full_at.get(usize::try_from(hash % AUTH_SLOTS as u64).unwrap_or(0))
    }

    /// Takes one token, or says how long until there is one.
    fn pay(&self, hash: u64, now: u64) -> Result<(), Duration> {
        let Some(place) = self.place(hash) else { return Ok(()) };
        let paid = |full_at: u64| Some(full_at.max(now) + self.every).filter(|next| next - now <= self.room);
        place
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid)
            .map(drop)
            .map_err(|full_at| Duration::from_millis((full_at.max(now) + self.every).saturating_sub(now + self.room)))
    }

    fn give_back(&self, hash: u64) {
        if let Some(place) = self.place(hash) {
            let _previous = place
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(full_at.saturating_sub(self.every)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::ConnectInfo;
    use base64::Engine as _;
    use core::net::SocketAddr;

    /// Knows the secret of everyone.
    struct Knows;

    impl Authenticator for Knows {
        fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<UserVisibleId, Problem>> {
            let pair = basic(&request.headers).unwrap();
            let pair = core::str::from_utf8(pair.expose()).unwrap();
            let outcome = match pair.split_once(':') {
                Some((user, "right")) => Ok(user.parse().unwrap()),
                _ => Err(Problem::new(StatusCode::UNAUTHORIZED, "no")),
            };
            Box::pin(async { outcome })
        }
    }

    fn request(address: &str, user: &str, secret: &str) -> Parts {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
        let request = axum::http::Request::get("/").header(AUTHORIZATION, format!("Basic {pair}"));
        let mut parts = request.body(()).unwrap().into_parts().0;
        let address: IpAddr = address.parse().unwrap();
        parts.extensions.insert(ConnectInfo(SocketAddr::new(address, 1)));
        parts
    }

    async fn status(limited: &Throttled, address: &str, user: &str, secret: &str) -> u16 {
        limited.authenticate(&request(address, user, secret)).await.map_or_else(|p| p.status().as_u16(), |_| 200)
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_at_one_user_end_wherever_they_come_from() {
        let limited = Throttled::new(Arc::new(Knows), false);
        for n in 0..AUTH_TRIES_PER_USER.burst {
            assert_eq!(status(&limited, &format!("192.0.2.{n}"), "alice", "wrong").await, 401);
        }
        assert_eq!(status(&limited, "192.0.2.200", "alice", "wrong").await, 429);
        assert_eq!(status(&limited, "192.0.2.200", "alice", "right").await, 429); // else guessing would go on
        assert_eq!(status(&limited, "192.0.2.200", "bob", "right").await, 200);
        tokio::time::advance(AUTH_TRIES_PER_USER.every).await;
        assert_eq!(status(&limited, "192.0.2.200", "alice", "right").await, 200);
        assert_eq!(status(&limited, "192.0.2.200", "alice", "wrong").await, 401);
        assert_eq!(status(&limited, "192.0.2.200", "alice", "wrong").await, 429);
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_from_one_network_end_whomever_they_are_at() {
        let limited = Throttled::new(Arc::new(Knows), false);
        for n in 0..AUTH_TRIES_PER_ADDRESS.burst {
            assert_eq!(status(&limited, &format!("2001:db8::{n:x}"), &format!("user{n}"), "wrong").await, 401);
        }
        assert_eq!(status(&limited, "2001:db8::ffff", "another", "right").await, 429);
        assert_eq!(status(&limited, "2001:db8:0:1::1", "another", "right").await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn success_costs_nothing_and_the_proxy_is_believed_only_if_told() {
        let limited = Throttled::new(Arc::new(Knows), false);
        for _ in 0..AUTH_TRIES_PER_ADDRESS.burst * 3 {
            assert_eq!(status(&limited, "192.0.2.1", "alice", "right").await, 200);
        }
        // Behind a proxy, who guesses is who it names.
        let proxied = Throttled::new(Arc::new(Knows), true);
        let guess = |client: &'static str, user: &str| {
            let mut parts = request("192.0.2.1", user, "wrong");
            parts.headers.append("x-forwarded-for", HeaderValue::from_static(client));
            parts
        };
        for n in 0..AUTH_TRIES_PER_ADDRESS.burst {
            assert!(proxied.authenticate(&guess("203.0.113.9", &format!("user{n}"))).await.is_err());
        }
        let status = |outcome: Result<_, Problem>| outcome.map_or_else(|p| p.status().as_u16(), |_: UserVisibleId| 200);
        assert_eq!(status(proxied.authenticate(&guess("203.0.113.9", "another")).await), 429);
        assert_eq!(status(proxied.authenticate(&guess("203.0.113.10", "another")).await), 401);
    }
}
