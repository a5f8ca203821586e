//! The processes, each of which can be killed and started again with its own files and ports.

use crate::client::{SETUP, Setup};
use crate::judge::{Total, ids};
use comity_client::SqliteStore;
use comity_core::RecordKind;
use comity_testkit::port::free_port;
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub(crate) const ADMIN_TOKEN: &str = "an administrator's token, long enough";
/// Everything has arrived by then, or never will.
const PATIENCE: Duration = Duration::from_secs(180);
/// Two chats, each of a partner's user and a native one; the second speaks PQXDH at both ends.
const CHATS: [(&str, &str, bool); 2] =
    [("alice@partner.test", "+4915100000001", false), ("carol@partner.test", "+4915100000002", true)];

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Client,
    Gatekeeper,
    Partner,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Client, Self::Gatekeeper, Self::Partner];
}

/// The servers' binaries, or the name of one that is not there.
pub(crate) fn binaries() -> Result<[PathBuf; 2], &'static str> {
    let find = |name| {
        let path =
            Path::new(env!("CARGO_BIN_EXE_comity")).with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        if path.exists() { Ok(path) } else { Err(name) }
    };
    Ok([find("comity-gatekeeper")?, find("comity-partner")?])
}

/// A process and how to start it.
struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    setup: Option<Setup>,
    log: PathBuf,
    running: Option<(Child, Lines<BufReader<ChildStdout>>)>,
}

impl Process {
    fn new(name: &str, program: PathBuf, args: &[&str], setup: Option<Setup>, dir: &Path) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { name: name.into(), program, args, setup, log: dir.join(format!("{name}.log")), running: None }
    }

    fn start(&mut self) {
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        if let Some(setup) = &self.setup {
            command.env(SETUP, serde_json::to_string(setup).unwrap());
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.running = Some((child, lines));
    }

    /// What follows `start` in the first line that has it.
    async fn says(&mut self, start: &str) -> String {
        let (_, lines) = self.running.as_mut().unwrap();
        loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{} does not say `{start}`", self.name)).unwrap();
            let line = line.unwrap_or_else(|| panic!("{} ended; see {}", self.name, self.log.display()));
            if let Some((_, rest)) = line.split_once(start) {
                return rest.to_owned();
            }
        }
    }

    async fn kill(&mut self) {
        let (mut child, _) = self.running.take().unwrap();
        child.kill().await.unwrap();
    }

    fn check(&mut self) {
        let (child, _) = self.running.as_mut().unwrap();
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{} ended by itself with {status}; see {}", self.name, self.log.display());
        }
    }
}

pub(crate) struct World {
    dir: PathBuf,
    gatekeeper: Process,
    partner: Process,
    clients: Vec<Process>,
}

impl World {
    pub(crate) async fn start() -> Self {
        // It stays if something fails.
        let dir = tempfile::Builder::new().prefix("comity-soak-").tempdir().unwrap().keep();
        println!("files in {}", dir.display());
        let (chat, http, partner_port) = (free_port(), free_port(), free_port());
        let (gatekeeper_http, partner_http) =
            (format!("http://127.0.0.1:{http}"), format!("http://127.0.0.1:{partner_port}"));
        let home = dir.display();
        let gatekeeper_config = format!(
            r#"
            listen_chat = "127.0.0.1:{chat}"
            listen_http = "127.0.0.1:{http}"
            data_dir = "{home}/gatekeeper"
            admin_token = "{ADMIN_TOKEN}"
            [[integrator]]
            id = 1
            name = "Partner"
            origin = "{partner_http}"
            media_base_url = "{partner_http}/media"
            "#
        );
        let secret = "a user's secret, long enough";
        let mut partner_config = format!(
            r#"
            sandbox = true
            listen = "127.0.0.1:{partner_port}"
            data_dir = "{home}/partner"
            gatekeeper_jwks_url = "{gatekeeper_http}/.well-known/jwks"
            "#
        );
        for (user, ..) in CHATS {
            partner_config += &format!("[[users]]\nid = \"{user}\"\nsecret = \"{secret}\"\n");
        }
        let (gatekeeper_toml, partner_toml) = (dir.join("gatekeeper.toml"), dir.join("partner.toml"));
        std::fs::write(&gatekeeper_toml, gatekeeper_config).unwrap();
        std::fs::write(&partner_toml, partner_config).unwrap();
        let [gatekeeper, partner] = binaries().unwrap();
        let server = |name, binary, config: &Path| {
            Process::new(name, binary, &["--log", "warn", "--config", config.to_str().unwrap()], None, &dir)
        };
        let mut world = Self {
            gatekeeper: server("gatekeeper", gatekeeper, &gatekeeper_toml),
            partner: server("partner", partner, &partner_toml),
            clients: Vec::new(),
            dir: dir.clone(),
        };
        world.partner.start();
        world.partner.says("ready partner").await;
        world.gatekeeper.start();
        let ready = world.gatekeeper.says("ready gatekeeper").await;
        let (_, root) = ready.split_once("root=").unwrap();
        let root = root.split(' ').next().unwrap().to_owned();
        for (alice, bob, post_quantum) in CHATS {
            for (who, peer) in [(alice, bob), (bob, alice)] {
                let setup = Setup {
                    who: who.into(),
                    peer: peer.into(),
                    dir: dir.join(who),
                    post_quantum,
                    chat: format!("127.0.0.1:{chat}"),
                    http: gatekeeper_http.clone(),
                    partner: partner_http.clone(),
                    secret: secret.into(),
                    root: root.clone(),
                };
                std::fs::create_dir(&setup.dir).unwrap();
                let program = std::env::current_exe().unwrap();
                let args = ["--exact", "client_process", "--nocapture"];
                let mut client = Process::new(who, program, &args, Some(setup), &dir);
                client.start();
                world.clients.push(client);
            }
        }
        world
    }

