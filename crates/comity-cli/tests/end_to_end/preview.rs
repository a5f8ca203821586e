//! What a message shows of a file before it is fetched (PROTOCOL §9): found out for images, given by the application else.

use crate::world::World;
use bytes::Bytes;
use comity_client::{Content, FileToSend, Media, Progress};
use comity_media::MediaKind;
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread")]
async fn images_are_shown_with_dimensions_and_thumbnail_and_all_else_as_given() {
    let world = World::start().await;
    let (alice_store, bob_store) = (world.store("alice"), world.store("bob"));
    let mut alice = world.alice(alice_store).await;
    alice.enlisted().await;
    alice.up_to_date().await;
    let mut bob = world.bob(bob_store).await;
    let bob_jid = alice.find_bob().await;
    let images = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../comity-media/tests/data/pillow"));
    let film = world.dir.path().join("film.mp4");
    std::fs::write(&film, b"\0\0\0\x18ftypisom and no more").unwrap();
    let damaged = world.dir.path().join("damaged.jpg");
    let turned = images.join("orientation6.jpg");
    std::fs::write(&damaged, std::fs::read(&turned).unwrap().split_last().unwrap().1).unwrap();
    let given = || FileToSend {
        dimensions: Some((1920, 1080)),
        seconds: Some(7),
        thumbnail: Some(Bytes::from_static(b"\xff\xd8 small")),
        ..FileToSend::default()
    };
    let sticker = FileToSend { kind: Some(MediaKind::Sticker), ..FileToSend::new(images.join("lossless.webp")) };
    let voice = FileToSend {
        kind: Some(MediaKind::VoiceNote),
        seconds: Some(2),
        waveform: Some(Bytes::from_static(&[1, 2, 3])),
        ..FileToSend::new(&film)
    };
    let mut got = Vec::new();
    for file in [
        FileToSend::new(&turned),
        FileToSend { path: turned.clone(), ..given() },
        sticker,
        FileToSend::new(&damaged),
        FileToSend { path: film.clone(), ..given() },
        FileToSend::new(&film),
        voice,
    ] {
        let sent = alice.client.send_file(&bob_jid, file, &Progress::none()).await.unwrap();
        let message = bob.message().await;
        assert_eq!(message.id, sent.id);
        bob.client.confirm(message.event).await.unwrap();
        let Content::Media(media) = message.content else { panic!("{:?}", message.content) };
        bob.client.download(&media, &Progress::none()).await.unwrap();
        got.push(*media);
    }
    let shown = |media: &Media| (media.kind, media.dimensions, media.thumbnail.as_ref().map(Bytes::len), media.seconds);
    assert_eq!((got[0].kind, got[0].dimensions), (MediaKind::Image, Some((160, 120))));
    assert!(got[0].thumbnail.as_ref().unwrap().starts_with(b"\xff\xd8\xff"));
    assert_eq!(shown(&got[1]), (MediaKind::Image, Some((1920, 1080)), Some(8), None), "the application knows better");
    assert_eq!(shown(&got[2]), (MediaKind::Sticker, Some((160, 120)), None, None));
    assert_eq!(shown(&got[3]), (MediaKind::Image, None, None, None), "damaged, and sent all the same");
    assert_eq!(shown(&got[4]), (MediaKind::Video, Some((1920, 1080)), Some(8), Some(7)));
    assert_eq!(shown(&got[5]), (MediaKind::Video, None, None, None));
    assert_eq!(shown(&got[6]), (MediaKind::VoiceNote, None, None, Some(2)));
    assert_eq!(got[6].waveform.as_deref(), Some(&[1, 2, 3][..]));
}
