//! Every endpoint, with right and wrong callers.

use crate::world::{ALICE, SECRET, config, now, problem, start};
use axum::Router;
use axum::routing::get;
use comity_core::Timestamp;
use comity_identity::{Algorithm, BearerIssuer, Jwks, JwksCache, SigningKey, TokenVerifier, WHATSAPP, jkt, jwks_url};
use comity_partner::Server;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn token_is_verified_with_the_served_keys() {
    let partner = start("").await;
    let thumbprint = jkt(&[7; 32]);
    let answer = partner.token(SECRET, &thumbprint).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["expires_in"], 600);

    let mut cache = JwksCache::new();
    cache.add_issuer(&partner.origin, &jwks_url(&partner.origin)).unwrap();
    let fetch = cache.poll(now()).unwrap();
    let set = partner.http.get(&fetch.url).send().await.unwrap().bytes().await.unwrap();
    cache.fetched(&fetch.issuer, &set, now()).unwrap();
    let verifier = TokenVerifier::new("comity-sandbox");
    let token = verifier.verify(&mut cache, body["token"].as_str().unwrap(), &thumbprint, now()).unwrap();
    assert_eq!((token.user_visible_id.as_str(), token.issuer), (ALICE, partner.origin.clone()));

    // The set is exactly what the specification shows.
    let set: Value = serde_json::from_slice(&set).unwrap();
    let key = set["keys"][0].as_object().unwrap();
    assert_eq!(key.keys().collect::<Vec<_>>(), ["alg", "e", "kid", "kty", "n", "use"]);
    assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
}

#[tokio::test]
async fn token_is_refused_to_others() {
    let partner = start("").await;
    let thumbprint = jkt(&[7; 32]);
    let refused = partner.token("wrong", &thumbprint).await;
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    problem(refused, 401).await;
    let url = partner.url("/v1/token");
    let body = json!({ "jkt": thumbprint });
    problem(partner.http.post(&url).json(&body).send().await.unwrap(), 401).await;
    let unknown = partner.http.post(&url).basic_auth("mallory", Some(SECRET)).json(&body);
    problem(unknown.send().await.unwrap(), 401).await;
    let bearer = partner.http.post(&url).bearer_auth(partner.bearer()).json(&body);
    problem(bearer.send().await.unwrap(), 401).await;
    let hashed = partner.http.post(&url).basic_auth("+4915", Some("test")).json(&body);
    assert_eq!(hashed.send().await.unwrap().status(), StatusCode::OK);

    problem(partner.token(SECRET, "short").await, 400).await;
    let alice = || partner.http.post(&url).basic_auth(ALICE, Some(SECRET));
    problem(alice().body("{}").send().await.unwrap(), 415).await;
    problem(alice().json(&json!({"jkt": thumbprint, "sub": "bob"})).send().await.unwrap(), 400).await;
    problem(alice().json(&json!({"jkt": "x".repeat(5000)})).send().await.unwrap(), 413).await;
    problem(partner.http.get(&url).basic_auth(ALICE, Some(SECRET)).send().await.unwrap(), 405).await;
    problem(partner.http.get(partner.url("/nowhere")).send().await.unwrap(), 404).await;
}

#[tokio::test]
async fn push_wakes_the_long_poll_once() {
    let partner = start("").await;
    let wake = || partner.http.get(partner.url("/v1/wake")).basic_auth(ALICE, Some(SECRET)).send();
    let body = json!({ "to": ALICE }).to_string();

    // Before the poll, twice: one wake-up.
    for _ in 0..2 {
        let answer = partner.push(&partner.bearer(), &body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.content_length(), Some(0));
    }
    let first = wake().await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.json::<Value>().await.unwrap(), json!({"wake": true}));

    // During the poll; a poll that was given up before takes nothing away.
    let gone = tokio::time::timeout(Duration::from_millis(100), wake()).await;
    assert!(gone.is_err());
    let started = Instant::now();
    let (woken, pushed) = tokio::join!(wake(), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        partner.push(&partner.bearer(), &body).await
    });
    assert_eq!((woken.unwrap().status(), pushed.status()), (StatusCode::OK, StatusCode::OK));
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < Duration::from_secs(5));

    problem(partner.http.get(partner.url("/v1/wake")).send().await.unwrap(), 401).await;
}

