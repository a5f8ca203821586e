//! Media: the relay of what partners host, and native users' own files (PROTOCOL §10).

use super::guard::{Bounds, Guarded};
use super::{Ctx, openapi, problem};
use crate::IntegratorStatus;
use crate::site::Site;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

/// `^[A-Za-z0-9_-]{16,128}$`: fit for a URL path and for a file name.
fn is_reference(text: &str) -> bool {
    (16..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// `GET /interop/whatsapp/download/{integrator}/{storage_reference}/`: fetches from the partner's media host and passes
/// the bytes on as they come. The address is made of the integrator's configuration and the reference alone.
#[utoipa::path(get, path = "/interop/whatsapp/download/{integrator}/{reference}/", tag = "native",
    params(("integrator" = u16, Path, description = "Whose file"), ("reference" = String, Path, description = "Its storage reference")),
    responses((status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, description = "The part of it that `Range` asked for", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 416, description = "The file is shorter", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 400, description = "Not a storage reference", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "No such integrator or file", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 502, description = "The partner's media host refused", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Not now", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 504, description = "The partner's media host did not answer", body = openapi::ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn relay(
    State(site): Ctx,
    path: Result<Path<(u16, String)>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Path((integrator, reference))) = path else {
        return problem(StatusCode::NOT_FOUND, "no such integrator");
    };
    if !is_reference(&reference) {
        return problem(StatusCode::BAD_REQUEST, "not a storage reference");
    }
    let Some(partner) = site.partners.get(integrator) else {
        return problem(StatusCode::NOT_FOUND, "no such integrator");
    };
    match partner.config.status {
        IntegratorStatus::Removed => return problem(StatusCode::NOT_FOUND, "no such integrator"),
        IntegratorStatus::Suspended => return problem(StatusCode::SERVICE_UNAVAILABLE, "the integrator is suspended"),
        IntegratorStatus::Active | IntegratorStatus::Onboarding => {}
    }
    let Ok(permit) = std::sync::Arc::clone(&partner.media_slots).try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many downloads from this integrator");
    };
    let Ok(bearer) = site.partners.bearer_for(partner) else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "signing failed");
    };
    let url = format!("{}/{reference}", partner.config.media_base_url.trim_end_matches('/'));
    let mut asked = site.partners.http().get(url).bearer_auth(bearer);
    let range = headers.get(header::RANGE).filter(|range| is_range(range));
    if let Some(range) = range {
        asked = asked.header(header::RANGE, range);
    }
    let (bounds, began) = (Bounds::from(&site.profile), Instant::now());
    let answer = match timeout(bounds.idle, asked.send()).await {
        Err(_) => return problem(StatusCode::GATEWAY_TIMEOUT, "the partner's media host did not answer"),
        Ok(Err(_)) => return problem(StatusCode::BAD_GATEWAY, "the partner's media host cannot be reached"),
        Ok(Ok(answer)) => answer,
    };
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::PARTIAL_CONTENT if range.is_some() => {}
        StatusCode::RANGE_NOT_SATISFIABLE if range.is_some() => {
            return problem(StatusCode::RANGE_NOT_SATISFIABLE, "the file is shorter than that");
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return problem(StatusCode::NOT_FOUND, "the partner has no such file");
        }
        status => {
            tracing::warn!(integrator, %status, "media host");
            return problem(StatusCode::BAD_GATEWAY, "the partner's media host refused");
        }
    }
    let length = answer.content_length();
    if length.is_some_and(|length| length > bounds.len) {
        return problem(StatusCode::BAD_GATEWAY, "the file is too large");
    }
    let status = answer.status();
    let content_range = answer.headers().get(header::CONTENT_RANGE).cloned();
    let mut response =
        media_response(length, Body::from_stream(Guarded::new(answer.bytes_stream(), permit, bounds, began)));
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        let Some(content_range) = content_range else {
            return problem(StatusCode::BAD_GATEWAY, "the partner's media host refused");
        };
        response.headers_mut().insert(header::CONTENT_RANGE, content_range);
    }
    response
}

/// One range of bytes, which is passed on as it is; whatever else stands there is as if it were not there.
fn is_range(value: &header::HeaderValue) -> bool {
    let digits = |text: &str| text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    let ends = value.to_str().ok().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    ends.is_some_and(|(first, last)| digits(first) && digits(last) && !(first.is_empty() && last.is_empty()))
}

fn media_response(length: Option<u64>, body: Body) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

#[derive(Deserialize)]
pub(super) struct UploadQuery {
    #[serde(default)]
    auth: String,
}

const KINDS: &[&str] = &["image", "sticker", "video", "gif", "audio", "ptt", "document"];

