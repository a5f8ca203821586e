//! The listener on real sockets: both versions, TLS and its change, limits, the graceful end, probes, metrics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::routing::{get, post};
use comity_server::{
    HttpLimits, Listener, METRICS, Metrics, Readiness, Tls, TlsFiles, observe, ops_router, read_json, with_fallbacks,
};
use reqwest::{Certificate, Client, Version};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

fn limits() -> HttpLimits {
    let mut limits = HttpLimits::default();
    limits.max_connections = 3;
    limits.header_timeout = Duration::from_millis(500);
    limits.idle = Duration::from_secs(2);
    limits.handshake_timeout = Duration::from_millis(500);
    limits.tls_poll = Duration::from_millis(50);
    limits.drain = Duration::from_secs(1);
    limits
}

fn app() -> Router {
    let slow = get(async || {
        tokio::time::sleep(Duration::from_millis(800)).await;
        "slow"
    });
    let endless = get(async || {
        std::future::pending::<()>().await;
        ""
    });
    // Takes the connection, and sends back what comes.
    let taken = get(async |mut request: axum::extract::Request| {
        let upgraded = comity_server::upgraded(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(upgraded.await.unwrap());
            let _ends = tokio::io::copy(&mut read, &mut write).await;
        });
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
    });
    let echo = post(async |request: axum::extract::Request| {
        let (parts, body) = request.into_parts();
        read_json::<Value>(&parts.headers, body, 100).await.map(|value| value.to_string())
    });
    Router::new()
        .route("/peer", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()))
        .route("/slow", slow)
        .route("/endless", endless)
        .route("/echo", echo)
        .route("/taken", taken)
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

async fn start(tls: Option<Tls>, router: Router) -> Running {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls, limits()).await.unwrap();
    let (address, stop) = (listener.local_addr(), CancellationToken::new());
    let served = tokio::spawn(listener.serve(observe(with_fallbacks(router)), stop.clone()));
    Running { address, stop, served }
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// A certificate for this machine, written to `dir` with its key.
fn certificate(dir: &Path) -> (TlsFiles, Certificate) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = TlsFiles { chain: dir.join("chain.pem"), key: dir.join("key.pem") };
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::write(&files.chain, made.cert.pem()).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&files.chain, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    (files, Certificate::from_pem(made.cert.pem().as_bytes()).unwrap())
}

fn trusting(root: &Certificate) -> Client {
    Client::builder().no_proxy().tls_certs_only([root.clone()]).build().unwrap()
}

#[tokio::test]
async fn handlers_know_the_peer_in_both_versions() {
    let server = start(None, app()).await;
    let two = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for (http, version) in [(client(), Version::HTTP_11), (two, Version::HTTP_2)] {
        let answer = http.get(format!("http://{}/peer", server.address)).send().await.unwrap();
        assert_eq!(answer.version(), version);
        assert!(answer.text().await.unwrap().starts_with("127.0.0.1:"));
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_wrong_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (files, first) = certificate(dir.path());
    let server = start(Some(Tls::load(files.clone()).unwrap()), app()).await;
    let url = format!("https://{}/peer", server.address);
    let answer = trusting(&first).get(&url).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 200));
    let old = Client::builder().no_proxy().tls_certs_only([first.clone()]).http1_only().build().unwrap();
    assert_eq!(old.get(&url).send().await.unwrap().version(), Version::HTTP_11);
    drop(old);

    let (_, second) = certificate(dir.path());
    let until = async |root: &Certificate| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while trusting(root).get(&url).send().await.is_err() {
            assert!(Instant::now() < deadline, "the certificate was not taken");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until(&second).await;
    assert!(trusting(&first).get(&url).send().await.is_err());

    std::fs::write(&files.chain, "-----BEGIN CERTIFICATE-----\nrubbish\n").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    until(&second).await; // the one before stays
    let (_, third) = certificate(dir.path());
    until(&third).await;
}

#[tokio::test]
async fn certificates_and_keys_that_do_not_do() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = certificate(dir.path());
    let other = tempfile::tempdir().unwrap();
    let (others, _) = certificate(other.path());
    let said = |files: &TlsFiles| Tls::load(files.clone()).unwrap_err().to_string();
    assert!(said(&TlsFiles { key: others.key.clone(), ..files.clone() }).contains("not the key of"));
    assert!(said(&TlsFiles { chain: files.key.clone(), ..files.clone() }).contains("1 to 16 certificates"));
    assert!(said(&TlsFiles { key: files.chain.clone(), ..files.clone() }).contains("not a private key"));
    assert!(said(&TlsFiles { chain: dir.path().join("none"), ..files.clone() }).contains("cannot open"));
    let many = std::fs::read_to_string(&files.chain).unwrap().repeat(17);
    std::fs::write(&others.chain, many).unwrap();
    assert!(said(&TlsFiles { chain: others.chain.clone(), ..files.clone() }).contains("1 to 16 certificates"));
    std::fs::write(&others.chain, vec![b'\n'; 300 * 1024]).unwrap();
    assert!(said(&TlsFiles { chain: others.chain, ..files.clone() }).contains("larger than"));
    #[cfg(unix)]
    {
        std::fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(said(&files).contains("everyone may read"));
    }
}

/// Reads until the peer closes; how long that took.
async fn closed_after(mut stream: TcpStream) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("never closed");
    started.elapsed()
}

