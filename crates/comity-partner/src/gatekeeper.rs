//! Is it the gatekeeper who calls? Its key set is kept fresh in the background, its bearer tokens are verified (PROTOCOL
//! §3, §11).

use crate::auth::credentials;
use crate::limits::JWKS_TIMEOUT;
use crate::metrics::{JWKS_FETCHES, count};
use crate::outgoing::{build, causes, client, configured_url, read};
use crate::{Error, Problem, clock};
use axum::http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use comity_identity::limits::{JWKS_FIRST_RETRY, MAX_JWKS_LEN};
use comity_identity::{BearerVerifier, Fetch, JwksCache};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// Verifies the gatekeeper's bearer tokens; the key set is fetched by a task that ends with the last clone.
#[derive(Clone, Debug)]
pub struct Gatekeeper {
    shared: Arc<Shared>,
    _task: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    verifier: BearerVerifier,
    cache: Mutex<JwksCache>,
    http: reqwest::Client,
    /// A token asks for a fetch before the regular one.
    wanted: Notify,
    /// Counts outcomes of fetches.
    outcomes: watch::Sender<u64>,
}

/// Where the gatekeeper's keys are and what its tokens say.
#[derive(Clone, Debug)]
pub struct GatekeeperConfig {
    /// The URL of its JWK set; https unless `sandbox`.
    pub jwks_url: String,
    /// The `iss` of its tokens: `WHATSAPP`.
    pub issuer: String,
    /// This partner's origin: the `aud` of its tokens.
    pub origin: String,
    /// How often its keys are fetched.
    pub profile: comity_core::Profile,
    /// Plain http is allowed and a proxy from the environment is not used.
    pub sandbox: bool,
}

impl Gatekeeper {
    /// Begins to fetch the keys. Call it in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Server`] if the URL is not http(s), or is http outside a sandbox; [`Error::HttpClient`].
    pub fn start(config: &GatekeeperConfig) -> Result<Self, Error> {
        configured_url("gatekeeper_jwks_url", &config.jwks_url, config.sandbox, false)?;
        let http = client(config.sandbox, JWKS_TIMEOUT).https_only(!config.sandbox).pool_max_idle_per_host(1);
        let http = build(http)?;
        let mut cache = JwksCache::new().with_profile(&config.profile);
        cache
            .add_issuer(&config.issuer, &config.jwks_url)
            .map_err(|source| Error::Identity { what: "gatekeeper_issuer".into(), source })?;
        let shared = Arc::new(Shared {
            issuer: config.issuer.clone(),
            verifier: BearerVerifier::new(&config.issuer, &config.origin),
            cache: Mutex::new(cache),
            http,
            wanted: Notify::new(),
            outcomes: watch::Sender::new(0),
        });
        let task = tokio::spawn(keep_fresh(Arc::clone(&shared)));
        Ok(Self { shared, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Whether there are keys to verify with.
    pub fn has_keys(&self) -> bool {
        self.shared.cache().has_keys(&self.shared.issuer, clock::now())
    }

    /// Passes a request that carries a valid bearer token of the gatekeeper for this partner. A token by an unknown key
    /// waits for one fetch of the key set, if one is allowed; so does every token as long as there is no key set at all. Cancelling it has no effect on others.
    ///
    /// # Errors
    /// The answer to give: 401, or 503 while there are no keys to judge by.
    pub async fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let token = credentials(headers, "Bearer").ok_or_else(|| unauthorized(r#"Bearer realm="partner""#))?;
        let mut outcomes = self.shared.outcomes.subscribe();
        let mut verdict = self.verify(token);
        let unknown = matches!(verdict, Err(comity_identity::Error::UnknownKey { refresh: true }));
        if verdict.is_err() && (unknown || !self.has_keys()) {
            self.shared.wanted.notify_one();
            // Whatever the outcome, the second look decides.
            let _ = tokio::time::timeout(JWKS_TIMEOUT, outcomes.changed()).await;
            verdict = self.verify(token);
        }
        verdict.map_err(|error| {
            tracing::warn!(%error, "a call with a bearer token was refused");
            if error.kind() == comity_core::ErrorKind::Transport || !self.has_keys() {
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the gatekeeper's keys are not at hand");
                problem.with_header(RETRY_AFTER, HeaderValue::from_static("5"))
            } else {
                unauthorized(r#"Bearer realm="partner", error="invalid_token""#)
            }
        })
    }

    fn verify(&self, token: &str) -> Result<(), comity_identity::Error> {
        let now = clock::now();
        let unverified = comity_identity::UnverifiedToken::parse(token)?;
        let key = self.shared.cache().key(&self.shared.issuer, unverified.kid(), now)?;
        self.shared.verifier.verify_with(unverified, &key, now)
    }
}

fn unauthorized(challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "a bearer token of the gatekeeper for this server is required")
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, JwksCache> {
        // Nothing panics while it is held.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(&self, fetch: &Fetch) -> Result<(Vec<u8>, Option<String>), String> {
        let answer = self.http.get(&fetch.url).send().await.map_err(|e| causes(&e.without_url()))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        let cache_control = answer.headers().get(CACHE_CONTROL).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok((read(answer, MAX_JWKS_LEN).await?, cache_control))
    }
}

async fn keep_fresh(shared: Arc<Shared>) {
    loop {
        let due = shared.cache().poll(clock::now());
        if let Some(fetch) = due {
            let outcome = match shared.get(&fetch).await {
                Ok((body, cache_control)) => shared
                    .cache()
                    .fetched_with(&fetch.issuer, &body, cache_control.as_deref(), clock::now())
                    .map_err(|error| error.to_string()),
                Err(error) => {
                    shared.cache().failed(&fetch.issuer);
                    Err(error)
                }
            };
            match outcome {
                Ok(()) => {
                    count(JWKS_FETCHES, "result", "ok");
                    tracing::info!("the gatekeeper's key set was fetched");
                }
                Err(error) => {
                    count(JWKS_FETCHES, "result", "failed");
                    tracing::warn!(%error, "the gatekeeper's key set could not be fetched");
                }
            }
            shared.outcomes.send_modify(|n| *n = n.wrapping_add(1));
            continue;
        }
        let wait = shared.cache().next_due().map_or(Duration::MAX, |due| due.since(clock::now()));
        tokio::select! {
            // At most a minute, so that a clock set back is noticed; never busy.
            () = tokio::time::sleep(wait.clamp(JWKS_FIRST_RETRY / 10, Duration::from_secs(60))) => {}
            () = shared.wanted.notified() => {}
        }
    }
}
