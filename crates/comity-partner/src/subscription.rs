//! Where clients say how they are woken: `PUT`, `DELETE /v1/push/subscription`, `GET /v1/push/key`.

use crate::auth::Authenticator;
use crate::limits::MAX_SUBSCRIPTION_BODY;
use crate::storage::Subscription;
use crate::webpush::{WebPush, is_public_key};
use crate::{Problem, openapi};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use comity_core::{Redacted, Secret, StoreError};
use comity_server::read_json;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Browsers write base64url without padding; some libraries add it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

/// `GET /v1/push/key`: the key to subscribe with. `PUT /v1/push/subscription`, authenticated: the subscription of the user's
/// device, as its `toJSON()` gives it, in the place of any before. `DELETE`: no more.
pub fn subscription_router(web_push: WebPush, users: Arc<dyn Authenticator>) -> Router {
    Router::new()
        .route("/v1/push/key", get(key))
        .route("/v1/push/subscription", put(subscribe).delete(unsubscribe))
        .with_state(SubscriptionState { web_push, users })
}

#[derive(Clone)]
pub(crate) struct SubscriptionState {
    web_push: WebPush,
    users: Arc<dyn Authenticator>,
}

/// A Web Push subscription, as a browser's `PushSubscription.toJSON()` gives it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Subscription)]
pub(crate) struct SubscriptionRequest {
    /// The push resource: https.
    #[schema(max_length = 2048, pattern = "^https://[^@#]+$")]
    endpoint: String,
    /// When it ends, in milliseconds; not looked at.
    #[serde(default, rename = "expirationTime")]
    #[schema(value_type = Option<f64>)]
    _expiration_time: Option<f64>,
    /// The device's keys.
    keys: SubscriptionKeys,
}

/// The device's keys, in base64url.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriptionKeys {
    /// Its public key: 65 bytes, a point of P-256.
    #[schema(pattern = "^B[A-Za-z0-9_-]{85}[AEIMQUYcgkosw048]=?$")]
    p256dh: String,
    /// Its authentication secret: 16 bytes.
    #[schema(pattern = "^[A-Za-z0-9_-]{21}[AQgw](==)?$")]
    auth: String,
}

impl SubscriptionRequest {
    fn parse(&self, web_push: &WebPush) -> Result<Subscription, Problem> {
        let wrong = |what| Problem::new(StatusCode::BAD_REQUEST, what);
        if !web_push.takes(&self.endpoint) {
            return Err(wrong("endpoint must be the https address of a push service on the public internet"));
        }
        let p256dh = BASE64URL.decode(&self.keys.p256dh).ok().filter(|bytes| is_public_key(bytes));
        let p256dh = p256dh.and_then(|bytes| bytes.try_into().ok());
        let auth = BASE64URL.decode(&self.keys.auth).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Subscription {
            endpoint: self.endpoint.clone(),
            p256dh: p256dh.ok_or_else(|| wrong("keys.p256dh must be a point of P-256: 65 bytes in base64url"))?,
            auth: Secret::new(auth.ok_or_else(|| wrong("keys.auth must be 16 bytes in base64url"))?),
        })
    }
}

pub(crate) fn store_failed(error: &StoreError) -> Problem {
    tracing::error!(%error, "the store failed");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the storage failed")
}

/// The key to subscribe with
///
/// `applicationServerKey` of the Push API.
#[utoipa::path(get, path = "/v1/push/key", tag = "clients", responses(
    (status = 200, description = "The key", body = openapi::PushKey, content_type = "application/json"),
))]
pub(crate) async fn key(State(state): State<SubscriptionState>) -> Response {
    let body = json!({"public_key": state.web_push.public_key()}).to_string();
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=3600")], body).into_response()
}

/// Subscribe the user's device
///
/// Takes the place of any subscription before.
#[utoipa::path(put, path = "/v1/push/subscription", tag = "clients", request_body = SubscriptionRequest,
    security(("user" = [])), responses(
    (status = 204, description = "Stored"),
    openapi::Refusals,
))]
pub(crate) async fn subscribe(State(state): State<SubscriptionState>, request: Request) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    let user = state.users.authenticate(&parts).await?;
    let asked: SubscriptionRequest = read_json(&parts.headers, body, MAX_SUBSCRIPTION_BODY).await?;
    let subscription = asked.parse(&state.web_push)?;
    let stored = state.web_push.store().put_subscription(&user, subscription).await.map_err(|e| store_failed(&e))?;
    if !stored {
        return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "there are too many subscriptions"));
    }
    tracing::info!(user = %Redacted(&user), "Web Push subscription stored");
    state.web_push.look(); // there may be a wake-up from before
    Ok(StatusCode::NO_CONTENT)
}

/// Unsubscribe the user's device
#[utoipa::path(delete, path = "/v1/push/subscription", tag = "clients", security(("user" = [])), responses(
    (status = 204, description = "There is none any more"),
    openapi::Refusals,
))]
pub(crate) async fn unsubscribe(
    State(state): State<SubscriptionState>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let user = state.users.authenticate(&request.into_parts().0).await?;
    state.web_push.store().remove_subscription(&user, None).await.map_err(|e| store_failed(&e))?;
    tracing::info!(user = %Redacted(&user), "Web Push subscription removed");
    Ok(StatusCode::NO_CONTENT)
}