#[tokio::test]
async fn slow_clients_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = certificate(dir.path());
    // A TLS handshake that does not begin.
    let server = start(Some(Tls::load(files).unwrap()), app()).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    assert!(closed_after(stream).await < Duration::from_millis(1500));
    // A head that does not end.
    let server = start(None, app()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /peer HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    assert!(closed_after(stream).await < Duration::from_millis(1500));
    // Nothing at all.
    let stream = TcpStream::connect(server.address).await.unwrap();
    let taken = closed_after(stream).await;
    assert!(taken < Duration::from_secs(4), "{taken:?}");
    // A head that is too large.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024)).as_bytes()).await;
    assert!(closed_after(stream).await < Duration::from_millis(1500));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = start(None, app()).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let get = tokio::spawn(client().get(format!("http://{}/peer", server.address)).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!get.is_finished());
    drop(held.pop());
    assert_eq!(get.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn open_requests_finish_and_endless_ones_are_cut_off() {
    let server = start(None, app()).await;
    let url = format!("http://{}", server.address);
    let slow = tokio::spawn(client().get(format!("{url}/slow")).send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop.cancel();
    let answer = slow.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "slow");
    server.served.await.unwrap();
    assert!(client().get(&url).send().await.is_err());

    let server = start(None, app()).await;
    let _endless = tokio::spawn(client().get(format!("http://{}/endless", server.address)).send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    server.stop.cancel();
    server.served.await.unwrap();
    let taken = started.elapsed();
    assert!(taken >= Duration::from_secs(1) && taken < Duration::from_millis(1700), "{taken:?}");
}

#[tokio::test]
async fn probes_metrics_and_problems() {
    let ready = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&ready);
    let readiness = move || Readiness::new(asked.load(Ordering::SeqCst)).with("database", true);
    let server = start(None, app().merge(ops_router(readiness, Some(Metrics::install())))).await;
    let (http, url) = (client(), format!("http://{}", server.address));
    let get = |path: &str| http.get(format!("{url}{path}")).send();
    assert_eq!(get("/livez").await.unwrap().text().await.unwrap(), "ok");
    let answer = get("/readyz").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), serde_json::json!({"ready": true, "database": true}));
    ready.store(false, Ordering::SeqCst);
    assert_eq!(get("/readyz").await.unwrap().status(), 503);

    for (answer, status) in [
        (get("/none").await, 404),
        (http.delete(format!("{url}/peer")).send().await, 405),
        (http.post(format!("{url}/echo")).body("{}").send().await, 415),
        (http.post(format!("{url}/echo")).json(&"x".repeat(200)).send().await, 413),
        (http.post(format!("{url}/echo")).json(&[1]).send().await, 400),
    ] {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.json::<Value>().await.unwrap()["status"], status);
    }
    let text = get("/metrics").await.unwrap().text().await.unwrap();
    for part in [
        r#"comity_http_requests_total{route="/peer",method="DELETE",status="4xx"} 1"#,
        r#"comity_http_requests_total{route="none",method="GET",status="4xx"} 1"#,
        r#"comity_http_request_duration_seconds_count{route="/livez",method="GET"} 1"#,
        "# HELP comity_http_requests_in_flight Requests not yet answered",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn every_metric_is_documented() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md")).unwrap();
    for metric in METRICS {
        assert!(document.contains(&format!("`{}`", metric.name)), "{}", metric.name);
    }
}

#[test]
fn secrets_and_files_of_the_configuration() {
    use comity_core::Secret;
    use comity_server::config::{read_capped, read_toml, secret};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let inline = Secret::new("here".to_owned());
    for (text, wanted) in [("in a file\n", "in a file"), ("in a file\r\n", "in a file"), (" kept \n\n", " kept \n")] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(secret("key", None, Some(&path)).unwrap().unwrap().expose(), wanted);
    }
    assert_eq!(secret("key", Some(&inline), None).unwrap().unwrap().expose(), "here");
    assert!(secret("key", None, None).unwrap().is_none());
    assert!(secret("key", Some(&inline), Some(&path)).unwrap_err().to_string().contains("not both"));
    std::fs::write(&path, "\n").unwrap();
    assert!(secret("key", None, Some(&path)).unwrap_err().to_string().contains("key is empty"));
    std::fs::write(&path, [0xff]).unwrap();
    assert!(secret("key", None, Some(&path)).unwrap_err().to_string().contains("not UTF-8"));
    std::fs::write(&path, vec![b'x'; 20_000]).unwrap();
    assert!(secret("key", None, Some(&path)).unwrap_err().to_string().contains("larger than"));
    assert_eq!(read_capped(&path, 20_000).unwrap().len(), 20_000);
    std::fs::write(&path, "a = 1\nb = s3cret\n").unwrap();
    let said = read_toml::<Value>(&path).unwrap_err().to_string();
    assert!(said.contains("line 2") && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn an_upgraded_connection_gives_its_place_back_and_still_ends_when_idle() {
    let server = start(None, app()).await;
    let mut taken = Vec::new();
    for _ in 0..limits().max_connections {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream
            .write_all(b"GET /taken HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nat once")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"at once");
        taken.push(stream);
    }
    // All places were taken by them, were they still counted.
    let answer = client().get(format!("http://{}/peer", server.address)).timeout(Duration::from_secs(5)).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    let idle = Instant::now();
    let mut rest = Vec::new();
    let _reset_or_end = taken[0].read_to_end(&mut rest).await;
    assert!(rest.is_empty() && idle.elapsed() < limits().idle * 3);
    server.stop.cancel();
    server.served.await.unwrap();
}
