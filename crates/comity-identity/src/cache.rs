//! When key sets are fetched and how long they are used, without fetching them (PROTOCOL §3).

use crate::limits::{
    JWKS_FIRST_RETRY, JWKS_MAX_AGE, JWKS_MIN_GAP, JWKS_MIN_REFRESH, JWKS_REFRESH, MAX_ISSUERS, MAX_ORIGIN_LEN,
};
use crate::{Error, Jwks, PublicKey};
use comity_core::{Profile, Timestamp};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The address of an integrator's key set: `{origin}/.well-known/oauth/openid/jwks`.
pub fn jwks_url(origin: &str) -> String {
    format!("{}/.well-known/oauth/openid/jwks", origin.trim_end_matches('/'))
}

/// The `Cache-Control` that a published key set should carry: a key that is taken out of it is then refused within a
/// minute by a gatekeeper whose cache is a [`JwksCache`] ([`JWKS_MIN_REFRESH`] and one fetch).
pub const JWKS_CACHE_CONTROL: &str = "public, max-age=40";

/// How long an answer with this `Cache-Control` may be used without asking again; `None` if it does not say.
fn max_age(cache_control: &str) -> Option<Duration> {
    let ages = cache_control.split(',').filter_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" | "no-store" => Some(0),
            "max-age" => value.trim().trim_matches('"').parse().ok(),
            _ => None,
        }
    });
    ages.min().map(Duration::from_secs)
}

/// A fetch that is due: `GET url`, no redirects, at most [`MAX_JWKS_LEN`](crate::limits::MAX_JWKS_LEN) bytes, and tell
/// the cache the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Whose key set.
    pub issuer: String,
    /// Where it is.
    pub url: String,
}

/// The key sets of all known issuers, as a state machine without I/O.
///
/// It says when a fetch is due ([`poll`](Self::poll), [`next_due`](Self::next_due)): every [`JWKS_REFRESH`], or as often as
/// the publisher's `Cache-Control` asks for, down to [`JWKS_MIN_REFRESH`]; on an unknown `kid`, at most once per [`JWKS_MIN_GAP`] and issuer whatever tokens arrive; after a failure, first in
/// [`JWKS_FIRST_RETRY`], then in twice the time before, up to [`JWKS_MIN_GAP`]. The last good set stays in use for
/// [`JWKS_MAX_AGE`] while fetches fail.
#[derive(Debug, Default)]
pub struct JwksCache {
    issuers: BTreeMap<String, Entry>,
    times: Times,
}

/// How often, and how long: a profile's, or the constants of [`limits`](crate::limits).
#[derive(Clone, Copy, Debug)]
struct Times {
    refresh: Duration,
    min_refresh: Duration,
    min_gap: Duration,
    max_age: Duration,
}

impl Times {
    const DEFAULT: Self =
        Self { refresh: JWKS_REFRESH, min_refresh: JWKS_MIN_REFRESH, min_gap: JWKS_MIN_GAP, max_age: JWKS_MAX_AGE };
}

impl Default for Times {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[derive(Debug)]
struct Entry {
    url: String,
    good: Option<(Timestamp, Arc<Jwks>)>,
    /// How long after the last fetch the next is due.
    refresh: Duration,
    /// When the last fetch was handed out.
    started: Option<Timestamp>,
    /// The last fetch has no outcome yet.
    in_flight: bool,
    /// Failed fetches since the last good one.
    failures: u32,
    /// An unknown `kid` asks for a fetch before the regular one.
    wanted: bool,
}

impl Entry {
    fn due(&self, times: &Times) -> Timestamp {
        let Some(started) = self.started else { return Timestamp::default() };
        started.after(match self.failures {
            _ if self.in_flight => times.min_gap, // an outcome that was never told
            0 if self.wanted => times.min_gap.min(self.refresh),
            0 => self.refresh,
            n => JWKS_FIRST_RETRY.saturating_mul(2u32.saturating_pow(n - 1)).min(times.min_gap),
        })
    }

    /// A clock that was set back does not hold anything up.
    fn is_due(&self, times: &Times, now: Timestamp) -> bool {
        now >= self.due(times) || self.started.is_some_and(|started| now < started)
    }

    fn fresh(&self, times: &Times, now: Timestamp) -> Option<Arc<Jwks>> {
        self.good.as_ref().filter(|(at, _)| now.since(*at) <= times.max_age).map(|(_, keys)| Arc::clone(keys))
    }

    fn fail(&mut self) {
        self.in_flight = false;
        self.failures = self.failures.saturating_add(1);
    }
}

impl JwksCache {
    /// A cache that knows no issuer.
    pub const fn new() -> Self {
        Self { issuers: BTreeMap::new(), times: Times::DEFAULT }
    }

    /// The same cache with a profile's times; a regular refresh is at least every [`JWKS_REFRESH`].
    #[must_use]
    pub fn with_profile(self, profile: &Profile) -> Self {
        let refresh = profile.jwks_refresh.clamp(JWKS_FIRST_RETRY, JWKS_REFRESH);
        let times = Times {
            refresh,
            min_refresh: profile.jwks_min_refresh.clamp(JWKS_FIRST_RETRY, refresh),
            min_gap: profile.jwks_min_gap.max(JWKS_FIRST_RETRY),
            max_age: profile.jwks_max_age,
        };
        Self { times, ..self }
    }

