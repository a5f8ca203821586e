//! Dimensions and thumbnails: images of this library and of another maker, turned, damaged, cut and oversized.
#![cfg(feature = "thumbnails")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::panic, reason = "tests")]

use comity_media::Error;
use comity_media::limits::{MAX_IMAGE_HEADER_LEN, MAX_THUMBNAIL_LEN, THUMBNAIL_EDGE};
use comity_media::thumbnail::{Bounds, Preview, dimensions, preview, preview_from};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use std::io::{Cursor, Read};
use std::path::PathBuf;

const FORMATS: [ImageFormat; 3] = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP];
const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const YELLOW: [u8; 3] = [255, 255, 0];
const WHITE: [u8; 3] = [255; 3];

fn pillow(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pillow")).join(name)
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.into().write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 90]))
}

async fn of(file: &[u8]) -> Result<Preview, Error> {
    preview_from(Cursor::new(file.to_vec()), Bounds::default()).await
}

fn decode(preview: &Preview) -> RgbImage {
    let jpeg = preview.thumbnail.as_ref().unwrap();
    assert!(jpeg.len() <= MAX_THUMBNAIL_LEN);
    image::load_from_memory_with_format(jpeg, ImageFormat::Jpeg).unwrap().into_rgb8()
}

/// The middle of each quarter is about as it should be.
fn assert_quarters(image: &RgbImage, wanted: [[u8; 3]; 4], name: &str) {
    let (w, h) = image.dimensions();
    for (i, wanted) in (0..).zip(wanted) {
        let found = image.get_pixel(w / 4 + i % 2 * w / 2, h / 4 + i / 2 * h / 2).0;
        let near = found.iter().zip(wanted).all(|(found, wanted)| found.abs_diff(wanted) < 40);
        assert!(near, "{name}: quarter {i} is {found:?}, not {wanted:?}");
    }
}

#[tokio::test]
async fn each_format_gives_dimensions_and_a_small_jpeg() {
    for format in FORMATS {
        let file = encode(gradient(640, 480), format);
        let preview = of(&file).await.unwrap();
        assert_eq!((preview.width, preview.height), (640, 480), "{format:?}");
        let small = decode(&preview);
        assert_eq!(small.dimensions(), (THUMBNAIL_EDGE, THUMBNAIL_EDGE * 3 / 4), "{format:?}");
        for (x, y) in [(10, 10), (90, 10), (50, 60)] {
            let (found, wanted) = (small.get_pixel(x, y).0, [(x * 255 / 100) as u8, (y * 255 / 75) as u8, 90]);
            assert!(found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 16), "{format:?}: {found:?} {wanted:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, &file).unwrap();
        assert_eq!(dimensions(&path, Bounds::default()).await.unwrap(), (640, 480));
    }
}

#[tokio::test]
async fn small_and_narrow_images_are_not_stretched() {
    for (size, small) in [((1, 1), (1, 1)), ((100, 7), (100, 7)), ((2000, 1), (100, 1)), ((1, 1500), (1, 100))] {
        let preview = of(&encode(gradient(size.0, size.1), ImageFormat::Png)).await.unwrap();
        assert_eq!((preview.width, preview.height), size);
        assert_eq!(decode(&preview).dimensions(), small);
    }
}

#[tokio::test]
async fn another_makers_images_are_read() {
    let grey = |luma| [luma; 3];
    let luma = [grey(76), grey(150), grey(29), grey(226)];
    for (name, wanted) in [
        ("progressive.jpg", [RED, GREEN, BLUE, YELLOW]),
        ("cmyk.jpg", [RED, GREEN, BLUE, YELLOW]),
        ("grey.jpg", luma),
        ("palette.png", [RED, GREEN, BLUE, WHITE]),
        ("grey16.png", luma),
        ("invisible.png", [WHITE; 4]),
        ("lossless.webp", [RED, GREEN, BLUE, YELLOW]),
        ("invisible.webp", [WHITE; 4]),
        ("animated.webp", [RED, GREEN, BLUE, YELLOW]),
    ] {
        let preview = preview(&pillow(name), Bounds::default()).await.unwrap();
        assert_eq!((preview.width, preview.height), (160, 120), "{name}");
        assert_quarters(&decode(&preview), wanted, name);
    }
}

#[tokio::test]
async fn exif_turns_dimensions_and_thumbnail() {
    let jpegs = (1..=8).map(|orientation| format!("orientation{orientation}.jpg"));
    for name in jpegs.chain(["orientation6.png".into(), "orientation6.webp".into()]) {
        let preview = preview(&pillow(&name), Bounds::default()).await.unwrap();
        assert_eq!((preview.width, preview.height), (160, 120), "{name}");
        assert_eq!(dimensions(&pillow(&name), Bounds::default()).await.unwrap(), (160, 120), "{name}");
        assert_eq!(decode(&preview).dimensions(), (100, 75), "{name}");
        assert_quarters(&decode(&preview), [RED, GREEN, BLUE, YELLOW], &name);
    }
}

/// An end of nothing but trailing bytes may be missing; nothing less than the whole picture is ever shown.
#[tokio::test]
async fn a_cut_image_has_no_thumbnail() {
    let mut files: Vec<_> = FORMATS.map(|format| encode(gradient(40, 30), format)).into();
    files.extend(
        ["orientation6.jpg", "progressive.jpg", "palette.png", "orientation6.webp", "invisible.webp", "animated.webp"]
            .map(|name| std::fs::read(pillow(name)).unwrap()),
    );
    for file in files {
        let whole = of(&file).await.unwrap();
        assert!(whole.thumbnail.is_some());
        for end in 0..file.len() {
            match of(&file[..end]).await {
                Ok(cut) => assert!(cut == whole && end + 16 > file.len(), "cut at {end} of {}", file.len()),
                Err(error) => assert_eq!(error, Error::Image, "cut at {end}"),
            }
        }
    }
}

#[tokio::test]
async fn a_bomb_is_not_decoded() {
    let path = pillow("bomb.png");
    let bomb = preview(&path, Bounds::default()).await.unwrap();
    assert_eq!(bomb, Preview { width: 12_000, height: 12_000, thumbnail: None });
    let mut bounds = Bounds::default();
    bounds.max_pixels = 12_000 * 12_000;
    bounds.max_alloc = 12_000 * 12_000 - 1;
    assert_eq!(preview(&path, bounds).await.unwrap().thumbnail, None);
    bounds.max_alloc += 1;
    assert!(preview(&path, bounds).await.unwrap().thumbnail.is_some());
}

/// A header of a PNG that states another width and height, its checksum right.
fn with_stated_size(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut png = png.to_vec();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = png[12..29].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    });
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

