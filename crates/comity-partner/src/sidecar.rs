//! Sidecar mode: the partner's own back end, in whatever language, says who a user is and wakes devices, asked over signed
//! HTTP ([`WebhookKey`]).

use crate::auth::Authenticator;
use crate::limits::{BACKEND_CALLS, BACKEND_TIMEOUT, MAX_BACKEND_ANSWER};
use crate::metrics::BACKEND;
use crate::outgoing::{build, causes, client, configured_url, read};
use crate::push::{PushSink, Pushed};
use crate::signature::message_id;
use crate::{BoxFuture, Error, Problem, WebhookKey, clock};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use comity_core::UserVisibleId;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// One endpoint of the partner's own back end.
struct Endpoint {
    call: &'static str,
    url: reqwest::Url,
    key: WebhookKey,
    http: reqwest::Client,
    places: Semaphore,
}

impl Endpoint {
    fn new(call: &'static str, key_name: &str, url: &str, key: WebhookKey, sandbox: bool) -> Result<Self, Error> {
        let url = configured_url(key_name, url, sandbox, true)?;
        let here = url.scheme() == "http";
        let http = build(client(sandbox || here, BACKEND_TIMEOUT).pool_max_idle_per_host(BACKEND_CALLS))?;
        Ok(Self { call, url, key, http, places: Semaphore::new(BACKEND_CALLS) })
    }

    /// `POST url` with `body`, signed; within [`BACKEND_TIMEOUT`] altogether.
    async fn post(&self, mut headers: HeaderMap, body: String) -> Result<(StatusCode, HeaderMap, Vec<u8>), String> {
        let (id, at) = (message_id(), clock::now());
        let signature = self.key.sign(&id, at, body.as_bytes());
        for (name, value) in
            [("webhook-id", id), ("webhook-timestamp", at.as_secs().to_string()), ("webhook-signature", signature)]
        {
            headers.insert(name, HeaderValue::try_from(value).map_err(|e| e.to_string())?);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let call = async {
            let _place = self.places.acquire().await.map_err(|e| e.to_string())?;
            let request = self.http.post(self.url.clone()).headers(headers).body(body);
            let answer = request.send().await.map_err(|e| causes(&e.without_url()))?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok((status, headers, read(answer, MAX_BACKEND_ANSWER).await?))
        };
        timeout(BACKEND_TIMEOUT, call).await.unwrap_or_else(|_| Err("too slow".into()))
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!(BACKEND, "call" => self.call, "outcome" => outcome).increment(1);
    }
}

/// An [`Authenticator`] that asks `auth_url`: `POST` with the client's `Authorization` and `Cookie` and the body `{}`. 200
/// `{"user_visible_id":"…"}` is that user; 401 and 403 are nobody; all else is answered 503.
pub struct SidecarAuth(Endpoint);

impl core::fmt::Debug for SidecarAuth {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SidecarAuth(..)")
    }
}

impl SidecarAuth {
    /// Asks `url`: https, or http to this very machine or in a sandbox.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::HttpClient`].
    pub fn new(url: &str, key: WebhookKey, sandbox: bool) -> Result<Self, Error> {
        Endpoint::new("auth", "auth_url", url, key, sandbox).map(Self)
    }

    async fn ask(&self, headers: &HeaderMap) -> Result<UserVisibleId, Problem> {
        #[derive(Deserialize)]
        struct Answer {
            user_visible_id: String,
        }
        let mut forwarded = HeaderMap::new();
        for name in [AUTHORIZATION, COOKIE] {
            for value in headers.get_all(&name) {
                let mut value = value.clone();
                value.set_sensitive(true);
                forwarded.append(&name, value);
            }
        }
        if forwarded.is_empty() {
            return Err(nobody(None));
        }
        let outcome = self.0.post(forwarded, "{}".into()).await;
        let unusable = match outcome {
            Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, headers, _)) => {
                self.0.count("refused");
                return Err(nobody(headers.get(WWW_AUTHENTICATE)));
            }
            Ok((StatusCode::OK, _, body)) => {
                match serde_json::from_slice(&body).map(|a: Answer| a.user_visible_id.parse()) {
                    Ok(Ok(user)) => {
                        self.0.count("ok");
                        return Ok(user);
                    }
                    _ => "200 without a user_visible_id".to_owned(),
                }
            }
            Ok((status, ..)) => format!("status {}", status.as_u16()),
            Err(error) => error,
        };
        self.0.count("failed");
        tracing::warn!(error = unusable, "the back end did not say who a user is");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "users cannot be authenticated now");
        Err(problem.with_header(RETRY_AFTER, HeaderValue::from_static("5")))
    }
}

fn nobody(challenge: Option<&HeaderValue>) -> Problem {
    let challenge = challenge.cloned().unwrap_or_else(|| HeaderValue::from_static(r#"Bearer realm="partner""#));
    Problem::new(StatusCode::UNAUTHORIZED, "credentials of a known user are required")
        .with_header(WWW_AUTHENTICATE, challenge)
}

impl Authenticator for SidecarAuth {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<UserVisibleId, Problem>> {
        Box::pin(self.ask(&request.headers))
    }
}

/// A [`PushSink`] that hands each push call over to the partner's own back end: `POST {"to":"<user-visible id>"}`, signed. Any
/// 2xx has taken it, 404 and 410 know no such user or device, all else is tried again by the gatekeeper.
///
/// It is answered before the gatekeeper is: what is not taken durably there is not acknowledged here.
pub struct Webhook(Endpoint);

impl core::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Webhook(..)")
    }
}

impl Webhook {
    /// Hands over to `url`: https, or http to this very machine or in a sandbox.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::HttpClient`].
    pub fn new(url: &str, key: WebhookKey, sandbox: bool) -> Result<Self, Error> {
        Endpoint::new("push", "push_url", url, key, sandbox).map(Self)
    }

    async fn hand_over(&self, user: &UserVisibleId) -> Pushed {
        let outcome = self.0.post(HeaderMap::new(), json!({"to": user.as_str()}).to_string()).await;
        let error = match outcome {
            Ok((status, ..)) if status.is_success() => {
                self.0.count("ok");
                return Pushed::Accepted;
            }
            Ok((StatusCode::NOT_FOUND | StatusCode::GONE, ..)) => {
                self.0.count("refused");
                return Pushed::Gone;
            }
            Ok((status, ..)) => format!("status {}", status.as_u16()),
            Err(error) => error,
        };
        self.0.count("failed");
        tracing::warn!(error, "the back end did not take a push");
        Pushed::Unavailable
    }
}

impl PushSink for Webhook {
    fn push<'a>(&'a self, user: &'a UserVisibleId) -> BoxFuture<'a, Pushed> {
        Box::pin(self.hand_over(user))
    }
}
