//! The binary: its ready line, its memory under a large file, its end on SIGTERM, its messages on a wrong configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

use futures_util::StreamExt;
use reqwest::{Body, Client, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const S3: &str = "[s3]\nbucket = 'm'\naccess_key_id = 'k'\n";
const KEY: &str = "secret_access_key = 's3cret'\n";
const USERS: &str = "[[users]]\nid = 'alice@partner.test'\nsecret = 's3cret-value'\n";

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comity-partner"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COMITY_PARTNER_")) {
        command.env_remove(name);
    }
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[tokio::test]
async fn large_media_in_flat_memory_and_a_graceful_end() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 64;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("partner.toml");
    std::fs::write(&path, format!("listen = '127.0.0.1:9'\nrequire_bearer = false\nsandbox = true\n{USERS}")).unwrap();
    // File < environment < flag.
    let mut child = command()
        .arg("--config")
        .arg(&path)
        .env("COMITY_PARTNER_DATA_DIR", dir.path().join("data"))
        .env("COMITY_PARTNER_LISTEN", "127.0.0.1:10")
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let origin = line.strip_prefix("ready partner http=").and_then(|l| l.strip_suffix('\n')).unwrap().to_owned();
    let pid = child.id();
    let mut child = Running(child);
    let http = Client::builder().no_proxy().build().unwrap();
    assert_eq!(http.get(format!("{origin}/livez")).send().await.unwrap().text().await.unwrap(), "ok");
    let before = peak_memory(pid);

    let chunk: Vec<u8> = (0..CHUNK).map(|i| (i * 7 % 253) as u8).collect();
    let mut sent = Sha256::new();
    (0..CHUNKS).for_each(|_| sent.update(&chunk));
    let source = futures_util::stream::iter((0..CHUNKS).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let answer = http
        .post(format!("{origin}/v1/media"))
        .basic_auth("alice@partner.test", Some("s3cret-value"))
        .header("content-length", CHUNK * CHUNKS)
        .body(Body::wrap_stream(source))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let reference = answer.json::<Value>().await.unwrap()["storage_reference"].as_str().unwrap().to_owned();

    let answer = http.get(format!("{origin}/media/{reference}")).send().await.unwrap();
    assert_eq!(answer.content_length(), Some((CHUNK * CHUNKS) as u64));
    let mut received = Sha256::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        received.update(chunk.unwrap());
    }
    assert_eq!(sent.finalize(), received.finalize());
    if let (Some(before), Some(after)) = (before, peak_memory(pid)) {
        assert!(after - before < 16 * 1024, "grew from {before} to {after} kB over a file of 65536 kB");
    }

    #[cfg(unix)]
    {
        assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
        assert!(child.0.wait().unwrap().success());
        let mut log = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(log.contains("media stored"), "{log}");
        assert!(!log.contains("alice") && !log.contains("s3cret") && !log.contains(&reference), "{log}");
    }
}

