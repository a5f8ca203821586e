//! The integrators and what their servers say: key sets and ownership tokens (PROTOCOL §3).

use crate::limiter::Bucket;
use crate::limits::PARTNER_TIMEOUT;
use crate::metrics::{JWKS_FETCHES, count};
use crate::{Clock, Config, Error, Integrator, IntegratorStatus};
use comity_core::{IntegratorId, Jid, PartnerUser, Profile, Timestamp};
use comity_identity::limits::MAX_JWKS_LEN;
use comity_identity::{
    BearerIssuer, Error as TokenError, Fetch, JwksCache, KeyRing, OwnershipToken, TokenVerifier, UnverifiedToken, jkt,
    jwks_url,
};
use comity_server::PublicOnly;
use futures_util::StreamExt as _;
use reqwest::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// An integrator with its media slots.
pub(crate) struct Partner {
    pub(crate) id: IntegratorId,
    pub(crate) config: Integrator,
    pub(crate) media_slots: Arc<Semaphore>,
    stanzas: Mutex<Bucket>,
}

impl Partner {
    /// Counts a stanza of one of its users; how long that user's next one has to wait.
    pub(crate) fn stanza(&self, now: Timestamp) -> Duration {
        let limit = self.config.limits.stanzas_per_second;
        self.stanzas.lock().unwrap_or_else(PoisonError::into_inner).reserve(limit, limit.into(), now)
    }
}

/// All integrators.
pub(crate) struct Partners {
    by_id: HashMap<u16, Arc<Partner>>,
    verifier: TokenVerifier,
    /// For integrators that are configured so: takes unbound tokens, too.
    lax_verifier: TokenVerifier,
    cache: Mutex<JwksCache>,
    /// Rung after each fetch: who waits for a key looks again.
    fetched: Notify,
    /// Rung when a fetch may be due before the one awaited.
    wanted: Notify,
    http: reqwest::Client,
    bearer: RwLock<BearerIssuer>,
    clock: Clock,
}

