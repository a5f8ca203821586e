//! Web Push from the gatekeeper's call to a push service, which opens what it got as a device would.

use crate::world::{ALICE, Partner, SECRET, problem, start};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

const WEB_PUSH: &str = "[web_push]\nsubject = 'mailto:ops@partner.test'\n";

type Received = (String, HeaderMap, Bytes);

/// A push service; the path says what it answers.
async fn push_service() -> (String, mpsc::UnboundedReceiver<Received>) {
    let (tell, told) = mpsc::unbounded_channel();
    let receive = post(async move |Path(what): Path<String>, headers: HeaderMap, body: Bytes| {
        tell.send((what.clone(), headers, body)).unwrap();
        match what.as_str() {
            "redirect" => Redirect::temporary("/taken").into_response(),
            what => StatusCode::from_u16(what.parse().unwrap_or(201)).unwrap().into_response(),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/{what}", receive)).await });
    (url, told)
}

struct Device {
    key: PrivateKey,
    auth: [u8; 16],
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(salt: &[u8], ikm: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Salt::new(HKDF_SHA256, salt).extract(ikm).expand(&[info], Len(N)).unwrap().fill(&mut out).unwrap();
    out
}

impl Device {
    fn new() -> Self {
        Self { key: PrivateKey::generate(&ECDH_P256).unwrap(), auth: [9; 16] }
    }

    fn subscription(&self, endpoint: &str) -> Value {
        let public = self.key.compute_public_key().unwrap();
        json!({"endpoint": endpoint, "expirationTime": null,
            "keys": {"p256dh": URL_SAFE_NO_PAD.encode(public), "auth": URL_SAFE_NO_PAD.encode(self.auth)}})
    }

    /// RFC 8291 §3.4 and RFC 8188 §2 from the receiver's side.
    fn open(&self, message: &[u8]) -> Vec<u8> {
        let (salt, rest) = message.split_at(16);
        let (id_len, rest) = (rest[4], &rest[5..]);
        let (sender, record) = rest.split_at(usize::from(id_len));
        let own = self.key.compute_public_key().unwrap();
        let info = [b"WebPush: info\0".as_slice(), own.as_ref(), sender].concat();
        let ikm: [u8; 32] = agree(&self.key, UnparsedPublicKey::new(&ECDH_P256, sender), (), |shared| {
            Ok(derive(&self.auth, shared, &info))
        })
        .unwrap();
        let key: [u8; 16] = derive(salt, &ikm, b"Content-Encoding: aes128gcm\0");
        let nonce: [u8; 12] = derive(salt, &ikm, b"Content-Encoding: nonce\0");
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        let mut record = record.to_vec();
        let plain = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).unwrap();
        let (last, text) = plain.split_last().unwrap();
        assert_eq!(*last, 2);
        text.to_vec()
    }
}

async fn subscribe(partner: &Partner, subscription: &Value) -> reqwest::Response {
    let request = partner.http.put(partner.url("/v1/push/subscription")).basic_auth(ALICE, Some(SECRET));
    request.json(subscription).send().await.unwrap()
}

async fn push(partner: &Partner) {
    let answer = partner.push(&partner.bearer(), &json!({ "to": ALICE }).to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

async fn within<T>(told: &mut mpsc::UnboundedReceiver<T>, wait: Duration) -> Option<T> {
    tokio::time::timeout(wait, told.recv()).await.ok().flatten()
}

const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(600);

#[tokio::test]
async fn a_device_is_woken() {
    let partner = start(WEB_PUSH).await;
    let (service, mut told) = push_service().await;
    let device = Device::new();
    push(&partner).await; // before there is a subscription: it is sent then
    assert_eq!(subscribe(&partner, &device.subscription(&format!("{service}/taken"))).await.status(), 204);
    let (_, headers, body) = within(&mut told, SOON).await.unwrap();
    assert_eq!(device.open(&body), br#"{"wake":true}"#);
    assert_eq!(
        (&headers["content-encoding"], &headers["ttl"]),
        (&"aes128gcm".parse().unwrap(), &"86400".parse().unwrap())
    );
    let key = partner.http.get(partner.url("/v1/push/key")).send().await.unwrap().json::<Value>().await.unwrap();
    let authorization = headers["authorization"].to_str().unwrap();
    let (token, k) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    assert_eq!(key["public_key"], k);
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&claims).unwrap()["aud"], service.as_str());

    // Taken once, and never the same ciphertext.
    assert!(within(&mut told, QUIET).await.is_none());
    push(&partner).await;
    let (_, _, again) = within(&mut told, SOON).await.unwrap();
    assert_ne!(again, body);

    let gone = partner.http.delete(partner.url("/v1/push/subscription")).basic_auth(ALICE, Some(SECRET));
    assert_eq!(gone.send().await.unwrap().status(), 204);
    push(&partner).await;
    assert!(within(&mut told, QUIET).await.is_none());
}

#[tokio::test]
async fn what_push_services_answer() {
    let partner = start(WEB_PUSH).await;
    let (service, mut told) = push_service().await;
    let device = Device::new();
    for (what, calls) in [("410", 1), ("404", 1), ("redirect", 1)] {
        assert_eq!(subscribe(&partner, &device.subscription(&format!("{service}/{what}"))).await.status(), 204);
        push(&partner).await;
        let mut seen = Vec::new();
        while let Some((path, ..)) = within(&mut told, if seen.is_empty() { SOON } else { QUIET }).await {
            seen.push(path);
        }
        assert_eq!(seen, vec![what; calls]); // a redirect is not followed, a subscription that is over is forgotten
        if what != "redirect" {
            push(&partner).await;
            assert!(within(&mut told, QUIET).await.is_none(), "{what}");
            // The mark is still there for a poll.
            let wake = partner.http.get(partner.url("/v1/wake")).basic_auth(ALICE, Some(SECRET)).send().await.unwrap();
            assert_eq!(wake.status(), StatusCode::OK);
        }
    }
    // A failure is tried again; a new subscription does not wait for that.
    assert_eq!(subscribe(&partner, &device.subscription(&format!("{service}/500"))).await.status(), 204);
    push(&partner).await;
    assert_eq!(within(&mut told, SOON).await.unwrap().0, "500");
    assert_eq!(within(&mut told, Duration::from_secs(9)).await.unwrap().0, "500");
}

#[tokio::test]
async fn subscriptions_are_checked() {
    let partner = start(WEB_PUSH).await;
    let device = Device::new();
    let good = device.subscription("https://push.example/1");
    let change = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    assert_eq!(subscribe(&partner, &good).await.status(), 204);
    let mut off_curve = [4; 65];
    off_curve[64] = 5;
    for wrong in [
        change("/endpoint", json!("ftp://push.example/1")),
        change("/endpoint", json!("https://user:pw@push.example/1")),
        change("/endpoint", json!(format!("https://push.example/{}", "x".repeat(2048)))),
        change("/endpoint", json!(7)),
        change("/keys/p256dh", json!(URL_SAFE_NO_PAD.encode(off_curve))),
        change("/keys/p256dh", json!(URL_SAFE_NO_PAD.encode([4; 64]))),
        change("/keys/p256dh", json!("!")),
        change("/keys/auth", json!(URL_SAFE_NO_PAD.encode([0; 15]))),
        change("/keys", json!([])),
        json!({"endpoint": "https://push.example/1"}),
        json!([]),
    ] {
        problem(subscribe(&partner, &wrong).await, 400).await;
    }
    problem(subscribe(&partner, &change("/endpoint", json!("x".repeat(5000)))).await, 413).await;
    let stranger = partner.http.put(partner.url("/v1/push/subscription")).json(&good).send().await.unwrap();
    problem(stranger, 401).await;
    let stranger = partner.http.delete(partner.url("/v1/push/subscription")).send().await.unwrap();
    problem(stranger, 401).await;

    // Outside a sandbox, no address of this network.
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::world::config(&dir, "https://gatekeeper.test/.well-known/jwks", WEB_PUSH);
    config.sandbox = false;
    config.origin = Some("https://partner.test".into());
    let server = comity_partner::Server::bind(&config).await.unwrap();
    let url = format!("http://{}/v1/push/subscription", server.local_addr());
    let metrics = format!("http://{}/metrics", server.local_addr());
    tokio::spawn(server.serve(std::future::pending()));
    problem(partner.http.get(metrics).send().await.unwrap(), 404).await; // for the operator alone
    for (endpoint, status) in [
        ("https://push.example/1", 204),
        ("http://push.example/1", 400),
        ("https://127.0.0.1/1", 400),
        ("https://169.254.169.254/latest", 400),
        ("https://[::1]/1", 400),
        ("https://localhost/1", 400),
    ] {
        let request =
            partner.http.put(&url).basic_auth(ALICE, Some(SECRET)).json(&change("/endpoint", json!(endpoint)));
        assert_eq!(request.send().await.unwrap().status(), status, "{endpoint}");
    }
}
