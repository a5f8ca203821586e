//! Encrypting a file on disk into a temporary one, ready for upload.

use super::{Progress, encrypt_parallel, io};
use crate::{Encrypted, Error, Limits, MediaKey, MediaKind, SNIFF_LEN, Sniffed, sniff};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An encrypted file in a temporary place, deleted on drop.
#[derive(Debug)]
pub struct EncryptedFile {
    path: tempfile::TempPath,
    kind: MediaKind,
    key: MediaKey,
    encrypted: Encrypted,
    sniffed: Sniffed,
}

impl EncryptedFile {
    /// Where the encrypted bytes are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind it was encrypted as.
    pub const fn kind(&self) -> MediaKind {
        self.kind
    }

    /// The key, for the message.
    pub const fn key(&self) -> &MediaKey {
        &self.key
    }

    /// Hashes, lengths and sidecar, for the message.
    pub const fn encrypted(&self) -> &Encrypted {
        &self.encrypted
    }

    /// What the plaintext's first bytes say it is.
    pub const fn sniffed(&self) -> Sniffed {
        self.sniffed
    }
}

/// Encrypts `source` under a fresh `key` into a temporary file in `temp_dir`. Runs on the blocking pool and one more
/// thread, in constant memory; `progress` counts plaintext bytes.
///
/// `kind` is told by the file's first bytes if it is `None`.
///
/// Cancelling is safe: the work stops at the next chunk and the temporary file is deleted.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Io`], [`Error::Cancelled`] when the runtime shuts down.
pub async fn encrypt_file(
    source: &Path,
    kind: Option<MediaKind>,
    key: MediaKey,
    temp_dir: &Path,
    limits: Limits,
    progress: Progress,
) -> Result<EncryptedFile, Error> {
    struct CancelOnDrop(Arc<AtomicBool>);
    impl Drop for CancelOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let cancelled = CancelOnDrop(Arc::default());
    let flag = Arc::clone(&cancelled.0);
    let (source, temp_dir) = (source.to_path_buf(), temp_dir.to_path_buf());
    let work = move || encrypt_blocking(&source, kind, key, &temp_dir, limits, &progress, &flag);
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

fn encrypt_blocking(
    source: &PathBuf,
    kind: Option<MediaKind>,
    key: MediaKey,
    temp_dir: &Path,
    limits: Limits,
    progress: &Progress,
    cancelled: &AtomicBool,
) -> Result<EncryptedFile, Error> {
    let mut input = std::fs::File::open(source).map_err(io("open the file to send"))?;
    let metadata = input.metadata().map_err(io("open the file to send"))?;
    if !metadata.is_file() {
        return Err(Error::Io { what: "send what is not a file", kind: std::io::ErrorKind::InvalidInput });
    }
    if metadata.len() > limits.max_file_len {
        return Err(Error::TooLarge { max: limits.max_file_len });
    }
    std::fs::create_dir_all(temp_dir).map_err(io("make the temporary directory"))?;
    let mut output = temp_file(temp_dir)?;

    let mut head = vec![0; SNIFF_LEN];
    let filled = fill(&mut input, &mut head)?;
    head.truncate(filled);
    let sniffed = sniff(&head);
    let kind = kind.unwrap_or(sniffed.kind);
    input.rewind().map_err(io("read the file to send"))?;
    let mut done = 0;
    let read = |chunk: &mut [u8]| {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let filled = fill(&mut input, chunk)?;
        done += filled as u64;
        progress.report(done, metadata.len().max(done));
        Ok(filled)
    };
    let write = |sealed: &[u8]| output.write_all(sealed).map_err(io("write the encrypted file"));
    let encrypted = encrypt_parallel(kind, &key, limits, read, write)?;
    Ok(EncryptedFile { path: output.into_temp_path(), kind, key, encrypted, sniffed })
}

fn fill(input: &mut std::fs::File, chunk: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest).map_err(io("read the file to send"))? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

pub(super) fn temp_file(dir: &Path) -> Result<tempfile::NamedTempFile, Error> {
    tempfile::Builder::new().prefix(".comity-").suffix(".part").tempfile_in(dir).map_err(io("make a temporary file"))
}
