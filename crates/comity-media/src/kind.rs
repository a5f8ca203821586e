//! What sort of media a file is, and what follows from it on the wire (PROTOCOL §10).

use core::fmt;
use core::str::FromStr;

/// The kind of a media file: it chooses the key derivation, the `mms-type` and the message content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A short silent film shown in a loop (`VideoMessage.gifPlayback`).
    Gif,
    /// Sound.
    Audio,
    /// Sound recorded in the chat, `ptt` on the wire (`AudioMessage.ptt`).
    VoiceNote,
    /// Any file.
    Document,
    /// A WebP picture shown without a frame.
    Sticker,
}

/// The field of `Message` that carries a kind (PROTOCOL §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaContent {
    /// `imageMessage`
    Image,
    /// `videoMessage`
    Video,
    /// `audioMessage`
    Audio,
    /// `documentMessage`
    Document,
    /// `stickerMessage`
    Sticker,
}

/// A text that is no `mms-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an mms-type")]
pub struct UnknownKind;

impl MediaKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Image, Self::Video, Self::Gif, Self::Audio, Self::VoiceNote, Self::Document, Self::Sticker];

    /// The `info` of the key derivation.
    pub const fn hkdf_info(self) -> &'static str {
        match self {
            Self::Image | Self::Sticker => "WhatsApp Image Keys",
            Self::Video | Self::Gif => "WhatsApp Video Keys",
            Self::Audio | Self::VoiceNote => "WhatsApp Audio Keys",
            Self::Document => "WhatsApp Document Keys",
        }
    }

    /// The `mms-type`: in upload paths, download queries and `<enc mediatype>`.
    pub const fn mms_type(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Gif => "gif",
            Self::Audio => "audio",
            Self::VoiceNote => "ptt",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }

    /// The message field this kind travels in; `gifPlayback` and `ptt` tell [`Gif`](Self::Gif) and
    /// [`VoiceNote`](Self::VoiceNote) apart from their neighbours.
    pub const fn content(self) -> MediaContent {
        match self {
            Self::Image => MediaContent::Image,
            Self::Video | Self::Gif => MediaContent::Video,
            Self::Audio | Self::VoiceNote => MediaContent::Audio,
            Self::Document => MediaContent::Document,
            Self::Sticker => MediaContent::Sticker,
        }
    }

    /// Whether official clients send a streaming sidecar with this kind.
    pub const fn has_sidecar(self) -> bool {
        matches!(self, Self::Video)
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mms_type())
    }
}

impl FromStr for MediaKind {
    type Err = UnknownKind;

    fn from_str(s: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.mms_type() == s).ok_or(UnknownKind)
    }
}
