//! Dimensions and thumbnails of images (PROTOCOL §9: `width`, `height`, `JPEGThumbnail`). Does I/O, on tokio.
//!
//! JPEG, PNG and WebP are understood; of an animation the first frame counts. Everything runs on the blocking pool, one
//! image at a time in the whole process, so that the memory of one is the memory of all. A decoder that panics gives an
//! error.

#![allow(clippy::disallowed_methods, reason = "reading a file is what this module is for")]

use crate::Error;
use crate::limits::{
    MAX_IMAGE_ALLOC, MAX_IMAGE_EDGE, MAX_IMAGE_HEADER_LEN, MAX_IMAGE_LEN, MAX_IMAGE_PIXELS, MAX_THUMBNAIL_LEN,
    THUMBNAIL_EDGE, THUMBNAIL_QUALITY,
};
use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::{Cursor, Read};
use std::path::Path;
use tokio::sync::Semaphore;

static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// How much an image may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Longest file whose pixels are decoded, in bytes. Default [`MAX_IMAGE_LEN`].
    pub max_len: u64,
    /// Most pixels decoded. Default [`MAX_IMAGE_PIXELS`].
    pub max_pixels: u64,
    /// Most memory for the decoded pixels, in bytes. Default [`MAX_IMAGE_ALLOC`].
    pub max_alloc: u64,
    /// Longest thumbnail, in bytes. Default [`MAX_THUMBNAIL_LEN`].
    pub max_thumbnail_len: usize,
    /// The thumbnail's longer edge, in pixels; of a smaller image, the image's own. Default [`THUMBNAIL_EDGE`].
    pub thumbnail_edge: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_len: MAX_IMAGE_LEN,
            max_pixels: MAX_IMAGE_PIXELS,
            max_alloc: MAX_IMAGE_ALLOC,
            max_thumbnail_len: MAX_THUMBNAIL_LEN,
            thumbnail_edge: THUMBNAIL_EDGE,
        }
    }
}

/// What a message tells of an image beside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// In pixels, as it is shown: after the rotation that its EXIF data ask for.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// A small JPEG, upright, without metadata, transparency on white; `None` if the image is past the [`Bounds`].
    pub thumbnail: Option<Bytes>,
}

/// Width and height in pixels of the image that `path` holds, as it is shown. Of JPEG and PNG, the file's first
/// [`MAX_IMAGE_HEADER_LEN`] bytes are read.
///
/// Cancelling is safe: the work ends unheard.
///
/// # Errors
/// As [`preview`].
pub async fn dimensions(path: &Path, bounds: Bounds) -> Result<(u32, u32), Error> {
    let path = path.to_path_buf();
    let preview = on_pool(move || read(open(&path)?, &bounds, false)).await?;
    Ok((preview.width, preview.height))
}

/// Dimensions and thumbnail of the image that `path` holds.
///
/// Cancelling is safe: the work ends unheard.
///
/// # Errors
/// [`Error::Image`] for what is no image, is damaged, or ends too early; [`Error::TooLarge`] for a WebP longer than
/// [`Bounds::max_len`]; [`Error::Io`], [`Error::Cancelled`] when the runtime shuts down.
pub async fn preview(path: &Path, bounds: Bounds) -> Result<Preview, Error> {
    let path = path.to_path_buf();
    on_pool(move || read(open(&path)?, &bounds, true)).await
}

/// As [`preview`], of an image from elsewhere than a file.
///
/// # Errors
/// As [`preview`].
pub async fn preview_from(source: impl Read + Send + 'static, bounds: Bounds) -> Result<Preview, Error> {
    on_pool(move || read(source, &bounds, true)).await
}

async fn on_pool<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let turn = ONE_AT_A_TIME.acquire().await.map_err(|_| Error::Cancelled)?;
    let work = move || {
        let _turn = turn;
        work()
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| if e.is_panic() { Error::Image } else { Error::Cancelled })?
}

fn open(path: &Path) -> Result<std::fs::File, Error> {
    std::fs::File::open(path).map_err(|e| Error::Io { what: "open the image", kind: e.kind() })
}

