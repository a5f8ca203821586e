//! Resumable upload: tus 1.0.0 with creation, termination, expiration and checksum (PROTOCOL §10; <https://tus.io>).
//!
//! An offset that is told is durable and recorded. The upload's own name is the `storage_reference` that the file is
//! fetched by once it is whole; `Content-Location` says so.

pub(crate) mod fuzz;
pub(crate) mod headers;
mod locks;
mod receive;

use crate::media::{MediaQuota, MediaState, busy, failed};
use crate::storage::StoredUpload;
use crate::store::StorageReference;
use crate::subscription::store_failed;
use crate::{Problem, clock, openapi};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LOCATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{options, patch};
use comity_core::{Redacted, UserVisibleId};
use core::time::Duration;
use headers::{
    TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_RESUMABLE, TUS_VERSION, UPLOAD_EXPIRES, UPLOAD_LENGTH,
    UPLOAD_OFFSET, VERSION,
};
use locks::Locks;
use std::sync::Arc;
use std::time::SystemTime;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct TusState {
    media: MediaState,
    quota: Arc<MediaQuota>,
    locks: Locks,
}

/// `/v1/uploads` and what is below it.
pub(crate) fn router(media: MediaState, quota: MediaQuota) -> Router {
    let state = TusState { media, quota: Arc::new(quota), locks: Locks::default() };
    Router::new()
        .route("/v1/uploads", options(capabilities).post(create))
        .route("/v1/uploads/{storage_reference}", patch(append).head(status).delete(terminate).post(overridden))
        .layer(map_response(async |mut response: Response| {
            response.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
            response
        }))
        .with_state(state)
}

fn problem(status: StatusCode, detail: &'static str) -> Problem {
    Problem::new(status, detail)
}

fn no_such_upload() -> Problem {
    problem(StatusCode::NOT_FOUND, "there is no such upload")
}

fn stopping() -> Problem {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
}

fn our_version(headers: &HeaderMap) -> Result<(), Problem> {
    if headers::is_our_version(headers) {
        return Ok(());
    }
    Err(problem(StatusCode::PRECONDITION_FAILED, "Tus-Resumable: 1.0.0 is required")
        .with_header(TUS_VERSION, HeaderValue::from_static(VERSION)))
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: impl Into<HeaderValue>) {
    headers.insert(name, value.into());
}

/// How far an upload is, as headers.
fn describe(headers: &mut HeaderMap, reference: &StorageReference, upload: &StoredUpload) {
    put(headers, UPLOAD_OFFSET, upload.offset);
    if upload.done {
        if let Ok(location) = HeaderValue::try_from(format!("/media/{reference}")) {
            put(headers, CONTENT_LOCATION, location);
        }
    } else if let Some(until) = upload.until {
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(until.as_millis());
        if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(until)) {
            put(headers, UPLOAD_EXPIRES, date);
        }
    }
}

impl TusState {
    /// The caller's upload of that name.
    async fn find(&self, user: &UserVisibleId, reference: &StorageReference) -> Result<StoredUpload, Problem> {
        let found = self.quota.store.upload(reference.as_str()).await.map_err(|e| store_failed(&e))?;
        let upload = found.filter(|upload| upload.user == *user).ok_or_else(no_such_upload)?;
        if !upload.done && upload.until.is_some_and(|until| until <= clock::now()) {
            return Err(problem(StatusCode::GONE, "the upload was given up"));
        }
        Ok(upload)
    }

    /// The same, with nobody else at it, for as long as what comes with it lives; whole if no byte is missing, whatever a
    /// crash left to do.
    async fn settled(
        &self,
        user: &UserVisibleId,
        reference: &StorageReference,
    ) -> Result<(StoredUpload, locks::Held), Problem> {
        let mut held = self.take(reference).await?;
        let mut upload = self.find(user, reference).await?;
        if !upload.done && upload.offset == upload.len {
            let (state, reference) = (self.clone(), reference.clone());
            // A task: it is done with even if the client is gone, and nobody else touches the file before.
            let kept = tokio::spawn(async move { state.keep(&reference).await.map(|()| held) });
            held = kept.await.map_err(|_| stopping())??;
            upload.done = true;
        }
        Ok((upload, held))
    }

    /// All bytes of the file are durable: gives it the name it is fetched by.
    async fn keep(&self, reference: &StorageReference) -> Result<(), Problem> {
        let store = &self.media.store;
        if !store.has(reference).await.map_err(|e| failed(&e))? {
            store.finish_part(reference).await.map_err(|e| failed(&e))?;
        }
        self.quota.store.keep_media(reference.as_str()).await.map_err(|e| store_failed(&e))
    }

