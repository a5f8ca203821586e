//! Push calls of the gatekeeper (PROTOCOL §11).

use crate::gatekeeper::Gatekeeper;
use crate::limits::MAX_PUSH_BODY;
use crate::metrics::{PUSHES, count};
use crate::{BoxFuture, Problem, openapi};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::routing::post;
use comity_core::{Redacted, UserVisibleId};
use comity_server::read_json;
use serde::Deserialize;
use std::sync::Arc;

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushed {
    /// The user's device will be woken: 200.
    Accepted,
    /// There is no such user, or no device to wake: 410, and the gatekeeper stops until the next login.
    Gone,
    /// Not now: 503, and the gatekeeper tries again.
    Unavailable,
}

/// Takes push calls: the partner's own push service, plugged in.
pub trait PushSink: Send + Sync {
    /// There is new activity for a user who is not connected. A user may be woken once for several calls. What is
    /// `Accepted` must not be lost by a restart: the gatekeeper does not call again.
    fn push<'a>(&'a self, user: &'a UserVisibleId) -> BoxFuture<'a, Pushed>;
}

/// `POST /push`: the gatekeeper's call, its bearer token verified, its body exactly `{"to":"<user-visible id>"}`.
pub fn push_router(gatekeeper: Gatekeeper, sink: Arc<dyn PushSink>) -> Router {
    Router::new().route("/push", post(push)).with_state(PushState { gatekeeper, sink })
}

#[derive(Clone)]
pub(crate) struct PushState {
    gatekeeper: Gatekeeper,
    sink: Arc<dyn PushSink>,
}

/// Whom to wake.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushRequest {
    /// A user-visible id.
    #[schema(min_length = 1, max_length = 256)]
    to: String,
}

/// There is new activity for a user
///
/// The gatekeeper's call.
#[utoipa::path(post, path = "/push", tag = "gatekeeper", request_body = PushRequest, security(("gatekeeper" = [])), responses(
    (status = 200, description = "The user's device will be woken"),
    (status = 410, description = "No device of that user is to be woken", body = openapi::ProblemDetails,
        content_type = "application/problem+json"),
    openapi::Refusals,
))]
pub(crate) async fn push(State(state): State<PushState>, request: Request) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    state.gatekeeper.authorize(&parts.headers).await?;
    let PushRequest { to } = read_json(&parts.headers, body, MAX_PUSH_BODY).await?;
    let user: UserVisibleId =
        to.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "to is not a user-visible id"))?;
    let outcome = state.sink.push(&user).await;
    tracing::info!(user = %Redacted(&user), ?outcome, "push received");
    let (label, answer) = match outcome {
        Pushed::Accepted => ("accepted", Ok(StatusCode::OK)),
        Pushed::Gone => ("gone", Err(Problem::new(StatusCode::GONE, "no device of that user is to be woken"))),
        Pushed::Unavailable => (
            "unavailable",
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the push service is not available")
                .with_header(RETRY_AFTER, HeaderValue::from_static("5"))),
        ),
    };
    count(PUSHES, "outcome", label);
    answer
}