/// Whatever moment a server is killed at: the offset that the next one tells is never less than what was told before, and
/// the file is whole in the end.
#[cfg(unix)]
#[tokio::test]
async fn an_upload_survives_the_servers_death() {
    const LEN: usize = 48 << 20;
    const CHUNK: usize = 256 << 10;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("partner.toml");
    std::fs::write(&path, format!("listen = '127.0.0.1:0'\nrequire_bearer = false\nsandbox = true\n{USERS}")).unwrap();
    let start = || {
        let mut child = command();
        child.arg("--config").arg(&path).env("COMITY_PARTNER_DATA_DIR", dir.path().join("data"));
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let origin = line.strip_prefix("ready partner http=").and_then(|l| l.strip_suffix('\n')).unwrap().to_owned();
        (Running(child), origin)
    };
    let http = Client::builder().no_proxy().build().unwrap();
    let tus = |method: &str, url: String| {
        let request = http.request(method.parse().unwrap(), url).basic_auth("alice@partner.test", Some("s3cret-value"));
        request.header("tus-resumable", "1.0.0")
    };
    let number =
        |answer: &reqwest::Response| -> usize { answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap() };
    let file: Vec<u8> = (0..LEN).map(|i| (i >> 8) as u8 ^ (i * 7 % 253) as u8).collect();
    let (mut server, mut origin) = start();
    let created = tus("POST", format!("{origin}/v1/uploads")).header("upload-length", LEN).send().await.unwrap();
    let upload = created.headers()["location"].to_str().unwrap().to_owned();
    let (mut told, mut deaths, mut dice) = (0, 0, 0x2545_f491_u32);
    while told < LEN {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let die_after = if deaths < 8 { (dice >> 8) as usize % (16 << 20) } else { LEN };
        let chunks: Vec<_> = file[told..].chunks(CHUNK).map(<[u8]>::to_vec).collect();
        let pid = server.0.id();
        let mut sent = 0;
        let body = futures_util::stream::iter(chunks).map(move |chunk| {
            if sent >= die_after {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            sent += chunk.len();
            Ok::<_, std::io::Error>(chunk)
        });
        let patch = tus("PATCH", format!("{origin}{upload}")).header("upload-offset", told);
        let patch = patch.header("content-type", "application/offset+octet-stream").body(Body::wrap_stream(body));
        match patch.send().await {
            Ok(answer) => told = number(&answer),
            Err(_) => {
                deaths += 1;
                server.0.wait().unwrap();
                (server, origin) = start();
                let head = tus("HEAD", format!("{origin}{upload}")).send().await.unwrap();
                assert!(number(&head) >= told, "{} after {told}", number(&head));
                told = number(&head);
            }
        }
    }
    assert!(deaths >= 3, "{deaths}");
    let got = http.get(format!("{origin}{}", upload.replace("/v1/uploads/", "/media/"))).send().await.unwrap();
    assert!(got.bytes().await.unwrap() == file);
}

fn check(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("partner.toml");
    std::fs::write(&path, text).unwrap();
    command().arg("--config").arg(&path).arg("--check-config").output().unwrap()
}

#[test]
fn configuration_is_checked() {
    let good = check(&format!("sandbox = true\n{USERS}"));
    assert!(good.status.success());
    assert_eq!(good.stdout, b"configuration ok: 1 users\n");
    let http_here = format!("[sidecar]\nauth_url = 'http://127.0.0.1:4000/auth'\nsecret = '{WHSEC}'\n");
    let https = "origin = 'https://partner.example'\ngatekeeper_jwks_url = 'https://gk.example/.well-known/jwks'\n";
    assert!(check(https).status.success());
    assert!(check(&format!("{https}{http_here}")).status.success());

    for (text, part) in [
        ("sandbox = true\nlisten = 'nowhere'\n".to_owned(), "line 2"),
        ("colour = 'blue'\n".to_owned(), "unknown field"),
        (String::new(), "origin is required"),
        ("origin = 'http://partner.example'\n".to_owned(), "https"),
        ("origin = 'https://partner.example/'\n".to_owned(), "written https://partner.example"),
        ("origin = 'https://partner.example'\n".to_owned(), "gatekeeper_jwks_url must be https"),
        (format!("sandbox = true\n{USERS}{USERS}"), "user number 2: "),
        ("sandbox = true\n[[users]]\nid = 'a:b'\nsecret = 'x'\n".to_owned(), "':'"),
        ("sandbox = true\n[[users]]\nid = 'a'\n".to_owned(), "either secret or secret_sha256"),
        ("sandbox = true\n[[users]]\nid = 'a'\nsecret_sha256 = 'zz'\n".to_owned(), "64 hexadecimal"),
        ("sandbox = true\n[[users]]\nid = 'a'\nsecret = ['s3cret-value'\n".to_owned(), "line"),
        ("sandbox = true\nlisten = '0.0.0.0:1'\n".to_owned(), "nobody can reach 0.0.0.0:1"),
        ("sandbox = true\ntls_chain = 'x.pem'\n".to_owned(), "both or neither"),
        (
            "sandbox = true\ntls_chain = '/nonexistent/x.pem'\ntls_key = 'y'\n".to_owned(),
            "cannot open /nonexistent/x.pem",
        ),
        ("sandbox = true\n[sidecar]\npush_url = 'http://127.0.0.1/x'\n".to_owned(), "secret_file is required"),
        ("sandbox = true\n[sidecar]\npush_url = 'x'\nsecret = 's3cret'\n".to_owned(), "whsec_"),
        (
            format!("{https}[sidecar]\nauth_url = 'http://backend.example/x'\nsecret = '{WHSEC}'\n"),
            "auth_url must be https (http to this machine",
        ),
        (format!("sandbox = true\n[sidecar]\nauth_url = 'http://h/x'\nsecret = '{WHSEC}'\n{USERS}"), "not several"),
        (format!("{https}[oidc]\nissuer = 'http://id.example'\naudience = 'x'\n"), "oidc.issuer must be https"),
        ("sandbox = true\n[oidc]\nissuer = 'https://id.example'\n".to_owned(), "audience"),
        ("sandbox = true\n[web_push]\nsubject = 'ops@partner.example'\n".to_owned(), "mailto:"),
        ("sandbox = true\n[[users]]\nid = 'a'\nsecret = 'x'\nsecret_file = 'y'\n".to_owned(), "not both"),
        ("sandbox = true\nuser_max_media_files = 0\n".to_owned(), "a limit is 0"),
        ("sandbox = true\n[s3]\nbucket = 'm'\naccess_key_id = 'k'\n".to_owned(), "secret_access_key_file is required"),
        (format!("sandbox = true\n[s3]\naccess_key_id = 'k'\n{KEY}"), "s3.bucket is missing"),
        (format!("sandbox = true\n[s3]\nbucket = 'm'\n{KEY}"), "s3.access_key_id is missing"),
        (format!("sandbox = true\n{S3}prefix = '../x'\n{KEY}"), "s3.prefix is missing or not one"),
        (format!("sandbox = true\n{S3}endpoint = 'https://h/x'\n{KEY}"), "scheme://host[:port] alone"),
        (format!("sandbox = true\n{S3}endpoint = 'https://127.0.0.1'\npath_style = false\n{KEY}"), "host with a name"),
        (format!("{https}{S3}endpoint = 'http://store.example'\n{KEY}"), "s3.endpoint must be https"),
        (format!("sandbox = true\nmax_media_len = 99999999999\n{S3}{KEY}"), "max_media_len: an object has at most"),
        ("sandbox = true\nmax_uploads = 0\n".to_owned(), "a limit is 0"),
    ] {
        let output = check(&text);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{text}");
        assert!(said.contains(part), "{text:?} gave {said:?}");
        assert!(!said.contains("s3cret"), "{said}");
    }
    let missing = command().args(["--config", "/nonexistent/partner.toml"]).output().unwrap();
    assert!(String::from_utf8(missing.stderr).unwrap().contains("cannot open /nonexistent/partner.toml"));
    let version = command().arg("--version").output().unwrap();
    assert_eq!(version.stdout, format!("comity-partner {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
}

#[test]
fn an_operator_manages_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let keys = |args: &[&str]| {
        let output = command().args(["keys"]).args(args).arg("--data-dir").arg(dir.path()).output().unwrap();
        let said = String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap();
        (output.status.success(), said)
    };
    let state = |listed: &str| -> Vec<(String, String)> {
        let words = listed.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        words.map(|words| (words[0].clone(), words[1].clone())).collect()
    };
    let (ok, listed) = keys(&["list"]);
    let first = state(&listed).remove(0);
    assert!(ok && first.1 == "current" && listed.trim_end().ends_with('Z'), "{listed}");
    let (ok, said) = keys(&["rotate"]);
    assert!(!ok && said.contains("no key is staged"), "{said}");
    let (_, staged) = keys(&["stage"]);
    assert_eq!(state(&staged)[1].1, "staged", "{staged}");
    let (ok, said) = keys(&["rotate"]);
    assert!(!ok && said.contains("not known to every verifier yet"), "{said}");
    let (ok, said) = keys(&["revoke", &first.0]);
    assert!(ok, "{said}");
    assert_eq!(state(&said), [(state(&staged)[1].0.clone(), "current".to_owned())]);
    assert!(!keys(&["revoke", "unknown"]).0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_reads_the_certificate_again() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = || {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("chain.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(dir.path().join("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        Client::builder().no_proxy().tls_certs_only([root]).build().unwrap()
    };
    let first = certificate();
    let mut child = command()
        .args(["--sandbox", "--listen", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .arg("--tls-chain")
        .arg(dir.path().join("chain.pem"))
        .env("COMITY_PARTNER_TLS_KEY", dir.path().join("key.pem"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let child = Running(child);
    let (origin, ops) = line.trim_end().strip_prefix("ready partner http=").unwrap().split_once(" ops=").unwrap();
    assert!(origin.starts_with("https://127.0.0.1:") && ops.starts_with("http://127.0.0.1:"), "{line}");
    let url = format!("{origin}/livez");
    assert_eq!(first.get(&url).send().await.unwrap().status(), StatusCode::OK);
    let second = certificate();
    assert!(second.get(&url).send().await.is_err());
    assert!(Command::new("kill").args(["-HUP", &child.0.id().to_string()]).status().unwrap().success());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while second.get(&url).send().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the certificate was not read again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
