//! The media host: takes encrypted files from the partner's clients, serves them to the gatekeeper (PROTOCOL §10).

use crate::auth::Authenticator;
use crate::gatekeeper::Gatekeeper;
use crate::limits::{UPLOAD_IDLE, UPLOAD_TOTAL};
use crate::metrics::MEDIA_BYTES;
use crate::storage::{PartnerStore, UserQuota};
use crate::store::{MediaStore, StorageReference, StoreError};
use crate::subscription::store_failed;
use crate::{Problem, clock, openapi, range, tus};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use comity_core::{Redacted, UserVisibleId};
use futures_util::StreamExt as _;
use serde_json::json;
use std::sync::Arc;

/// `POST /v1/media` (the authenticated user's upload: streamed, `Content-Length` required; answers 201
/// `{"storage_reference":"…"}`) and `GET /media/{storage_reference}` (for the gatekeeper; open to all who know the
/// reference if `gatekeeper` is `None`).
///
/// With `quota`, what each user has on the host is counted and limited, and files may come in parts: tus 1.0.0 at
/// `/v1/uploads` (see [`MediaStore::take_up_uploads`]).
pub fn media_router(
    store: Arc<MediaStore>,
    users: Arc<dyn Authenticator>,
    gatekeeper: Option<Gatekeeper>,
    quota: Option<MediaQuota>,
) -> Router {
    let state = MediaState { store, users, gatekeeper, quota };
    let resumable = state.quota.clone().map(|quota| tus::router(state.clone(), quota));
    Router::new()
        .route("/v1/media", post(upload))
        .route("/media/{storage_reference}", get(download))
        .with_state(state)
        .merge(resumable.unwrap_or_default())
}

/// Counts what each user has on the media host.
#[derive(Clone)]
pub struct MediaQuota {
    /// Where it is counted.
    pub store: Arc<dyn PartnerStore>,
    /// How much it may be.
    pub limits: UserQuota,
}

impl core::fmt::Debug for MediaQuota {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MediaQuota").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl MediaQuota {
    async fn reserve(&self, user: &UserVisibleId, reference: &StorageReference, len: u64) -> Result<Reserved, Problem> {
        let reserved = self.store.reserve_media(user, reference.as_str(), len, self.limits, clock::now()).await;
        if reserved.map_err(|e| store_failed(&e))? {
            return Ok(Reserved { store: Arc::clone(&self.store), reference: reference.clone(), kept: false });
        }
        Err(Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "this user's files take up all the room there is for one user",
        ))
    }
}

/// Room set aside for a file; dropped before [`keep`](Self::keep), it is given back.
struct Reserved {
    store: Arc<dyn PartnerStore>,
    reference: StorageReference,
    kept: bool,
}

impl Reserved {
    async fn keep(mut self) -> Result<(), Problem> {
        self.store.keep_media(self.reference.as_str()).await.map_err(|e| store_failed(&e))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (store, reference) = (Arc::clone(&self.store), self.reference.clone());
        // Without a runtime the server is at its end: the next start forgets what is unfinished.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.release_media(reference.as_str()).await {
                    tracing::warn!(%error, "room on the media host was not given back");
                }
            });
        }
    }
}

#[derive(Clone)]
pub(crate) struct MediaState {
    pub(crate) store: Arc<MediaStore>,
    pub(crate) users: Arc<dyn Authenticator>,
    gatekeeper: Option<Gatekeeper>,
    quota: Option<MediaQuota>,
}

pub(crate) fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many transfers at once")
        .with_header(RETRY_AFTER, HeaderValue::from_static("2"))
}

pub(crate) fn failed(error: &StoreError) -> Problem {
    match error {
        StoreError::Full => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "the media host is full"),
        StoreError::TooLarge => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the file is larger than allowed"),
        StoreError::Length => Problem::new(StatusCode::BAD_REQUEST, "the body is not as long as Content-Length says"),
        StoreError::Io(error) => {
            tracing::error!(%error, "media storage failed");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the storage failed")
        }
    }
}

