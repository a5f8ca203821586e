//! What an operator meets: TLS, metrics, logs, problem details.

use crate::world::{ADMIN, World};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

/// A certificate for 127.0.0.1 in the world's directory; the settings that name it, and a client that trusts it.
fn certificate(world: &World) -> (String, reqwest::Client) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (chain, key) = (world.dir.path().join("chain.pem"), world.dir.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    (format!("tls_chain = {chain:?}\ntls_key = {key:?}\n"), client)
}

#[tokio::test]
async fn enlistment_over_tls() {
    let mut world = World::start().await;
    world.down().await;
    let (settings, client) = certificate(&world);
    world.settings[0] = settings;
    world.http = client;
    world.up().await;
    assert!(world.url().starts_with("https://"));
    let alice = world.enlist("alice@partner.test").await;
    world.log_in(&alice).await.ping().await;
    let live = world.http.get(format!("{}/livez", world.url())).send().await.unwrap();
    assert_eq!(live.version(), reqwest::Version::HTTP_2);
    let plain = world.url().replace("https", "http");
    assert!(reqwest::get(format!("{plain}/livez")).await.is_err());
    assert!(reqwest::get(format!("{}/livez", world.url())).await.is_err(), "an unknown certificate");
}

#[tokio::test]
async fn metrics_are_named_and_know_nobody() {
    let ops = "listen_ops = \"127.0.0.1:0\"\n";
    let world = World::start_with(ops, "").await;
    let ((alice, mut a), (bob, _b)) = world.pair().await;
    a.deliver(&bob.jid, "AA01", b"hello").await;
    world.post_form(&[("authkey", "x".into())]).await;
    let get = async |url: String| world.http.get(url).send().await.unwrap();
    let hidden = get(format!("{}/metrics", world.url())).await;
    assert_eq!(
        (hidden.status().as_u16(), &hidden.headers()["content-type"]),
        (404, &"application/problem+json".parse().unwrap())
    );
    let at = format!("http://{}", world.server().ops_addr().unwrap());
    let text = get(format!("{at}/metrics")).await.text().await.unwrap();
    for line in [
        r#"comity_gatekeeper_enlistments_total{result="ok"}"#,
        r#"comity_gatekeeper_enlistments_total{result="bad_request"}"#,
        r#"comity_gatekeeper_log_ins_total{result="ok"}"#,
        r#"comity_gatekeeper_messages_total{outcome="stored"}"#,
        r#"comity_gatekeeper_jwks_fetches_total{result="ok"}"#,
        "comity_gatekeeper_chat_connections_open ",
        r#"comity_http_requests_total{route="/3p/interop_reg",method="POST",status="2xx"}"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let (number, _) = alice.jid.split_once('@').unwrap();
    for personal in ["alice", "Bob", "4915112345678", number, ADMIN] {
        assert!(!text.contains(personal), "{personal}");
    }
    let documented = include_str!("../../../../docs/metrics.md");
    for metric in comity_gatekeeper::METRICS {
        assert!(documented.contains(&format!("`{}`", metric.name)), "{}", metric.name);
    }
    assert_eq!(get(format!("{at}/livez")).await.status(), 200);
    assert_eq!(get(format!("{at}/readyz")).await.json::<serde_json::Value>().await.unwrap()["ready"], true);
}

#[tokio::test]
async fn errors_are_problem_details() {
    let world = World::start().await;
    let url = world.url();
    for (request, status) in [
        (world.http.get(format!("{url}/nothing")), 404),
        (world.http.get(format!("{url}/3p/interop_reg")), 405),
        (world.http.get(format!("{url}/interop/whatsapp/download/x/{}/", "x".repeat(16))), 404),
        (world.http.get(format!("{url}/interop/whatsapp/download/70000/{}/", "x".repeat(16))), 404),
        (world.http.get(format!("{url}/interop/whatsapp/download/12/..%2f..%2fetc/")), 400),
        (world.http.get(format!("{url}/v/t/%ff")), 404),
        (world.http.post(format!("{url}/mms/image/%ff")), 404),
        (world.http.post(format!("{url}/mms/image/x?auth=%")), 401),
        (world.http.post(format!("{url}/admin/native")), 401),
        (world.http.post(format!("{url}/admin/native")).bearer_auth(ADMIN).body("x"), 400),
        (world.http.post(format!("{url}/admin/block")).bearer_auth(ADMIN).body("x"), 400),
    ] {
        let answer = request.send().await.unwrap();
        let at = answer.url().to_string();
        assert_eq!(answer.status().as_u16(), status, "{at}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{at}");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status, "{at}");
    }
}

/// Logs as JSON lines hold no name, number, key or token of anybody; secrets come from files.
#[tokio::test]
async fn logs_are_json_and_know_nobody() {
    let world = World::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("admin"), format!("{ADMIN}\n")).unwrap();
    let config = crate::world::config(&world.partner, dir.path());
    let without = config.lines().filter(|line| !line.starts_with("admin_token")).collect::<Vec<_>>().join("\n");
    std::fs::write(dir.path().join("config.toml"), without).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_comity-gatekeeper"))
        .arg("--config")
        .arg(dir.path().join("config.toml"))
        .arg("--admin-token-file")
        .arg(dir.path().join("admin"))
        .args(["--log-json", "--log", "debug,hyper=info,h2=info", "--listen-ops", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).await.unwrap();
    let part = |name: &str| ready.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap().to_owned();
    let http = part("http=");
    for _ in 0..200 {
        if world.http.get(format!("{}/readyz", part("ops="))).send().await.unwrap().status().is_success() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let alice = world.stranger("alice@partner.test");
    let form = world.form(&alice);
    let answer = world.http.post(format!("{http}/3p/interop_reg")).form(&form).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    let jid = answer["login"].as_str().unwrap().to_owned();
    let body = serde_json::json!({ "jid": jid, "blocked": true });
    let blocked = world.http.post(format!("{http}/admin/block")).bearer_auth(ADMIN).json(&body).send().await.unwrap();
    assert_eq!(blocked.status(), 200);
    Command::new("kill").args(["-TERM", &child.id().unwrap().to_string()]).status().await.unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert!(child.wait().await.unwrap().success());
    assert!(log.lines().count() >= 3, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string());
    }
    let token = &form[7].1;
    let signature = token.rsplit('.').next().unwrap();
    for personal in ["alice", &jid, jid.split_once('@').unwrap().0, ADMIN, signature, &form[0].1] {
        assert!(!log.contains(personal), "{personal} in {log}");
    }
}
