//! A gatekeeper with one partner, and users of both sides.

use crate::client::{Client, Identity};
use crate::partner::{Partner, now};
use comity_core::{CryptoRng, Profile};
use comity_gatekeeper::{Clock, Config, Gatekeeper, Options};
use comity_noise::StaticKey;
use comity_proto::handshake::{AppVersion, ClientPayload, InteropData, Product, UserAgent};
use serde_json::Value;
use std::time::Duration;

pub(crate) fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

pub(crate) const ADMIN: &str = "admin-token-of-the-test";

pub(crate) struct World {
    pub(crate) partner: Partner,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Clock,
    pub(crate) server: Option<Gatekeeper>,
    pub(crate) http: reqwest::Client,
    /// Instead of the configured one.
    pub(crate) profile: Option<Profile>,
    /// Configuration before the rest, and in the integrator's section or after it.
    pub(crate) settings: [String; 2],
}

/// A user's credentials and Signal identity.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) jid: String,
    pub(crate) name: String,
    pub(crate) noise: StaticKey,
    pub(crate) identity: Identity,
}

pub(crate) fn config(partner: &Partner, dir: &std::path::Path) -> String {
    format!(
        r#"
listen_chat = "127.0.0.1:0"
listen_http = "127.0.0.1:0"
data_dir = {dir:?}
admin_token = "{ADMIN}"
[[integrator]]
id = 12
name = "Partner"
origin = "{origin}"
media_base_url = "{origin}/media"
"#,
        origin = partner.origin
    )
}

impl World {
    pub(crate) async fn start() -> Self {
        let partner = Partner::start().await;
        let dir = tempfile::tempdir().unwrap();
        let (clock, http, settings) = (Clock::system(), reqwest::Client::new(), Default::default());
        let mut world = Self { partner, dir, clock, server: None, http, profile: None, settings };
        world.up().await;
        world
    }

    /// Starts with settings before the rest and in the integrator's section.
    pub(crate) async fn start_with(first: &str, last: &str) -> Self {
        let mut world = Self::start().await;
        world.restart_with(first, last).await;
        world
    }

    pub(crate) async fn restart_with(&mut self, first: &str, last: &str) {
        self.down().await;
        self.settings = [first.into(), last.into()];
        self.up().await;
    }

    /// A look into the database.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = rusqlite::Connection::open_with_flags(self.dir.path().join("gatekeeper.db"), flags).unwrap();
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            Ok((0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap())).collect::<Vec<_>>().join("|"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn state(&self) -> Vec<String> {
        let tables = ["user", "key_bundle", "one_time", "mailbox", "contact", "used_token", "tombstone"];
        tables.iter().flat_map(|table| self.query(&format!("SELECT * FROM {table}"))).collect()
    }

    /// All that is stored of users, once the writes under way are done.
    pub(crate) async fn settled(&self) -> Vec<String> {
        let mut last = self.state();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.state();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    /// Starts the server on the same data directory.
    pub(crate) async fn up(&mut self) {
        let [first, last] = &self.settings;
        let config = Config::from_toml(&format!("{first}{}{last}", config(&self.partner, self.dir.path()))).unwrap();
        let options = Options { clock: self.clock.clone(), profile: self.profile.clone(), ..Options::default() };
        self.server = Some(Gatekeeper::start(config, options).await.unwrap());
        let ready = format!("{}/readyz", self.url());
        for _ in 0..200 {
            if self.http.get(&ready).send().await.unwrap().status().is_success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not ready");
    }

    pub(crate) async fn down(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    pub(crate) fn server(&self) -> &Gatekeeper {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.server().http_scheme(), self.server().http_addr())
    }

    /// A partner user's credentials, not yet enlisted.
    pub(crate) fn stranger(&self, name: &str) -> User {
        let noise = StaticKey::generate(&mut rng());
        User { jid: String::new(), name: name.into(), noise, identity: Identity::generate() }
    }

    pub(crate) fn form(&self, user: &User) -> Vec<(&'static str, String)> {
        let token = self.partner.token(&user.name, user.noise.public().as_bytes());
        user.identity.form(user.noise.public().as_bytes(), token)
    }

    pub(crate) async fn post_form(&self, form: &[(&str, String)]) -> Value {
        let answer = self.http.post(format!("{}/3p/interop_reg", self.url())).form(form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    pub(crate) async fn enlist(&self, name: &str) -> User {
        let mut user = self.stranger(name);
        let answer = self.post_form(&self.form(&user)).await;
        assert_eq!(answer["status"], "ok", "{answer}");
        user.jid = answer["login"].as_str().unwrap().to_owned();
        user
    }

    pub(crate) async fn native(&self, phone: &str, name: &str) -> User {
        self.native_with(phone, name, serde_json::json!({})).await
    }

    /// A native user registered with further settings.
    pub(crate) async fn native_with(&self, phone: &str, name: &str, more: Value) -> User {
        use base64::Engine as _;
        let noise = StaticKey::generate(&mut rng());
        let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(noise.public().as_bytes());
        let mut body = serde_json::json!({ "phone_number": phone, "noise_key": key, "display_name": name });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.http.post(format!("{}/admin/native", self.url())).bearer_auth(ADMIN).json(&body).send();
        let answer: Value = answer.await.unwrap().error_for_status().unwrap().json().await.unwrap();
        let jid = answer["jid"].as_str().unwrap().to_owned();
        User { jid, name: name.into(), noise, identity: Identity::generate() }
    }

    pub(crate) fn payload(&self, user: &User) -> ClientPayload {
        let (local, server) = user.jid.split_once('@').unwrap();
        if server == "s.whatsapp.net" {
            return ClientPayload { username: Some(local.parse().unwrap()), passive: Some(true), ..Default::default() };
        }
        let token = self.partner.token(&user.name, user.noise.public().as_bytes());
        let number = local.split_once('-').unwrap().1.parse().unwrap();
        let version = AppVersion { primary: Some(1), secondary: Some(0), tertiary: Some(3), ..Default::default() };
        ClientPayload {
            product: Some(Product::Interop as i32),
            passive: Some(true),
            pull: Some(true),
            push_name: Some(user.name.clone()),
            user_agent: Some(UserAgent { app_version: Some(version), ..Default::default() }),
            interop_data: Some(InteropData {
                account_id: Some(number),
                token: Some(token.into()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Connects and logs in; passive.
    pub(crate) async fn log_in(&self, user: &User) -> Client {
        let (client, first) = self.try_log_in(user, &self.payload(user)).await;
        assert_eq!(first.tag(), "success", "{first:?}");
        client
    }

    pub(crate) async fn try_log_in(&self, user: &User, payload: &ClientPayload) -> (Client, comity_xmpp::Node) {
        let server = self.server();
        Client::connect(server.chat_addr(), server.root(), &user.noise, payload, None, now()).await
    }

    /// Connects, logs in and takes deliveries; what waited has been announced but not read.
    pub(crate) async fn online(&self, user: &User) -> Client {
        let mut client = self.log_in(user).await;
        client.activate().await;
        client
    }

    /// A partner user and a native user who has opted in, both online and empty.
    pub(crate) async fn pair(&self) -> ((User, Client), (User, Client)) {
        let alice = self.enlist("alice@partner.test").await;
        let bob = self.native("4915112345678", "Bob").await;
        let mut native = self.online(&bob).await;
        native.drain_offline().await;
        native.opt_in(&[12]).await;
        let mut client = self.online(&alice).await;
        client.drain_offline().await;
        ((alice, client), (bob, native))
    }
}
