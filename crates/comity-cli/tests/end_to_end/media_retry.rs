//! A file that is gone from its host is asked for again, and uploaded again by its sender (PROTOCOL §10, "Media gone").

use crate::world::{User, World};
use comity_client::{Content, Event, EventId, Fetched, FileToSend, Media, MessageEvent, Progress, SentFile};
use comity_core::{Jid, MessageId};
use std::path::{Path, PathBuf};

/// Alice and bob, and a file that alice has sent him; it is deleted by the host.
struct Gone {
    world: World,
    alice: User,
    bob: User,
    alice_jid: Jid,
    path: PathBuf,
    sent: SentFile,
    message: MessageEvent,
}

fn content(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn media(message: &MessageEvent) -> &Media {
    match &message.content {
        Content::Media(media) => media,
        other => panic!("{other:?}"),
    }
}

impl Gone {
    async fn new() -> Self {
        let world = World::start().await;
        let (alice_store, bob_store) = (world.store("alice"), world.store("bob"));
        let mut alice = world.alice(alice_store).await;
        let alice_jid = alice.enlisted().await;
        alice.up_to_date().await;
        let mut bob = world.bob(bob_store).await;
        let bob_jid = alice.find_bob().await;
        let path = world.dir.path().join("photo.jpg");
        std::fs::write(&path, [&b"\xff\xd8\xff\xe0"[..], &[7; 300_000]].concat()).unwrap();
        let file = FileToSend::new(&path);
        let sent = alice.client.send_file(&bob_jid, file, &Progress::none()).await.unwrap();
        let message = bob.message().await;
        assert_eq!(message.id, sent.id);
        bob.client.confirm(message.event.clone()).await.unwrap();
        let before = bob.client.download(media(&message), &Progress::none()).await.unwrap();
        assert_eq!(content(&before.path), content(&path));
        world.delete(&sent.direct_path).await;
        Self { world, alice, bob, alice_jid, path, sent, message }
    }

    /// Bob fetches the file, which is gone, and asks.
    async fn ask(&self) {
        let (from, id) = (&self.message.from, &self.message.id);
        let got = self.bob.client.download_or_ask(from, id, media(&self.message), &Progress::none()).await.unwrap();
        let Fetched::Asked(comity_media::Error::Gone { status: 404 }) = got else { panic!("{got:?}") };
    }
}

async fn refreshed(user: &mut User) -> (EventId, MessageId, String) {
    user.until(|event| match event {
        Event::MediaRefreshed { event, id, direct_path, .. } => Some((event.clone(), id.clone(), direct_path.clone())),
        _ => None,
    })
    .await
}

async fn gone(user: &mut User) -> MessageId {
    user.until(|event| match event {
        Event::MediaGone { id, .. } => Some(id.clone()),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_uploaded_again_and_fetched() {
    let mut gone = Gone::new().await;
    gone.ask().await;
    let (event, id, direct_path) = refreshed(&mut gone.bob).await;
    assert_eq!(id, gone.sent.id);
    assert_ne!(direct_path, gone.sent.direct_path);
    // The message's own key and hashes are good for it.
    let again = Media { direct_path, ..media(&gone.message).clone() };
    let file = gone.bob.client.download(&again, &Progress::none()).await.unwrap();
    assert_eq!(content(&file.path), content(&gone.path));
    gone.bob.client.confirm(event).await.unwrap();
    // It can be lost once more.
    gone.world.delete(&again.direct_path).await;
    gone.ask().await;
    let (_, _, path) = refreshed(&mut gone.bob).await;
    assert_ne!(path, again.direct_path);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_and_the_gatekeeper_may_end_between_request_and_answer() {
    let Gone { mut world, alice, bob, path, sent, message, .. } = Gone::new().await;
    drop(alice); // offline while she is asked
    let asking = bob.client.ask_again(&message.from, &message.id, media(&message));
    asking.await.unwrap();
    drop(bob); // asked, and perhaps not sent yet
    world.stop_gatekeeper().await;
    world.start_gatekeeper().await;
    let mut bob = world.bob(world.store("bob")).await;
    drop(bob);
    // Alice's client answers by itself when it is back, and ends right after it was asked, too.
    let mut alice = world.alice(world.store("alice")).await;
    alice.until(|event| matches!(event, Event::MediaRequested(_)).then_some(())).await;
    drop(alice);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await; // until what it began to store is stored
    let _alice = world.alice(world.store("alice")).await;
    bob = world.bob(world.store("bob")).await;
    let (_, id, _) = refreshed(&mut bob).await;
    assert_eq!(id, sent.id);
    drop(bob); // told, and not confirmed
    let mut bob = world.bob(world.store("bob")).await;
    let (event, _, direct_path) = refreshed(&mut bob).await;
    let again = Media { direct_path, ..media(&message).clone() };
    let file = bob.client.download(&again, &Progress::none()).await.unwrap();
    assert_eq!(content(&file.path), content(&path));
    bob.client.confirm(event).await.unwrap();
    drop(bob);
    let mut bob = world.bob(world.store("bob")).await;
    assert!(!bob.has(|event| matches!(event, Event::MediaRefreshed { .. })).await, "it was confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_another_now_or_gone_is_not_uploaded() {
    for other in [Some("another file"), None] {
        let mut lost = Gone::new().await;
        match other {
            Some(text) => std::fs::write(&lost.path, text).unwrap(),
            None => std::fs::remove_file(&lost.path).unwrap(),
        }
        lost.ask().await;
        assert_eq!(gone(&mut lost.bob).await, lost.sent.id);
        lost.alice.until(|event| matches!(event, Event::MediaRequested(_)).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_key_gets_nothing() {
    let mut gone = Gone::new().await;
    let wrong = Media { key: [9; 32].into(), ..media(&gone.message).clone() };
    gone.bob.client.ask_again(&gone.alice_jid, &gone.sent.id, &wrong).await.unwrap();
    let other: MessageId = "3EB0CCCCCCCCCCCCCCCC".parse().unwrap();
    gone.bob.client.ask_again(&gone.alice_jid, &other, media(&gone.message)).await.unwrap();
    assert!(!gone.alice.has(|event| matches!(event, Event::MediaRequested(_))).await);
    // Both were taken from the gatekeeper all the same: what comes behind them arrives.
    gone.bob.client.send_text(&gone.alice_jid, "behind").await.unwrap();
    let behind = gone.alice.message().await;
    assert_eq!(behind.content, Content::text("behind"));
    assert!(!gone.bob.has(|event| matches!(event, Event::MediaRefreshed { .. } | Event::MediaGone { .. })).await);
}
