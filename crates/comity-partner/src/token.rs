//! The partner's keys and its token endpoint (PROTOCOL §3).

use crate::auth::Authenticator;
use crate::limits::MAX_TOKEN_BODY;
use crate::{Problem, clock};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use comity_core::{ErrorKind, Redacted};
use comity_identity::{Jwks, TokenIssuer, limits::TOKEN_LIFETIME};
use comity_server::read_json;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// `GET /.well-known/oauth/openid/jwks`: the public keys, for the gatekeeper.
pub fn jwks_router(keys: &Jwks) -> Router {
    let json: Arc<str> = keys.to_json().into();
    let handler = move || async move {
        ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")], json.to_string())
    };
    Router::new().route("/.well-known/oauth/openid/jwks", get(handler))
}

/// `POST /v1/token`: an ownership token for the authenticated user, bound to the Noise key whose thumbprint is in the body
/// `{"jkt":"…"}`; answers `{"token":"…","expires_in":600}`.
pub fn token_router(issuer: Arc<TokenIssuer>, users: Arc<dyn Authenticator>) -> Router {
    Router::new().route("/v1/token", post(issue)).with_state(TokenState { issuer, users })
}

#[derive(Clone)]
struct TokenState {
    issuer: Arc<TokenIssuer>,
    users: Arc<dyn Authenticator>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    jkt: String,
}

async fn issue(State(state): State<TokenState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let user = state.users.authenticate(&parts.headers).await?;
    let TokenRequest { jkt } = read_json(&parts.headers, body, MAX_TOKEN_BODY).await?;
    let who = Redacted(user.as_str().to_owned());
    // An RSA signature takes a millisecond of computing: not on the threads that serve connections.
    let signed = tokio::task::spawn_blocking(move || {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        state.issuer.issue(&user, &jkt, clock::now(), &mut rng)
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
    tracing::info!(user = %who, "token issued");
    let body = json!({"token": token, "expires_in": TOKEN_LIFETIME.as_secs()});
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body.to_string()).into_response())
}