#[tokio::test]
async fn a_header_that_lies_gives_no_thumbnail() {
    let png = encode(gradient(64, 48), ImageFormat::Png);
    assert_eq!(with_stated_size(&png, 64, 48), png);
    for (width, height) in [(64, 49), (6400, 4800), (0, 48), (64, 0), (65_536, 1), (u32::MAX, u32::MAX)] {
        assert_eq!(of(&with_stated_size(&png, width, height)).await, Err(Error::Image), "{width} x {height}");
    }
    assert_eq!(of(&with_stated_size(&png, 65_535, 65_535)).await.unwrap().thumbnail, None);
    // A WebP whose metadata state four gigabytes.
    let mut webp = std::fs::read(pillow("orientation6.webp")).unwrap();
    let exif = webp.windows(4).position(|w| w == b"EXIF").unwrap();
    webp[exif + 4..exif + 8].fill(0xff);
    assert_eq!(of(&webp).await, Err(Error::Image));
}

#[tokio::test]
async fn what_is_no_image_is_told() {
    for file in [&b""[..], b"GIF89a\x01\x00\x01\x00", b"%PDF-1.7", b"BM", &[0xff, 0xd8, 0xff]] {
        assert_eq!(of(file).await, Err(Error::Image));
    }
    let missing = preview(&pillow("nothing"), Bounds::default()).await;
    assert_eq!(missing, Err(Error::Io { what: "open the image", kind: std::io::ErrorKind::NotFound }));
}

#[tokio::test]
async fn of_a_long_file_the_beginning_is_enough() {
    let mut bounds = Bounds::default();
    bounds.max_len = 2 * MAX_IMAGE_HEADER_LEN;
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let endless = Cursor::new(encode(gradient(64, 48), format)).chain(std::io::repeat(7));
        let preview = preview_from(endless, bounds).await.unwrap();
        assert_eq!(preview, Preview { width: 64, height: 48, thumbnail: None }, "{format:?}");
    }
    let endless = Cursor::new(encode(gradient(64, 48), ImageFormat::WebP)).chain(std::io::repeat(7));
    assert_eq!(preview_from(endless, bounds).await, Err(Error::TooLarge { max: bounds.max_len }));
}

#[tokio::test]
async fn a_thumbnail_longer_than_the_bound_is_none() {
    let file = encode(gradient(640, 480), ImageFormat::Jpeg);
    let mut bounds = Bounds::default();
    bounds.max_thumbnail_len = of(&file).await.unwrap().thumbnail.unwrap().len();
    assert!(preview_from(Cursor::new(file.clone()), bounds).await.unwrap().thumbnail.is_some());
    bounds.max_thumbnail_len -= 1;
    assert_eq!(preview_from(Cursor::new(file), bounds).await.unwrap().thumbnail, None);
    // Noise is the longest that there is.
    let mut seed = 1_u32;
    let noise = RgbImage::from_fn(100, 100, |_, _| {
        Rgb([0; 3].map(|_: u8| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        }))
    });
    assert!(of(&encode(noise, ImageFormat::Png)).await.unwrap().thumbnail.is_some());
}

#[tokio::test]
async fn a_panic_below_is_an_error() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("as a decoder might")
        }
    }
    assert_eq!(preview_from(Panics, Bounds::default()).await, Err(Error::Image));
    assert!(of(&encode(gradient(8, 8), ImageFormat::Png)).await.is_ok(), "the turn was given back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn changed_bytes_give_a_preview_or_an_error(
        which in 0_usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let names =
            ["orientation6.jpg", "progressive.jpg", "palette.png", "orientation6.webp", "invisible.webp", "animated.webp"];
        let mut file = std::fs::read(pillow(names[which])).unwrap();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        let mut bounds = Bounds::default();
        bounds.max_pixels = 1_000_000;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(preview_from(Cursor::new(file), bounds)) {
            Ok(preview) => {
                prop_assert!(preview.width > 0 && preview.height > 0);
                if preview.thumbnail.is_some() {
                    let small = decode(&preview);
                    prop_assert!(small.width().max(small.height()) <= THUMBNAIL_EDGE);
                }
            }
            Err(error) => prop_assert_eq!(error, Error::Image),
        }
    }
}