impl Partners {
    pub(crate) fn new(config: &Config, profile: &Profile, bearer: BearerIssuer, clock: Clock) -> Result<Self, Error> {
        let mut cache = JwksCache::new().with_profile(profile);
        let mut by_id = HashMap::new();
        for integrator in &config.integrators {
            let id = IntegratorId::new(integrator.id).map_err(|e| Error::config(e.to_string()))?;
            if integrator.status != IntegratorStatus::Removed {
                cache
                    .add_issuer(&integrator.origin, &jwks_url(&integrator.origin))
                    .map_err(|e| Error::config(e.to_string()))?;
            }
            let slots = integrator.limits.media_downloads.min(Semaphore::MAX_PERMITS);
            let media_slots = Arc::new(Semaphore::new(slots));
            let stanzas = Mutex::new(Bucket::full(integrator.limits.stanzas_per_second, clock.now()));
            by_id.insert(integrator.id, Arc::new(Partner { id, config: integrator.clone(), media_slots, stanzas }));
        }
        let http = reqwest::Client::builder();
        let http = if config.sandbox { http } else { http.dns_resolver(Arc::new(PublicOnly::default())) };
        let http = http
            .redirect(Policy::none())
            .connect_timeout(PARTNER_TIMEOUT)
            .https_only(!config.sandbox)
            .no_proxy()
            .user_agent("comity-gatekeeper")
            .build()
            .map_err(|e| Error::config(format!("HTTP client: {e}")))?;
        let verifier = TokenVerifier::new(&config.audience).with_profile(profile);
        let lax_verifier = verifier.clone().dangerous().allow_unbound_tokens();
        let (fetched, wanted) = (Notify::new(), Notify::new());
        let (cache, bearer) = (Mutex::new(cache), RwLock::new(bearer));
        Ok(Self { by_id, verifier, lax_verifier, cache, fetched, wanted, http, bearer, clock })
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, JwksCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The integrator of that number.
    pub(crate) fn get(&self, id: u16) -> Option<&Arc<Partner>> {
        self.by_id.get(&id)
    }

    /// All integrators, by number.
    pub(crate) fn all(&self) -> Vec<&Arc<Partner>> {
        let mut all: Vec<_> = self.by_id.values().collect();
        all.sort_by_key(|partner| partner.id);
        all
    }

    /// The HTTP client for calls to partners: no redirects, no proxy; outside a sandbox https and
    /// public addresses alone, whatever names resolve to when the connection is made.
    pub(crate) const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    fn bearer(&self) -> std::sync::RwLockReadGuard<'_, BearerIssuer> {
        self.bearer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gatekeeper's own bearer token for calls to this partner.
    pub(crate) fn bearer_for(&self, partner: &Partner) -> Result<String, TokenError> {
        self.bearer().issue(&partner.config.origin, self.clock.now())
    }

    /// The key set at `/.well-known/jwks`.
    pub(crate) fn own_jwks(&self) -> String {
        self.bearer().keys().jwks(self.clock.now()).to_json()
    }

    /// The keys that sign bearer tokens.
    pub(crate) fn own_keys(&self) -> KeyRing {
        self.bearer().keys().clone()
    }

    /// Signs with other keys from now on; they are stored.
    pub(crate) fn set_own_keys(&self, keys: KeyRing) {
        let mut bearer = self.bearer.write().unwrap_or_else(PoisonError::into_inner);
        *bearer = bearer.with_keys(keys);
    }

    /// The integrator whose tokens have this issuer.
    fn of_issuer(&self, issuer: &str) -> Option<&Arc<Partner>> {
        self.by_id.values().find(|partner| partner.config.origin == issuer)
    }

    /// Whether a token that was refused says that it is of an integrator that is gone.
    pub(crate) fn is_removed(&self, token: &str) -> bool {
        let partner = UnverifiedToken::parse(token).ok().and_then(|token| self.of_issuer(token.issuer()));
        partner.is_some_and(|partner| partner.config.status == IntegratorStatus::Removed)
    }

    /// Where the integrator of a partner user stands; one that is not configured any more is gone.
    pub(crate) fn status_of(&self, user: &Jid) -> Option<IntegratorStatus> {
        let user = PartnerUser::try_from(user).ok()?;
        Some(self.get(user.integrator.get()).map_or(IntegratorStatus::Removed, |partner| partner.config.status))
    }

    /// Whether every active integrator's keys are known.
    pub(crate) fn ready(&self) -> bool {
        let now = self.clock.now();
        let cache = self.cache();
        self.by_id.values().all(|partner| {
            partner.config.status != IntegratorStatus::Active || cache.has_keys(&partner.config.origin, now)
        })
    }

    /// Verifies an ownership token presented with the Noise key `noise_key`; whose integrator it is follows from it. Waits
    /// for the key set's fetch if the token's key is not known and a fetch is allowed.
    pub(crate) async fn verify(
        &self,
        token: &str,
        noise_key: &[u8; 32],
    ) -> Result<(Arc<Partner>, OwnershipToken), TokenError> {
        let deadline = tokio::time::Instant::now() + PARTNER_TIMEOUT;
        loop {
            let fetched = self.fetched.notified();
            tokio::pin!(fetched);
            fetched.as_mut().enable(); // before the look, so that no fetch ends between the two unheard
            let now = self.clock.now();
            let unverified = UnverifiedToken::parse(token)?;
            let found = self.cache().key(unverified.issuer(), unverified.kid(), now);
            match found {
                Ok(key) => {
                    let partner = self.of_issuer(unverified.issuer()).ok_or(TokenError::UnknownIssuer)?;
                    let lax = partner.config.allow_unbound_tokens;
                    let verifier = if lax { &self.lax_verifier } else { &self.verifier };
                    let token = verifier.verify_with(unverified, &key, &jkt(noise_key), now)?;
                    return Ok((Arc::clone(partner), token));
                }
                Err(TokenError::UnknownKey { refresh: true }) => {
                    self.wanted.notify_one();
                    if tokio::time::timeout_at(deadline, fetched).await.is_err() {
                        return Err(TokenError::NoKeys);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Fetches key sets when they are due, for ever.
    pub(crate) async fn keep_keys_fresh(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            while let Some(fetch) = { self.cache().poll(now) } {
                tokio::spawn(Arc::clone(&self).fetch(fetch));
            }
            let due = self.cache().next_due();
            let wait = due.map_or(Duration::from_secs(3600), |due| due.since(now)).max(Duration::from_millis(50));
            let moved = self.clock.sleep(wait);
            if self.clock.now().since(now) >= wait {
                continue; // put forward before the sleep began
            }
            tokio::select! {
                () = moved => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn fetch(self: Arc<Self>, fetch: Fetch) {
        let body = tokio::time::timeout(PARTNER_TIMEOUT, self.get_bounded(&fetch.url)).await;
        let now: Timestamp = self.clock.now();
        let mut result = "failed";
        match body {
            Ok(Some((body, cache_control))) => {
                let taken = self.cache().fetched_with(&fetch.issuer, &body, cache_control.as_deref(), now);
                result = if taken.is_ok() { "ok" } else { "refused" };
                if let Err(error) = taken {
                    tracing::warn!(issuer = fetch.issuer, %error, "key set refused");
                }
            }
            _ => {
                tracing::warn!(issuer = fetch.issuer, "key set not fetched");
                self.cache().failed(&fetch.issuer);
            }
        }
        count(JWKS_FETCHES, "result", result);
        self.fetched.notify_waiters();
        self.wanted.notify_one(); // the next due time has changed
    }

    /// The body and its `Cache-Control`.
    async fn get_bounded(&self, url: &str) -> Option<(Vec<u8>, Option<String>)> {
        let answer = self.http.get(url).send().await.ok()?;
        if answer.status() != reqwest::StatusCode::OK {
            return None;
        }
        let cache_control =
            answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok().map(str::to_owned));
        let mut stream = answer.bytes_stream();
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.ok()?;
            if body.len() + chunk.len() > MAX_JWKS_LEN {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        Some((body, cache_control))
    }
}
