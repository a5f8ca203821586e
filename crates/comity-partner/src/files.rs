//! Where whole media files are: a folder, or a bucket of an S3-compatible object store (PROTOCOL §10).

#[cfg(feature = "s3")]
use crate::bucket::Bucket;
use crate::limits::FILE_CHUNK;
use crate::store::StorageReference;
use axum::body::Bytes;
use core::pin::Pin;
use futures_util::Stream;
use std::io;
use std::path::{Path, PathBuf};
#[cfg(feature = "s3")]
use std::sync::Arc;
use std::time::SystemTime;
use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

/// A file's bytes as they are read.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Where whole files are.
#[derive(Debug)]
pub(crate) enum Files {
    Folder(PathBuf),
    #[cfg(feature = "s3")]
    Bucket(Arc<Bucket>),
}

/// A whole file that was found.
#[derive(Debug)]
pub(crate) enum Stored {
    File(fs::File, u64),
    #[cfg(feature = "s3")]
    Object(Arc<Bucket>, StorageReference, u64),
}

impl Files {
    /// Bytes of all files.
    pub(crate) async fn total(&self) -> io::Result<u64> {
        match self {
            Self::Folder(dir) => {
                let (mut total, mut kept) = (0u64, fs::read_dir(dir).await?);
                while let Some(entry) = kept.next_entry().await? {
                    total = total.saturating_add(entry.metadata().await?.len());
                }
                Ok(total)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.total().await,
        }
    }

    /// Gives the whole, durable file `from` the name it is fetched by; `from` is gone then. Before that nobody sees it.
    ///
    /// Dropped before it resolves, it may have done so; to be called again, or after a restart, until it has.
    pub(crate) async fn take(&self, from: &Path, reference: &StorageReference) -> io::Result<()> {
        match self {
            Self::Folder(dir) => {
                fs::rename(from, dir.join(reference.as_str())).await?;
                fs::File::open(dir).await?.sync_all().await // the directory's entry, too
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => {
                bucket.put(from, reference).await?;
                fs::remove_file(from).await
            }
        }
    }

    /// Whether there is such a file.
    pub(crate) async fn has(&self, reference: &StorageReference) -> io::Result<bool> {
        match self {
            Self::Folder(dir) => fs::try_exists(dir.join(reference.as_str())).await,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => Ok(bucket.len(reference).await?.is_some()),
        }
    }

    /// A file, to be read.
    pub(crate) async fn open(&self, reference: &StorageReference) -> io::Result<Option<Stored>> {
        match self {
            Self::Folder(dir) => match fs::File::open(dir.join(reference.as_str())).await {
                Ok(file) => {
                    let len = file.metadata().await?.len();
                    Ok(Some(Stored::File(file, len)))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => {
                Ok(bucket.len(reference).await?.map(|len| Stored::Object(Arc::clone(bucket), reference.clone(), len)))
            }
        }
    }

    /// Removes a file; its length, if there was one. It is gone when this answers.
    pub(crate) async fn remove(&self, reference: &StorageReference) -> io::Result<Option<u64>> {
        match self {
            Self::Folder(dir) => remove(dir, reference).await,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.remove(reference).await,
        }
    }

    /// Removes the files from before `before`, and tells the length of each as it goes.
    pub(crate) async fn sweep(&self, before: SystemTime, mut gone: impl FnMut(u64) + Send) -> io::Result<()> {
        match self {
            Self::Folder(dir) => {
                let mut files = fs::read_dir(dir).await?;
                while let Some(entry) = files.next_entry().await? {
                    let meta = entry.metadata().await?;
                    if meta.modified()? < before {
                        fs::remove_file(entry.path()).await?;
                        gone(meta.len());
                    }
                }
                Ok(())
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.sweep(before, gone).await,
        }
    }
}

impl Stored {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            #[cfg(feature = "s3")]
            Self::Object(_, _, len) => *len,
        }
    }

    /// `count` bytes of it from `from`; `None` if it was removed meanwhile.
    pub(crate) async fn read(self, from: u64, count: u64) -> io::Result<Option<Chunks>> {
        match self {
            Self::File(mut file, _) => {
                if from > 0 {
                    file.seek(io::SeekFrom::Start(from)).await?;
                }
                Ok(Some(Box::pin(ReaderStream::with_capacity(file.take(count), FILE_CHUNK))))
            }
            #[cfg(feature = "s3")]
            Self::Object(bucket, reference, _) => bucket.read(&reference, from, count).await,
        }
    }
}

/// Removes a file of a folder; its length, if there was one. It is gone from the disk when this answers.
pub(crate) async fn remove(dir: &Path, reference: &StorageReference) -> io::Result<Option<u64>> {
    let path = dir.join(reference.as_str());
    let removed = async {
        let len = fs::metadata(&path).await?.len();
        fs::remove_file(&path).await.map(|()| len)
    };
    match removed.await {
        Ok(len) => fs::File::open(dir).await?.sync_all().await.map(|()| Some(len)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
