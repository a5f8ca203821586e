//! Upload and download of encrypted media over HTTP (PROTOCOL §10). Does I/O, on tokio.
//!
//! Files of any size move in bounded memory: encryption, decryption and disk writes run on the blocking pool, with a
//! short queue of chunks between them and the socket. Redirects are never followed.

#![allow(clippy::disallowed_methods, reason = "moving files is what this module is for")]

mod download;
mod file;
mod names;
mod parallel;
mod resume_download;
mod resume_upload;
mod upload;

pub use download::{Download, Received, resolve};
pub use file::{EncryptedFile, encrypt_file};
pub use names::safe_file_name;
pub use parallel::encrypt_parallel;
pub use resume_upload::UploadId;
pub use upload::{NativeHost, PartnerHost, Uploaded, Uploader, direct_path};

use crate::limits::MAX_RETRY_WAIT;
use crate::{Error, Limits};
use core::future::Future;
use core::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes read from or written to a file in one go.
const CHUNK_LEN: usize = 256 << 10;

/// How transfers behave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransferConfig {
    /// Largest files.
    pub limits: Limits,
    /// Longest time in which no byte moves, in either direction. Default 30 s.
    pub idle_timeout: Duration,
    /// Longest time to connect, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// How often a transfer that can go on where it broke off is tried again without a byte of progress. Default 5.
    pub retries: u32,
    /// First wait before it is tried again; each next one is twice as long, up to [`MAX_RETRY_WAIT`]. Default 500 ms.
    ///
    /// [`MAX_RETRY_WAIT`]: crate::limits::MAX_RETRY_WAIT
    pub retry_wait: Duration,
}

impl Default for TransferConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            retries: 5,
            retry_wait: Duration::from_millis(500),
        }
    }
}

impl TransferConfig {
    /// With other limits.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With another number of retries.
    #[must_use]
    pub const fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// With another idle time-out.
    #[must_use]
    pub const fn with_idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.idle_timeout = idle_timeout;
        self
    }
}

/// The HTTP side of all transfers of one client: a connection pool and the configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transfers {
    http: reqwest::Client,
    config: TransferConfig,
}

impl Transfers {
    /// Sets up a connection pool; connects to nothing yet. Proxies of the environment are not used.
    ///
    /// # Errors
    /// [`Error::Connect`] if the TLS back end cannot be set up.
    pub fn new(config: TransferConfig) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .build()
            .map_err(|_| Error::Connect)?;
        Ok(Self { http, config })
    }
}

/// Hears how far a transfer is; called from the thread that moves the bytes, at most once per chunk.
#[derive(Clone, Default)]
pub struct Progress(Option<ProgressFn>);

type ProgressFn = Arc<dyn Fn(u64, u64) + Send + Sync>;

impl Progress {
    /// Nobody listens.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Calls `hear(bytes done, bytes in all)`.
    pub fn new(hear: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    fn report(&self, done: u64, total: u64) {
        if let Some(hear) = &self.0 {
            hear(done, total);
        }
    }
}

impl core::fmt::Debug for Progress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Progress(..)")
    }
}

/// Runs `work` until it ends or `moved` stands still for `idle`.
async fn watched<F: Future>(idle: Duration, moved: &AtomicU64, work: F) -> Result<F::Output, Error> {
    let mut work = pin!(work);
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        if let Ok(done) = tokio::time::timeout(idle, &mut work).await {
            return Ok(done);
        }
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return Err(Error::Stalled);
        }
        before = now;
    }
}

/// After a failure: waits and lets the caller try again, or gives the error back.
async fn again(config: &TransferConfig, error: Error, failures: &mut u32) -> Result<(), Error> {
    if !error.is_passing() || *failures >= config.retries {
        return Err(error);
    }
    let wait = config.retry_wait.saturating_mul(1 << (*failures).min(16));
    *failures += 1;
    tokio::time::sleep(wait.min(MAX_RETRY_WAIT)).await;
    Ok(())
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::Io { what, kind: error.kind() }
}

fn network(error: &reqwest::Error) -> Error {
    if error.is_connect() { Error::Connect } else { Error::Interrupted }
}

fn check_status(status: reqwest::StatusCode) -> Result<(), Error> {
    match status.as_u16() {
        200..=299 => Ok(()),
        status @ (404 | 410) => Err(Error::Gone { status }),
        status @ (401 | 403) => Err(Error::Refused { status }),
        status => Err(Error::Status { status }),
    }
}

fn parse_base(base: &str) -> Result<reqwest::Url, Error> {
    let url = reqwest::Url::parse(base).map_err(|_| Error::Url)?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(Error::Url) }
}