    async fn caller(&self, parts: &Parts, reference: &str) -> Result<(UserVisibleId, StorageReference), Problem> {
        our_version(&parts.headers)?;
        let user = self.media.users.authenticate(parts).await?;
        Ok((user, reference.parse().map_err(|()| no_such_upload())?))
    }

    async fn take(&self, reference: &StorageReference) -> Result<locks::Held, Problem> {
        let held = self.locks.take(reference.as_str()).await;
        held.ok_or_else(|| problem(StatusCode::LOCKED, "another request is busy with this upload"))
    }
}

/// What resumable upload is like here
#[utoipa::path(options, path = "/v1/uploads", tag = "clients", responses(
    (status = 204, description = "tus 1.0.0; `Tus-Extension`, `Tus-Max-Size` and `Tus-Checksum-Algorithm` say what more"),
))]
pub(crate) async fn capabilities(State(state): State<TusState>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let out = response.headers_mut();
    put(out, TUS_VERSION, HeaderValue::from_static(VERSION));
    put(out, TUS_EXTENSION, HeaderValue::from_static("creation,termination,expiration,checksum"));
    put(out, TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static("sha1,sha256"));
    put(out, TUS_MAX_SIZE, state.media.store.limits.max_len);
    response
}

/// Begin a resumable upload (tus)
///
/// `Upload-Length` is required and fixed; metadata is ignored. The last part of `Location` is the `storage_reference` of the
/// file to be.
#[utoipa::path(post, path = "/v1/uploads", tag = "clients", security(("user" = [])),
    params(("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Length" = u64, Header, description = "The length of the encrypted file")), responses(
    (status = 201, description = "Begun: `Location` says where the bytes go, `Upload-Expires` until when"),
    (status = 412, description = "`Tus-Resumable: 1.0.0` is required", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    openapi::Refusals,
))]
pub(crate) async fn create(State(state): State<TusState>, request: Request) -> Result<Response, Problem> {
    let (parts, _body) = request.into_parts();
    our_version(&parts.headers)?;
    let user = state.media.users.authenticate(&parts).await?;
    let len = headers::number(&parts.headers, &UPLOAD_LENGTH)
        .ok_or_else(|| problem(StatusCode::BAD_REQUEST, "Upload-Length is required, in digits"))?;
    let reference = StorageReference::random();
    let now = clock::now();
    let until = now.after(state.media.store.limits.upload_expiry);
    state.media.store.set_aside(len).map_err(|e| failed(&e))?;
    let begun = state.quota.store.begin_upload(&user, reference.as_str(), len, state.quota.limits, now, until).await;
    if !matches!(begun, Ok(true)) {
        state.media.store.give_back(len);
        begun.map_err(|e| store_failed(&e))?;
        return Err(problem(StatusCode::INSUFFICIENT_STORAGE, "this user's files take up all the room there is"));
    }
    let mut upload = StoredUpload { user: user.clone(), len, offset: 0, done: false, until: Some(until) };
    if len == 0 {
        let mut part = state.media.store.part(&reference, 0).await.map_err(|e| failed(&e))?;
        part.sync().await.map_err(|e| failed(&e))?;
        upload = state.settled(&user, &reference).await?.0;
    }
    let location = HeaderValue::try_from(format!("/v1/uploads/{reference}")).map_err(|_| no_such_upload())?;
    let mut response = StatusCode::CREATED.into_response();
    put(response.headers_mut(), LOCATION, location);
    describe(response.headers_mut(), &reference, &upload);
    tracing::info!(user = %Redacted(&user), bytes = len, "upload begun");
    Ok(response)
}

