//! What an operator asks: does it live, is it ready, its metrics.

use crate::{Metrics, Problem};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Whether a server takes requests, and what that depends on.
#[derive(Clone, Debug)]
pub struct Readiness {
    ready: bool,
    parts: Map<String, Value>,
}

impl Readiness {
    /// Ready or not.
    pub fn new(ready: bool) -> Self {
        Self { ready, parts: Map::new() }
    }

    /// With the state of a part, told beside it.
    #[must_use]
    pub fn with(mut self, part: &str, state: bool) -> Self {
        self.parts.insert(part.to_owned(), state.into());
        self
    }

    fn answer(self) -> Response {
        let status = if self.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut body = self.parts;
        body.insert("ready".into(), self.ready.into());
        let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
        (status, headers, Value::Object(body).to_string()).into_response()
    }
}

/// `GET /livez`: the process answers `ok`. `GET /readyz`: 200 or 503 and `{"ready":…}`, as `ready` says. `GET /metrics`, if
/// `metrics` is given: in Prometheus' text form.
pub fn ops_router(ready: impl Fn() -> Readiness + Send + Sync + 'static, metrics: Option<Metrics>) -> Router {
    let ready = Arc::new(ready);
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(move || async move { ready().answer() }));
    let Some(metrics) = metrics else { return router };
    router.route(
        "/metrics",
        get(move || async move {
            match metrics.render() {
                Some(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
                None => {
                    Problem::new(StatusCode::NOT_FOUND, "the program records its metrics elsewhere").into_response()
                }
            }
        }),
    )
}
