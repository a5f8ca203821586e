//! Users of an OpenID provider: discovery, keys that change, a provider that fails. (Hostile tokens: `src/oidc_tests.rs`.)

use crate::world::{now, problem, start};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_identity::jkt;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

struct Provider {
    url: String,
    fetches: Arc<AtomicUsize>,
    discovery: Arc<Mutex<Value>>,
}

fn jwk(key: &Ed25519KeyPair, kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode(key.public_key())})
}

async fn provider(keys: Value) -> Provider {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let fetches = Arc::new(AtomicUsize::new(0));
    let discovery = Arc::new(Mutex::new(json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "more": {}})));
    let (counter, document) = (Arc::clone(&fetches), Arc::clone(&discovery));
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(async move || document.lock().unwrap().to_string()))
        .route(
            "/keys",
            get(async move || {
                counter.fetch_add(1, Ordering::SeqCst);
                keys.to_string()
            }),
        );
    tokio::spawn(async { axum::serve(listener, router).await });
    Provider { url, fetches, discovery }
}

fn token(key: &Ed25519KeyPair, kid: &str, issuer: &str, user: &str) -> String {
    let header = json!({"alg": "EdDSA", "kid": kid});
    let claims = json!({"iss": issuer, "aud": "comity", "exp": now().as_secs() + 60, "sub": "1", "login": user});
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_user_of_the_provider_gets_a_token_and_unknown_keys_cause_few_fetches() {
    let key = Ed25519KeyPair::generate().unwrap();
    let provider = provider(json!({"keys": [jwk(&key, "one")]})).await;
    let partner = start(&format!("[oidc]\nissuer = '{}'\naudience = 'comity'\nclaim = 'login'\n", provider.url)).await;
    let ask = |token: String| {
        partner.http.post(partner.url("/v1/token")).bearer_auth(token).json(&json!({ "jkt": jkt(&[7; 32]) })).send()
    };
    let answer = ask(token(&key, "one", &provider.url, "alice@partner.test")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let issued = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let claims = URL_SAFE_NO_PAD.decode(issued.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&claims).unwrap()["sub"], "alice@partner.test");
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 1);

    for n in 0..50 {
        let refused = ask(token(&key, &format!("kid{n}"), &provider.url, "alice@partner.test")).await.unwrap();
        assert!(refused.headers()["www-authenticate"].to_str().unwrap().contains("invalid_token"));
        problem(refused, 401).await;
    }
    assert!(provider.fetches.load(Ordering::SeqCst) <= 2);
    let basic = partner.http.post(partner.url("/v1/token")).basic_auth("alice@partner.test", Some("x"));
    problem(basic.send().await.unwrap(), 401).await;
}

#[tokio::test]
async fn a_discovery_document_of_another_is_not_believed() {
    let key = Ed25519KeyPair::generate().unwrap();
    let provider = provider(json!({"keys": [jwk(&key, "one")]})).await;
    provider.discovery.lock().unwrap()["issuer"] = json!("https://id.other.example");
    let partner = start(&format!("[oidc]\nissuer = '{}'\naudience = 'comity'\nclaim = 'login'\n", provider.url)).await;
    let request = partner.http.post(partner.url("/v1/token"));
    let answer = request.bearer_auth(token(&key, "one", &provider.url, "alice@partner.test"));
    let answer = answer.json(&json!({ "jkt": jkt(&[7; 32]) })).send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    problem(answer, 503).await;
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 0);
}
