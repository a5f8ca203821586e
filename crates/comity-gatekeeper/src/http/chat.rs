//! Chat connections over WebSocket: `GET /ws/chat` (PROTOCOL §5.1). Behind the upgrade, what is at the chat port.

use super::{Ctx, openapi, problem};
use crate::conn;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use comity_noise::io::websocket;
use comity_server::client_address;
use std::net::SocketAddr;

/// The upgrade to a WebSocket (RFC 6455), in HTTP/1.1. Noise is inside, whether TLS is outside or not.
#[utoipa::path(get, path = "/ws/chat", tag = "native", responses(
    (status = 101, description = "Upgraded: what follows is the chat protocol in binary messages"),
    (status = 400, description = "Not a request for an upgrade", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Not now", body = openapi::ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn chat(
    State(site): Ctx,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let Ok(answer) = websocket::answer(&request) else {
        return problem(StatusCode::BAD_REQUEST, "not a request for a WebSocket");
    };
    let Some(place) = conn::place(&site) else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
    };
    let named =
        site.config.forwarded_for.then(|| client_address(request.headers(), &Extensions::new(), true)).flatten();
    conn::web_socket(site, place, comity_server::upgraded(&mut request), named.unwrap_or(from.ip()));
    answer.map(|()| Body::empty()).into_response()
}
