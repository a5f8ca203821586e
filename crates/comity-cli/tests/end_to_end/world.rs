//! Both servers in this process, on real sockets, and clients with stores that outlive them.

use base64::Engine as _;
use comity_client::{
    Client, Config, ConnectionState, Event, Events, Http, LookUp, MessageEvent, PartnerServer, SqliteStore,
};
use comity_core::{IntegratorId, Jid, Profile, Store};
use comity_gatekeeper::{Gatekeeper, Options};
use comity_noise::TrustRoot;
use comity_signal::Suites;
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;
use comity_testkit::port::free_port;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

pub(crate) const ALICE: &str = "alice@partner.test";
pub(crate) const BOB: u64 = 4_915_100_000_001;
const PATIENCE: Duration = Duration::from_secs(30);

/// Under this name, in its environment, a process of this test finds the configuration of the gatekeeper that it is.
pub(crate) const SERVER: &str = "COMITY_SOAK_GATEKEEPER";

/// Where the gatekeeper is.
enum Serving {
    Nowhere,
    Here(Gatekeeper),
    /// In a process of its own, to be killed.
    Apart(Option<Child>),
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    gatekeeper: Serving,
    gatekeeper_config: String,
    partner_http: String,
    gatekeeper_http: String,
    chat: String,
    root: TrustRoot,
    /// What the clients go by.
    pub(crate) profile: Profile,
    http: Http,
    _partner: oneshot::Sender<()>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(Serving::Nowhere, "").await
    }

    /// With the gatekeeper in a process of its own.
    pub(crate) async fn start_apart() -> Self {
        Self::start_with(Serving::Apart(None), "").await
    }

    /// Under the profile of that TOML document, at both ends.
    pub(crate) async fn start_under(profile: &str) -> Self {
        Self::start_with(Serving::Nowhere, profile).await
    }

    async fn start_with(gatekeeper: Serving, profile: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("profile.toml"), profile).unwrap();
        let (chat, http, partner) = (free_port(), free_port(), free_port());
        let (partner_http, gatekeeper_http) =
            (format!("http://127.0.0.1:{partner}"), format!("http://127.0.0.1:{http}"));
        let gatekeeper_config = format!(
            r#"
            listen_chat = "127.0.0.1:{chat}"
            listen_http = "127.0.0.1:{http}"
            data_dir = "{dir}/gatekeeper"
            admin_token = "an administrator's token, long enough"
            profile = "{dir}/profile.toml"
            [[integrator]]
            id = 1
            name = "Partner"
            origin = "{partner_http}"
            media_base_url = "{partner_http}/media"
            "#,
            dir = dir.path().display()
        );
        let path = dir.path().join("partner.toml");
        let partner_config = format!(
            r#"
            sandbox = true
            listen = "127.0.0.1:{partner}"
            data_dir = "{dir}/partner"
            profile = "{dir}/profile.toml"
            gatekeeper_jwks_url = "{gatekeeper_http}/.well-known/jwks"
            [[users]]
            id = "{ALICE}"
            secret = "alice's secret, long enough"
            "#,
            dir = dir.path().display()
        );
        std::fs::write(&path, partner_config).unwrap();
        let server = comity_partner::Server::bind(&comity_partner::Config::read(&path).unwrap()).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.serve(async { drop(stopped.await) }));
        let mut world = Self {
            dir,
            gatekeeper,
            gatekeeper_config,
            partner_http,
            gatekeeper_http,
            chat: format!("127.0.0.1:{chat}"),
            root: TrustRoot::WHATSAPP,
            profile: Profile::from_toml(profile).unwrap(),
            http: Http::new().unwrap(),
            _partner: stop,
        };
        world.start_gatekeeper().await;
        world
    }

    pub(crate) async fn start_gatekeeper(&mut self) {
        if let Serving::Apart(child) = &mut self.gatekeeper {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "soak::gatekeeper_process", "--nocapture"]).env(SERVER, &self.gatekeeper_config);
            let mut started = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
            let mut lines = BufReader::new(started.stdout.take().unwrap()).lines();
            *child = Some(started);
            self.root = loop {
                let line = lines.next_line().await.unwrap().expect("the gatekeeper ended");
                if let Some((_, root)) = line.split_once("root=") {
                    break TrustRoot(root.parse().unwrap());
                }
            };
        } else {
            let config = comity_gatekeeper::Config::from_toml(&self.gatekeeper_config).unwrap();
            let gatekeeper = Gatekeeper::start(config, Options::default()).await.unwrap();
            self.root = TrustRoot(gatekeeper.root());
            self.gatekeeper = Serving::Here(gatekeeper);
        }
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..200 {
            let answer = http.get(format!("{}/readyz", self.gatekeeper_http)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the gatekeeper is not ready");
    }

    /// The partner's host deletes what is under this path.
    pub(crate) async fn delete(&self, direct_path: &str) {
        let reference = direct_path.trim_end_matches('/').rsplit('/').next().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let delete = http.delete(format!("{}/v1/uploads/{reference}", self.partner_http));
        let delete = delete.header("tus-resumable", "1.0.0").basic_auth(ALICE, Some("alice's secret, long enough"));
        assert_eq!(delete.send().await.unwrap().status().as_u16(), 204);
    }

    pub(crate) async fn stop_gatekeeper(&mut self) {
        match std::mem::replace(&mut self.gatekeeper, Serving::Nowhere) {
            Serving::Here(gatekeeper) => gatekeeper.shutdown().await,
            _ => panic!("it is not here"),
        }
    }

    pub(crate) async fn kill_gatekeeper(&mut self) {
        let Serving::Apart(child) = &mut self.gatekeeper else { panic!("it is here") };
        child.take().unwrap().kill().await.unwrap();
    }

    /// The store `name`, which several clients may use one after the other.
    pub(crate) fn store(&self, name: &str) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(&self.dir.path().join(format!("{name}.db"))).unwrap())
    }

    /// The partner's user on `store`, with both suites.
    pub(crate) async fn alice(&self, store: Arc<dyn Store>) -> User {
        let config = Config::partner(ALICE.parse().unwrap(), self.root).with_profile(self.profile.clone());
        let server = PartnerServer::with_http(&self.partner_http, ALICE, "alice's secret, long enough", &self.http);
        let suites = Suites::new().with(X3dh).with(Pqxdh::new());
        let (client, events) = Client::builder(config, suites, store, &self.chat, &self.gatekeeper_http)
            .partner(server)
            .http(self.http.clone())
            .files(self.dir.path().join("alice-files"))
            .previews()
            .start()
            .unwrap();
        User::new(client, events)
    }

    /// The native user on `store`, who speaks version 3 alone; opted in when this returns.
    pub(crate) async fn bob(&self, store: Arc<dyn Store>) -> User {
        let bob = self.native(BOB, store).await;
        bob.client.opt_in(vec![IntegratorId::new(1).unwrap()]).await.unwrap();
        bob
    }

    /// A native user on `store`, up to date.
    pub(crate) async fn native(&self, number: u64, store: Arc<dyn Store>) -> User {
        let config = Config::native(number, self.root).with_profile(self.profile.clone()).offline();
        let (client, events) =
            Client::builder(config, Suites::new().with(X3dh), store, &self.chat, &self.gatekeeper_http)
                .http(self.http.clone())
                .files(self.dir.path().join("bob-files"))
                .start()
                .unwrap();
        let mut bob = User::new(client, events);
        let key = bob.until(|event| match event {
            Event::AccountReady { noise_key, .. } => Some(*noise_key),
            _ => None,
        });
        let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.await);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http
            .post(format!("{}/admin/native", self.gatekeeper_http))
            .bearer_auth("an administrator's token, long enough")
            .json(&serde_json::json!({ "phone_number": number.to_string(), "noise_key": key }));
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
        bob.client.go_online().await.unwrap();
        bob.up_to_date().await;
        bob
    }
}

