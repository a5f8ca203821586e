//! The media relay and native uploads (PROTOCOL §10).

use crate::world::World;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::Timestamp;
use comity_identity::{BearerVerifier, JwksCache, WHATSAPP};
use comity_xmpp::Node;
use sha2::{Digest as _, Sha256};

#[tokio::test]
async fn the_relay_passes_the_partners_file_on() {
    let world = World::start().await;
    let file: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let reference = "abcdefghijklmnop_-0123";
    world.partner.state.files.lock().unwrap().insert(reference.into(), file.clone());
    let get = |path: String| world.http.get(format!("{}{path}", world.url())).send();
    let answer = get(format!("/interop/whatsapp/download/12/{reference}/?hash=x&mms-type=image")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-length"], "3000000");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert!(answer.bytes().await.unwrap() == file);

    // The gatekeeper says who it is.
    let bearer = world.partner.state.media_bearers.lock().unwrap()[0].clone();
    let set = get("/.well-known/jwks".into()).await.unwrap().bytes().await.unwrap();
    let now: Timestamp = crate::partner::now();
    let mut cache = JwksCache::new();
    cache.add_issuer(WHATSAPP, "unused").unwrap();
    cache.fetched(WHATSAPP, &set, now).unwrap();
    BearerVerifier::new(WHATSAPP, &world.partner.origin).verify(&mut cache, &bearer, now).unwrap();

    for (path, status) in [
        ("/interop/whatsapp/download/12/absentabsentabsent/", 404),
        ("/interop/whatsapp/download/13/abcdefghijklmnop_-0123/", 404),
        ("/interop/whatsapp/download/12/short/", 400),
        ("/interop/whatsapp/download/12/..%2F..%2Fpush%2F0123456789/", 400),
    ] {
        assert_eq!(get(path.into()).await.unwrap().status(), status, "{path}");
    }
}

#[tokio::test]
async fn native_upload_and_download() {
    let world = World::start().await;
    let (_, (_, mut b)) = world.pair().await;
    let answer = b.ok("set", "w:m", vec![Node::new("media_conn")]).await;
    let conn = answer.child("media_conn").unwrap();
    for name in ["auth", "auth_ttl", "ttl", "max_buckets"] {
        assert!(conn.attr(name).is_some(), "{name}");
    }
    let host = conn.child("host").unwrap().attr_str("hostname").unwrap().into_owned();
    let auth = conn.attr_str("auth").unwrap().into_owned();
    let file = vec![7u8; 1_500_000];
    let token = URL_SAFE_NO_PAD.encode(Sha256::digest(&file));
    let post = |kind: &str, token: &str, auth: &str, body: Vec<u8>| {
        world.http.post(format!("http://{host}/mms/{kind}/{token}?auth={auth}&token={token}")).body(body).send()
    };
    let answer = post("image", &token, &auth, file.clone()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = answer.json().await.unwrap();
    let path = answer["direct_path"].as_str().unwrap();
    assert_eq!(answer["url"].as_str().unwrap(), format!("http://{host}{path}"));
    let got = world.http.get(format!("http://{host}{path}?hash=x")).send().await.unwrap();
    assert_eq!(got.headers()["content-length"], "1500000");
    assert!(got.bytes().await.unwrap() == file);

    let padded = format!("{token}=");
    assert_eq!(post("document", &padded, &auth, file.clone()).await.unwrap().status(), 200);
    assert_eq!(post("image", &token, "1.abc", file.clone()).await.unwrap().status(), 401);
    assert_eq!(post("image", &token, &auth, vec![8; 10]).await.unwrap().status(), 415);
    assert_eq!(post("banana", &token, &auth, vec![]).await.unwrap().status(), 404);
    assert_eq!(world.http.get(format!("http://{host}/v/t/absentabsentabsent")).send().await.unwrap().status(), 404);
    let left: Vec<_> = std::fs::read_dir(world.dir.path().join("media")).unwrap().collect();
    assert_eq!(left.len(), 2, "refused uploads leave nothing");
}

#[tokio::test]
async fn administration_needs_its_token() {
    let world = World::start().await;
    let body = serde_json::json!({ "phone_number": "4915112345678", "noise_key": URL_SAFE_NO_PAD.encode([9; 32]) });
    let post = |token: Option<&str>, body: serde_json::Value| {
        let request = world.http.post(format!("{}/admin/native", world.url())).json(&body);
        token.into_iter().fold(request, |request, token| request.bearer_auth(token)).send()
    };
    assert_eq!(post(None, body.clone()).await.unwrap().status(), 401);
    assert_eq!(post(Some("wrong"), body.clone()).await.unwrap().status(), 401);
    let answer = post(Some(crate::world::ADMIN), body.clone()).await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["jid"], "4915112345678@s.whatsapp.net");
    assert_eq!(post(Some(crate::world::ADMIN), body).await.unwrap().status(), 200);
    for bad in [
        serde_json::json!({ "phone_number": "0123456", "noise_key": URL_SAFE_NO_PAD.encode([9; 32]) }),
        serde_json::json!({ "phone_number": "4915112345678", "noise_key": "AAAA" }),
        serde_json::json!({ "phone_number": "4915112345678", "noise_key": URL_SAFE_NO_PAD.encode([0; 32]) }),
    ] {
        assert_eq!(post(Some(crate::world::ADMIN), bad).await.unwrap().status(), 400);
    }
}
