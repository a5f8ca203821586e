//! A file in a message: its keys, hashes and place, and their protobuf forms (PROTOCOL §9, §10).

use crate::Error;
use crate::limits::{MAX_DIRECT_PATH_LEN, MAX_FILE_NAME_LEN, MAX_TEXT_LEN, MAX_THUMBNAIL_LEN, MAX_WAVEFORM_LEN};
use bytes::Bytes;
use comity_core::Timestamp;
use comity_media::{MediaKey, MediaKind};
use comity_proto::message as pb;

/// A file as a message carries it. `Debug` shows neither key nor path.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// What the file is.
    pub kind: MediaKind,
    /// Its MIME type, as the sender declares it.
    pub mimetype: String,
    /// A text shown with it.
    pub caption: Option<String>,
    /// A document's name: a claim of the sender, to be made safe before it names a file.
    pub file_name: Option<String>,
    /// The key of the file.
    pub key: MediaKey,
    /// SHA-256 of the plaintext.
    pub file_sha256: [u8; 32],
    /// SHA-256 of the encrypted file with its MAC.
    pub file_enc_sha256: [u8; 32],
    /// Length of the plaintext, in bytes.
    pub file_length: u64,
    /// Path on the recipient's media host; starts with `/`.
    pub direct_path: String,
    /// When the key was made.
    pub key_timestamp: Timestamp,
    /// Width and height in pixels, of images and videos.
    pub dimensions: Option<(u32, u32)>,
    /// Duration in seconds, of audio and video.
    pub seconds: Option<u32>,
    /// A small JPEG.
    pub thumbnail: Option<Bytes>,
    /// Volume over time, of voice notes.
    pub waveform: Option<Bytes>,
    /// MACs of the segments, for playback while loading.
    pub sidecar: Option<Bytes>,
}

impl core::fmt::Debug for Media {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Media({:?}, {} bytes)", self.kind, self.file_length)
    }
}

/// What all five protobuf forms share.
struct Common {
    mimetype: Option<String>,
    file_sha256: Option<Bytes>,
    file_enc_sha256: Option<Bytes>,
    file_length: Option<u64>,
    media_key: Option<Bytes>,
    direct_path: Option<String>,
    media_key_timestamp: Option<i64>,
}

/// Whether it is a path on the media host, and nothing else.
pub(crate) fn is_direct_path(path: &str) -> bool {
    path.len() <= MAX_DIRECT_PATH_LEN && path.starts_with('/') && !path.starts_with("//")
}

/// Takes the shared fields out of a protobuf form.
macro_rules! common {
    ($m:ident) => {
        Common {
            mimetype: $m.mimetype,
            file_sha256: $m.file_sha256,
            file_enc_sha256: $m.file_enc_sha256,
            file_length: $m.file_length,
            media_key: $m.media_key,
            direct_path: $m.direct_path,
            media_key_timestamp: $m.media_key_timestamp,
        }
    };
}

/// Builds a protobuf form from the shared fields and its own.
macro_rules! form {
    ($name:ident, $media:expr, { $($field:ident: $value:expr),* $(,)? }) => {
        pb::$name {
            mimetype: Some($media.mimetype.clone()),
            file_sha256: Some(Bytes::copy_from_slice(&$media.file_sha256)),
            file_enc_sha256: Some(Bytes::copy_from_slice(&$media.file_enc_sha256)),
            file_length: Some($media.file_length),
            media_key: Some(Bytes::copy_from_slice($media.key.expose())),
            direct_path: Some($media.direct_path.clone()),
            media_key_timestamp: Some(i64::try_from($media.key_timestamp.as_secs()).unwrap_or(i64::MAX)),
            $($field: $value,)*
            ..Default::default()
        }
    };
}

impl Media {
    fn new(kind: MediaKind, common: Common) -> Result<Self, Error> {
        let hash = |bytes: Option<Bytes>| {
            bytes
                .and_then(|b| <[u8; 32]>::try_from(b.as_ref()).ok())
                .ok_or(Error::Content("a media hash or key of a wrong size"))
        };
        let direct_path = common.direct_path.unwrap_or_default();
        if !is_direct_path(&direct_path) {
            return Err(Error::Content("not a direct path"));
        }
        let seconds = common.media_key_timestamp.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        Ok(Self {
            kind,
            mimetype: common.mimetype.unwrap_or_default(),
            caption: None,
            file_name: None,
            key: MediaKey::from(hash(common.media_key)?),
            file_sha256: hash(common.file_sha256)?,
            file_enc_sha256: hash(common.file_enc_sha256)?,
            file_length: common.file_length.ok_or(Error::Content("no file length"))?,
            direct_path,
            key_timestamp: Timestamp::from_secs(seconds),
            dimensions: None,
            seconds: None,
            thumbnail: None,
            waveform: None,
            sidecar: None,
        })
    }