#[tokio::test]
async fn push_is_refused_to_others() {
    let partner = start("").await;
    let body = json!({ "to": ALICE }).to_string();
    let good = partner.bearer();
    for bad in [
        r#"{"to":"a","x":1}"#,
        r#"{"to":1}"#,
        r#"{}"#,
        r#"{"to":""}"#,
        r#"{"to":"a","to":"b"}"#,
        r#"["alice@partner.test"]"#,
        "[]",
        "to",
    ] {
        problem(partner.push(&good, bad).await, 400).await;
    }
    problem(partner.push(&good, &json!({"to": "a".repeat(3000)}).to_string()).await, 413).await;
    problem(partner.push(&good, &json!({"to": "nobody"}).to_string()).await, 410).await;

    let key = || SigningKey::generate(Algorithm::Rs256).unwrap();
    let hour_ago = Timestamp::from_secs(now().as_secs() - 3700);
    let foreign = BearerIssuer::new(WHATSAPP, key()).issue(&partner.origin, now()).unwrap();
    let mut tampered = good.clone().into_bytes();
    let at = tampered.len() - 50;
    tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();
    let tokens = [
        ("other audience", partner.keys.issuer.issue("https://other.example", now()).unwrap()),
        ("expired", partner.keys.issuer.issue(&partner.origin, hour_ago).unwrap()),
        ("foreign key", foreign),
        ("tampered", tampered),
        ("not a token", "abc".into()),
        ("too long", "a".repeat(5000)),
    ];
    for (what, token) in tokens {
        let answer = partner.push(&token, &body).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what}");
        problem(answer, 401).await;
    }
    let basic = partner.http.post(partner.url("/push")).basic_auth(ALICE, Some(SECRET)).json(&json!({"to": ALICE}));
    problem(basic.send().await.unwrap(), 401).await;
    // None of them rang.
    let wake = partner.http.get(partner.url("/v1/wake")).basic_auth(ALICE, Some(SECRET)).send();
    assert!(tokio::time::timeout(Duration::from_millis(300), wake).await.is_err());
    // Unknown keys: at most one more fetch in the first minute, here none.
    assert_eq!(partner.keys.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_the_gatekeepers_keys_calls_are_put_off() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::bind(&config(&dir, &format!("http://{address}/.well-known/jwks"), "")).await.unwrap();
    let origin = format!("http://{}", server.local_addr());
    tokio::spawn(server.serve(std::future::pending()));
    let issuer = BearerIssuer::new(WHATSAPP, SigningKey::generate(Algorithm::EdDsa).unwrap());
    let http = Client::builder().no_proxy().build().unwrap();
    let push = async || {
        let request = http.post(format!("{origin}/push")).bearer_auth(issuer.issue(&origin, now()).unwrap());
        request.json(&json!({"to": ALICE})).send().await.unwrap()
    };
    problem(push().await, 503).await;
    let ready: Value = http.get(format!("{origin}/readyz")).send().await.unwrap().json().await.unwrap();
    assert_eq!(ready, json!({"ready": true, "gatekeeper_keys": false}));

    // The gatekeeper comes up later: found within seconds, without a restart.
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let json = Jwks::new([issuer.public()]).unwrap().to_json();
    let route = get(async move || json.clone());
    tokio::spawn(async { axum::serve(listener, Router::new().route("/.well-known/jwks", route)).await });
    let deadline = Instant::now() + Duration::from_secs(10);
    while push().await.status() != StatusCode::OK {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn media_and_ranges() {
    let partner = start("").await;
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 31 % 251) as u8).collect();
    let reference = partner.upload(bytes.clone()).await;
    assert!((16..=128).contains(&reference.len()));
    assert!(reference.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));

    let whole = partner.media(&reference, None).await;
    assert_eq!(whole.status(), StatusCode::OK);
    for (name, value) in [
        ("content-length", "300000"),
        ("content-type", "application/octet-stream"),
        ("content-disposition", "attachment"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(whole.headers()[name], value);
    }
    assert_eq!(whole.bytes().await.unwrap(), bytes);

    let part = partner.media(&reference, Some("bytes=1000-200999")).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 1000-200999/300000");
    assert_eq!(part.headers()["content-length"], "200000");
    assert_eq!(part.bytes().await.unwrap(), bytes[1000..201_000]);
    let tail = partner.media(&reference, Some("bytes=-10")).await;
    assert_eq!(tail.bytes().await.unwrap(), bytes[299_990..]);
    let beyond = partner.media(&reference, Some("bytes=300000-")).await;
    assert_eq!(beyond.headers()["content-range"], "bytes */300000");
    problem(beyond, 416).await;
    assert_eq!(partner.media(&reference, Some("bytes=0-1,5-6")).await.status(), StatusCode::OK);

    let empty = partner.upload(Vec::new()).await;
    let nothing = partner.media(&empty, None).await;
    assert_eq!(nothing.headers()["content-length"], "0");
    assert_eq!(nothing.bytes().await.unwrap().len(), 0);

    // Strangers, and names that are none.
    let url = partner.url(&format!("/media/{reference}"));
    problem(partner.http.get(&url).send().await.unwrap(), 401).await;
    problem(partner.http.get(&url).basic_auth(ALICE, Some(SECRET)).send().await.unwrap(), 401).await;
    problem(partner.http.post(partner.url("/v1/media")).body("x").send().await.unwrap(), 401).await;
    for name in ["x".repeat(32), "..%2F..%2Fsigning-key.p8".into(), "short".into(), "%00".repeat(20)] {
        problem(partner.media(&name, None).await, 404).await;
    }
}

