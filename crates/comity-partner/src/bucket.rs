//! Media files as objects of an S3-compatible store (PROTOCOL §10): whole, or not there.

use crate::config::S3Config;
use crate::files::Chunks;
use crate::limits::{BUCKET_CONNECT, BUCKET_IDLE, BUCKET_PART, BUCKET_RETRIES, BUCKET_RETRY_TIME, BUCKET_UPLOADS};
use crate::outgoing::causes;
use crate::store::StorageReference;
use crate::{Error, outgoing};
use core::time::Duration;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{GetOptions, MultipartId, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, Semaphore};

/// Longest text of an error of the store that is passed on, in characters.
const ERROR_TEXT: usize = 400;

trait Objects: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Objects for T {}

/// The objects below one prefix of a bucket; those that are no storage references are left alone.
#[derive(Debug)]
pub(crate) struct Bucket {
    objects: Arc<dyn Objects>,
    prefix: String,
    /// A file for each upload of several parts that is under way, with its id: so that a crash leaves none behind.
    under_way: PathBuf,
    turns: Semaphore,
    /// Looking how long an object is, and deleting it, is one step: or its room would be given back twice.
    removing: Mutex<()>,
}

/// The server's own HTTP client: no redirects, no proxy in a sandbox.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// The bucket that the configuration names; nothing is asked of it yet. `under_way` is a directory of this server.
    pub(crate) fn connect(config: &S3Config, sandbox: bool, under_way: PathBuf) -> Result<Self, Error> {
        let endpoint = config.endpoint_url(sandbox)?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .https_only(endpoint.scheme() == "https")
            .connect_timeout(BUCKET_CONNECT)
            .read_timeout(BUCKET_IDLE);
        let http = outgoing::build(if sandbox { http.no_proxy() } else { http })?;
        let retry = RetryConfig { max_retries: BUCKET_RETRIES, retry_timeout: BUCKET_RETRY_TIME, ..Default::default() };
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_region(&config.region)
            .with_bucket_name(&config.bucket)
            .with_virtual_hosted_style_request(!config.path_style)
            .with_access_key_id(&config.access_key_id)
            .with_secret_access_key(config.secret()?.expose())
            .with_allow_http(endpoint.scheme() == "http")
            .with_disable_bulk_delete(true) // one at a time is all that is asked for, and every store can do it
            .with_retry(retry)
            .with_http_connector(Connector(http))
            .build()
            .map_err(|e| Error::config(format!("s3: {e}")))?;
        Ok(Self::new(Arc::new(store), &config.prefix, under_way))
    }

    fn new(objects: Arc<dyn Objects>, prefix: &str, under_way: PathBuf) -> Self {
        let turns = Semaphore::new(BUCKET_UPLOADS);
        Self { objects, prefix: prefix.into(), under_way, turns, removing: Mutex::new(()) }
    }

    fn key(&self, reference: &StorageReference) -> Key {
        Key::from(format!("{}/{reference}", self.prefix))
    }

    /// Gives up what a crash left half uploaded.
    pub(crate) async fn clean(&self) -> io::Result<()> {
        fs::create_dir_all(&self.under_way).await?;
        let mut left = fs::read_dir(&self.under_way).await?;
        while let Some(entry) = left.next_entry().await? {
            match entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                Some(reference) => self.give_up(&reference).await?,
                None => fs::remove_file(entry.path()).await?,
            }
        }
        Ok(())
    }

    /// Bytes of all objects.
    pub(crate) async fn total(&self) -> io::Result<u64> {
        let sum = self.list().try_fold(0u64, async |sum, (_, meta)| Ok(sum.saturating_add(meta.size)));
        sum.await.map_err(|e| failed(&e, None))
    }

    fn list(
        &self,
    ) -> impl futures_util::Stream<Item = object_store::Result<(StorageReference, object_store::ObjectMeta)>> {
        let prefix = Key::from(self.prefix.as_str());
        let found = self.objects.list(Some(&prefix));
        found.try_filter_map(move |meta| {
            let mut names = meta.location.prefix_match(&prefix).into_iter().flatten();
            let name = names.next().filter(|_| names.next().is_none());
            let reference = name.and_then(|name| name.as_ref().parse().ok());
            drop(names);
            core::future::ready(Ok(reference.map(|reference| (reference, meta))))
        })
    }

    /// An object's length.
    pub(crate) async fn len(&self, reference: &StorageReference) -> io::Result<Option<u64>> {
        match self.objects.head(&self.key(reference)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&error, Some(reference))),
        }
    }

    /// Uploads a file. In memory there is one part of it at a time; the store shows all of it or nothing.
    pub(crate) async fn put(&self, from: &Path, reference: &StorageReference) -> io::Result<()> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let mut file = fs::File::open(from).await?;
        file.set_max_buf_size(1 << 20);
        let len = file.metadata().await?.len();
        self.give_up(reference).await?; // of an earlier try
        if len <= BUCKET_PART {
            let payload = part(&mut file, len).await?;
            return self
                .objects
                .put(&self.key(reference), payload)
                .await
                .map(drop)
                .map_err(|e| failed(&e, Some(reference)));
        }
        let sent = self.put_parts(&mut file, len, reference).await;
        if sent.is_err() {
            let _left_for_the_next_try = self.give_up(reference).await;
        }
        sent
    }

    async fn put_parts(&self, file: &mut fs::File, len: u64, reference: &StorageReference) -> io::Result<()> {
        let (key, error) = (self.key(reference), |e| failed(&e, Some(reference)));
        let id = self.objects.create_multipart(&key).await.map_err(error)?;
        self.note(reference, &id).await?;
        let mut ids: Vec<PartId> = Vec::new();
        let mut left = len;
        while left > 0 {
            let payload = part(file, left).await?;
            left -= payload.content_length() as u64;
            ids.push(self.objects.put_part(&key, &id, ids.len(), payload).await.map_err(error)?);
        }
        if let Err(e) = self.objects.complete_multipart(&key, &id, ids).await {
            // Its answer may have been lost, and asked for again it is an error.
            if self.len(reference).await? != Some(len) {
                return Err(error(e));
            }
        }
        fs::remove_file(self.under_way.join(reference.as_str())).await
    }

    async fn note(&self, reference: &StorageReference, id: &MultipartId) -> io::Result<()> {
        let mut note = fs::File::create(self.under_way.join(reference.as_str())).await?;
        note.write_all(id.as_bytes()).await?;
        note.sync_all().await?;
        fs::File::open(&self.under_way).await?.sync_all().await
    }

    /// Gives up an upload of several parts, if one is noted: the store keeps their bytes until then.
    async fn give_up(&self, reference: &StorageReference) -> io::Result<()> {
        let path = self.under_way.join(reference.as_str());
        let id = match fs::read_to_string(&path).await {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if !id.is_empty() {
            match self.objects.abort_multipart(&self.key(reference), &id).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(&error, Some(reference))),
            }
        }
        fs::remove_file(&path).await
    }

    /// `count` bytes from `from`; `None` if there is no such object any more.
    pub(crate) async fn read(&self, reference: &StorageReference, from: u64, count: u64) -> io::Result<Option<Chunks>> {
        if count == 0 {
            return Ok(Some(Box::pin(futures_util::stream::empty())));
        }
        let range = from..from.saturating_add(count);
        let options = GetOptions { range: Some(range.clone().into()), ..Default::default() };
        match self.objects.get_opts(&self.key(reference), options).await {
            Ok(found) if found.range == range => {
                let reference = reference.clone();
                Ok(Some(Box::pin(found.into_stream().map_err(move |e| failed(&e, Some(&reference))))))
            }
            Ok(_) => Err(io::Error::other("the object store gave another range")),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&error, Some(reference))),
        }
    }

    /// Deletes an object; its length, if there was one.
    pub(crate) async fn remove(&self, reference: &StorageReference) -> io::Result<Option<u64>> {
        let _alone = self.removing.lock().await;
        self.give_up(reference).await?;
        let Some(len) = self.len(reference).await? else { return Ok(None) };
        match self.objects.delete(&self.key(reference)).await {
            Ok(()) => Ok(Some(len)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&error, Some(reference))),
        }
    }

    /// Deletes the objects from before `before`, by the store's own clock.
    pub(crate) async fn sweep(&self, before: SystemTime, mut gone: impl FnMut(u64) + Send) -> io::Result<()> {
        let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
        let mut found = Box::pin(self.list());
        while let Some(next) = found.next().await {
            let (reference, meta) = next.map_err(|e| failed(&e, None))?;
            if u128::try_from(meta.last_modified.timestamp_millis()).is_ok_and(|at| at < before)
                && let Some(len) = self.remove(&reference).await?
            {
                gone(len);
            }
        }
        Ok(())
    }
}

