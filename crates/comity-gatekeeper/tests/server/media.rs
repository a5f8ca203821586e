//! The media relay and native uploads (PROTOCOL §10).

use crate::world::World;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::Timestamp;
use comity_identity::{BearerVerifier, JwksCache, WHATSAPP};
use comity_xmpp::Node;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
async fn the_relay_passes_ranges_on() {
    let world = World::start().await;
    let file: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let reference = "abcdefghijklmnop_-0123";
    world.partner.state.files.lock().unwrap().insert(reference.into(), file.clone());
    let get = |range: &'static str| {
        let url = format!("{}/interop/whatsapp/download/12/{reference}/", world.url());
        world.http.get(url).header("range", range).send()
    };
    for (range, first, last) in [("bytes=0-9", 0, 9), ("bytes=99990-", 99_990, 99_999), ("bytes=5-5", 5, 5)] {
        let answer = get(range).await.unwrap();
        assert_eq!(answer.status(), 206, "{range}");
        assert_eq!(answer.headers()["content-range"], format!("bytes {first}-{last}/100000").as_str());
        assert_eq!(answer.headers()["content-length"], (last - first + 1).to_string().as_str());
        assert_eq!(answer.bytes().await.unwrap(), file[first..=last]);
    }
    assert_eq!(get("bytes=100000-").await.unwrap().status(), 416);
    for odd in ["bytes=", "bytes=-", "lines=1-2", "bytes=1-2,4-5", "bytes=a-", "bytes=999999999999999999999-"] {
        let answer = get(odd).await.unwrap();
        assert_eq!(answer.status(), 200, "{odd}");
        assert_eq!(answer.bytes().await.unwrap().len(), file.len());
    }
}

/// The partner is asked for no more than the reader takes, and for no more files at once than allowed.
#[tokio::test]
async fn a_slow_reader_holds_the_partner_back() {
    let world = World::start_with("", "limits.media_downloads = 1\n").await;
    let url = format!("{}/interop/whatsapp/download/12/endless_-0123456789/", world.url());
    let mut slow = world.http.get(&url).send().await.unwrap();
    slow.chunk().await.unwrap().unwrap();
    let produced = || world.partner.state.produced.load(Ordering::Relaxed);
    let mut before = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if produced() == before {
            break;
        }
        before = produced();
    }
    // What four sockets' buffers hold, and a few chunks.
    assert!(before < 48 << 20, "{before} bytes were fetched for a reader that took one chunk");
    assert_eq!(world.http.get(&url).send().await.unwrap().status(), 503, "one at a time");
    let mut taken = 0;
    while taken < 200 << 20 {
        taken += slow.chunk().await.unwrap().unwrap().len() as u64;
    }
    assert!(produced() < taken + (48 << 20), "{} for {taken}", produced());
    drop(slow);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = world.http.get(&url).send().await.unwrap();
        if answer.status() == 200 {
            return;
        }
    }
    panic!("a reader that has gone still has its place");
}

/// Neither a redirect, nor a reference, nor a name leads the relay elsewhere.
#[tokio::test]
async fn the_relay_goes_nowhere_else() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let _held = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let world = World::start().await;
    *world.partner.state.elsewhere.lock().unwrap() = format!("http://127.0.0.1:{port}/secret");
    let relayed = async |name: &str| {
        let url = format!("{}/interop/whatsapp/download/12/{name}/", world.url());
        world.http.get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(relayed("redirect_-0123456789").await, 502);
    let here = format!("127.0.0.1:{port}");
    for name in [
        "..%2F..%2F..%2F0123456789",
        "%2F%2F127.0.0.1%2Fabcdefgh",
        "http:%2F%2F127.0.0.1%2Fabcd",
        "@127.0.0.1%2Fabcdefghijkl",
        "%0d%0aHost:%20evil.test%0d%0a",
        "abcdefghijklmnop%3Fx=1",
        "abcdefghijklmnop%23x",
        "abcdefghijklmnop%00x",
        &format!("%40{here}%2Fabcdefghijk"),
        &format!(".{here}"),
    ] {
        assert!(matches!(relayed(name).await, 400 | 404), "{name}");
    }
    assert_eq!(world.partner.state.media_bearers.lock().unwrap().len(), 1, "only the redirect was asked for");

    // Outside a sandbox: no address but of the public internet, however it is written.
    let config = |media: &str| {
        comity_gatekeeper::Config::from_toml(&format!(
            "data_dir = {:?}\nsandbox = false\npublic_http = 'https://gk.example'\n[[integrator]]\nid = 12\nname = 'P'\n\
             origin = 'https://partner.example'\nmedia_base_url = '{media}'\n",
            world.dir.path().join("outside")
        ))
    };
    config("https://media.partner.example/files").unwrap();
    config("https://93.184.216.34/files").unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "user@media.example",
        "user:pass@media.example",
    ] {
        assert!(config(&format!("https://{host}:{port}/files")).is_err(), "{host}");
    }
    assert!(config("http://media.partner.example/files").is_err());
    assert_eq!(connections.load(Ordering::SeqCst), 0);
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
