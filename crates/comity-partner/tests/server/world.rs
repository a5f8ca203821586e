//! A partner's server on a real listener, and a gatekeeper's keys.

use axum::Router;
use axum::routing::get;
use comity_core::Timestamp;
use comity_identity::{Algorithm, BearerIssuer, Jwks, SigningKey, WHATSAPP};
use comity_partner::{Config, Server};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub(crate) const ALICE: &str = "alice@partner.test";
pub(crate) const SECRET: &str = "correct horse";

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

/// A gatekeeper's JWKS endpoint that counts its callers.
pub(crate) struct Keys {
    pub(crate) url: String,
    pub(crate) issuer: BearerIssuer,
    pub(crate) fetches: Arc<AtomicUsize>,
}

pub(crate) async fn keys() -> Keys {
    let issuer = BearerIssuer::new(WHATSAPP, SigningKey::generate(Algorithm::Rs256).unwrap());
    let json = Jwks::new([issuer.public()]).unwrap().to_json();
    let fetches = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&fetches);
    let route = get(async move || {
        counter.fetch_add(1, Ordering::SeqCst);
        json.clone()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/.well-known/jwks", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, Router::new().route("/.well-known/jwks", route)).await });
    Keys { url, issuer, fetches }
}

pub(crate) struct Partner {
    pub(crate) origin: String,
    pub(crate) keys: Keys,
    pub(crate) http: Client,
    pub(crate) dir: TempDir,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

pub(crate) fn config(dir: &TempDir, jwks_url: &str, change: &str) -> Config {
    let others = change.contains("[oidc]") || change.contains("auth_url");
    let users = format!(
        "[[users]]\nid = '{ALICE}'\nsecret = '{SECRET}'\n\
         [[users]]\nid = '+4915'\nsecret_sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'\n"
    );
    let text = format!(
        "listen = '127.0.0.1:0'\nsandbox = true\ndata_dir = '{}'\ngatekeeper_jwks_url = '{jwks_url}'\n{change}\n{}",
        dir.path().join("data").display(),
        if others { "" } else { &users },
    );
    let path = dir.path().join("partner.toml");
    std::fs::write(&path, text).unwrap();
    Config::read(&path).unwrap()
}

pub(crate) async fn start(change: &str) -> Partner {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys().await;
    let server = Server::bind(&config(&dir, &keys.url, change)).await.unwrap();
    let origin = format!("http://{}", server.local_addr());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    let http = Client::builder().no_proxy().build().unwrap();
    Partner { origin, keys, http, dir, stop: Some(stop), served }
}

impl Partner {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    pub(crate) fn bearer(&self) -> String {
        self.keys.issuer.issue(&self.origin, now()).unwrap()
    }

    pub(crate) async fn push(&self, bearer: &str, body: &str) -> Response {
        let request = self.http.post(self.url("/push")).header("content-type", "application/json");
        request.bearer_auth(bearer).body(body.to_owned()).send().await.unwrap()
    }

    pub(crate) async fn token(&self, secret: &str, jkt: &str) -> Response {
        let request = self.http.post(self.url("/v1/token")).basic_auth(ALICE, Some(secret));
        request.json(&json!({ "jkt": jkt })).send().await.unwrap()
    }

    pub(crate) async fn upload(&self, bytes: Vec<u8>) -> String {
        let request = self.http.post(self.url("/v1/media")).basic_auth(ALICE, Some(SECRET)).body(bytes);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let body: Value = answer.json().await.unwrap();
        let reference = body["storage_reference"].as_str().unwrap().to_owned();
        assert_eq!(location, format!("/media/{reference}"));
        reference
    }

    pub(crate) async fn media(&self, reference: &str, range: Option<&str>) -> Response {
        let mut request = self.http.get(self.url(&format!("/media/{reference}"))).bearer_auth(self.bearer());
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.send().await.unwrap()
    }
}

pub(crate) async fn problem(answer: Response, status: u16) {
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert!(body["detail"].as_str().is_some_and(|d| !d.is_empty()));
}