/// Upload an encrypted file
///
/// Streamed; `Content-Length` is required.
#[utoipa::path(post, path = "/v1/media", tag = "clients", security(("user" = [])),
    request_body(content = Option<Vec<u8>>, content_type = "application/octet-stream"), responses(
    (status = 201, description = "Stored", body = openapi::StoredMedia, content_type = "application/json"),
    openapi::Refusals,
))]
pub(crate) async fn upload(State(state): State<MediaState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let user = state.users.authenticate(&parts).await?;
    let len = body.size_hint().exact(); // what Content-Length says, or 0 for a request that ends with its head
    let len = len.ok_or_else(|| Problem::new(StatusCode::LENGTH_REQUIRED, "Content-Length is required"))?;
    let permit = state.store.upload_permit().ok_or_else(busy)?;
    let receive = async {
        let reference = StorageReference::random();
        let reserved = match &state.quota {
            Some(quota) => Some(quota.reserve(&user, &reference, len).await?),
            None => None,
        };
        let mut file = state.store.create(reference, len).await.map_err(|e| failed(&e))?;
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = tokio::time::timeout(UPLOAD_IDLE, chunks.next()).await.map_err(|_| slow())?;
            match chunk {
                None => break,
                Some(Ok(chunk)) => file.write(&chunk).await.map_err(|e| failed(&e))?,
                Some(Err(_)) => return Err(Problem::new(StatusCode::BAD_REQUEST, "the upload broke off")),
            }
        }
        // A task: once it may be visible it is counted, even if the client is gone.
        let kept = tokio::spawn(async move {
            let _permit = permit;
            let reference = file.commit().await.map_err(|e| failed(&e))?;
            if let Some(reserved) = reserved {
                reserved.keep().await?;
            }
            Ok(reference)
        });
        kept.await.map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"))?
    };
    let reference = tokio::time::timeout(UPLOAD_TOTAL, receive).await.map_err(|_| slow())??;
    metrics::counter!(MEDIA_BYTES, "direction" => "in").increment(len);
    tracing::info!(user = %Redacted(&user), bytes = len, "media stored");
    let location = HeaderValue::try_from(format!("/media/{reference}"))
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the reference is not a path"))?;
    let headers = [(LOCATION, location), (CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let body = json!({"storage_reference": reference.as_str()}).to_string();
    Ok((StatusCode::CREATED, headers, body).into_response())
}

pub(crate) fn slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "the upload was too slow")
        .with_header(CONNECTION, HeaderValue::from_static("close"))
}

/// Fetch an encrypted file
///
/// The gatekeeper's call, with its bearer token unless the operator opens the media host to all who know the reference.
#[utoipa::path(get, path = "/media/{storage_reference}", tag = "gatekeeper", security(("gatekeeper" = []), ()),
    params(("storage_reference" = String, Path, description = "As given at the upload"),
        ("Range" = Option<String>, Header, description = "One range of bytes")), responses(
    (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, description = "The part asked for", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "There is no such file", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 416, description = "The file is shorter", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    openapi::Refusals,
))]
pub(crate) async fn download(
    State(state): State<MediaState>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(gatekeeper) = &state.gatekeeper {
        gatekeeper.authorize(&headers).await?;
    }
    let not_found = || Problem::new(StatusCode::NOT_FOUND, "there is no such media");
    let reference: StorageReference = reference.parse().map_err(|()| not_found())?;
    let permit = state.store.download_permit().ok_or_else(busy)?;
    let file = state.store.stored(&reference).await.map_err(|e| failed(&e))?.ok_or_else(not_found)?;
    let len = file.len();

    // If-Range can only ask for a validator that was never given: the whole file, then (RFC 9110 §13.1.5).
    let range = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE)).and_then(|v| v.to_str().ok());
    let (status, from, count) = match range.map_or(range::Wanted::All, |r| range::parse(r, len)) {
        range::Wanted::All => (StatusCode::OK, 0, len),
        range::Wanted::Part { from, count } => (StatusCode::PARTIAL_CONTENT, from, count),
        range::Wanted::Nothing => {
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "the file is shorter than that");
            return Err(match HeaderValue::try_from(format!("bytes */{len}")) {
                Ok(value) => problem.with_header(CONTENT_RANGE, value),
                Err(_) => problem,
            });
        }
    };
    let chunks = file.read(from, count).await.map_err(|error| failed(&StoreError::Io(error)))?;
    // The permit lives as long as the body; hyper asks for the next chunk when the last one is on its way.
    let chunks = chunks.ok_or_else(not_found)?.map(move |chunk| {
        let _held = &permit;
        chunk
    });
    let mut response = Response::new(Body::from_stream(chunks));
    *response.status_mut() = status;
    let out = response.headers_mut();
    out.insert(CONTENT_LENGTH, HeaderValue::from(count));
    out.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    out.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    out.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = from + count - 1; // a part is never empty
        if let Ok(value) = HeaderValue::try_from(format!("bytes {from}-{last}/{len}")) {
            out.insert(CONTENT_RANGE, value);
        }
    }
    metrics::counter!(MEDIA_BYTES, "direction" => "out").increment(count);
    tracing::debug!(bytes = count, "media served");
    Ok(response)
}
