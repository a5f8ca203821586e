//! Another profile at both ends is another dialect of the same protocol; at one end alone it is a refusal (PROTOCOL,
//! preamble).

use crate::text;
use crate::world::World;
use comity_client::{Event, MessageState};
use comity_core::Profile;

const OTHER: &str = r#"
interop_version = "2.4.1"
login_product = 3
token_lifetime = 90
enc_in_participants = true
interop_jid_server = false
compress = true
element_pq_key = "kyber"
element_pq_list = "kybers"
element_pq_last = "kyber_last"
element_ping = "knock"
element_delete_account = "farewell"
nack_not_opted_in = 478
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_under_another_profile() {
    let mut world = World::start_under(OTHER).await;
    let alice_store = world.store("alice");
    let mut alice = world.alice(alice_store.clone()).await;
    let alice_jid = alice.enlisted().await;
    alice.up_to_date().await;
    let mut bob = world.bob(world.store("bob")).await;
    let bob_jid = alice.find_bob().await;
    alice.client.send_text(&bob_jid, "hello").await.unwrap();
    assert_eq!(text(&bob.message().await.content), "hello");
    bob.client.send_text(&alice_jid, "and back").await.unwrap();
    assert_eq!(text(&alice.message().await.content), "and back");
    alice.client.ping(&bob_jid).await.unwrap();
    bob.until(|event| matches!(event, Event::Pinged { .. }).then_some(())).await;

    bob.client.opt_in(vec![]).await.unwrap();
    alice.client.send_text(&bob_jid, "too late").await.unwrap();
    let code = alice.until(|event| match event {
        Event::State { state: MessageState::Failed(comity_client::Failure::Server(code)), .. } => Some(*code),
        _ => None,
    });
    assert_eq!(code.await, 478);

    // A client that goes by another profile is told so.
    alice.client.go_offline().await.unwrap();
    drop(alice);
    let other = std::mem::replace(&mut world.profile, Profile::sandbox());
    let mut stranger = world.alice(alice_store.clone()).await;
    let reason = stranger.until(|event| match event {
        Event::LoginRefused { reason, .. } => Some(*reason),
        _ => None,
    });
    assert!([501, 405].contains(&reason.await));
    drop(stranger);
    world.profile = other;
    let mut alice = world.alice(alice_store).await;
    alice.up_to_date().await;
    alice.client.delete_account().await.unwrap();
    alice.until(|event| matches!(event, Event::Deleted).then_some(())).await;
}
