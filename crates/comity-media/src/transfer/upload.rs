//! Uploading an encrypted file: to the partner's own media host, or to the native service (PROTOCOL §10).

use super::{CHUNK_LEN, EncryptedFile, Progress, Transfers, check_status, io, network, parse_base, watched};
use crate::Error;
use crate::limits::MAX_UPLOAD_ANSWER_LEN;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use comity_core::{IntegratorId, Secret};
use core::future::Future;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncReadExt;

/// Encrypted files of so many bytes are uploaded in a way that can go on where it broke off.
const RESUMABLE_FROM: u64 = 4 << 20;

/// Where an uploaded file is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// `directPath` of the message.
    pub direct_path: String,
    /// `url` of the message, where the host gives one.
    pub url: Option<String>,
}

/// A place that takes encrypted files.
pub trait Uploader: Send + Sync {
    /// Uploads `file`; `progress` counts encrypted bytes. Cancelling is safe: the host keeps nothing half, or not for long.
    fn upload(&self, file: &EncryptedFile, progress: &Progress)
    -> impl Future<Output = Result<Uploaded, Error>> + Send;
}

/// `directPath` of a file on a partner's host, as the gatekeeper's media server resolves it.
pub fn direct_path(integrator: IntegratorId, storage_reference: &str) -> String {
    format!("/interop/whatsapp/download/{integrator}/{storage_reference}/")
}

/// The partner's own media host: `POST {base}/v1/media`, and tus at `{base}/v1/uploads` for large files.
#[derive(Clone, Debug)]
pub struct PartnerHost {
    pub(super) transfers: Transfers,
    /// Without a slash at the end.
    pub(super) base: String,
    endpoint: reqwest::Url,
    pub(super) integrator: IntegratorId,
    pub(super) user: String,
    pub(super) password: Secret<String>,
}

impl PartnerHost {
    /// A host at `base`, the partner server's address.
    ///
    /// # Errors
    /// [`Error::Url`]
    pub fn new(
        transfers: Transfers,
        base: &str,
        integrator: IntegratorId,
        user: String,
        password: Secret<String>,
    ) -> Result<Self, Error> {
        let base = base.trim_end_matches('/').to_owned();
        let endpoint = parse_base(&format!("{base}/v1/media"))?;
        Ok(Self { transfers, base, endpoint, integrator, user, password })
    }
}

impl Uploader for PartnerHost {
    async fn upload(&self, file: &EncryptedFile, progress: &Progress) -> Result<Uploaded, Error> {
        let length = file.encrypted().encrypted_length;
        if length >= RESUMABLE_FROM {
            match self.begin(length).await {
                Ok(upload) => return self.resume(&upload, file.path(), progress).await,
                // A host without resumable upload.
                Err(Error::Gone { status: 404 } | Error::Status { status: 405 }) => {}
                Err(error) => return Err(error),
            }
        }
        let request =
            self.transfers.http.post(self.endpoint.clone()).basic_auth(&self.user, Some(self.password.expose()));
        let answer = send(&self.transfers, request, file, progress).await?;
        let reference = answer.get("storage_reference").and_then(|value| value.as_str()).ok_or(Error::Response)?;
        if !is_storage_reference(reference) {
            return Err(Error::Response);
        }
        Ok(Uploaded { direct_path: direct_path(self.integrator, reference), url: None })
    }
}

pub(super) fn is_storage_reference(reference: &str) -> bool {
    (16..=128).contains(&reference.len())
        && reference.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The native service's upload host, as `media_conn` names it: `POST {base}/mms/{type}/{token}`.
#[derive(Clone, Debug)]
pub struct NativeHost {
    transfers: Transfers,
    base: reqwest::Url,
    auth: Secret<String>,
}

impl NativeHost {
    /// A host at `base` (`https://{hostname}`), with the `auth` of the same `media_conn`.
    ///
    /// # Errors
    /// [`Error::Url`]
    pub fn new(transfers: Transfers, base: &str, auth: Secret<String>) -> Result<Self, Error> {
        Ok(Self { transfers, base: parse_base(base)?, auth })
    }
}

impl Uploader for NativeHost {
    async fn upload(&self, file: &EncryptedFile, progress: &Progress) -> Result<Uploaded, Error> {
        let token = URL_SAFE_NO_PAD.encode(file.encrypted().file_enc_sha256);
        let mut url = self.base.join(&format!("/mms/{}/{token}", file.kind().mms_type())).map_err(|_| Error::Url)?;
        url.query_pairs_mut().append_pair("auth", self.auth.expose()).append_pair("token", &token);
        let answer = send(&self.transfers, self.transfers.http.post(url), file, progress).await?;
        let text = |name| answer.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let direct_path = text("direct_path").filter(|path| path.starts_with('/')).ok_or(Error::Response)?;
        Ok(Uploaded { direct_path, url: text("url") })
    }
}

/// Streams the file as the body of `request` and reads the short JSON answer.
async fn send(
    transfers: &Transfers,
    request: reqwest::RequestBuilder,
    file: &EncryptedFile,
    progress: &Progress,
) -> Result<serde_json::Value, Error> {
    let total = file.encrypted().encrypted_length;
    let source = tokio::fs::File::open(file.path()).await.map_err(io("open the encrypted file"))?;
    let moved = Arc::new(AtomicU64::new(0));
    let (counter, progress) = (Arc::clone(&moved), progress.clone());
    let body = futures_util::stream::try_unfold(source, move |mut source| {
        let (counter, progress) = (Arc::clone(&counter), progress.clone());
        async move {
            let mut chunk = Vec::with_capacity(CHUNK_LEN);
            source.read_buf(&mut chunk).await?;
            let done = counter.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
            progress.report(done, total);
            Ok::<_, std::io::Error>((!chunk.is_empty()).then(|| (Bytes::from(chunk), source)))
        }
    });
    let request = request
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, total)
        .body(reqwest::Body::wrap_stream(body));
    watched(transfers.config.idle_timeout, &moved, async {
        let mut response = request.send().await.map_err(|error| network(&error))?;
        check_status(response.status())?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| network(&error))? {
            if answer.len() + chunk.len() > MAX_UPLOAD_ANSWER_LEN {
                return Err(Error::Response);
            }
            answer.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&answer).map_err(|_| Error::Response)
    })
    .await?
}