    /// Adds an issuer, or moves it to another URL (its keys are then forgotten). Its first fetch is due at once.
    ///
    /// # Errors
    /// [`Error::Misuse`] over [`MAX_ISSUERS`] or for an issuer longer than [`MAX_ORIGIN_LEN`].
    pub fn add_issuer(&mut self, issuer: &str, url: &str) -> Result<(), Error> {
        if self.issuers.get(issuer).is_some_and(|entry| entry.url == url) {
            return Ok(());
        }
        if issuer.is_empty() || issuer.len() > MAX_ORIGIN_LEN {
            return Err(Error::Misuse("an issuer of a length out of range"));
        }
        if self.issuers.len() >= MAX_ISSUERS && !self.issuers.contains_key(issuer) {
            return Err(Error::Misuse("too many issuers"));
        }
        let entry = Entry {
            url: url.into(),
            good: None,
            refresh: self.times.refresh,
            started: None,
            in_flight: false,
            failures: 0,
            wanted: false,
        };
        self.issuers.insert(issuer.into(), entry);
        Ok(())
    }

    /// Forgets an issuer and its keys.
    pub fn remove_issuer(&mut self, issuer: &str) {
        self.issuers.remove(issuer);
    }

    /// Gives a key set without a fetch: from configuration, or at start-up.
    ///
    /// # Errors
    /// [`Error::UnknownIssuer`] if the issuer was not added.
    pub fn put(&mut self, issuer: &str, keys: Jwks, now: Timestamp) -> Result<(), Error> {
        let entry = self.issuers.get_mut(issuer).ok_or(Error::UnknownIssuer)?;
        entry.good = Some((now, Arc::new(keys)));
        entry.started = Some(now);
        (entry.in_flight, entry.failures, entry.wanted) = (false, 0, false);
        Ok(())
    }

    /// The next fetch that is due at `now`, if any; it counts as begun. Call until `None`.
    pub fn poll(&mut self, now: Timestamp) -> Option<Fetch> {
        let times = self.times;
        let (issuer, entry) = self.issuers.iter_mut().find(|(_, entry)| entry.is_due(&times, now))?;
        entry.started = Some(now);
        (entry.in_flight, entry.wanted) = (true, false);
        Some(Fetch { issuer: issuer.clone(), url: entry.url.clone() })
    }

    /// When [`poll`](Self::poll) will next give a fetch if nothing happens until then; `None` without issuers.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.issuers.values().map(|entry| entry.due(&self.times)).min()
    }

    /// The outcome of a fetch: the body of a 200 answer without `Cache-Control`.
    ///
    /// # Errors
    /// As [`fetched_with`](Self::fetched_with).
    pub fn fetched(&mut self, issuer: &str, body: &[u8], now: Timestamp) -> Result<(), Error> {
        self.fetched_with(issuer, body, None, now)
    }

    /// The outcome of a fetch: the body of a 200 answer, and its `Cache-Control` header (an age added by a cache on the way
    /// is not looked at).
    ///
    /// # Errors
    /// [`Error::BadJwks`] if the set is not acceptable: as [`failed`](Self::failed), the last good one stays.
    /// [`Error::UnknownIssuer`] if the issuer has been removed meanwhile.
    pub fn fetched_with(
        &mut self,
        issuer: &str,
        body: &[u8],
        cache_control: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let parsed = Jwks::parse(body);
        let entry = self.issuers.get_mut(issuer).ok_or(Error::UnknownIssuer)?;
        match parsed {
            Ok(keys) => {
                entry.good = Some((now, Arc::new(keys)));
                (entry.in_flight, entry.failures) = (false, 0);
                let asked = cache_control.and_then(max_age).unwrap_or(self.times.refresh);
                entry.refresh = asked.clamp(self.times.min_refresh, self.times.refresh);
                Ok(())
            }
            Err(error) => {
                entry.fail();
                Err(error)
            }
        }
    }

    /// The outcome of a fetch: anything but a 200 answer with a body in bounds.
    pub fn failed(&mut self, issuer: &str) {
        if let Some(entry) = self.issuers.get_mut(issuer) {
            entry.fail();
        }
    }

    /// Whether the issuer has a key set that may be used at `now`: what readiness is about.
    pub fn has_keys(&self, issuer: &str, now: Timestamp) -> bool {
        self.issuers.get(issuer).is_some_and(|entry| entry.fresh(&self.times, now).is_some())
    }

    /// The issuer's key `kid`. A miss schedules a fetch, if one is allowed now.
    ///
    /// # Errors
    /// [`Error::UnknownIssuer`], [`Error::NoKeys`], [`Error::UnknownKey`].
    pub fn key(&mut self, issuer: &str, kid: &str, now: Timestamp) -> Result<PublicKey, Error> {
        let entry = self.issuers.get_mut(issuer).ok_or(Error::UnknownIssuer)?;
        let fresh = entry.fresh(&self.times, now);
        if let Some(key) = fresh.as_ref().and_then(|keys| keys.get(kid)) {
            return Ok(key.clone());
        }
        entry.wanted = true;
        let refresh = entry.in_flight || entry.is_due(&self.times, now);
        if fresh.is_none() && !refresh { Err(Error::NoKeys) } else { Err(Error::UnknownKey { refresh }) }
    }
}
