//! Downloading: bytes go through the decryptor into a temporary file, which gets its name only once everything is
//! verified and on disk (PROTOCOL §10).

use super::names::{incoming, keep, safe_file_name};
use super::{CHUNK_LEN, Progress, Transfers, check_status, io, network, parse_base};
use crate::{
    Decryptor, Error, Expected, MediaKey, MediaKind, SNIFF_LEN, Sniffed, Unverified, check_declared, encrypted_length,
    sniff,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Chunks between socket and disk.
const QUEUE_LEN: usize = 8;

/// What to fetch, how it has to look, where it goes.
#[derive(Clone, Debug)]
pub struct Download {
    /// The media host: `https://{host}`.
    pub base: String,
    /// `directPath` of the message.
    pub direct_path: String,
    /// By the message field it came in.
    pub kind: MediaKind,
    /// `mediaKey`
    pub key: MediaKey,
    /// Hashes and length.
    pub expected: Expected,
    /// Directory for the file; made if missing.
    pub dir: PathBuf,
    /// What the sender calls it; see [`safe_file_name`].
    pub name_hint: String,
    /// `mimetype` of the message: a program that it calls something else is refused. `None` checks nothing.
    pub declared: Option<String>,
}

/// A file that has been received, verified and synced to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub file_length: u64,
    /// Its SHA-256.
    pub file_sha256: [u8; 32],
    /// What its first bytes say it is.
    pub sniffed: Sniffed,
}

/// The address of a direct path on the media host `base`, with the query native clients append.
///
/// # Errors
/// [`Error::Url`] for a path that leads to another host.
pub fn resolve(base: &str, direct_path: &str, kind: MediaKind, file_enc_sha256: &[u8; 32]) -> Result<String, Error> {
    let base = parse_base(base)?;
    if !direct_path.starts_with('/') {
        return Err(Error::Url);
    }
    let mut url = base.join(direct_path).map_err(|_| Error::Url)?;
    if url.origin() != base.origin() || !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Url);
    }
    url.query_pairs_mut()
        .append_pair("hash", &URL_SAFE_NO_PAD.encode(file_enc_sha256))
        .append_pair("mms-type", kind.mms_type())
        .append_pair("__wa-mms", "");
    Ok(url.into())
}

impl Transfers {
    /// Fetches, decrypts, verifies and keeps a file; `progress` counts encrypted bytes.
    ///
    /// Cancelling is safe: either the whole verified file has its name or nothing is left.
    ///
    /// # Errors
    /// Of the host, the disk or the file; nothing is left behind then.
    pub async fn download(&self, download: Download, progress: &Progress) -> Result<Received, Error> {
        let Download { base, direct_path, kind, key, expected, dir, name_hint, declared } = download;
        let url = resolve(&base, &direct_path, kind, &expected.file_enc_sha256)?;
        let decryptor = Decryptor::new(kind, &key, expected, &self.config.limits)?;
        let total = encrypted_length(expected.file_length);
        let idle = self.config.idle_timeout;

        let request = tokio::time::timeout(idle, self.http.get(url).send());
        let mut response = request.await.map_err(|_| Error::Stalled)?.map_err(|error| network(&error))?;
        check_status(response.status())?;
        match response.content_length() {
            Some(length) if length > total => return Err(Error::Overlong { expected: total }),
            Some(actual) if actual < total => return Err(Error::Truncated { expected: total, actual }),
            _ => {}
        }

        let (chunks, mut queue) = mpsc::channel(QUEUE_LEN);
        let next = move || Ok(queue.blocking_recv());
        let worker = tokio::task::spawn_blocking(move || write(decryptor, &dir, &name_hint, declared.as_deref(), next));
        let feed = async {
            let mut done = 0;
            loop {
                let chunk = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| Error::Stalled)?;
                let Some(chunk) = chunk.map_err(|error| network(&error))? else { return Ok(()) };
                done += chunk.len() as u64;
                if chunks.send(chunk).await.is_err() {
                    return Ok(()); // the worker has met an error and tells it
                }
                progress.report(done, total);
            }
        };
        let fed = feed.await;
        drop(chunks);
        let written = worker.await.map_err(|_| Error::Cancelled)?;
        // A broken connection shows as a truncated file too; the cause is the better answer.
        match (fed, written) {
            (Err(cause), Err(Error::Truncated { .. })) => Err(cause),
            (_, written) => written,
        }
    }
}

/// Decrypts what `next` gives into a file with a name of its own, once it is verified.
pub(super) fn write(
    mut decryptor: Decryptor,
    dir: &Path,
    name_hint: &str,
    declared: Option<&str>,
    mut next: impl FnMut() -> Result<Option<Bytes>, Error>,
) -> Result<Received, Error> {
    let mut temp = incoming(dir)?;
    let mut head = Vec::with_capacity(SNIFF_LEN);
    let mut plain = Unverified::new();
    let flush = |plain: &mut Unverified, head: &mut Vec<u8>, temp: &mut tempfile::NamedTempFile| {
        let bytes = plain.expose_unverified();
        let missing = SNIFF_LEN - head.len();
        head.extend_from_slice(bytes.split_at(bytes.len().min(missing)).0);
        temp.write_all(bytes).map_err(io("write the received file"))?;
        plain.clear();
        Ok::<_, Error>(())
    };
    while let Some(chunk) = next()? {
        decryptor.update(&chunk, &mut plain)?;
        if plain.len() >= CHUNK_LEN {
            flush(&mut plain, &mut head, &mut temp)?;
        }
    }
    let proof = decryptor.finish(&mut plain)?;
    flush(&mut plain, &mut head, &mut temp)?;
    let sniffed = sniff(&head);
    if let Some(declared) = declared {
        check_declared(declared, &sniffed)?;
    }
    let path = keep(temp, dir, &safe_file_name(name_hint))?;
    Ok(Received { path, file_length: proof.file_length(), file_sha256: proof.file_sha256(), sniffed })
}
