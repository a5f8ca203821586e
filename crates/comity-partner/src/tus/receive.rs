//! Taking the bytes of one `PATCH`: whatever way it ends, what has come is saved and recorded.

use super::headers::Checksum;
use super::locks::Held;
use super::{TusState, problem};
use crate::Problem;
use crate::limits::{UPLOAD_CHECKPOINT, UPLOAD_IDLE, UPLOAD_TOTAL};
use crate::media::{failed, slow};
use crate::metrics::MEDIA_BYTES;
use crate::partial::Part;
use crate::storage::StoredUpload;
use crate::store::StorageReference;
use crate::subscription::store_failed;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

pub(super) struct Incoming {
    pub(super) state: TusState,
    pub(super) reference: StorageReference,
    /// As it was found.
    pub(super) upload: StoredUpload,
    pub(super) body: Body,
    pub(super) checksum: Option<Checksum>,
    pub(super) held: Held,
}

impl Incoming {
    /// The upload as it is afterwards.
    pub(super) async fn receive(self) -> Result<StoredUpload, Problem> {
        let Self { state, reference, mut upload, body, mut checksum, held } = self;
        let mut part = state.media.store.part(&reference, upload.offset).await.map_err(|e| failed(&e))?;
        let (mut body, end) = (body.into_data_stream(), Instant::now() + UPLOAD_TOTAL);
        let mut at = upload.offset;
        let ended = loop {
            let next = timeout_at(end.min(Instant::now() + UPLOAD_IDLE), body.next());
            let next = tokio::select! {
                () = held.asked_to_go() => break Err(problem(StatusCode::LOCKED, "another request took over")),
                next = next => next,
            };
            let chunk: Bytes = match next {
                Err(_) => break Err(slow()),
                Ok(None) => break Ok(()),
                Ok(Some(Err(_))) => break Err(problem(StatusCode::BAD_REQUEST, "the upload broke off")),
                Ok(Some(Ok(chunk))) => chunk,
            };
            if chunk.len() as u64 > upload.len - at {
                break Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "the body goes past Upload-Length"));
            }
            part.write(&chunk).await.map_err(|e| failed(&e))?;
            at += chunk.len() as u64;
            match &mut checksum {
                Some(checksum) => checksum.update(&chunk), // all or nothing
                None if at - upload.offset >= UPLOAD_CHECKPOINT => {
                    save(&state, &reference, &mut part, &mut upload, at).await?;
                }
                None => {}
            }
        };
        if let Some(checksum) = checksum {
            ended.clone()?;
            if !checksum.matches() {
                let mismatch = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
                return Err(problem(mismatch, "the body has another checksum"));
            }
        }
        save(&state, &reference, &mut part, &mut upload, at).await?;
        if at == upload.len {
            drop(part);
            state.keep(&reference).await?;
            upload.done = true;
        }
        ended.map(|()| upload)
    }
}

/// Makes durable what has come, then records it: in this order, or an offset could be told that is not there.
async fn save(
    state: &TusState,
    reference: &StorageReference,
    part: &mut Part,
    upload: &mut StoredUpload,
    at: u64,
) -> Result<(), Problem> {
    if at == upload.offset {
        return Ok(());
    }
    part.sync().await.map_err(|e| failed(&e))?;
    state.quota.store.advance_upload(reference.as_str(), at).await.map_err(|e| store_failed(&e))?;
    metrics::counter!(MEDIA_BYTES, "direction" => "in").increment(at - upload.offset);
    upload.offset = at;
    Ok(())
}
