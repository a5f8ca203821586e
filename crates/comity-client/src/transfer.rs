//! Files: encrypted here, hosted by the partner or the gatekeeper, fetched from the gatekeeper (PROTOCOL §10).

use crate::http::PartnerServer;
use crate::{Client, Command, Error, Media, Reply};
use bytes::Bytes;
use comity_core::{IntegratorId, Jid, MessageId, Secret, Timestamp};
use comity_engine::MediaConn;
use comity_media::transfer::{
    Download, EncryptedFile, NativeHost, PartnerHost, Progress, Received, Transfers, Uploaded, Uploader, encrypt_file,
};
use comity_media::{Expected, Limits, MediaKey, MediaKind};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use std::path::PathBuf;
use std::time::SystemTime;
use tokio::sync::watch;

/// Where an account's files go.
pub(crate) struct Hosting {
    pub(crate) transfers: Transfers,
    pub(crate) gatekeeper: String,
    pub(crate) partner: Option<PartnerServer>,
    pub(crate) native: bool,
    pub(crate) files: PathBuf,
    /// The account's id, once it has one.
    pub(crate) me: watch::Receiver<Option<Jid>>,
    #[cfg(feature = "thumbnails")]
    pub(crate) previews: bool,
}

/// A file to send. All but the path may be left out: `FileToSend { caption, ..FileToSend::new(path) }`.
#[derive(Clone, Debug, Default)]
pub struct FileToSend {
    /// Where it is.
    pub path: PathBuf,
    /// As what it is sent; by its first bytes if not given.
    pub kind: Option<MediaKind>,
    /// A text shown with it.
    pub caption: Option<String>,
    /// Width and height in pixels, of images, stickers and videos.
    pub dimensions: Option<(u32, u32)>,
    /// A small JPEG of at most [`MAX_THUMBNAIL_LEN`](comity_engine::limits::MAX_THUMBNAIL_LEN) bytes, of images, videos
    /// and documents.
    pub thumbnail: Option<Bytes>,
    /// Duration in seconds, of audio and video.
    pub seconds: Option<u32>,
    /// Volume over time, of voice notes: at most [`MAX_WAVEFORM_LEN`](comity_engine::limits::MAX_WAVEFORM_LEN) samples of
    /// a byte.
    pub waveform: Option<Bytes>,
}

impl FileToSend {
    /// A file of which nothing else is said.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

/// A file that was uploaded and whose message is queued.
#[derive(Clone, Debug)]
pub struct SentFile {
    /// The message.
    pub id: MessageId,
    /// As what it was sent.
    pub kind: MediaKind,
    /// Length in bytes.
    pub file_length: u64,
    /// SHA-256 of the file.
    pub file_sha256: [u8; 32],
    /// Where it is hosted: at the partner's, under the last part.
    pub direct_path: String,
}

impl Client {
    /// Encrypts a file, uploads it to the partner's media host (native users: to the gatekeeper) and queues the message.
    /// `progress` is told of encrypted bytes uploaded and their total. Dropping the future before the message is queued
    /// sends nothing; the uploaded file may stay on the host until it expires.
    ///
    /// # Errors
    /// [`Error::Media`], [`Error::Role`] without a media host, [`Error::Engine`].
    pub async fn send_file(&self, to: &Jid, file: FileToSend, progress: &Progress) -> Result<SentFile, Error> {
        let FileToSend { path, kind, caption, dimensions, thumbnail, seconds, waveform } = file;
        let hosting = &self.hosting;
        let key = MediaKey::generate(&mut UnwrapErr(SysRng));
        let temp = hosting.files.join("outgoing");
        let encrypted = encrypt_file(&path, kind, key, &temp, Limits::default(), Progress::none()).await?;
        let uploaded = self.upload(&encrypted, progress).await?;
        let facts = encrypted.encrypted();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let media = Media {
            kind: encrypted.kind(),
            mimetype: encrypted.sniffed().mime.to_owned(),
            caption,
            file_name: name.filter(|_| encrypted.kind() == MediaKind::Document),
            key: encrypted.key().clone(),
            file_sha256: facts.file_sha256,
            file_enc_sha256: facts.file_enc_sha256,
            file_length: facts.file_length,
            direct_path: uploaded.direct_path,
            key_timestamp: now(),
            dimensions,
            seconds,
            thumbnail,
            waveform,
            sidecar: facts.sidecar.clone(),
        };
        #[cfg(feature = "thumbnails")]
        let media = crate::preview::filled(media, &path, hosting).await;
        let (kind, file_length, file_sha256) = (media.kind, media.file_length, media.file_sha256);
        let direct_path = media.direct_path.clone();
        let id = self.send_media(to, media, &path).await?;
        Ok(SentFile { id, kind, file_length, file_sha256, direct_path })
    }

    pub(crate) async fn upload(&self, file: &EncryptedFile, progress: &Progress) -> Result<Uploaded, Error> {
        let hosting = &self.hosting;
        let transfers = hosting.transfers.clone();
        if hosting.native {
            let Reply::MediaConn(MediaConn { auth, hosts, .. }) = self.run(Command::MediaConn).await? else {
                return Err(Error::UnexpectedReply);
            };
            // A sandbox names no other host than its own; a scheme comes from the configured base.
            let scheme = hosting.gatekeeper.split_once("://").map_or("https", |(scheme, _)| scheme);
            let host = hosts.first().ok_or(Error::UnexpectedReply)?;
            let host = NativeHost::new(transfers, &format!("{scheme}://{host}"), Secret::new(auth))?;
            return Ok(host.upload(file, progress).await?);
        }
        let server = hosting.partner.as_ref().ok_or(Error::Role("no media host is configured"))?;
        let integrator = hosting.me.borrow().as_ref().map(Jid::integrator);
        let integrator = integrator
            .and_then(|id| IntegratorId::new(id).ok())
            .ok_or(Error::Engine(comity_engine::Error::NotEnlisted))?;
        let (user, secret) = (server.user().to_owned(), Secret::new(server.secret().to_owned()));
        let host = PartnerHost::new(transfers, server.base(), integrator, user, secret)?;
        Ok(host.upload(file, progress).await?)
    }

    /// Fetches a file that came with a message, through the gatekeeper's media server. The file appears under its name
    /// in the client's directory only once its MAC, hashes and length are verified and it is no program that the message
    /// calls something else. A download that broke off, was cancelled or was killed leaves its encrypted bytes in the
    /// directory; the next call goes on from there.
    ///
    /// # Errors
    /// [`Error::Media`]; its [`remedy`](comity_media::Error::remedy) says what to do about it.
    pub async fn download(&self, media: &Media, progress: &Progress) -> Result<Received, Error> {
        let hosting = &self.hosting;
        let download = Download {
            base: hosting.gatekeeper.clone(),
            direct_path: media.direct_path.clone(),
            kind: media.kind,
            key: media.key.clone(),
            expected: Expected {
                file_sha256: media.file_sha256,
                file_enc_sha256: media.file_enc_sha256,
                file_length: media.file_length,
            },
            dir: hosting.files.clone(),
            name_hint: name_hint(media),
            declared: Some(media.mimetype.clone()),
        };
        Ok(hosting.transfers.download_resumable(download, progress).await?)
    }
}

fn name_hint(media: &Media) -> String {
    let extension = match media.mimetype.as_str() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "video/mp4" => "mp4",
        "audio/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/wav" => "wav",
        "audio/mp4" => "m4a",
        "application/pdf" => "pdf",
        _ => "bin",
    };
    media.file_name.clone().unwrap_or_else(|| format!("{}.{extension}", media.kind.mms_type()))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs())
}
