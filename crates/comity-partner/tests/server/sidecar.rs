//! Sidecar mode: the binary beside a back end in Python and in Node; and back ends that misbehave.

use crate::world::{ALICE, Keys, Partner, keys, now, problem, start};
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;
use comity_identity::jkt;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A process that ends with the test.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_in_python() {
    a_back_end("python3", "backend.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_in_node() {
    a_back_end("node", "backend.mjs").await;
}

async fn a_back_end(interpreter: &str, example: &str) {
    if !Command::new(interpreter).arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {interpreter} is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, format!("{WEBHOOK_SECRET}\n")).unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/sidecar").join(example);
    let mut backend = Running::start(Command::new(interpreter).arg(path).arg(&secret).arg("0"));
    let port: u16 = backend.line().strip_prefix("listening ").unwrap().parse().unwrap();

    let Keys { url, issuer, .. } = keys().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_comity-partner"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COMITY_PARTNER_")) {
        command.env_remove(name);
    }
    command.args(["--listen", "127.0.0.1:0", "--sandbox", "--gatekeeper-jwks-url", &url]).arg("--data-dir");
    command.arg(dir.path().join("data")).arg("--sidecar-secret-file").arg(&secret);
    command.arg("--auth-url").arg(format!("http://127.0.0.1:{port}/auth"));
    command.env("COMITY_PARTNER_PUSH_URL", format!("http://127.0.0.1:{port}/push"));
    let mut partner = Running::start(&mut command);
    let origin = partner.line().strip_prefix("ready partner http=").unwrap().to_owned();

    let http = Client::builder().no_proxy().build().unwrap();
    let token = |session: &'static str| {
        let request = http.post(format!("{origin}/v1/token")).header("authorization", session);
        request.json(&json!({ "jkt": jkt(&[7; 32]) })).send()
    };
    let answer = token("Bearer alices-session").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let token_text = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let claims = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        token_text.split('.').nth(1).unwrap(),
    );
    assert_eq!(serde_json::from_slice::<Value>(&claims.unwrap()).unwrap()["sub"], ALICE);
    problem(token("Bearer mallorys-session").await.unwrap(), 401).await;

    let push = |to: &'static str| {
        let bearer = issuer.issue(&origin, now()).unwrap();
        http.post(format!("{origin}/push")).bearer_auth(bearer).json(&json!({ "to": to })).send()
    };
    assert_eq!(push(ALICE).await.unwrap().status(), StatusCode::OK);
    assert_eq!(backend.line(), format!("wake {ALICE}"));
    problem(push("nobody@partner.test").await.unwrap(), 410).await;

    // What is not signed with the secret is not believed by the example.
    let forged = http.post(format!("http://127.0.0.1:{port}/push")).json(&json!({ "to": ALICE }));
    let forged = forged.header("webhook-id", "x").header("webhook-timestamp", now().as_secs());
    assert_eq!(forged.header("webhook-signature", "v1,AAAA").send().await.unwrap().status(), 400);
}

/// A back end of the test's own; its answers depend on the session.
async fn strange() -> (Partner, Router) {
    async fn auth(headers: HeaderMap, _: Request) -> axum::response::Response {
        let session = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let cookie = headers.get("cookie").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let user = |id: &str| json!({"user_visible_id": id, "more": [1]}).to_string().into_response();
        match session.strip_prefix("Bearer ").unwrap_or(&cookie) {
            "good" | "session=good" => user(ALICE),
            "empty" => user(""),
            "long" => user(&"x".repeat(1000)),
            "huge" => json!({"user_visible_id": ALICE, "more": "x".repeat(1 << 20)}).to_string().into_response(),
            "array" => "[]".into_response(),
            "text" => "alice".into_response(),
            "created" => (StatusCode::CREATED, user(ALICE)).into_response(),
            "redirect" => Redirect::temporary("/elsewhere").into_response(),
            "error" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            "slow" => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                user(ALICE)
            }
            "forbidden" => StatusCode::FORBIDDEN.into_response(),
            _ => (StatusCode::UNAUTHORIZED, [("www-authenticate", "Session")]).into_response(),
        }
    }
    async fn push(body: String) -> StatusCode {
        let to = serde_json::from_str::<Value>(&body).unwrap()["to"].as_str().unwrap().to_owned();
        to.parse::<u16>().map_or(StatusCode::OK, |status| StatusCode::from_u16(status).unwrap())
    }
    let elsewhere = post(async || json!({"user_visible_id": ALICE}).to_string());
    let router = Router::new().route("/auth", post(auth)).route("/push", post(push)).route("/elsewhere", elsewhere);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = router.clone();
    tokio::spawn(async move { axum::serve(listener, served).await });
    let sidecar = format!("[sidecar]\nauth_url = '{url}/auth'\npush_url = '{url}/push'\nsecret = '{WEBHOOK_SECRET}'\n");
    (start(&sidecar).await, router)
}

#[tokio::test]
async fn back_ends_that_misbehave() {
    let (partner, _) = strange().await;
    let ask = |session: &'static str| {
        partner.http.post(partner.url("/v1/token")).bearer_auth(session).json(&json!({ "jkt": jkt(&[7; 32]) })).send()
    };
    assert_eq!(ask("good").await.unwrap().status(), StatusCode::OK);
    let cookie = partner.http.post(partner.url("/v1/token")).header("cookie", "session=good");
    let cookie = cookie.json(&json!({ "jkt": jkt(&[7; 32]) })).send().await.unwrap();
    assert_eq!(cookie.status(), StatusCode::OK);
    for session in ["empty", "long", "huge", "array", "text", "created", "redirect", "error"] {
        let answer = ask(session).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{session}");
    }
    problem(ask("forbidden").await.unwrap(), 401).await;
    let refused = ask("nobody").await.unwrap();
    assert_eq!(refused.headers()["www-authenticate"], "Session");
    problem(refused, 401).await;
    problem(partner.http.post(partner.url("/v1/token")).send().await.unwrap(), 401).await;
    let started = Instant::now();
    problem(ask("slow").await.unwrap(), 503).await;
    assert!(started.elapsed() < Duration::from_secs(8));

    for (status, answered) in
        [("200", 200), ("202", 200), ("404", 410), ("410", 410), ("401", 503), ("302", 503), ("500", 503)]
    {
        let body = json!({ "to": status }).to_string();
        assert_eq!(partner.push(&partner.bearer(), &body).await.status(), answered, "{status}");
    }
    // The back end wakes: there is no long poll.
    let poll = partner.http.get(partner.url("/v1/wake")).bearer_auth("good").send().await.unwrap();
    problem(poll, 404).await;
}
