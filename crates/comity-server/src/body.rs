//! Small request bodies, read under a size limit and a time limit.

use crate::Problem;
use crate::limits::BODY_TIMEOUT;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

/// Reads a JSON object of at most `limit` bytes within [`BODY_TIMEOUT`].
///
/// # Errors
/// 415 for another content type, 413, 408, or 400 if the body is not exactly what `T` asks for.
pub async fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: Body, limit: usize) -> Result<T, Problem> {
    let mime = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !mime.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type: application/json is required"));
    }
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let bytes = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?
        .map_err(|_| too_large())?;
    let object = bytes.trim_ascii_start().starts_with(b"{"); // serde would take an array, member by position
    (if object { serde_json::from_slice(&bytes).ok() } else { None })
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "the body is not exactly the JSON object asked for"))
}
