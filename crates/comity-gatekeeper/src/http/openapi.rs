//! The OpenAPI document, made from the handlers, at `/openapi.json`.

use super::{admin, chat, enlist, media};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
pub(super) use comity_server::ProblemDetails;
use comity_server::ProblemResponses;
use std::sync::Arc;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

/// What becomes of an enlistment.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct Enlisted {
    /// `ok` or `fail`.
    #[schema(pattern = "^(ok|fail)$")]
    status: String,
    /// The account, `{integrator}-{user}@interop`; with `ok` alone.
    login: Option<String>,
    /// One of a closed list; with `fail` alone.
    #[schema(
        pattern = "^(bad_request|bad_integrator|bad_token|token_expired|id_mismatch|bad_key|bad_signature|bad_version|location|rate_limited|blocked)$"
    )]
    reason: Option<String>,
    /// Seconds; with `rate_limited` alone.
    retry_after: Option<u64>,
}

/// A JWK set.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct KeySet {
    /// The keys (RFC 7517).
    keys: Vec<serde_json::Value>,
}

/// A native account.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct Account {
    /// Its JID.
    jid: String,
}

/// Whether a partner user is blocked.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct Blocked {
    /// Its JID.
    jid: String,
    /// As asked for.
    blocked: bool,
}

/// A stored file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct Uploaded {
    /// Where it is.
    url: String,
    /// The path of that.
    direct_path: String,
}

/// What an administrator's route may answer instead.
pub(super) struct AdminRefusals;

impl IntoResponses for AdminRefusals {
    fn responses() -> ProblemResponses {
        ProblemDetails::responses(&[
            (400, "Not what is asked for here"),
            (401, "The admin token is required"),
            (404, "No such user, or no administration"),
            (408, "The body took too long"),
        ])
    }
}

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let admin = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The admin token")).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("admin", SecurityScheme::Http(admin));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "comity-gatekeeper", description = "The reference gatekeeper's HTTP interface. Chat is not HTTP: it has a listener of its own, and is in a WebSocket here."),
    paths(super::jwks, enlist::enlist, media::relay, media::upload, media::download, chat::chat, admin::native, admin::block),
    components(schemas(ProblemDetails)),
    modifiers(&Schemes),
    tags((name = "partners", description = "For partners' servers and clients"),
        (name = "native", description = "For native clients"), (name = "admin", description = "For the operator")),
)]
struct Document;

/// `GET /openapi.json`.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let json: Arc<str> = Document::openapi().to_json().unwrap_or_default().into();
    Router::new()
        .route("/openapi.json", get(move || async move { ([(CONTENT_TYPE, "application/json")], json.to_string()) }))
}