#[tokio::test]
async fn media_limits_hold_and_broken_uploads_leave_nothing() {
    let partner = start("max_media_len = 1000\nmax_media_total = 1500\nrequire_bearer = false").await;
    let post =
        |body: Vec<u8>| partner.http.post(partner.url("/v1/media")).basic_auth(ALICE, Some(SECRET)).body(body).send();
    problem(post(vec![0; 1001]).await.unwrap(), 413).await;
    let reference = partner.upload(vec![1; 1000]).await;
    problem(post(vec![0; 501]).await.unwrap(), 507).await;

    // An upload that breaks off gives its room back.
    let address = partner.origin.strip_prefix("http://").unwrap();
    let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/media HTTP/1.1\r\nhost: x\r\nauthorization: Basic {}\r\ncontent-length: 500\r\n\r\nhalf",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{ALICE}:{SECRET}"))
    );
    raw.write_all(head.as_bytes()).await.unwrap();
    let partial = partner.dir.path().join("data/media/partial");
    let count = || std::fs::read_dir(&partial).unwrap().count();
    let wait = async |wanted: usize| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while count() != wanted {
            assert!(Instant::now() < deadline, "{} partial files, not {wanted}", count());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    wait(1).await;
    problem(post(vec![0; 500]).await.unwrap(), 507).await; // its room is set aside
    drop(raw);
    wait(0).await;
    partner.upload(vec![2; 500]).await;

    // One at a time, if so configured.
    let one = start("max_uploads = 1").await;
    let mut slow = tokio::net::TcpStream::connect(one.origin.strip_prefix("http://").unwrap()).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let request = one.http.post(one.url("/v1/media")).basic_auth(ALICE, Some(SECRET)).body("x");
        let answer = request.send().await.unwrap();
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert!(answer.headers().contains_key("retry-after"));
            break;
        }
        assert!(Instant::now() < deadline);
    }

    // No length, no upload.
    let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = head.replace("content-length: 500", "transfer-encoding: chunked\r\nconnection: close");
    raw.write_all(head.replace("\r\n\r\nhalf", "\r\n\r\n4\r\nhalf\r\n0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 411"), "{answer}");

    // require_bearer = false: whoever knows the reference may fetch.
    let open = partner.http.get(partner.url(&format!("/media/{reference}"))).send().await.unwrap();
    assert_eq!(open.bytes().await.unwrap(), vec![1; 1000]);
}

