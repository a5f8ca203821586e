//! Uploading to the partner's own media host in parts: tus 1.0 (PROTOCOL §10). Whenever either side ends, the next try
//! asks how far the host is, and goes on from there.

use super::upload::{Uploaded, direct_path, is_storage_reference};
use super::{CHUNK_LEN, PartnerHost, Progress, again, check_status, io, network, parse_base, watched};
use crate::Error;
use bytes::Bytes;
use core::fmt;
use core::str::FromStr;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, RequestBuilder, Response};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const OFFSET: &str = "upload-offset";

/// An upload that was begun: keep its text, beside the encrypted file, to go on with it in another process. It is the
/// file's `storage_reference` to be, and as secret as that.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadId(String);

impl UploadId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if is_storage_reference(text) { Ok(Self(text.to_owned())) } else { Err(Error::Response) }
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadId(..)")
    }
}

impl PartnerHost {
    /// Begins an upload of `length` encrypted bytes. Cancelling is safe: the host gives it up after some time.
    ///
    /// # Errors
    /// Of the host.
    pub async fn begin(&self, length: u64) -> Result<UploadId, Error> {
        let request = self.tus(Method::POST, None)?.header("upload-length", length);
        let answer = self.quick(request).await?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        location.and_then(|location| location.rsplit('/').next()).ok_or(Error::Response)?.parse()
    }

    /// Goes on with an upload of the encrypted file at `path` to its end; `progress` counts encrypted bytes the host has.
    /// When the connection breaks it is made again, [`retries`](super::TransferConfig::retries) times without a byte of
    /// progress.
    ///
    /// Cancelling is safe: what the host has, it keeps for the next call.
    ///
    /// # Errors
    /// [`Error::Gone`] if the host has given the upload up: begin another; others of the host or the disk.
    pub async fn resume(&self, upload: &UploadId, path: &Path, progress: &Progress) -> Result<Uploaded, Error> {
        let total = tokio::fs::metadata(path).await.map_err(io("open the encrypted file"))?.len();
        let (mut furthest, mut failures) = (0, 0);
        loop {
            match self.attempt(upload, path, total, &mut furthest, &mut failures, progress).await {
                Ok(true) => return Ok(Uploaded { direct_path: direct_path(self.integrator, &upload.0), url: None }),
                Ok(false) => {}
                Err(error) => again(&self.transfers.config, error, &mut failures).await?,
            }
        }
    }

    /// Has the host delete an upload, whole or not.
    ///
    /// # Errors
    /// Of the host; [`Error::Gone`] if there is none.
    pub async fn abandon(&self, upload: &UploadId) -> Result<(), Error> {
        self.quick(self.tus(Method::DELETE, Some(upload))?).await.map(drop)
    }

    /// One request for the offset, and one with the bytes from there on. Whether that was the end.
    async fn attempt(
        &self,
        upload: &UploadId,
        path: &Path,
        total: u64,
        furthest: &mut u64,
        failures: &mut u32,
        progress: &Progress,
    ) -> Result<bool, Error> {
        let head = self.quick(self.tus(Method::HEAD, Some(upload))?).await?;
        let (offset, length) = (number(head.headers(), OFFSET)?, number(head.headers(), "upload-length")?);
        if length != total || offset > total {
            return Err(Error::Response); // not this file's
        }
        if offset > *furthest {
            (*furthest, *failures) = (offset, 0);
        }
        progress.report(offset, total);
        if offset == total {
            return Ok(true);
        }
        let mut source = tokio::fs::File::open(path).await.map_err(io("open the encrypted file"))?;
        source.seek(std::io::SeekFrom::Start(offset)).await.map_err(io("read the encrypted file"))?;
        let moved = Arc::new(AtomicU64::new(offset));
        let (counter, hears) = (Arc::clone(&moved), progress.clone());
        let body = futures_util::stream::try_unfold(source.take(total - offset), move |mut source| {
            let (counter, hears) = (Arc::clone(&counter), hears.clone());
            async move {
                let mut chunk = Vec::with_capacity(CHUNK_LEN);
                source.read_buf(&mut chunk).await?;
                let done = counter.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
                hears.report(done, total);
                Ok::<_, std::io::Error>((!chunk.is_empty()).then(|| (Bytes::from(chunk), source)))
            }
        });
        let patch = self
            .tus(Method::PATCH, Some(upload))?
            .header(OFFSET, offset)
            .header(CONTENT_TYPE, "application/offset+octet-stream")
            .header(CONTENT_LENGTH, total - offset)
            .body(reqwest::Body::wrap_stream(body));
        let answer = watched(self.transfers.config.idle_timeout, &moved, patch.send()).await?;
        let answer = answer.map_err(|error| network(&error))?;
        check_status(answer.status())?;
        let offset = number(answer.headers(), OFFSET)?;
        if offset > *furthest {
            (*furthest, *failures) = (offset, 0);
        }
        Ok(offset == total)
    }

    fn tus(&self, method: Method, upload: Option<&UploadId>) -> Result<RequestBuilder, Error> {
        let base = format!("{}/v1/uploads", self.base);
        let url = upload.map_or_else(|| base.clone(), |UploadId(name)| format!("{base}/{name}"));
        let request = self.transfers.http.request(method, parse_base(&url)?);
        Ok(request.basic_auth(&self.user, Some(self.password.expose())).header("tus-resumable", "1.0.0"))
    }

    /// A request without a long body, and its answer's head.
    async fn quick(&self, request: RequestBuilder) -> Result<Response, Error> {
        let answer = tokio::time::timeout(self.transfers.config.idle_timeout, request.send()).await;
        let answer = answer.map_err(|_| Error::Stalled)?.map_err(|error| network(&error))?;
        check_status(answer.status())?;
        Ok(answer)
    }
}

fn number(headers: &HeaderMap, name: &str) -> Result<u64, Error> {
    headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok()).ok_or(Error::Response)
}
