//! The examples, run as programs against both servers.
#![cfg(feature = "x3dh")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use base64::Engine as _;
use comity::{
    Client, Config, Content, Event, Events, IntegratorId, MessageEvent, Progress, SqliteStore, Suites, TrustRoot, X3dh,
};
use comity_gatekeeper::{Gatekeeper, Options};
use comity_testkit::port::free_port;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::oneshot;

const ALICE: &str = "alice@partner.test";
const BOB: u64 = 4_915_100_000_001;
const SECRET: &str = "an example's secret, long enough";
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    dir: tempfile::TempDir,
    _gatekeeper: Gatekeeper,
    _partner: oneshot::Sender<()>,
    bob: Client,
    events: Events,
}

impl World {
    /// Both servers, the files that the examples look for, and bob, who can be reached.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display();
        let (chat, http, partner) = (free_port(), free_port(), free_port());
        let (chat, http, partner) =
            (format!("127.0.0.1:{chat}"), format!("http://127.0.0.1:{http}"), format!("http://127.0.0.1:{partner}"));
        let config = format!(
            "sandbox = true\nlisten = \"{}\"\ndata_dir = \"{home}/partner\"\n\
             gatekeeper_jwks_url = \"{http}/.well-known/jwks\"\n[[users]]\nid = \"{ALICE}\"\nsecret = \"{SECRET}\"\n",
            partner.strip_prefix("http://").unwrap()
        );
        std::fs::write(dir.path().join("partner.toml"), config).unwrap();
        let config = comity_partner::Config::read(&dir.path().join("partner.toml")).unwrap();
        let server = comity_partner::Server::bind(&config).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.serve(async { drop(stopped.await) }));
        let config = format!(
            "listen_chat = \"{chat}\"\nlisten_http = \"{}\"\ndata_dir = \"{home}/gatekeeper\"\nadmin_token = \"{SECRET}\"\n\
             [[integrator]]\nid = 1\nname = \"Partner\"\norigin = \"{partner}\"\nmedia_base_url = \"{partner}/media\"\n",
            http.strip_prefix("http://").unwrap()
        );
        let config = comity_gatekeeper::Config::from_toml(&config).unwrap();
        let gatekeeper = Gatekeeper::start(config, Options::default()).await.unwrap();
        let root = gatekeeper.root();
        let place = serde_json::json!({ "chat": chat, "http": http, "root": root.to_string(), "admin_token": SECRET });
        std::fs::write(dir.path().join("gatekeeper.json"), place.to_string()).unwrap();
        let place = serde_json::json!({ "http": partner, "users": [{ "id": ALICE, "secret": SECRET }] });
        std::fs::write(dir.path().join("partner.json"), place.to_string()).unwrap();

        let store = Arc::new(SqliteStore::open(&dir.path().join("bob.db")).unwrap());
        let config = Config::native(BOB, TrustRoot(root)).offline();
        let (bob, mut events) = Client::builder(config, Suites::new().with(X3dh), store, &chat, &http)
            .files(dir.path().join("bob-files"))
            .start()
            .unwrap();
        let key = loop {
            if let Event::AccountReady { noise_key, .. } = events.next().await.unwrap() {
                break base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(noise_key);
            }
        };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{http}/admin/native")).bearer_auth(SECRET);
        let request = request.json(&serde_json::json!({ "phone_number": BOB.to_string(), "noise_key": key }));
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
        bob.go_online().await.unwrap();
        while bob.opt_in(vec![IntegratorId::new(1).unwrap()]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { dir, _gatekeeper: gatekeeper, _partner: stop, bob, events }
    }

    /// Runs an example, which cargo has built beside this test.
    fn run(&self, example: &str, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let built = std::env::current_exe().unwrap();
        let program: PathBuf = built.parent().unwrap().parent().unwrap().join("examples").join(example);
        let mut command = Command::new(program.with_extension(std::env::consts::EXE_EXTENSION));
        command.arg(self.dir.path()).args(args).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the examples are built with the tests");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }

    async fn message(&mut self) -> MessageEvent {
        let next = async {
            loop {
                if let Event::Message(message) = self.events.next().await.unwrap() {
                    self.bob.confirm(message.event.clone()).await.unwrap();
                    return *message;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("no message came")
    }
}

async fn says(lines: &mut Lines<BufReader<ChildStdout>>, start: &str) {
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap();
        if line.expect("it ended").starts_with(start) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_echo_bot_answers_once_even_when_it_was_killed() {
    let mut world = World::start().await;
    let (mut bot, mut lines) = world.run("echo_bot", &[ALICE]);
    says(&mut lines, "ready").await;
    let whom = comity::LookUp { external_id: ALICE.to_owned(), integrator: Some(IntegratorId::new(1).unwrap()) };
    let alice = world.bob.look_up(vec![whom]).await.unwrap().remove(0).1.expect("the bot can be found");
    for n in 0..5 {
        let text = format!("message {n}");
        let id = world.bob.send_text(&alice, &text).await.unwrap();
        let answer = world.message().await;
        let Content::Text { text: got, reply_to: Some(reply) } = answer.content else { panic!("not a reply") };
        assert_eq!((got, reply.target.id), (text, id));
        // At any moment after its answer went out: before the confirmation, or after.
        bot.kill().await.unwrap();
        (bot, lines) = world.run("echo_bot", &[ALICE]);
        says(&mut lines, "ready").await;
    }
    let last = world.bob.send_text(&alice, "last").await.unwrap();
    // Had anything been answered twice, it would have come before.
    assert_eq!(world.message().await.id.as_str(), format!("ECHO-{last}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_sender_sends_a_file_and_ends() {
    let mut world = World::start().await;
    let path = world.dir.path().join("report.bin");
    let file: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &file).unwrap();
    let (mut sender, _lines) = world.run("file_sender", &[ALICE, &format!("+{BOB}"), path.to_str().unwrap()]);
    let Content::Media(media) = world.message().await.content else { panic!("no file") };
    let received = world.bob.download(&media, &Progress::none()).await.unwrap();
    assert_eq!(std::fs::read(&received.path).unwrap(), file);
    let status = tokio::time::timeout(PATIENCE, sender.wait()).await.expect("it does not end").unwrap();
    assert!(status.success());
}
