//! The server against its own OpenAPI document: many requests, right and wrong; every answer is one that the document names,
//! every error a problem document, none a server error.

use crate::world::{ALICE, Partner, SECRET, start};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn document(partner: &Partner) -> Value {
    partner.http.get(partner.url("/openapi.json")).send().await.unwrap().json().await.unwrap()
}

/// A small generator: what comes out depends on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }

    fn bytes(&mut self, max: usize) -> Vec<u8> {
        (0..self.roll(max)).map(|_| self.roll(256) as u8).collect()
    }
}

fn good_body(path: &str) -> Value {
    match path {
        "/v1/token" => json!({"jkt": comity_identity::jkt(&[7; 32])}),
        "/push" => json!({"to": ALICE}),
        "/v1/push/subscription" => json!({"endpoint": "https://push.example/x", "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg"}}),
        _ => json!({}),
    }
}

fn body(dice: &mut Dice, path: &str) -> Vec<u8> {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e308),
        json!("\u{0}"),
        json!("𝒜".repeat(200)),
        json!([]),
        json!({}),
        json!([[[[[[[[]]]]]]]]),
        json!("x".repeat(300)),
        json!("https://[::1]/"),
        json!("' OR 1=1 --"),
        json!("../../x"),
    ];
    let mut value = good_body(path);
    match dice.roll(8) {
        0 => return dice.bytes(200),
        1 => return b"[".repeat(dice.roll(3000)),
        2 => return Vec::new(),
        3 => {
            let text = value.to_string().into_bytes();
            return text[..dice.roll(text.len() + 1)].to_vec();
        }
        4 => value = dice.pick(&odd).clone(),
        5 | 6 => {
            let members = value.as_object_mut().unwrap();
            let names: Vec<_> = members.keys().cloned().chain(["more".to_owned()]).collect();
            members.insert(dice.pick(&names).clone(), dice.pick(&odd).clone());
        }
        _ => {}
    }
    value.to_string().into_bytes()
}

#[tokio::test]
async fn every_answer_is_in_the_document() {
    let partner = start("[web_push]\nsubject = 'mailto:ops@partner.test'\n").await;
    let document = document(&partner).await;
    let reference = partner.upload(vec![1; 100]).await;
    let bearer = partner.bearer();
    let mut dice = Dice(0x00c0_ffee);
    let mut seen = BTreeSet::new();
    for _ in 0..120 {
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let name = match dice.roll(4) {
                    0 if path.starts_with("/v1/uploads/") => {
                        partner.begin(100_000).await["/v1/uploads/".len()..].to_owned()
                    }
                    0 => reference.clone(),
                    1 => "%00".repeat(dice.roll(50) + 1),
                    2 => "..%2f".repeat(dice.roll(5) + 1),
                    _ => "A".repeat(dice.roll(200) + 1),
                };
                let url = partner.url(&path.replace("{storage_reference}", &name));
                let mut request = partner.http.request(method.to_uppercase().parse::<Method>().unwrap(), url);
                // Wrong secrets are rare: the limit on them would hide the rest.
                let right = if path == "/push" || path.starts_with("/media") { 0 } else { 1 };
                request = match dice.roll(12) {
                    0 => request,
                    1 => request.header("authorization", dice.bytes(60)),
                    2 => request.header(
                        "authorization",
                        *dice.pick(&["Basic", "Basic ", "Bearer ", "Basic !", "Bearer a.b.c"]),
                    ),
                    3 => request.basic_auth("nobody", Some("x")),
                    _ if path == "/v1/wake" => request, // it would wait
                    _ if right == 1 => request.basic_auth(ALICE, Some(SECRET)),
                    _ => request.bearer_auth(&bearer),
                };
                let types =
                    ["application/json", "application/json", "application/json; charset=utf-8", "text/plain", ""];
                let content_type = if method == "patch" && dice.roll(8) > 0 {
                    "application/offset+octet-stream"
                } else {
                    *dice.pick(&types)
                };
                request = request.header("content-type", content_type);
                if path.starts_with("/v1/uploads") {
                    let numbers = ["0", "0", "5", "-1", ""];
                    request = request.header("upload-length", *dice.pick(&numbers));
                    request = request.header("upload-offset", *dice.pick(&numbers));
                    if dice.roll(8) > 0 {
                        request = request.header("tus-resumable", "1.0.0");
                    }
                }
                if dice.roll(3) == 0 {
                    request =
                        request.header("range", *dice.pick(&["bytes=0-1", "bytes=999-", "bytes=-0", "x", "bytes=5-1"]));
                }
                if method != "get" {
                    request = request.body(body(&mut dice, path));
                }
                let Ok(request) = request.build() else { continue }; // what this client does not send
                let answer = partner.http.execute(request).await.unwrap();
                let status = answer.status().as_u16();
                let declared = &operation["responses"][status.to_string()];
                assert!(!declared.is_null(), "{method} {path} answered {status}, which the document does not name");
                assert_ne!(status, 500, "{method} {path}");
                let content_type = answer.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
                let content = declared["content"].as_object();
                if let Some(content_type) = &content_type {
                    assert!(
                        content.is_some_and(|c| c.contains_key(content_type)),
                        "{method} {path} {status}: {content_type}"
                    );
                }
                if status >= 400 && method != "head" {
                    assert_eq!(content_type.as_deref(), Some("application/problem+json"), "{method} {path} {status}");
                    assert_eq!(answer.json::<Value>().await.unwrap()["status"], status);
                }
                seen.insert((path.clone(), method.clone(), status));
            }
        }
    }
    // It was no monoculture: of each operation a success, and of the document's errors most.
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let good = seen.iter().any(|(p, m, status)| (p, m) == (path, method) && *status < 300);
            assert!(good || path == "/v1/wake", "{method} {path} never succeeded");
        }
    }
    let statuses: BTreeSet<u16> = seen.iter().map(|(_, _, status)| *status).collect();
    for status in [200, 201, 204, 400, 401, 404, 413, 415] {
        assert!(statuses.contains(&status) || status == 413, "{status} never came: {statuses:?}");
    }
}

#[tokio::test]
async fn every_route_is_in_the_document() {
    let partner = start("[web_push]\nsubject = 'mailto:ops@partner.test'\n").await;
    let document = document(&partner).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for path in [
        "/.well-known/oauth/openid/jwks",
        "/v1/token",
        "/push",
        "/v1/wake",
        "/v1/push/key",
        "/v1/push/subscription",
        "/v1/media",
        "/media/{storage_reference}",
    ] {
        let operations = document["paths"][path].as_object().unwrap_or_else(|| panic!("{path} is not in the document"));
        // And what the document names is there: a wrong method is told from a path that is not there.
        let url = partner.url(&path.replace("{storage_reference}", "x"));
        let answer = partner.http.patch(url).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{path}");
        assert!(!operations.is_empty());
    }
    let text = document.to_string();
    let mut at = 0;
    while let Some(found) = text[at..].find("\"#/") {
        let rest = &text[at + found + 2..];
        let pointer = &rest[..rest.find('"').unwrap()];
        assert!(document.pointer(pointer).is_some(), "{pointer} is missing");
        at += found + 3;
    }
}
