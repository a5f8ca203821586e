//! What an operator sees and sets: TLS, probes, metrics, quotas, limits on failed authentication.

use crate::world::{ALICE, Partner, SECRET, config, keys, problem, start};
use comity_identity::jkt;
use comity_partner::Server;
use reqwest::{Certificate, Client, StatusCode, Version};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes a certificate for this machine and its key; gives the certificate.
fn certificate(dir: &Path) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("chain.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(dir.join("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
}

#[tokio::test]
async fn over_tls_with_both_versions_and_probes_beside() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), keys().await);
    let root = certificate(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tls = format!("tls_chain = '{}'\ntls_key = '{}'\n", path("chain.pem"), path("key.pem"));
    let server = Server::bind(&config(&dir, &keys.url, &format!("{tls}listen_ops = '127.0.0.1:0'"))).await.unwrap();
    assert_eq!(server.scheme(), "https");
    let (origin, ops) = (format!("https://{}", server.local_addr()), format!("http://{}", server.ops_addr().unwrap()));
    tokio::spawn(server.serve(std::future::pending()));

    let client = || Client::builder().no_proxy().tls_certs_only([root.clone()]);
    for (http, version) in [(client(), Version::HTTP_2), (client().http1_only(), Version::HTTP_11)] {
        let http = http.build().unwrap();
        let answer = http.post(format!("{origin}/v1/token")).basic_auth(ALICE, Some(SECRET));
        let answer = answer.json(&json!({ "jkt": jkt(&[7; 32]) })).send().await.unwrap();
        assert_eq!((answer.version(), answer.status()), (version, StatusCode::OK));
        // Metrics are at the operator's address alone, probes at both.
        problem(http.get(format!("{origin}/metrics")).send().await.unwrap(), 404).await;
        assert_eq!(http.get(format!("{origin}/livez")).send().await.unwrap().status(), 200);
    }
    let plain = Client::builder().no_proxy().build().unwrap();
    assert_eq!(plain.get(format!("{ops}/readyz")).send().await.unwrap().status(), 200);
    assert_eq!(plain.get(format!("{ops}/metrics")).send().await.unwrap().status(), 200);
    problem(plain.get(format!("{ops}/v1/push/key")).send().await.unwrap(), 404).await;
    assert!(plain.get(format!("{origin}/livez")).send().await.is_err()); // not certified by anyone known
}

#[tokio::test]
async fn metrics_are_documented_and_name_nobody() {
    let partner = start("[web_push]\nsubject = 'mailto:ops@partner.test'\n").await;
    let thumbprint = jkt(&[7; 32]);
    assert_eq!(partner.token(SECRET, &thumbprint).await.status(), StatusCode::OK);
    assert_eq!(partner.token("wrong", &thumbprint).await.status(), StatusCode::UNAUTHORIZED);
    let reference = partner.upload(vec![1; 1000]).await;
    assert_eq!(partner.media(&reference, None).await.bytes().await.unwrap().len(), 1000);
    for to in [ALICE, "nobody@partner.test"] {
        partner.push(&partner.bearer(), &json!({ "to": to }).to_string()).await;
    }
    let odd = partner.http.request("BREW".parse().unwrap(), partner.url("/coffee/alice@partner.test"));
    problem(odd.send().await.unwrap(), 404).await;

    let text = partner.http.get(partner.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md")).unwrap();
    let mut names = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(document.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        names += 1;
    }
    assert!(names >= 8, "{text}");
    for metric in comity_partner::METRICS.iter().chain(comity_server::METRICS) {
        assert!(document.contains(&format!("`{}`", metric.name)), "{} is not in docs/metrics.md", metric.name);
    }
    for part in [
        r#"comity_http_requests_total{route="/v1/token",method="POST",status="2xx"}"#,
        r#"comity_http_requests_total{route="none",method="other",status="4xx"}"#,
        r#"comity_http_request_duration_seconds_bucket{route="/media/{storage_reference}",method="GET",le="0.001"}"#,
        r#"comity_partner_pushes_total{outcome="gone"}"#,
        "# HELP comity_partner_tokens_issued_total Ownership tokens issued",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for personal in [ALICE, "alice", "nobody@", &reference, "coffee", "BREW"] {
        assert!(!text.contains(personal), "{personal} is in\n{text}");
    }
}

#[tokio::test]
async fn a_user_has_a_quota_of_files_and_bytes() {
    let partner = start("user_max_media_files = 3\nuser_max_media_bytes = 2000").await;
    let post =
        |body: Vec<u8>| partner.http.post(partner.url("/v1/media")).basic_auth(ALICE, Some(SECRET)).body(body).send();
    partner.upload(vec![1; 1500]).await;
    problem(post(vec![0; 501]).await.unwrap(), 507).await;
    partner.upload(vec![2; 100]).await;
    partner.upload(Vec::new()).await;
    problem(post(Vec::new()).await.unwrap(), 507).await;
    let other = partner.http.post(partner.url("/v1/media")).basic_auth("+4915", Some("test")).body(vec![0; 2000]);
    assert_eq!(other.send().await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn an_upload_that_breaks_off_does_not_count() {
    let partner = start("user_max_media_files = 1").await;
    let address = partner.origin.strip_prefix("http://").unwrap();
    let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{ALICE}:{SECRET}"));
    let head = format!(
        "POST /v1/media HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\ncontent-length: 500\r\n\r\nhalf"
    );
    tokio::io::AsyncWriteExt::write_all(&mut raw, head.as_bytes()).await.unwrap();
    let post = || partner.http.post(partner.url("/v1/media")).basic_auth(ALICE, Some(SECRET)).body("x").send();
    let until = async |status: u16| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while post().await.unwrap().status() != status {
            assert!(Instant::now() < deadline, "never {status}");
        }
    };
    // What is under way is counted. (If this request was first, it is the one file.)
    let first = post().await.unwrap().status();
    if first == 507 {
        drop(raw);
        until(201).await;
    }
    until(507).await;
}

#[tokio::test]
async fn guessing_ends() {
    let partner: Partner = start("").await;
    let thumbprint = jkt(&[7; 32]);
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(partner.token("guess", &thumbprint).await.status().as_u16());
    }
    assert_eq!(answers[..10], [401; 10]);
    assert_eq!(answers[11], 429);
    let refused = partner.token(SECRET, &thumbprint).await;
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 7);
    problem(refused, 429).await;
    let other = partner.http.post(partner.url("/v1/token")).basic_auth("+4915", Some("test"));
    assert_eq!(other.json(&json!({ "jkt": thumbprint })).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn wake_ups_survive_a_restart() {
    let mut partner = start("").await;
    let answer = partner.push(&partner.bearer(), &json!({ "to": ALICE }).to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    partner.stop.take().unwrap().send(()).unwrap();
    partner.served.await.unwrap();
    let server = Server::bind(&config(&partner.dir, &partner.keys.url, "")).await.unwrap();
    let origin = format!("http://{}", server.local_addr());
    tokio::spawn(server.serve(std::future::pending()));
    let wake = partner.http.get(format!("{origin}/v1/wake")).basic_auth(ALICE, Some(SECRET)).send().await.unwrap();
    assert_eq!(wake.json::<Value>().await.unwrap(), json!({"wake": true}));
}
