//! Signing keys that an operator changes while the server runs.

use crate::world::{Partner, SECRET, now, start};
use comity_identity::{JwksCache, TokenVerifier, jkt, jwks_url};
use comity_partner::{KeyCommand, manage_keys, open_store};
use reqwest::StatusCode;
use serde_json::Value;
use std::time::{Duration, Instant};

async fn kids(partner: &Partner) -> Vec<String> {
    let set = partner.http.get(jwks_url(&partner.origin)).send().await.unwrap();
    assert_eq!(set.headers()["cache-control"], comity_identity::JWKS_CACHE_CONTROL);
    let set: Value = set.json().await.unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the published set is `wanted`; a change is in use within seconds.
async fn published(partner: &Partner, wanted: &[String]) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while kids(partner).await != wanted {
        assert!(Instant::now() < deadline, "{:?}, not {wanted:?}", kids(partner).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_running_server_takes_what_an_operator_changes() {
    let partner = start("").await;
    let thumbprint = jkt(&[7; 32]);
    let before = kids(&partner).await;
    let store = open_store(&partner.dir.path().join("data")).await.unwrap();
    let staged = manage_keys(&store, &KeyCommand::Stage).await.unwrap();
    let both: Vec<_> = staged.iter().map(|key| key.kid.clone()).collect();
    assert_eq!(both[..1], before);
    published(&partner, &both).await;

    let verify = async |partner: &Partner| {
        let mut cache = JwksCache::new();
        cache.add_issuer(&partner.origin, &jwks_url(&partner.origin)).unwrap();
        let fetch = cache.poll(now()).unwrap();
        let set = partner.http.get(&fetch.url).send().await.unwrap().bytes().await.unwrap();
        cache.fetched(&fetch.issuer, &set, now()).unwrap();
        let answer = partner.token(SECRET, &thumbprint).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        TokenVerifier::new("comity-sandbox").verify(&mut cache, &token, &thumbprint, now()).unwrap();
        let header = token.split('.').next().unwrap();
        let header = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    assert_eq!(verify(&partner).await, both[0]); // published ahead of its use

    manage_keys(&store, &KeyCommand::Revoke(both[0].clone())).await.unwrap();
    published(&partner, &both[1..]).await;
    assert_eq!(verify(&partner).await, both[1]);

    // With none staged, a fresh key takes the place of the one that is revoked.
    let after = manage_keys(&store, &KeyCommand::Revoke(both[1].clone())).await.unwrap();
    published(&partner, &[after[0].kid.clone()]).await;
    assert_eq!(verify(&partner).await, after[0].kid);
}
