//! A captured IK first message, played again: the server answers it, and nothing happens (PROTOCOL §5.2).

use crate::client::{Client, body};
use crate::partner::now;
use crate::world::{User, World};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// One connection to the server through hands that write down what the client sends.
struct Tap {
    address: SocketAddr,
    /// The prologue and the client's hello.
    hello: oneshot::Receiver<Vec<u8>>,
    /// Lets the hello on.
    release: oneshot::Sender<()>,
    /// All that came after it.
    rest: Arc<Mutex<Vec<u8>>>,
}

async fn tap(server: SocketAddr) -> Tap {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (hello_in, hello) = oneshot::channel();
    let (release, released) = oneshot::channel::<()>();
    let rest = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&rest);
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = [0; 7];
        client.read_exact(&mut head).await.unwrap();
        let len = u32::from_be_bytes([0, head[4], head[5], head[6]]) as usize;
        let mut hello = head.to_vec();
        hello.resize(7 + len, 0);
        client.read_exact(&mut hello[7..]).await.unwrap();
        hello_in.send(hello.clone()).unwrap();
        released.await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        server.write_all(&hello).await.unwrap();
        let (mut from_server, mut to_server) = server.into_split();
        let (mut from_client, mut to_client) = client.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = from_client.read(&mut chunk).await {
            record.lock().unwrap().extend_from_slice(&chunk[..n]);
            if to_server.write_all(&chunk[..n]).await.is_err() {
                return;
            }
        }
    });
    Tap { address, hello, release, rest }
}

/// Plays bytes to the server; gives the socket after the server's first answer.
async fn play(server: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut head = [0; 3];
    timeout(Duration::from_secs(10), socket.read_exact(&mut head)).await.unwrap().unwrap();
    assert!(u32::from_be_bytes([0, head[0], head[1], head[2]]) > 32, "a server hello");
    socket
}

#[tokio::test]
async fn it_replaces_nobody_delivers_nothing_and_leaves_no_trace() {
    let world = World::start().await;
    let ((alice, first), (bob, mut native)) = world.pair().await;
    let (server, root) = (world.server().chat_addr(), world.server().root());
    let known = first.server;
    let tapped = tap(server).await;
    tapped.release.send(()).unwrap();
    let payload = world.payload(&alice);
    let (mut genuine, success) =
        Client::connect(tapped.address, root, &alice.noise, &payload, Some(known), now()).await;
    assert_eq!((genuine.pattern, success.tag()), (comity_noise::Pattern::Ik, "success"));
    genuine.ping().await;
    native.message(&alice.jid, "AA01", b"for alice alone").await;
    native.acked("message", "AA01").await;

    let (hello, rest) = (tapped.hello.await.unwrap(), tapped.rest.lock().unwrap().clone());
    assert!(rest.len() > 20);
    let before = world.settled().await;
    let mut replayers = Vec::new();
    for _ in 0..8 {
        replayers.push(play(server, &hello).await);
    }
    // With the genuine client's next frames after it: they do not open, and end the connection.
    let mut greedy = play(server, &[hello.clone(), rest].concat()).await;
    let mut answered = Vec::new();
    timeout(Duration::from_secs(10), greedy.read_to_end(&mut answered)).await.unwrap().unwrap();
    // And with a frame made up.
    let mut bold = play(server, &hello).await;
    bold.write_all(&[&[0, 0, 40][..], &[7; 40]].concat()).await.unwrap();
    timeout(Duration::from_secs(10), bold.read_to_end(&mut answered)).await.unwrap().unwrap();

    assert_eq!(world.settled().await, before, "nothing seen, nothing recorded");
    genuine.ping().await; // not replaced
    genuine.activate().await;
    let message = genuine.wait_tag("message").await;
    assert_eq!(body(&message), b"for alice alone");
    genuine.receipt(&message, None).await;
    genuine.acked("receipt", "AA01").await;
    native.wait_tag("receipt").await;
    // The replayers were told nothing more than at first, and nothing can be read from it.
    for mut replayer in replayers {
        let mut more = vec![0; 4096];
        let read = timeout(Duration::from_millis(100), replayer.read(&mut more)).await;
        let read = read.map_or(0, Result::unwrap);
        assert!(read < 2048 && !more[..read].windows(5).any(|w| w == b"alice"), "{read}");
    }
    drop(bob);
}

/// Who sees an unbound token pass by in an IK hello and plays it first does not take it from its owner.
#[tokio::test]
async fn it_does_not_use_up_an_unbound_token() {
    let world = World::start_with("", "allow_unbound_tokens = true\n").await;
    let alice: User = world.enlist("alice@partner.test").await;
    let (server, root) = (world.server().chat_addr(), world.server().root());
    let known = world.log_in(&alice).await.server;
    let mut payload = world.payload(&alice);
    let token = world.partner.forge(&alice.name, json!({}));
    payload.interop_data.as_mut().unwrap().token = Some(token.into());
    let tapped = tap(server).await;
    let (noise, address) = (alice.noise.clone(), tapped.address);
    let genuine =
        tokio::spawn(async move { Client::connect(address, root, &noise, &payload, Some(known), now()).await });
    let hello = tapped.hello.await.unwrap();
    for _ in 0..4 {
        let mut socket = play(server, &hello).await;
        socket.write_all(&[&[0, 0, 40][..], &[7; 40]].concat()).await.unwrap();
        timeout(Duration::from_secs(10), socket.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    }
    assert_eq!(world.query("SELECT * FROM used_token"), [""; 0]);
    tapped.release.send(()).unwrap();
    let (mut genuine, success) = genuine.await.unwrap();
    assert_eq!((genuine.pattern, success.tag()), (comity_noise::Pattern::Ik, "success"));
    genuine.ping().await;
    // Now it is used up, for whoever plays it again, too.
    let before = world.settled().await;
    let mut socket = play(server, &hello).await;
    timeout(Duration::from_secs(10), socket.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    assert_eq!(world.settled().await, before);
    genuine.ping().await;
}

/// Who resumes and says nothing is not waited for, nor does it hold up the server's end.
#[tokio::test]
async fn silence_after_a_resumed_log_in_ends_it() {
    use comity_gatekeeper::{Config, Gatekeeper, Options};
    let mut world = World::start().await;
    let alice = world.enlist("alice@partner.test").await;
    let known = world.log_in(&alice).await.server;
    world.down().await;
    let config = Config::from_toml(&crate::world::config(&world.partner, world.dir.path())).unwrap();
    let mut profile = comity_core::Profile::sandbox();
    profile.first_stanza = Duration::from_millis(1500);
    let options = Options { profile: Some(profile), ..Options::default() };
    world.server = Some(Gatekeeper::start(config, options).await.unwrap());
    let (server, root) = (world.server().chat_addr(), world.server().root());
    let payload = world.payload(&alice);
    let resume = async || Client::connect(server, root, &alice.noise, &payload, Some(known), now()).await;
    while !world.http.get(format!("{}/readyz", world.url())).send().await.unwrap().status().is_success() {}
    let (mut talker, _) = resume().await;
    talker.ping().await;
    let begun = std::time::Instant::now();
    let (mut silent, success) = resume().await;
    assert_eq!((silent.pattern, success.tag()), (comity_noise::Pattern::Ik, "success"));
    assert!(silent.next().await.is_none());
    assert!((1.4..6.0).contains(&begun.elapsed().as_secs_f64()));
    tokio::time::sleep(Duration::from_millis(1600)).await;
    talker.ping().await; // who has spoken may be silent after it
}
