//! The gatekeeper is killed at any moment while two users write to each other, round after round: nothing that a client took
//! over is lost, nothing comes twice. `COMITY_ROUNDS` says how often; `cargo xtask soak` does it two hundred times.

use crate::world::{User, World};
use comity_client::{Client, Event};
use comity_core::{Jid, RecordKind, Store};
use comity_gatekeeper::{Config, Gatekeeper, Options};
use rand::RngExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Rounds in the ordinary tests.
const ROUNDS: usize = 3;
/// Between two messages of a user.
const PACE: Duration = Duration::from_millis(4);
/// The server lives at most so long, in milliseconds after traffic flows again.
const LIFE: std::ops::Range<u64> = 0..250;
/// Everything has arrived by then, or never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// Not a test: the server that is killed, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn gatekeeper_process() {
    let Ok(config) = std::env::var(crate::world::SERVER) else { return };
    let gatekeeper = Gatekeeper::start(Config::from_toml(&config).unwrap(), Options::default()).await.unwrap();
    println!("root={}", gatekeeper.root());
    std::future::pending().await
}

/// What came to a user, by id.
#[derive(Default)]
struct Received {
    by_id: Mutex<BTreeMap<String, usize>>,
    count: AtomicUsize,
}

/// Writes until told to stop; answers the ids that the client took over.
async fn write(client: Client, to: Jid, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut ids = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ids.push(client.send_text(&to, &format!("message {}", ids.len())).await.unwrap().to_string());
        tokio::time::sleep(PACE).await;
    }
    ids
}

/// Reads and confirms for ever.
async fn read(mut user: User, received: Arc<Received>) {
    loop {
        let message = user
            .next(|event| match event {
                Event::Message(message) => Some((**message).clone()),
                _ => None,
            })
            .await;
        *received.by_id.lock().unwrap().entry(message.id.to_string()).or_default() += 1;
        received.count.fetch_add(1, Ordering::Relaxed);
        user.client.confirm(message.event).await.unwrap();
    }
}

/// Waits until `done`, for [`PATIENCE`] at most.
async fn wait(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn records(store: &dyn Store, kind: RecordKind) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = store.scan(kind, "", &after, 1000).unwrap();
        let Some(last) = page.last() else { return all };
        after = last.key.id.to_string();
        all.extend(page.into_iter().map(|record| record.key.id.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_loses_nothing_and_repeats_nothing() {
    let rounds = std::env::var("COMITY_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut world = World::start_apart().await;
    let (alice_store, bob_store) = (world.store("alice"), world.store("bob"));
    let mut alice = world.alice(alice_store.clone()).await;
    let alice_jid = alice.enlisted().await;
    alice.up_to_date().await;
    let bob = world.bob(bob_store.clone()).await;
    let bob_jid = alice.find_bob().await;

    let (to_alice, to_bob, stop) = (Arc::<Received>::default(), Arc::<Received>::default(), Arc::default());
    let (alice_client, bob_client) = (alice.client.clone(), bob.client.clone());
    let writers = [
        tokio::spawn(write(alice_client, bob_jid, Arc::clone(&stop))),
        tokio::spawn(write(bob_client, alice_jid, Arc::clone(&stop))),
    ];
    let readers = [tokio::spawn(read(alice, Arc::clone(&to_alice))), tokio::spawn(read(bob, Arc::clone(&to_bob)))];
    for _ in 0..rounds {
        // Both directions flow again; then, at any moment, it ends.
        let before = [&to_alice, &to_bob].map(|received| received.count.load(Ordering::Relaxed));
        wait("traffic after a restart", || {
            let now = [&to_alice, &to_bob].map(|received| received.count.load(Ordering::Relaxed));
            now[0] > before[0] && now[1] > before[1]
        })
        .await;
        let life = rand::rng().random_range(LIFE);
        tokio::time::sleep(Duration::from_millis(life)).await;
        world.kill_gatekeeper().await;
        world.start_gatekeeper().await;
    }
    stop.store(true, Ordering::Relaxed);
    let [alice_sent, bob_sent] = writers;
    let (alice_sent, bob_sent) = (alice_sent.await.unwrap(), bob_sent.await.unwrap());
    for (who, sent, received, store, sender) in [
        ("alice", &alice_sent, &to_bob, &bob_store, &alice_store),
        ("bob", &bob_sent, &to_alice, &alice_store, &bob_store),
    ] {
        wait(&format!("a message of {who} is lost"), || received.by_id.lock().unwrap().len() >= sent.len()).await;
        let by_id = received.by_id.lock().unwrap().clone();
        assert!(by_id.values().all(|times| *times == 1), "a message of {who} came twice");
        let mut expected = sent.clone();
        expected.sort();
        assert_eq!(by_id.into_keys().collect::<Vec<_>>(), expected, "messages of {who}");
        // The stores say the same: each was given to the application once, and nothing waits to be sent.
        let mut seen: Vec<String> =
            records(&**store, RecordKind::Seen).iter().map(|key| key.rsplit('/').next().unwrap().to_owned()).collect();
        seen.sort();
        assert_eq!(seen, expected, "stored messages of {who}");
        wait(&format!("something of {who} stays unsent"), || records(&**sender, RecordKind::Outbox).is_empty()).await;
        wait("what was confirmed stays", || records(&**store, RecordKind::Inbox).is_empty()).await;
    }
    println!("{rounds} kills, {} messages, 0 lost, 0 repeated", alice_sent.len() + bob_sent.len());
    readers.iter().for_each(tokio::task::JoinHandle::abort);
}
