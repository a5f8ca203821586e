//! The binary: configuration, ready line, SIGTERM, and SIGKILL in the middle of traffic.

use crate::client::{Client, body};
use crate::partner::{Partner, now};
use crate::world::{ADMIN, User, World, config};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

pub(crate) struct Server {
    child: Child,
    pub(crate) chat: std::net::SocketAddr,
    pub(crate) http: String,
    root: comity_noise::PublicKey,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comity-gatekeeper"));
    command.arg("--config").arg(dir.join("config.toml")).stderr(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) async fn start(dir: &Path) -> Server {
    let mut child = command(dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let rest = line.trim_end().strip_prefix("ready gatekeeper ").unwrap();
    let parts: Vec<(&str, &str)> = rest.split(' ').map(|part| part.split_once('=').unwrap()).collect();
    let [("chat", chat), ("http", http), ("root", root)] = parts[..] else { panic!("{line}") };
    Server { child, chat: chat.parse().unwrap(), http: http.into(), root: root.parse().unwrap() }
}

/// A world whose server is the binary: only its partner, users and payloads are used.
pub(crate) async fn world() -> World {
    let world = World {
        partner: Partner::start().await,
        dir: tempfile::tempdir().unwrap(),
        clock: comity_gatekeeper::Clock::system(),
        server: None,
        http: reqwest::Client::new(),
        profile: None,
        settings: Default::default(),
    };
    std::fs::write(world.dir.path().join("config.toml"), config(&world.partner, world.dir.path())).unwrap();
    world
}

pub(crate) async fn online(world: &World, server: &Server, user: &User) -> Client {
    let (mut client, first) =
        Client::connect(server.chat, server.root, &user.noise, &world.payload(user), None, now()).await;
    assert_eq!(first.tag(), "success", "{first:?}");
    client.activate().await;
    client
}

/// A native user.
pub(crate) async fn native(world: &World, server: &Server) -> User {
    use base64::Engine as _;
    let noise = comity_noise::StaticKey::generate(&mut crate::world::rng());
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(noise.public().as_bytes());
    let body = serde_json::json!({ "phone_number": "4915112345678", "noise_key": key });
    let answer = world.http.post(format!("{}/admin/native", server.http)).bearer_auth(ADMIN).json(&body).send();
    assert!(answer.await.unwrap().status().is_success());
    let identity = crate::client::Identity::generate();
    User { jid: "4915112345678@s.whatsapp.net".into(), name: "Bob".into(), noise, identity }
}

/// A partner user, once the server has the partner's keys.
pub(crate) async fn enlist(world: &World, server: &Server, name: &str) -> User {
    let mut user = world.stranger(name);
    for _ in 0..100 {
        let form = world.form(&user);
        let answer = world.http.post(format!("{}/3p/interop_reg", server.http)).form(&form).send().await.unwrap();
        if answer.status().is_success() {
            let answer: serde_json::Value = answer.json().await.unwrap();
            user.jid = answer["login"].as_str().unwrap().to_owned();
            return user;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the partner's keys never came");
}

#[tokio::test]
async fn check_config_and_sigterm() {
    let world = world().await;
    let checked = command(world.dir.path()).arg("--check-config").output().await.unwrap();
    assert!(checked.status.success());
    let broken = world.dir.path().join("broken.toml");
    std::fs::write(&broken, "data_dir = \"x\"\nunknown = 1\n").unwrap();
    let refused =
        Command::new(env!("CARGO_BIN_EXE_comity-gatekeeper")).arg("--config").arg(broken).output().await.unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown"));

    let mut server = start(world.dir.path()).await;
    assert!(world.http.get(format!("{}/livez", server.http)).send().await.unwrap().status().is_success());
    let pid = server.child.id().unwrap().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    assert!(server.child.wait().await.unwrap().success());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(world.dir.path().join("root.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn sigkill_loses_nothing_acknowledged_and_delivers_nothing_twice_by_id() {
    let world = world().await;
    let mut server = start(world.dir.path()).await;
    let root = server.root;

    let bob = native(&world, &server).await;
    let alice = enlist(&world, &server, "alice@partner.test").await;
    online(&world, &server, &bob).await.opt_in(&[12]).await;

    let (mut acknowledged, mut received) = (BTreeSet::new(), Vec::new());
    for round in 0..5 {
        let mut a = online(&world, &server, &alice).await;
        for n in 0..60 {
            a.message(&bob.jid, &format!("R{round}N{n:02}"), format!("R{round}N{n:02}").as_bytes()).await;
        }
        // Some are acknowledged, some are on the way when the process dies.
        while acknowledged.iter().filter(|id: &&String| id.starts_with(&format!("R{round}"))).count() < 10 {
            let ack = a.wait("ack", |node| node.tag() == "ack").await;
            assert!(ack.attr("error").is_none());
            acknowledged.insert(ack.attr_str("id").unwrap().into_owned());
        }
        server.child.start_kill().unwrap();
        server.child.wait().await.unwrap();
        while let Some(node) = a.next().await {
            acknowledged.extend(node.attr_str("id").filter(|_| node.tag() == "ack").map(|id| id.into_owned()));
        }

        server = start(world.dir.path()).await;
        assert_eq!(server.root, root, "the same keys");
        let mut ready = false;
        for _ in 0..200 {
            ready |= world.http.get(format!("{}/readyz", server.http)).send().await.unwrap().status().is_success();
            if ready {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert!(ready);
        let mut b = online(&world, &server, &bob).await;
        for message in b.drain_offline().await.iter().filter(|node| node.tag() == "message") {
            assert_eq!(body(message), message.attr_str("id").unwrap().as_bytes());
            received.push(message.attr_str("id").unwrap().into_owned());
            b.receipt(message, None).await;
            b.acked("receipt", &message.attr_str("id").unwrap()).await;
        }
        b.close().await;
    }
    let unique: BTreeSet<String> = received.iter().cloned().collect();
    assert_eq!(unique.len(), received.len(), "delivered twice after it was answered");
    assert!(acknowledged.is_subset(&unique), "lost: {:?}", acknowledged.difference(&unique).collect::<Vec<_>>());
    assert!(acknowledged.len() >= 50);
}
