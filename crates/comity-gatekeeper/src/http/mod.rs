//! The HTTP listener: enlistment, keys, media, administration, chat over WebSocket.

mod admin;
mod chat;
mod enlist;
mod guard;
mod media;
mod openapi;

use crate::limits::REQUEST_DEADLINE;
use crate::site::Site;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use comity_identity::JWKS_CACHE_CONTROL;
use comity_server::Problem;
use std::sync::Arc;

pub(crate) use admin::phone_account;
pub use enlist::fuzz_form;
pub(crate) use enlist::signed_by;

type Ctx = State<Arc<Site>>;

/// All routes but probes and metrics.
pub(crate) fn router(site: Arc<Site>) -> Router {
    use crate::limits::{MAX_ADMIN_BODY, MAX_ENLIST_BODY};
    let media = Router::new()
        .route("/interop/whatsapp/download/{integrator}/{reference}/", get(media::relay))
        .route("/mms/{kind}/{token}", post(media::upload).layer(DefaultBodyLimit::disable()))
        .route("/v/t/{reference}", get(media::download));
    let rest = Router::new()
        .route(comity_noise::io::websocket::PATH, get(chat::chat))
        .route("/3p/interop_reg", post(enlist::enlist).layer(DefaultBodyLimit::max(MAX_ENLIST_BODY)))
        .route("/.well-known/jwks", get(jwks))
        .route("/admin/native", post(admin::native).layer(DefaultBodyLimit::max(MAX_ADMIN_BODY)))
        .route("/admin/block", post(admin::block).layer(DefaultBodyLimit::max(MAX_ADMIN_BODY)))
        .layer(axum::middleware::from_fn(deadline));
    media.merge(rest).merge(openapi::router()).with_state(site)
}

async fn deadline(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await;
    answered.unwrap_or_else(|_| problem(StatusCode::REQUEST_TIMEOUT, "too slow"))
}

/// The keys of the bearer tokens that the gatekeeper's calls carry (PROTOCOL §3).
#[utoipa::path(get, path = "/.well-known/jwks", tag = "partners", responses(
    (status = 200, description = "The key set", body = openapi::KeySet, content_type = "application/json"),
    (status = 408, description = "Too slow", body = openapi::ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn jwks(State(site): Ctx) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, JWKS_CACHE_CONTROL)];
    (headers, site.partners.own_jwks()).into_response()
}

/// An error answer.
fn problem(status: StatusCode, detail: &'static str) -> Response {
    Problem::new(status, detail).into_response()
}

/// The bearer token of a request.
fn bearer(headers: &axum::http::HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