    pub(crate) fn write(&self, message: &mut pb::Message) -> Result<(), Error> {
        let too_long = |text: &Option<String>, max| text.as_ref().is_some_and(|text| text.len() > max);
        if too_long(&self.caption, MAX_TEXT_LEN)
            || too_long(&self.file_name, MAX_FILE_NAME_LEN)
            || self.direct_path.len() > MAX_DIRECT_PATH_LEN
            || self.thumbnail.as_ref().is_some_and(|t| t.len() > MAX_THUMBNAIL_LEN)
            || self.waveform.as_ref().is_some_and(|w| w.len() > MAX_WAVEFORM_LEN)
        {
            return Err(Error::Content("media field longer than the limit"));
        }
        let (width, height) = self.dimensions.unzip();
        match self.kind {
            MediaKind::Image => {
                message.image_message = Some(Box::new(form!(ImageMessage, self, {
                    caption: self.caption.clone(), width: width, height: height, jpeg_thumbnail: self.thumbnail.clone(),
                })));
            }
            MediaKind::Video | MediaKind::Gif => {
                message.video_message = Some(Box::new(form!(VideoMessage, self, {
                    caption: self.caption.clone(), width: width, height: height, jpeg_thumbnail: self.thumbnail.clone(),
                    seconds: self.seconds, streaming_sidecar: self.sidecar.clone(),
                    gif_playback: (self.kind == MediaKind::Gif).then_some(true),
                })));
            }
            MediaKind::Audio | MediaKind::VoiceNote => {
                message.audio_message = Some(Box::new(form!(AudioMessage, self, {
                    seconds: self.seconds, waveform: self.waveform.clone(), streaming_sidecar: self.sidecar.clone(),
                    ptt: (self.kind == MediaKind::VoiceNote).then_some(true),
                })));
            }
            MediaKind::Sticker => {
                message.sticker_message = Some(Box::new(form!(StickerMessage, self, { width: width, height: height })));
            }
            MediaKind::Document => {
                message.document_message = Some(Box::new(form!(DocumentMessage, self, {
                    caption: self.caption.clone(), file_name: self.file_name.clone(), title: self.file_name.clone(),
                    jpeg_thumbnail: self.thumbnail.clone(),
                })));
            }
        }
        Ok(())
    }

    /// Takes every media message out of `message`.
    pub(crate) fn read_all(message: &mut pb::Message) -> Result<Vec<Self>, Error> {
        let mut found = Vec::new();
        let text = |t: Option<String>| t.filter(|t| !t.is_empty() && t.len() <= MAX_TEXT_LEN);
        let up_to = |max, b: Option<Bytes>| b.filter(|b| !b.is_empty() && b.len() <= max);
        let small = |jpeg| up_to(MAX_THUMBNAIL_LEN, jpeg);
        if let Some(m) = message.image_message.take() {
            let (caption, dimensions, thumbnail) = (text(m.caption), m.width.zip(m.height), small(m.jpeg_thumbnail));
            found.push(Self { caption, dimensions, thumbnail, ..Self::new(MediaKind::Image, common!(m))? });
        }
        if let Some(m) = message.video_message.take() {
            let kind = if m.gif_playback == Some(true) { MediaKind::Gif } else { MediaKind::Video };
            let (caption, dimensions, thumbnail) = (text(m.caption), m.width.zip(m.height), small(m.jpeg_thumbnail));
            let (seconds, sidecar) = (m.seconds, m.streaming_sidecar);
            found.push(Self { caption, dimensions, thumbnail, seconds, sidecar, ..Self::new(kind, common!(m))? });
        }
        if let Some(m) = message.audio_message.take() {
            let kind = if m.ptt == Some(true) { MediaKind::VoiceNote } else { MediaKind::Audio };
            let (seconds, sidecar, waveform) = (m.seconds, m.streaming_sidecar, up_to(MAX_WAVEFORM_LEN, m.waveform));
            found.push(Self { seconds, sidecar, waveform, ..Self::new(kind, common!(m))? });
        }
        if let Some(m) = message.document_message.take() {
            let (caption, thumbnail) = (text(m.caption), small(m.jpeg_thumbnail));
            let file_name = m.file_name.or(m.title).filter(|n| !n.is_empty() && n.len() <= MAX_FILE_NAME_LEN);
            found.push(Self { caption, file_name, thumbnail, ..Self::new(MediaKind::Document, common!(m))? });
        }
        if let Some(m) = message.sticker_message.take() {
            let dimensions = m.width.zip(m.height);
            found.push(Self { dimensions, ..Self::new(MediaKind::Sticker, common!(m))? });
        }
        Ok(found)
    }
}