    /// Waits until something has come to every client.
    pub(crate) async fn up_to_speed(&mut self) {
        let start = Instant::now();
        while self.setups().iter().any(|setup| received(setup) == 0) {
            assert!(start.elapsed() < PATIENCE, "no traffic; see {}", self.dir.display());
            self.sleep(Duration::from_millis(50)).await;
        }
    }

    fn setups(&self) -> Vec<Setup> {
        self.clients.iter().filter_map(|client| client.setup.clone()).collect()
    }

    /// Messages that have come so far.
    pub(crate) fn received(&self) -> usize {
        self.setups().iter().map(received).sum()
    }

    /// Time passes, in which nothing ends by itself.
    pub(crate) async fn sleep(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        [&mut self.gatekeeper, &mut self.partner].into_iter().chain(&mut self.clients).for_each(Process::check);
    }

    /// Kills one of that kind, and starts it again after a while.
    pub(crate) async fn kill_for(&mut self, kind: Kind, rng: &mut StdRng, away: Duration) {
        let (process, ready) = match kind {
            Kind::Gatekeeper => (&mut self.gatekeeper, Some("ready gatekeeper")),
            Kind::Partner => (&mut self.partner, Some("ready partner")),
            Kind::Client => {
                let at = rng.random_range(0..self.clients.len());
                (&mut self.clients[at], None)
            }
        };
        process.kill().await;
        tokio::time::sleep(away).await;
        process.start();
        if let Some(ready) = ready {
            process.says(ready).await;
        }
    }

    /// No more is sent; when all has arrived, the clients end, and what they have is judged.
    pub(crate) async fn finish(&mut self) -> Total {
        let mut sent = Vec::new();
        for client in &mut self.clients {
            let stdin = client.running.as_mut().unwrap().0.stdin.as_mut().unwrap();
            stdin.write_all(b"stop\n").await.unwrap();
            sent.push(client.says("sent ").await.parse::<usize>().unwrap());
        }
        let setups = self.setups();
        let start = Instant::now();
        // What does not come in time is judged lost.
        while start.elapsed() < PATIENCE && !setups.iter().enumerate().all(|(at, to)| received(to) >= sent[at ^ 1]) {
            self.sleep(Duration::from_millis(100)).await;
        }
        let quiet = |setup: &Setup| {
            let store = SqliteStore::open(&setup.dir.join("store.db")).unwrap();
            [RecordKind::Outbox, RecordKind::Inbox].iter().all(|kind| ids(&store, *kind).is_empty())
        };
        while start.elapsed() < PATIENCE && !setups.iter().all(quiet) {
            self.sleep(Duration::from_millis(100)).await;
        }
        for client in &mut self.clients {
            // Its output stays open to the end: it says how the test in it went.
            let (mut child, _lines) = client.running.take().unwrap();
            drop(child.stdin.take());
            assert!(child.wait().await.unwrap().success(), "{}", client.name);
        }
        let mut total = Total::default();
        for (at, to) in setups.iter().enumerate() {
            // Clients stand in pairs.
            total.judge(&setups[at ^ 1], to, sent[at ^ 1]);
        }
        for server in [&mut self.gatekeeper, &mut self.partner] {
            server.kill().await;
        }
        total
    }

    /// All is well: nobody wants to look at the files.
    pub(crate) fn remove(self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// Messages that came to a client so far.
fn received(setup: &Setup) -> usize {
    let text = std::fs::read_to_string(setup.dir.join("received")).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('+')).count()
}
