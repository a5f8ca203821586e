//! The commands of `docs/enlistment.md`, run as they stand there, with other ports.

use std::net::TcpListener;
use std::path::Path;
use tokio::process::Command;

const PAGE: &str = include_str!("../../../../docs/enlistment.md");

/// The page's commands as one script.
fn script() -> String {
    PAGE.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_commands_of_the_enlistment_page_enlist_a_user() {
    // Where `cargo xtask interop identity` has put PyJWT, if it has.
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop/identity/venv/bin");
    let ours = Path::new(env!("CARGO_BIN_EXE_comity-gatekeeper")).parent().unwrap();
    let path = format!("{}:{}:{}", ours.display(), venv.display(), std::env::var("PATH").unwrap_or_default());
    let needed = "python3 -c 'import jwt.algorithms, cryptography' && command -v openssl && command -v curl";
    let there = Command::new("bash").args(["-c", needed]).env("PATH", &path).output().await;
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: bash, curl, openssl and Python with PyJWT are needed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut text = script();
    for port in ["5222", "8080", "8081"] {
        text = text.replace(port, &free_port().to_string());
    }
    let call = text.rsplit_once("curl --silent http").unwrap().1;
    let call = format!("curl --silent http{call}");
    // Twice, and once by a thief with another key.
    let text =
        format!("set -e; trap 'kill $(jobs -p)' EXIT\n{text}\necho\n{call}\necho\nAUTHKEY=$IDENTITY\n{call}\necho\n");
    let output = Command::new("bash").args(["-c", &text]).current_dir(dir.path()).env("PATH", &path).output().await;
    let output = output.unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let answers: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(answers.len(), 3, "{said} {wrong}");
    assert_eq!(answers[0]["status"], "ok", "{said} {wrong}");
    assert!(answers[0]["login"].as_str().unwrap().starts_with("12-"));
    assert_eq!(answers[1], answers[0]);
    assert_eq!(answers[2], serde_json::json!({ "reason": "id_mismatch", "status": "fail" }));
}