#[tokio::test]
async fn both_http_versions() {
    let partner = start("").await;
    let two = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let bytes = vec![9; 3 << 20];
    let upload = two.post(partner.url("/v1/media")).basic_auth(ALICE, Some(SECRET)).body(bytes.clone());
    let answer = upload.send().await.unwrap();
    assert_eq!((answer.version(), answer.status()), (reqwest::Version::HTTP_2, StatusCode::CREATED));
    let reference = answer.json::<Value>().await.unwrap()["storage_reference"].as_str().unwrap().to_owned();
    let media = two.get(partner.url(&format!("/media/{reference}"))).bearer_auth(partner.bearer());
    let answer = media.send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.bytes().await.unwrap(), bytes);
    assert_eq!(partner.media(&reference, None).await.version(), reqwest::Version::HTTP_11);
    let push = two.post(partner.url("/push")).bearer_auth(partner.bearer()).json(&json!({"to": ALICE}));
    assert_eq!(push.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn stops_gracefully_and_keeps_key_and_media() {
    let mut partner = start("").await;
    let reference = partner.upload(vec![5; 1000]).await;
    let set = partner.http.get(jwks_url(&partner.origin)).send().await.unwrap().text().await.unwrap();
    let poll = tokio::spawn(partner.http.get(partner.url("/v1/wake")).basic_auth(ALICE, Some(SECRET)).send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    partner.stop.take().unwrap().send(()).unwrap();
    assert_eq!(poll.await.unwrap().unwrap().status(), StatusCode::NO_CONTENT);
    partner.served.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));

    // Rubbish of a crash, and the key's mode.
    let data = partner.dir.path().join("data");
    std::fs::write(data.join("media/partial/left-over-of-a-crash"), "x").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(data.join("partner.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let server = Server::bind(&config(&partner.dir, &partner.keys.url, "require_bearer = false")).await.unwrap();
    let origin = format!("http://{}", server.local_addr());
    tokio::spawn(server.serve(std::future::pending()));
    let again = partner.http.get(jwks_url(&origin)).send().await.unwrap().text().await.unwrap();
    assert_eq!(again, set);
    let media = partner.http.get(format!("{origin}/media/{reference}")).send().await.unwrap();
    assert_eq!(media.bytes().await.unwrap(), vec![5; 1000]);
    assert!(!data.join("media/partial/left-over-of-a-crash").exists());

    // One server at a time.
    let second = Server::bind(&config(&partner.dir, &partner.keys.url, "")).await.unwrap_err();
    assert!(second.to_string().contains("in use by another server"), "{second}");
}

/// The key of a version before the store is taken over, if it was kept to its owner.
#[tokio::test]
async fn a_key_file_is_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let key = SigningKey::generate(Algorithm::Rs256).unwrap();
    let path = data.join("signing-key.p8");
    std::fs::write(&path, key.to_pkcs8().unwrap().expose()).unwrap();
    let mode = |mode| {
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(0o644);
    #[cfg(unix)]
    assert!(comity_partner::open_store(&data).await.unwrap_err().to_string().contains("chmod 600"));
    mode(0o600);
    let store = comity_partner::open_store(&data).await.unwrap();
    let keys = comity_partner::manage_keys(&store, &comity_partner::KeyCommand::List).await.unwrap();
    assert_eq!(keys[0].kid, key.public().kid());
    std::fs::remove_file(&path).unwrap();
    drop(store);
    let store = comity_partner::open_store(&data).await.unwrap();
    assert_eq!(comity_partner::manage_keys(&store, &comity_partner::KeyCommand::List).await.unwrap(), keys);
}

#[tokio::test]
async fn a_long_poll_without_a_push_ends_after_25_seconds() {
    use axum::body::Body;
    use hyper::service::Service as _;
    let mut users = comity_partner::StaticUsers::new();
    users.add(ALICE.parse().unwrap(), <sha2::Sha256 as sha2::Digest>::digest(SECRET).into()).unwrap();
    let store = comity_partner::SqliteStore::in_memory().unwrap();
    let board = Arc::new(comity_partner::WakeBoard::new(Arc::new(store)));
    let router = comity_partner::wake_router(board, Arc::new(users), Default::default());
    let service = hyper_util::service::TowerToHyperService::new(router);
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{ALICE}:{SECRET}"));
    let request = axum::http::Request::get("/v1/wake").header("authorization", format!("Basic {basic}"));
    let answer = tokio::spawn(service.call(request.body(Body::empty()).unwrap()));
    tokio::time::sleep(Duration::from_millis(300)).await; // the store has answered: from here on only time passes
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(started.elapsed().as_secs_f64().round() as u64, 25);
}
