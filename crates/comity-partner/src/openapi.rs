//! The OpenAPI document, made from the handlers, at `/openapi.json`.

use crate::{media, push, subscription, token, tus, wake};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
pub(crate) use comity_server::{ProblemDetails, ProblemResponses};
use std::sync::Arc;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

/// An ownership token.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct Token {
    /// The JWT.
    token: String,
    /// Its life, in seconds.
    expires_in: u64,
}

/// A JWK set.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct KeySet {
    /// The keys.
    keys: Vec<Key>,
}

/// A public key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct Key {
    /// Its id.
    kid: String,
    /// `RSA`.
    kty: String,
    /// `RS256`.
    alg: String,
    /// `sig`.
    r#use: String,
    /// The modulus.
    n: String,
    /// The exponent.
    e: String,
}

/// A wake-up.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct Wake {
    /// `true`.
    wake: bool,
}

/// A stored file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct StoredMedia {
    /// What it is fetched by.
    #[schema(pattern = "^[A-Za-z0-9_-]{16,128}$")]
    storage_reference: String,
}

/// The key to subscribe with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct PushKey {
    /// A point of P-256, 65 bytes in base64url.
    public_key: String,
}

/// What any authenticated route may answer instead.
pub(crate) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> ProblemResponses {
        ProblemDetails::responses(&[
            (400, "Not what is asked for here"),
            (401, "Not authenticated"),
            (408, "The body took too long"),
            (411, "Content-Length is required"),
            (413, "The body is too large"),
            (415, "Another content type is required"),
            (429, "Too many failed authentications: again after `Retry-After`"),
            (503, "Not now: again after `Retry-After`"),
            (507, "There is no room"),
        ])
    }
}

/// What a route for an upload that is under way may answer instead, beside [`Refusals`].
pub(crate) struct NoUpload;

impl IntoResponses for NoUpload {
    fn responses() -> ProblemResponses {
        ProblemDetails::responses(&[
            (404, "There is no such upload"),
            (410, "It was given up"),
            (412, "`Tus-Resumable: 1.0.0` is required"),
            (423, "Another request is busy with it"),
        ])
    }
}

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let user = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some("A user, as the operator's authentication has it: HTTP Basic, or a bearer token"))
            .build();
        let gatekeeper = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The gatekeeper's bearer token for this server"))
            .build();
        components.add_security_scheme("user", SecurityScheme::Http(user));
        components.add_security_scheme("gatekeeper", SecurityScheme::Http(gatekeeper));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "comity-partner", description = "What a messenger's back end adds to interoperate: keys, ownership tokens, push, media. Ways to be woken that are not configured answer 404."),
    paths(token::jwks, token::issue, push::push, wake::wake, subscription::key, subscription::subscribe,
        subscription::unsubscribe, media::upload, media::download, tus::capabilities, tus::create, tus::status, tus::append,
        tus::terminate),
    components(schemas(ProblemDetails)),
    modifiers(&Schemes),
    tags((name = "gatekeeper", description = "For the gatekeeper"), (name = "clients", description = "For the partner's clients")),
)]
struct Document;

/// The OpenAPI document of all routers of this crate, as JSON.
pub fn openapi_json() -> String {
    Document::openapi().to_json().unwrap_or_default()
}

/// `GET /openapi.json`.
pub fn openapi_router() -> Router {
    let json: Arc<str> = openapi_json().into();
    Router::new()
        .route("/openapi.json", get(move || async move { ([(CONTENT_TYPE, "application/json")], json.to_string()) }))
}
