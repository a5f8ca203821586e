//! What a file is, by its first bytes: a small table of the kinds that messengers show.

use crate::{Error, MediaKind};

/// Bytes of a file's beginning that are enough for [`sniff`].
pub const SNIFF_LEN: usize = 64;

/// What the first bytes of a file tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sniffed {
    /// The media type.
    pub mime: &'static str,
    /// How such a file is sent.
    pub kind: MediaKind,
    /// Whether an operating system would run it: refuse it where anything else was declared.
    pub executable: bool,
}

/// Recognises a file by its first [`SNIFF_LEN`] bytes; what is not in the table is a document.
///
/// A voice note and a looping film are the sender's intention, not a file type, so neither is ever the answer; a WebP
/// is an image unless the application says sticker. Containers without a preview in chats (GIF, AVI, MKV…) are
/// documents.
pub fn sniff(head: &[u8]) -> Sniffed {
    let found = |mime, kind| Sniffed { mime, kind, executable: false };
    let program = |mime| Sniffed { mime, kind: MediaKind::Document, executable: true };
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));

    if at(0, b"\xff\xd8\xff") {
        found("image/jpeg", MediaKind::Image)
    } else if at(0, b"\x89PNG\r\n\x1a\n") {
        found("image/png", MediaKind::Image)
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        found("image/webp", MediaKind::Image)
    } else if at(0, b"RIFF") && at(8, b"WAVE") {
        found("audio/wav", MediaKind::Audio)
    } else if at(0, b"RIFF") && at(8, b"AVI ") {
        found("video/x-msvideo", MediaKind::Document)
    } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
        found("image/gif", MediaKind::Document)
    } else if at(4, b"ftyp") {
        match head.get(8..12) {
            Some(b"M4A " | b"M4B ") => found("audio/mp4", MediaKind::Audio),
            Some(b"qt  ") => found("video/quicktime", MediaKind::Video),
            Some(b"heic" | b"heix" | b"mif1") => found("image/heic", MediaKind::Document),
            Some(b"avif") => found("image/avif", MediaKind::Document),
            Some([b'3', b'g', ..]) => found("video/3gpp", MediaKind::Video),
            _ => found("video/mp4", MediaKind::Video),
        }
    } else if at(0, b"OggS") {
        let opus = head.windows(8).any(|window| window == b"OpusHead");
        found(if opus { "audio/ogg; codecs=opus" } else { "audio/ogg" }, MediaKind::Audio)
    } else if at(0, b"ID3") || matches!(head, [0xff, 0xfb | 0xf3 | 0xf2, ..]) {
        found("audio/mpeg", MediaKind::Audio)
    } else if matches!(head, [0xff, 0xf1 | 0xf9, ..]) {
        found("audio/aac", MediaKind::Audio)
    } else if at(0, b"#!AMR") {
        found("audio/amr", MediaKind::Audio)
    } else if at(0, b"fLaC") {
        found("audio/flac", MediaKind::Document)
    } else if at(0, b"\x1a\x45\xdf\xa3") {
        found("video/webm", MediaKind::Document)
    } else if at(0, b"%PDF-") {
        found("application/pdf", MediaKind::Document)
    } else if at(0, b"PK\x03\x04") {
        found("application/zip", MediaKind::Document)
    } else if at(0, b"\x7fELF") {
        program("application/x-executable")
    } else if at(0, b"MZ") {
        program("application/vnd.microsoft.portable-executable")
    } else if [b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"]
        .iter()
        .any(|magic| at(0, *magic))
    {
        program("application/x-mach-binary")
    } else if at(0, b"#!") {
        program("text/x-shellscript")
    } else {
        found("application/octet-stream", MediaKind::Document)
    }
}

/// Checks what a file is called against what its first bytes tell: a program under another name is refused.
///
/// Other differences pass: senders are careless, and a viewer goes by the bytes.
///
/// # Errors
/// [`Error::Disguised`].
pub fn check_declared(declared: &str, sniffed: &Sniffed) -> Result<(), Error> {
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if sniffed.executable && !essence.eq_ignore_ascii_case(sniffed.mime) {
        return Err(Error::Disguised);
    }
    Ok(())
}
