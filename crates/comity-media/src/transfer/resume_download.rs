//! Downloading in parts: the encrypted bytes stay in a file of their own until all are there, so that the next try, in
//! this process or another, asks for the rest by range. Plaintext is written, verified and named at the end, as by any
//! download (PROTOCOL §10).

use super::download::write;
use super::{CHUNK_LEN, Download, Progress, Received, Transfers, again, check_status, io, network, resolve};
use crate::{Decryptor, Error, encrypted_length};
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Chunks between socket and disk.
const QUEUE_LEN: usize = 8;
/// Longest wait for a cancelled download of the same file to close it, in steps of [`LOCK_STEP`].
const LOCK_STEPS: u32 = 200;
const LOCK_STEP: Duration = Duration::from_millis(10);

impl Transfers {
    /// As [`download`](Self::download), but what has come stays, encrypted, in the directory when the connection breaks,
    /// the future is dropped or the process ends: a later call goes on from there. A broken connection is made again,
    /// [`retries`](super::TransferConfig::retries) times without a byte of progress.
    ///
    /// # Errors
    /// Of the host, the disk or the file; what cannot be decrypted is deleted.
    pub async fn download_resumable(&self, download: Download, progress: &Progress) -> Result<Received, Error> {
        let total = encrypted_length(download.expected.file_length);
        if download.expected.file_length > self.config.limits.max_file_len {
            return Err(Error::TooLarge { max: self.config.limits.max_file_len });
        }
        let path = part_path(&download);
        let (mut furthest, mut failures) = (0, 0);
        loop {
            let at = path.clone();
            let opened = tokio::task::spawn_blocking(move || open(&at)).await.map_err(|_| Error::Cancelled)??;
            let (file, len) = opened;
            if len > furthest {
                (furthest, failures) = (len, 0);
            }
            if len >= total {
                let limits = self.config.limits;
                let work = move || finish(file, &path, len, download, &limits);
                return tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?;
            }
            if let Err(error) = self.fetch(&download, file, len, total, progress).await {
                again(&self.config, error, &mut failures).await?;
            }
        }
    }

    /// Asks for the bytes from `len` on, and appends them.
    async fn fetch(
        &self,
        download: &Download,
        mut file: File,
        len: u64,
        total: u64,
        progress: &Progress,
    ) -> Result<(), Error> {
        let Download { base, direct_path, kind, expected, .. } = download;
        let url = resolve(base, direct_path, *kind, &expected.file_enc_sha256)?;
        let idle = self.config.idle_timeout;
        let mut request = self.http.get(url);
        if len > 0 {
            request = request.header(RANGE, format!("bytes={len}-"));
        }
        let answer = tokio::time::timeout(idle, request.send()).await;
        let mut answer = answer.map_err(|_| Error::Stalled)?.map_err(|error| network(&error))?;
        check_status(answer.status())?;
        let from = match answer.status() {
            StatusCode::OK => 0, // it serves no ranges
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                range.filter(|range| *range == format!("bytes {len}-{}/{total}", total - 1)).ok_or(Error::Response)?;
                len
            }
            status => return Err(Error::Status { status: status.as_u16() }),
        };
        match answer.content_length() {
            Some(length) if length > total - from => return Err(Error::Overlong { expected: total }),
            Some(length) if length < total - from => {
                return Err(Error::Truncated { expected: total, actual: from + length });
            }
            _ => {}
        }
        let (chunks, mut queue) = mpsc::channel::<Bytes>(QUEUE_LEN);
        let worker = tokio::task::spawn_blocking(move || {
            file.set_len(from).and_then(|()| file.seek(SeekFrom::Start(from))).map_err(io("write the part"))?;
            while let Some(chunk) = queue.blocking_recv() {
                file.write_all(&chunk).map_err(io("write the part"))?;
            }
            Ok(())
        });
        let feed = async {
            let mut done = from;
            loop {
                let chunk = tokio::time::timeout(idle, answer.chunk()).await.map_err(|_| Error::Stalled)?;
                let Some(chunk) = chunk.map_err(|error| network(&error))? else { break };
                done += chunk.len() as u64;
                if done > total {
                    return Err(Error::Overlong { expected: total });
                }
                if chunks.send(chunk).await.is_err() {
                    break; // the worker has met an error and tells it
                }
                progress.report(done, total);
            }
            if done < total { Err(Error::Interrupted) } else { Ok(()) }
        };
        let fed = feed.await;
        drop(chunks);
        worker.await.map_err(|_| Error::Cancelled)??;
        fed
    }
}

/// Named by the encrypted file's hash: a retry finds it, another file does not.
fn part_path(download: &Download) -> PathBuf {
    let hash: String = download.expected.file_enc_sha256.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    download.dir.join(format!(".comity-{hash}.enc"))
}

/// The part and its length, with nobody else at it.
fn open(path: &Path) -> Result<(File, u64), Error> {
    let failed = io("open the part");
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(io("make the directory for received files"))?;
    }
    for _ in 0..LOCK_STEPS {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(&failed)?;
        match file.try_lock() {
            Ok(()) => {
                let len = file.metadata().map_err(&failed)?.len();
                return Ok((file, len));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_STEP),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(failed(std::io::ErrorKind::ResourceBusy.into()))
}

/// Decrypts the whole part; it is deleted afterwards unless the disk failed.
fn finish(
    mut file: File,
    path: &Path,
    len: u64,
    download: Download,
    limits: &crate::Limits,
) -> Result<Received, Error> {
    let Download { kind, key, expected, dir, name_hint, declared, .. } = download;
    let mut decrypt = || {
        let total = encrypted_length(expected.file_length);
        if len > total {
            return Err(Error::Overlong { expected: total });
        }
        let decryptor = Decryptor::new(kind, &key, expected, limits)?;
        write(decryptor, &dir, &name_hint, declared.as_deref(), || {
            let mut chunk = vec![0; CHUNK_LEN];
            let count = file.read(&mut chunk).map_err(io("read the part"))?;
            chunk.truncate(count);
            Ok((count > 0).then(|| Bytes::from(chunk)))
        })
    };
    let outcome = decrypt();
    if !matches!(outcome, Err(Error::Io { .. })) {
        std::fs::remove_file(path).map_err(io("remove the part"))?;
    }
    outcome
}