fn read(mut source: impl Read, bounds: &Bounds, pixels: bool) -> Result<Preview, Error> {
    let mut bytes = Vec::new();
    let mut read_up_to = |len: u64, bytes: &mut Vec<u8>| {
        let missing = len.saturating_sub(bytes.len() as u64);
        let read = source.by_ref().take(missing).read_to_end(bytes);
        read.map_err(|e| Error::Io { what: "read the image", kind: e.kind() })
    };
    read_up_to(MAX_IMAGE_HEADER_LEN, &mut bytes)?;
    let format = match image::guess_format(&bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => format,
        _ => return Err(Error::Image),
    };
    let webp = format == ImageFormat::WebP;
    if pixels || webp {
        read_up_to(bounds.max_len.saturating_add(1), &mut bytes)?;
    }
    let too_long = bytes.len() as u64 > bounds.max_len;
    if too_long && webp {
        return Err(Error::TooLarge { max: bounds.max_len });
    }
    if too_long {
        bytes.truncate(usize::try_from(MAX_IMAGE_HEADER_LEN).unwrap_or(usize::MAX));
    }
    let pixels = pixels && !too_long;
    if (pixels && format == ImageFormat::Jpeg && !jpeg_ends(&bytes)) || (webp && !webp_ends(&bytes)) {
        return Err(Error::Image);
    }

    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_IMAGE_EDGE), Some(MAX_IMAGE_EDGE));
    limits.max_alloc = Some(bounds.max_alloc);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|_| Error::Image)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Error::Image);
    }
    // Damaged EXIF data turn nothing.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let fits = u64::from(width) * u64::from(height) <= bounds.max_pixels && decoder.total_bytes() <= bounds.max_alloc;
    let thumbnail = if pixels && fits {
        let image = DynamicImage::from_decoder(decoder).map_err(|_| Error::Image)?;
        thumbnail(image, orientation, bounds)?
    } else {
        None
    };
    let (width, height) = if on_its_side(orientation) { (height, width) } else { (width, height) };
    Ok(Preview { width, height, thumbnail })
}

const fn on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

fn thumbnail(image: DynamicImage, orientation: Orientation, bounds: &Bounds) -> Result<Option<Bytes>, Error> {
    let edge = bounds.thumbnail_edge;
    let mut small = if image.width().max(image.height()) > edge { image.thumbnail(edge, edge) } else { image };
    small.apply_orientation(orientation);
    let on_white = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u16::from(colour), u16::from(alpha));
        u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
    };
    let small = small.into_rgba8();
    let rgb: Vec<u8> = small.pixels().flat_map(|p| [0, 1, 2].map(|i| on_white(p[i], p[3]))).collect();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, THUMBNAIL_QUALITY)
        .encode(&rgb, small.width(), small.height(), ExtendedColorType::Rgb8)
        .map_err(|_| Error::Image)?;
    Ok(Some(Bytes::from(jpeg)).filter(|jpeg| jpeg.len() <= bounds.max_thumbnail_len))
}

/// Whether a JPEG has an end: the decoder fills what is missing with grey.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    // Segments up to the first scan have lengths. What is in them, such as a thumbnail with an end of its own, is skipped.
    while let [0xff, marker, after @ ..] = rest {
        rest = match (marker, after) {
            (0xda, scan) => return scan.windows(2).any(|end| end == [0xff, 0xd9]),
            (0xff, _) => rest.get(1..).unwrap_or_default(), // fill
            (_, [high, low, ..]) => {
                after.get(usize::from(u16::from_be_bytes([*high, *low])).max(2)..).unwrap_or_default()
            }
            _ => return false,
        };
    }
    false
}

/// Whether a WebP and each of its chunks is as long as stated: the decoder allocates what a chunk states.
fn webp_ends(bytes: &[u8]) -> bool {
    /// The length that a chunk states, and what is there of it and of what follows.
    fn stated(chunk: &[u8]) -> Option<(usize, &[u8])> {
        let len = u32::from_le_bytes(*chunk.get(4..)?.first_chunk()?);
        Some((usize::try_from(len).ok()?, chunk.get(8..)?))
    }
    let Some(mut chunks) = stated(bytes).and_then(|(len, file)| file.get(4..len)) else { return false };
    while chunks.len() >= 8 {
        let Some((len, after)) = stated(chunks).and_then(|(len, body)| Some((len, body.get(len..)?))) else {
            return false;
        };
        chunks = after.get(len % 2..).unwrap_or_default(); // a chunk of odd length is padded
    }
    true
}
