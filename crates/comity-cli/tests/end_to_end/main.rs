//! Clients and servers over real sockets: what must hold when things go away and come back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]

mod idle;
mod media_retry;
mod preview;
mod profile;
mod soak;
mod world;

use comity_client::SqliteStore;
use comity_client::{Content, Event, MessageState};
use comity_core::{Batch, MessageId, Record, RecordKey, RecordKind, Revision, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use world::World;

fn text(content: &Content) -> &str {
    match content {
        Content::Text { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gatekeeper_acknowledged_survives_its_restart() {
    let mut world = World::start().await;
    let (alice_store, bob_store) = (world.store("alice"), world.store("bob"));
    let mut alice = world.alice(alice_store).await;
    let alice_jid = alice.enlisted().await;
    alice.up_to_date().await;
    let mut bob = world.bob(bob_store).await;
    alice.client.go_offline().await.unwrap();
    let mut ids = Vec::new();
    for n in 0..20 {
        let id = bob.client.send_text(&alice_jid, &format!("message {n}")).await.unwrap();
        bob.until(|event| {
            matches!(event, Event::State { id: i, state: MessageState::Sent, .. } if *i == id).then_some(())
        })
        .await;
        ids.push(id);
    }
    world.stop_gatekeeper().await;
    world.start_gatekeeper().await;
    alice.client.go_online().await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        let got = alice.message().await;
        assert_eq!((&got.id, text(&got.content)), (id, format!("message {n}").as_str()));
    }
    // Bob's client comes back by itself, and hears of the delivery.
    for id in &ids {
        bob.until(|event| {
            matches!(event, Event::State { id: i, state: MessageState::Delivered, .. } if i == id).then_some(())
        })
        .await;
    }
    assert!(!alice.has(|event| matches!(event, Event::Message(_))).await, "a message came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_given_again_until_it_is_confirmed_and_sent_once_by_id() {
    let world = World::start().await;
    let (alice_store, bob_store) = (world.store("alice"), world.store("bob"));
    let mut alice = world.alice(alice_store.clone()).await;
    let alice_jid = alice.enlisted().await;
    let bob = world.bob(bob_store).await;
    let id: MessageId = "ONE".parse().unwrap();
    for _ in 0..3 {
        bob.client.send(&alice_jid, Content::text("once"), Some(id.clone())).await.unwrap();
    }
    let first = alice.message().await;
    assert_eq!(first.id, id);
    drop(alice);

    let mut alice = world.alice(alice_store.clone()).await;
    let again = alice.message().await;
    assert_eq!((again.id, again.event.clone()), (id.clone(), first.event));
    alice.client.confirm(again.event).await.unwrap();
    alice.up_to_date().await;
    assert!(!alice.has(|event| matches!(event, Event::Message(_))).await, "it was sent more than once");
    drop(alice);

    let mut alice = world.alice(alice_store).await;
    alice.up_to_date().await;
    assert!(!alice.has(|event| matches!(event, Event::Message(_))).await, "it was confirmed");
}

/// A store that, once, commits a received message and then says that it failed: as a process does that dies between
/// the commit and the receipt.
struct Forgetful(Arc<SqliteStore>, AtomicBool);

impl Store for Forgetful {
    fn load(&self, keys: &[RecordKey]) -> Result<Vec<Record>, StoreError> {
        self.0.load(keys)
    }

    fn scan(&self, kind: RecordKind, prefix: &str, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.0.scan(kind, prefix, after, limit)
    }

    fn commit(&self, batches: &[Batch]) -> Vec<Result<Revision, StoreError>> {
        let done = self.0.commit(batches);
        let took = batches.iter().flat_map(|b| &b.changes).any(|c| c.key.kind == RecordKind::Seen);
        if took && !self.1.swap(true, Ordering::Relaxed) {
            return done.iter().map(|_| Err(StoreError::Medium("as if".into()))).collect();
        }
        done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_stored_but_not_answered_is_answered_when_it_comes_again() {
    let world = World::start().await;
    let (alice_store, bob_store) = (world.store("alice"), world.store("bob"));
    let mut alice = world.alice(Arc::new(Forgetful(alice_store.clone(), AtomicBool::new(false)))).await;
    let alice_jid = alice.enlisted().await;
    alice.up_to_date().await;
    let mut bob = world.bob(bob_store).await;
    let id = bob.client.send_text(&alice_jid, "once").await.unwrap();
    alice.until(|event| matches!(event, Event::Warning(_)).then_some(())).await;
    assert!(!alice.has(|event| matches!(event, Event::Message(_))).await, "shown although the store failed");
    drop(alice);

    let mut alice = world.alice(alice_store).await;
    assert_eq!(alice.message().await.id, id);
    // The server still has it: it gets its receipt now, and the application no second copy.
    bob.until(|event| {
        matches!(event, Event::State { id: i, state: MessageState::Delivered, .. } if *i == id).then_some(())
    })
    .await;
    assert!(!alice.has(|event| matches!(event, Event::Message(_))).await, "given twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_text_arrives_and_a_longer_one_is_refused_at_once() {
    let world = World::start().await;
    let mut alice = world.alice(world.store("alice")).await;
    let alice_jid = alice.enlisted().await;
    let bob = world.bob(world.store("bob")).await;
    let long = "x".repeat(65_536);
    bob.client.send_text(&alice_jid, &long).await.unwrap();
    assert_eq!(text(&alice.message().await.content), long);
    assert!(bob.client.send_text(&alice_jid, &format!("{long}x")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_rebuilt_by_a_retry() {
    let world = World::start().await;
    let (alice_store, bob_store) = (world.store("alice"), world.store("bob"));
    let mut alice = world.alice(alice_store.clone()).await;
    let alice_jid = alice.enlisted().await;
    alice.up_to_date().await;
    let mut bob = world.bob(bob_store).await;
    let bob_jid = alice.find_bob().await;
    alice.client.send_text(&bob_jid, "first").await.unwrap();
    assert_eq!(text(&bob.message().await.content), "first");
    bob.client.send_text(&alice_jid, "second").await.unwrap();
    assert_eq!(text(&alice.message().await.content), "second");

    // Alice's session is gone, as after a damaged disk; the identity she pinned is not.
    let sessions = alice_store.scan(RecordKind::Session, "", "", 10).unwrap();
    assert_eq!(sessions.len(), 1);
    let mut batch = Batch::new();
    batch.delete_owned(sessions[0].key.clone());
    alice_store.commit(&[batch]).remove(0).unwrap();

    let id = bob.client.send_text(&alice_jid, "third").await.unwrap();
    let asked = alice.until(|event| match event {
        Event::Undecryptable { id, count, .. } => Some((id.clone(), *count)),
        _ => None,
    });
    assert_eq!(asked.await, (id.clone(), 1));
    bob.until(|event| matches!(event, Event::Resent { id: i, .. } if *i == id).then_some(())).await;
    let got = alice.message().await;
    assert_eq!((got.id, text(&got.content)), (id.clone(), "third"));
    bob.until(|event| {
        matches!(event, Event::State { id: i, state: MessageState::Delivered, .. } if *i == id).then_some(())
    })
    .await;
    // And back, over the new session.
    alice.client.send_text(&bob_jid, "fourth").await.unwrap();
    assert_eq!(text(&bob.message().await.content), "fourth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_install_is_an_identity_change() {
    let world = World::start().await;
    let (first_store, bob_store) = (world.store("alice"), world.store("bob"));
    let mut alice = world.alice(first_store).await;
    let alice_jid = alice.enlisted().await;
    alice.up_to_date().await;
    let mut bob = world.bob(bob_store).await;
    bob.client.send_text(&alice_jid, "before").await.unwrap();
    alice.message().await;
    let before = bob.client.safety_number(&alice_jid).await.unwrap();
    drop(alice);

    let mut alice = world.alice(world.store("alice-again")).await;
    assert_eq!(alice.enlisted().await, alice_jid, "the same user gets the same id");
    alice.up_to_date().await;
    bob.until(|event| matches!(event, Event::IdentityChanged { peer, .. } if *peer == alice_jid).then_some(())).await;
    bob.client.send_text(&alice_jid, "after").await.unwrap();
    assert_eq!(text(&alice.message().await.content), "after");
    assert_ne!(bob.client.safety_number(&alice_jid).await.unwrap(), before);
}