/// The next part of a file of which `left` bytes are left.
async fn part(file: &mut fs::File, left: u64) -> io::Result<PutPayload> {
    let mut bytes = vec![0; usize::try_from(left.min(BUCKET_PART)).map_err(io::Error::other)?];
    file.read_exact(&mut bytes).await?;
    Ok(bytes.into())
}

/// What went wrong, without the name that a file is fetched by.
fn failed(error: &object_store::Error, reference: Option<&StorageReference>) -> io::Error {
    let mut text = causes(error);
    if let Some(reference) = reference {
        text = text.replace(reference.as_str(), "…");
    }
    io::Error::other(format!("object store: {}", text.chars().take(ERROR_TEXT).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Files;
    use crate::store::{MediaLimits, MediaStore, StoreError};
    use object_store::memory::InMemory;

    fn bucket(objects: &Arc<InMemory>, dir: &Path) -> Bucket {
        Bucket::new(Arc::clone(objects) as Arc<dyn Objects>, "ours/media", dir.join("multipart"))
    }

    fn name(letter: &str) -> StorageReference {
        letter.repeat(22).parse().unwrap()
    }

    async fn bytes(bucket: &Bucket, reference: &StorageReference, from: u64, count: u64) -> Vec<u8> {
        let chunks = bucket.read(reference, from, count).await.unwrap().unwrap();
        chunks.try_fold(Vec::new(), async |all, chunk| Ok([all, chunk.to_vec()].concat())).await.unwrap()
    }

    #[tokio::test]
    async fn files_of_one_and_several_parts_are_whole_objects() {
        let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let bucket = bucket(&objects, dir.path());
        bucket.clean().await.unwrap();
        let part = usize::try_from(BUCKET_PART).unwrap();
        let mut total = 0;
        for (letter, len) in [("a", 0), ("b", 1), ("c", part), ("d", part + 1), ("e", 2 * part), ("f", 2 * part + 77)] {
            let plain: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let path = dir.path().join("file");
            std::fs::write(&path, &plain).unwrap();
            bucket.put(&path, &name(letter)).await.unwrap();
            total += len as u64;
            assert_eq!(bucket.len(&name(letter)).await.unwrap(), Some(len as u64));
            assert!(bytes(&bucket, &name(letter), 0, len as u64).await == plain, "{len}");
            if len > part {
                assert!(bytes(&bucket, &name(letter), part as u64 - 1, 2).await == plain[part - 1..=part]);
            }
        }
        assert_eq!(std::fs::read_dir(dir.path().join("multipart")).unwrap().count(), 0);
        // What others have in the bucket is neither counted nor removed.
        for other in [format!("ours/media/{}/x", name("x")), "ours/media/short".into(), format!("ours/{}", name("x"))] {
            objects.put(&Key::from(other), b"theirs"[..].into()).await.unwrap();
        }
        assert_eq!(bucket.total().await.unwrap(), total);
        assert_eq!(bucket.remove(&name("b")).await.unwrap(), Some(1));
        assert_eq!(bucket.remove(&name("b")).await.unwrap(), None);
        assert!(bucket.read(&name("b"), 0, 1).await.unwrap().is_none());
        let mut gone = Vec::new();
        bucket.sweep(SystemTime::UNIX_EPOCH, |len| gone.push(len)).await.unwrap();
        assert!(gone.is_empty(), "all are younger");
        let later = SystemTime::now() + Duration::from_secs(60);
        bucket.sweep(later, |len| gone.push(len)).await.unwrap();
        assert_eq!((gone.len(), gone.iter().sum::<u64>()), (5, total - 1));
        assert_eq!(objects.list(None).count().await, 3, "those of others");
    }

    #[tokio::test]
    async fn what_a_crash_left_half_uploaded_is_given_up() {
        let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let first = bucket(&objects, dir.path());
        first.clean().await.unwrap();
        let id = objects.create_multipart(&first.key(&name("a"))).await.unwrap();
        first.note(&name("a"), &id).await.unwrap();
        objects.put_part(&first.key(&name("a")), &id, 0, b"x"[..].into()).await.unwrap();
        drop(first); // as a crash would
        let again = bucket(&objects, dir.path());
        again.clean().await.unwrap();
        assert!(objects.complete_multipart(&again.key(&name("a")), &id, Vec::new()).await.is_err(), "it is given up");
        assert_eq!(again.len(&name("a")).await.unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path().join("multipart")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_store_over_a_bucket_counts_what_is_in_it() {
        let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let day = Duration::from_secs(24 * 3600);
        let limits =
            MediaLimits { max_len: 100, max_total: 100, retention: day, upload_expiry: day, uploads: 1, downloads: 1 };
        let open = async || {
            let bucket = bucket(&objects, dir.path());
            bucket.clean().await.unwrap();
            Arc::new(MediaStore::open(dir.path(), Files::Bucket(Arc::new(bucket)), limits).await.unwrap())
        };
        let store = open().await;
        let mut upload = store.create(name("a"), 60).await.unwrap();
        upload.write(&[7; 60]).await.unwrap();
        assert!(store.stored(&name("a")).await.unwrap().is_none(), "not before it is whole");
        upload.commit().await.unwrap();
        store.set_aside(40).unwrap();
        let mut part = store.part(&name("b"), 0).await.unwrap();
        part.write(&[8; 40]).await.unwrap();
        part.sync().await.unwrap();
        assert!(!store.has(&name("b")).await.unwrap());
        store.finish_part(&name("b")).await.unwrap();
        for left in ["partial", "parts"] {
            assert_eq!(std::fs::read_dir(dir.path().join(left)).unwrap().count(), 0, "{left}");
        }
        drop(store);
        let store = open().await;
        assert!(matches!(store.set_aside(1), Err(StoreError::Full)));
        let found = store.stored(&name("b")).await.unwrap().unwrap();
        assert_eq!(found.len(), 40);
        store.remove_file(&name("a")).await.unwrap();
        store.remove_file(&name("a")).await.unwrap();
        assert!(found.read(0, 40).await.unwrap().is_some());
        assert!(store.set_aside(61).is_err());
        assert!(store.set_aside(60).is_ok());
        assert_eq!(store.sweep().await.unwrap(), 0);
    }
}