/// `POST /mms/{type}/{token}`: takes a native user's encrypted file; its SHA-256 must be the token.
#[utoipa::path(post, path = "/mms/{kind}/{token}", tag = "native",
    params(("kind" = String, Path, description = "`image`, `video` and so on"),
        ("token" = String, Path, description = "The file's SHA-256 in base64url"),
        ("auth" = String, Query, description = "As the chat channel gave it")),
    request_body(content = Option<Vec<u8>>, content_type = "application/octet-stream"), responses(
    (status = 200, description = "Stored", body = openapi::Uploaded, content_type = "application/json"),
    (status = 400, description = "Not what is asked for here", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "`auth` is missing, wrong or expired", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "No such media type", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 408, description = "The body took too long", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 413, description = "The file is too large", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 415, description = "The body's SHA-256 is not the token", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Not now", body = openapi::ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn upload(
    State(site): Ctx,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Ok(Path((kind, token))) = path else { return problem(StatusCode::NOT_FOUND, "no such media type") };
    if !KINDS.contains(&kind.as_str()) {
        return problem(StatusCode::NOT_FOUND, "no such media type");
    }
    let Ok(Query(query)) = query else { return problem(StatusCode::BAD_REQUEST, "not a query") };
    if !site.media_auth.verify(&query.auth, site.clock.now()) {
        return problem(StatusCode::UNAUTHORIZED, "auth is missing, wrong or expired");
    }
    let hash = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok().and_then(|h| <[u8; 32]>::try_from(h).ok());
    let Some(hash) = hash else { return problem(StatusCode::BAD_REQUEST, "the token is not a SHA-256 in base64url") };
    let bounds = Bounds::from(&site.profile);
    let length = headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bounds.len) {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the file is too large");
    }
    let Ok(permit) = std::sync::Arc::clone(&site.upload_slots).try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many uploads");
    };
    let body = Guarded::new(body.into_data_stream(), permit, bounds, Instant::now());
    match store_body(&site, body, hash).await {
        Ok(reference) => {
            let direct_path = format!("/v/t/{reference}");
            Json(serde_json::json!({ "url": format!("{}{direct_path}", site.public_http), "direct_path": direct_path }))
                .into_response()
        }
        Err(e) => match e.kind() {
            io::ErrorKind::FileTooLarge => problem(StatusCode::PAYLOAD_TOO_LARGE, "the file is too large"),
            io::ErrorKind::InvalidData => {
                problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body's SHA-256 is not the token")
            }
            io::ErrorKind::TimedOut => problem(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
            _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "the file could not be stored"),
        },
    }
}

/// A file that is removed unless it was kept.
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _left_for_the_sweep = std::fs::remove_file(path);
        }
    }
}

async fn store_body(site: &Site, body: impl Stream<Item = io::Result<Bytes>>, hash: [u8; 32]) -> io::Result<String> {
    let reference = URL_SAFE_NO_PAD.encode(crate::rng::random::<32>());
    let path = site.media_dir.join(format!("{reference}.part"));
    let mut partial = Partial(Some(path.clone()));
    let mut file = File::create(&path).await?;
    let mut hasher = Sha256::new();
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        hasher.update(&chunk);
        file.write_all(&chunk).await?;
    }
    if <[u8; 32]>::from(hasher.finalize()) != hash {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.sync_all().await?;
    tokio::fs::rename(&path, site.media_dir.join(&reference)).await?;
    File::open(&site.media_dir).await?.sync_all().await?;
    partial.0 = None;
    Ok(reference)
}

/// `GET /v/t/{reference}`: a native user's file. The query is ignored.
#[utoipa::path(get, path = "/v/t/{reference}", tag = "native",
    params(("reference" = String, Path, description = "As the upload gave it")), responses(
    (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "No such file", body = openapi::ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn download(State(site): Ctx, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(reference)) = path else { return problem(StatusCode::NOT_FOUND, "no such file") };
    if !is_reference(&reference) {
        return problem(StatusCode::NOT_FOUND, "no such file");
    }
    match open(&site.media_dir.join(&reference)).await {
        Ok((file, length)) => media_response(Some(length), Body::from_stream(chunks(file))),
        Err(_) => problem(StatusCode::NOT_FOUND, "no such file"),
    }
}

async fn open(path: &FilePath) -> io::Result<(File, u64)> {
    let file = File::open(path).await?;
    let length = file.metadata().await?.len();
    Ok((file, length))
}

fn chunks(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    const CHUNK: usize = 64 * 1024;
    stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
        match file.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(chunk.freeze()), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    })
}
