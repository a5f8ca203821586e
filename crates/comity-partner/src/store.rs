//! Media files: complete and durable, or not there (PROTOCOL §10).

use crate::clock;
use crate::files::{Files, Stored};
use crate::limits::FILE_CHUNK;
use base64::Engine as _;
use core::fmt;
use core::str::FromStr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use rand_core::Rng as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::fs;
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A stored file's name, `^[A-Za-z0-9_-]{16,128}$`; ours have 192 random bits, so that it cannot be guessed.
#[derive(Clone, PartialEq, Eq)]
pub struct StorageReference(String);

impl StorageReference {
    /// A fresh one.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 24];
        rand_core::UnwrapErr(getrandom::SysRng).fill_bytes(&mut bytes);
        Self(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StorageReference {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let ok =
            (16..=128).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if ok { Ok(Self(s.into())) } else { Err(()) }
    }
}

impl fmt::Display for StorageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageReference(..)") // whoever knows it may know where to fetch the file
    }
}

/// Why a file was not stored or read.
#[derive(Debug)]
pub(crate) enum StoreError {
    TooLarge,
    Full,
    Length,
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

/// How much a [`MediaStore`] takes.
#[derive(Clone, Copy, Debug)]
pub struct MediaLimits {
    /// Largest file.
    pub max_len: u64,
    /// All files together.
    pub max_total: u64,
    /// How long files are kept.
    pub retention: Duration,
    /// How long a file may come in parts.
    pub upload_expiry: Duration,
    /// Uploads at once.
    pub uploads: usize,
    /// Downloads at once.
    pub downloads: usize,
}

/// Media files: a directory of them, or a bucket of an object store and a directory for what is not whole. One process uses
/// it at a time.
#[derive(Debug)]
pub struct MediaStore {
    pub(crate) files: Files,
    partial: PathBuf,
    /// Files that come in parts.
    pub(crate) parts: PathBuf,
    pub(crate) limits: MediaLimits,
    /// Bytes stored and promised to uploads under way.
    pub(crate) used: AtomicU64,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl MediaStore {
    /// Opens the store in `dir`, made if missing; uploads that a crash left unfinished are removed, but for those that
    /// [`take_up_uploads`](Self::take_up_uploads) knows.
    ///
    /// # Errors
    /// As the file system says.
    pub async fn open_dir(dir: &Path, limits: MediaLimits) -> io::Result<Self> {
        let files = dir.join("files");
        fs::create_dir_all(&files).await?;
        Self::open(dir, Files::Folder(files), limits).await
    }

    /// Opens the store whose whole files are objects of a bucket, and what is not whole is in `dir`; otherwise as
    /// [`open_dir`](Self::open_dir). The objects below the configured prefix are this store's alone. `sandbox` allows plain
    /// http to any endpoint.
    ///
    /// # Errors
    /// [`Error`](crate::Error), if the configuration is wrong, or as the file system or the bucket says.
    #[cfg(feature = "s3")]
    pub async fn open_s3(
        dir: &Path,
        config: &crate::S3Config,
        sandbox: bool,
        limits: MediaLimits,
    ) -> Result<Self, crate::Error> {
        let bucket = crate::bucket::Bucket::connect(config, sandbox, dir.join("multipart"))?;
        bucket.clean().await.map_err(crate::Error::io("cannot open the bucket"))?;
        let opened = Self::open(dir, Files::Bucket(Arc::new(bucket)), limits).await;
        opened.map_err(crate::Error::io("cannot open the bucket"))
    }

    pub(crate) async fn open(dir: &Path, files: Files, limits: MediaLimits) -> io::Result<Self> {
        let [partial, parts] = ["partial", "parts"].map(|name| dir.join(name));
        for path in [&partial, &parts] {
            fs::create_dir_all(path).await?;
        }
        let mut left = fs::read_dir(&partial).await?;
        while let Some(entry) = left.next_entry().await? {
            fs::remove_file(entry.path()).await?;
        }
        let used = files.total().await?;
        Ok(Self {
            files,
            partial,
            parts,
            limits,
            used: AtomicU64::new(used),
            uploads: Arc::new(Semaphore::new(limits.uploads.min(Semaphore::MAX_PERMITS))),
            downloads: Arc::new(Semaphore::new(limits.downloads.min(Semaphore::MAX_PERMITS))),
        })
    }

    pub(crate) fn upload_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.uploads).try_acquire_owned().ok()
    }

    pub(crate) fn download_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.downloads).try_acquire_owned().ok()
    }

    /// Begins a file of exactly `len` bytes; its room is set aside first.
    pub(crate) async fn create(self: &Arc<Self>, reference: StorageReference, len: u64) -> Result<Upload, StoreError> {
        if len > self.limits.max_len {
            return Err(StoreError::TooLarge);
        }
        let fits = |used: u64| used.checked_add(len).filter(|sum| *sum <= self.limits.max_total);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| StoreError::Full)?;
        // From here on the drop of `upload` gives the room back.
        let mut upload = Upload {
            path: self.partial.join(reference.as_str()),
            reference,
            store: Arc::clone(self),
            len,
            left: len,
            file: None,
            committed: false,
        };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&upload.path).await?;
        file.set_max_buf_size(FILE_CHUNK);
        upload.file = Some(BufWriter::with_capacity(FILE_CHUNK, file));
        Ok(upload)
    }

    /// A whole file, to be read.
    pub(crate) async fn stored(&self, reference: &StorageReference) -> Result<Option<Stored>, StoreError> {
        Ok(self.files.open(reference).await?)
    }

    /// Removes files older than the retention; says how many.
    ///
    /// # Errors
    /// As the file system or the bucket says; what was removed before stays removed.
    pub async fn sweep(&self) -> io::Result<usize> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(clock::now().as_millis());
        let before = now.checked_sub(self.limits.retention).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut removed = 0;
        let swept = self.files.sweep(before, |len| {
            self.give_back(len);
            removed += 1;
        });
        swept.await.map(|()| removed)
    }

    pub(crate) fn give_back(&self, len: u64) {
        let _previous =
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(len)));
    }
}

/// A file on its way in; dropped before [`commit`](Self::commit), it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Upload {
    store: Arc<MediaStore>,
    reference: StorageReference,
    path: PathBuf,
    len: u64,
    left: u64,
    file: Option<BufWriter<fs::File>>,
    committed: bool,
}

impl Upload {
    pub(crate) async fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.left = self.left.checked_sub(chunk.len() as u64).ok_or(StoreError::Length)?;
        if let Some(file) = &mut self.file {
            file.write_all(chunk).await?;
        }
        Ok(())
    }

    /// Makes the file durable, then visible; only then is its reference known to anyone. Not to be dropped before it
    /// resolves: the file may be visible then, and not be counted.
    pub(crate) async fn commit(mut self) -> Result<StorageReference, StoreError> {
        if self.left != 0 {
            return Err(StoreError::Length);
        }
        if let Some(mut file) = self.file.take() {
            file.flush().await?;
            file.get_ref().sync_all().await?;
        }
        self.store.files.take(&self.path, &self.reference).await?;
        self.committed = true;
        Ok(self.reference.clone())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.committed {
            self.store.give_back(self.len);
            // One unlink; a drop cannot wait for a thread, and what it misses the next start removes.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}
