//! The partner's keys and its token endpoint (PROTOCOL §3).

use crate::auth::Authenticator;
use crate::keys::TokenKeys;
use crate::limits::MAX_TOKEN_BODY;
use crate::metrics::TOKENS;
use crate::{Problem, clock, openapi};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use comity_core::{ErrorKind, Redacted};
use comity_identity::JWKS_CACHE_CONTROL;
use comity_server::read_json;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// `GET /.well-known/oauth/openid/jwks`: the public keys, for the gatekeeper.
pub fn jwks_router(keys: Arc<dyn TokenKeys>) -> Router {
    Router::new().route("/.well-known/oauth/openid/jwks", get(jwks)).with_state(keys)
}

/// The public keys of ownership tokens
///
/// A JWK set (RFC 7517), fetched by the gatekeeper.
#[utoipa::path(get, path = "/.well-known/oauth/openid/jwks", tag = "gatekeeper", responses(
    (status = 200, description = "The key set", body = openapi::KeySet, content_type = "application/json"),
))]
pub(crate) async fn jwks(State(keys): State<Arc<dyn TokenKeys>>) -> Response {
    let set = keys.issuer().keys().jwks(clock::now()).to_json();
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, JWKS_CACHE_CONTROL)], set).into_response()
}

/// `POST /v1/token`: an ownership token for the authenticated user, bound to the Noise key whose thumbprint is in the body
/// `{"jkt":"…"}`; answers `{"token":"…","expires_in":600}`.
pub fn token_router(keys: Arc<dyn TokenKeys>, users: Arc<dyn Authenticator>) -> Router {
    Router::new().route("/v1/token", post(issue)).with_state(TokenState { keys, users })
}

#[derive(Clone)]
pub(crate) struct TokenState {
    keys: Arc<dyn TokenKeys>,
    users: Arc<dyn Authenticator>,
}

/// What the token is for.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// The RFC 7638 thumbprint of the client's Noise static key.
    #[schema(pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]
    jkt: String,
}

/// An ownership token for the user
///
/// Bound to the Noise key with that thumbprint, valid for ten minutes.
#[utoipa::path(post, path = "/v1/token", tag = "clients", request_body = TokenRequest, security(("user" = [])), responses(
    (status = 200, description = "The token", body = openapi::Token, content_type = "application/json"),
    openapi::Refusals,
))]
pub(crate) async fn issue(State(state): State<TokenState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let user = state.users.authenticate(&parts).await?;
    let TokenRequest { jkt } = read_json(&parts.headers, body, MAX_TOKEN_BODY).await?;
    let who = Redacted(user.as_str().to_owned());
    // An RSA signature takes a millisecond of computing: not on the threads that serve connections.
    let issuer = state.keys.issuer();
    let lifetime = issuer.lifetime();
    let signed = tokio::task::spawn_blocking(move || {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        issuer.issue(&user, &jkt, clock::now(), &mut rng)
    });
    let token = match signed.await {
        Ok(Ok(token)) => token,
        Ok(Err(error)) if error.kind() == ErrorKind::ApiMisuse => {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "jkt must be the RFC 7638 thumbprint of the client's Noise static key: 43 characters of base64url",
            ));
        }
        Ok(Err(error)) => {
            tracing::error!(user = %who, %error, "no token could be signed");
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no token could be signed"));
        }
        Err(_) => return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no token could be signed")),
    };
    metrics::counter!(TOKENS).increment(1);
    tracing::info!(user = %who, "token issued");
    let body = json!({"token": token, "expires_in": lifetime.as_secs()});
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body.to_string()).into_response())
}
