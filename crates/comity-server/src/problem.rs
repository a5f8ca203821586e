//! Errors as problem details (RFC 9457).

use axum::Router;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::collections::BTreeMap;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

/// An error answer: `application/problem+json` with `type`, `title`, `status` and `detail`. The detail is for a developer
/// and never repeats what was sent.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: &'static str,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of that status.
    pub fn new(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail, headers: HeaderMap::new() }
    }

    /// With another header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

/// The body of a [`Problem`], for OpenAPI documents.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub struct ProblemDetails {
    /// `about:blank`: the status says it all.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, for a developer.
    detail: String,
}

/// The answers of an OpenAPI document that are problems.
pub type ProblemResponses = BTreeMap<String, RefOr<utoipa::openapi::Response>>;

impl ProblemDetails {
    /// Problems by status and description, for a document that has this schema among its components.
    pub fn responses(problems: &[(u16, &str)]) -> ProblemResponses {
        let problem = |(status, description): &(u16, &str)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDetails"))).build();
            let response = ResponseBuilder::new().description(*description);
            (status.to_string(), response.content("application/problem+json", content).build().into())
        };
        problems.iter().map(problem).collect()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut headers = self.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.status, headers, body.to_string()).into_response()
    }
}

/// Answers what no route and what no method of a route takes with problem details: 404 and 405.
pub fn with_fallbacks(router: Router) -> Router {
    router.fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here")).method_not_allowed_fallback(
        async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here"),
    )
}
