//! What a message shows of an image before it is fetched: dimensions and thumbnail (PROTOCOL §9).

use crate::Media;
use crate::transfer::Hosting;
use comity_media::MediaKind;
use comity_media::thumbnail::{Bounds, dimensions, preview};
use std::path::Path;

// What is made here fits into a message.
const _: () = assert!(comity_media::limits::MAX_THUMBNAIL_LEN <= comity_engine::limits::MAX_THUMBNAIL_LEN);

/// `media` with what the application left open of an image, if the client makes previews. An image that cannot be read
/// goes out without.
pub(crate) async fn filled(mut media: Media, path: &Path, hosting: &Hosting) -> Media {
    let bounds = Bounds::default();
    match media.kind {
        _ if !hosting.previews => {}
        MediaKind::Image if media.dimensions.is_none() || media.thumbnail.is_none() => {
            match preview(path, bounds).await {
                Ok(seen) => {
                    media.dimensions = media.dimensions.or(Some((seen.width, seen.height)));
                    media.thumbnail = media.thumbnail.or(seen.thumbnail);
                }
                Err(error) => tracing::debug!(%error, "an image without preview"),
            }
        }
        MediaKind::Sticker if media.dimensions.is_none() => media.dimensions = dimensions(path, bounds).await.ok(),
        _ => {}
    }
    media
}