/// A client, and the events nothing has waited for yet.
pub(crate) struct User {
    pub(crate) client: Client,
    events: Events,
    kept: Vec<Event>,
}

impl User {
    fn new(client: Client, events: Events) -> Self {
        Self { client, events, kept: Vec::new() }
    }

    /// What `pick` takes of the first event that it wants.
    pub(crate) async fn until<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        if let Some((at, found)) = self.kept.iter().enumerate().find_map(|(at, event)| Some((at, pick(event)?))) {
            self.kept.remove(at);
            return found;
        }
        loop {
            let event = match tokio::time::timeout(PATIENCE, self.events.next()).await {
                Ok(event) => event.expect("the client stopped"),
                Err(_) => panic!("nothing came; kept are {:?}", self.kept),
            };
            if let Some(found) = pick(&event) {
                return found;
            }
            self.kept.push(event);
        }
    }

    /// The same, of the events to come alone, however long it takes; others are not kept.
    pub(crate) async fn next<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = self.events.next().await.expect("the client stopped");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    }

    pub(crate) async fn up_to_date(&mut self) {
        self.until(|event| matches!(event, Event::Connection(ConnectionState::UpToDate)).then_some(())).await;
    }

    pub(crate) async fn message(&mut self) -> MessageEvent {
        self.until(|event| match event {
            Event::Message(message) => Some((**message).clone()),
            _ => None,
        })
        .await
    }

    /// Whether an event that nothing waited for fits, after giving it time to come.
    pub(crate) async fn has(&mut self, fits: impl Fn(&Event) -> bool) -> bool {
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), self.events.next()).await {
            self.kept.push(event);
        }
        self.kept.iter().any(fits)
    }

    /// Alice's own JID.
    pub(crate) async fn enlisted(&mut self) -> Jid {
        self.until(|event| match event {
            Event::Enlisted { jid } | Event::AccountReady { jid: Some(jid), .. } => Some(jid.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn find_bob(&self) -> Jid {
        let whom = LookUp { external_id: format!("+{BOB}"), integrator: None };
        self.client.look_up(vec![whom]).await.unwrap().remove(0).1.expect("bob is to be found")
    }
}