/// How far an upload is (tus)
#[utoipa::path(head, path = "/v1/uploads/{storage_reference}", tag = "clients", security(("user" = [])),
    params(("storage_reference" = String, Path, description = "As `Location` gave it"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`")), responses(
    (status = 200, description = "`Upload-Offset` bytes of `Upload-Length` are durable; `Content-Location` once it is whole"),
    openapi::NoUpload,
    openapi::Refusals,
))]
pub(crate) async fn status(
    State(state): State<TusState>,
    Path(reference): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _body) = request.into_parts();
    let (user, reference) = state.caller(&parts, &reference).await?;
    state.find(&user, &reference).await?;
    let (upload, _held) = state.settled(&user, &reference).await?;
    let mut response = StatusCode::OK.into_response();
    let out = response.headers_mut();
    describe(out, &reference, &upload);
    put(out, UPLOAD_LENGTH, upload.len);
    put(out, CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Go on with an upload (tus)
///
/// The body is the file from `Upload-Offset` on, or a part of that. What came before the connection broke is kept.
#[utoipa::path(patch, path = "/v1/uploads/{storage_reference}", tag = "clients", security(("user" = [])),
    params(("storage_reference" = String, Path, description = "As `Location` gave it"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Offset" = u64, Header, description = "Where the body begins: as the server last told"),
        ("Upload-Checksum" = Option<String>, Header, description = "`sha1` or `sha256`, a space, the body's hash in base64")),
    request_body(content = Option<Vec<u8>>, content_type = "application/offset+octet-stream"), responses(
    (status = 204, description = "Stored: `Upload-Offset` says how far; `Content-Location` once it is whole"),
    openapi::NoUpload,
    (status = 409, description = "`Upload-Offset` is not where the upload is", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 460, description = "The body has another checksum: nothing of it was stored", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    openapi::Refusals,
))]
pub(crate) async fn append(
    State(state): State<TusState>,
    Path(reference): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (user, reference) = state.caller(&parts, &reference).await?;
    if !headers::is_offset_stream(&parts.headers) {
        let detail = "Content-Type must be application/offset+octet-stream";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let offset = headers::number(&parts.headers, &UPLOAD_OFFSET)
        .ok_or_else(|| problem(StatusCode::BAD_REQUEST, "Upload-Offset is required, in digits"))?;
    let checksum = headers::Checksum::of(&parts.headers)
        .map_err(|()| problem(StatusCode::BAD_REQUEST, "Upload-Checksum must be sha1 or sha256 and base64"))?;
    state.find(&user, &reference).await?;
    let permit = state.media.store.upload_permit().ok_or_else(busy)?;
    let (upload, held) = state.settled(&user, &reference).await?;
    if offset != upload.offset {
        return Err(problem(StatusCode::CONFLICT, "the upload is at another offset"));
    }
    if axum::body::HttpBody::size_hint(&body).lower() > upload.len - offset {
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "the body goes past Upload-Length"));
    }
    if upload.done {
        let mut response = StatusCode::NO_CONTENT.into_response();
        describe(response.headers_mut(), &reference, &upload);
        return Ok(response);
    }
    let incoming = receive::Incoming { state, reference: reference.clone(), upload, body, checksum, held };
    // A task: it saves what has come even if the client is gone, and nobody else touches the file before.
    let task = tokio::spawn(async move {
        let _permit = permit;
        incoming.receive().await
    });
    let upload = task.await.map_err(|_| stopping())??;
    let mut response = StatusCode::NO_CONTENT.into_response();
    describe(response.headers_mut(), &reference, &upload);
    Ok(response)
}

/// Delete a file (tus)
///
/// Whole or not, it is gone from the disk when this answers.
#[utoipa::path(delete, path = "/v1/uploads/{storage_reference}", tag = "clients", security(("user" = [])),
    params(("storage_reference" = String, Path, description = "As `Location` gave it, or as the upload answered it"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`")), responses(
    (status = 204, description = "Deleted"),
    openapi::NoUpload,
    openapi::Refusals,
))]
pub(crate) async fn terminate(
    State(state): State<TusState>,
    Path(reference): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, _body) = request.into_parts();
    let (user, reference) = state.caller(&parts, &reference).await?;
    state.find(&user, &reference).await?;
    let (upload, _held) = state.settled(&user, &reference).await?;
    let store = &state.media.store;
    let removed = match upload.done {
        true => store.remove_file(&reference).await,
        false => store.remove_part(&reference, upload.len).await,
    };
    removed.map_err(|e| failed(&e))?;
    state.quota.store.release_media(reference.as_str()).await.map_err(|e| store_failed(&e))?;
    tracing::info!(user = %Redacted(&user), "upload deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// For clients that cannot say `PATCH`, `HEAD` or `DELETE` themselves.
async fn overridden(state: State<TusState>, path: Path<String>, request: Request<Body>) -> Result<Response, Problem> {
    match headers::method_override(request.headers()).and_then(|method| method.parse().ok()) {
        Some(Method::PATCH) => append(state, path, request).await,
        Some(Method::HEAD) => status(state, path, request).await,
        Some(Method::DELETE) => terminate(state, path, request).await.map(IntoResponse::into_response),
        _ => Err(problem(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here")),
    }
}
