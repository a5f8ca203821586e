//! The server against its own OpenAPI document: many requests, right and wrong; every answer is one that the document names,
//! every error a problem document, none an internal error.

use crate::world::{ADMIN, World};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9_-]{0,140}",
        "\\PC{0,40}",
        prop::sample::select(vec![
            "",
            "%00",
            "..%2f..%2fetc",
            "' OR 1=1 --",
            "12",
            "image",
            "65536",
            "-1",
            "1-5@interop"
        ])
        .prop_map(str::to_owned),
    ]
}

fn odd_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!([[[[[[[]]]]]]])),
        any::<i64>().prop_map(|n| json!(n)),
        any::<bool>().prop_map(|b| json!(b)),
        odd_text().prop_map(Value::String),
    ]
}

/// A body for the operation: good, with one member replaced, cut short, or anything.
fn body(good: &str, form: bool) -> BoxedStrategy<Vec<u8>> {
    let whole = good.as_bytes().to_vec();
    let cut = (Just(whole.clone()), any::<prop::sample::Index>())
        .prop_map(|(whole, at)| whole[..at.index(whole.len() + 1)].to_vec());
    let names: Vec<String> = match serde_json::from_str::<Value>(good) {
        Ok(Value::Object(members)) => members.keys().cloned().collect(),
        _ => good.split('&').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect(),
    };
    let names = if names.is_empty() { vec!["x".to_owned()] } else { names };
    let good = good.to_owned();
    let replaced = (prop::sample::select(names), odd_json()).prop_map(move |(name, value)| {
        if form {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let kept = good.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
            return kept
                .map(str::to_owned)
                .chain([format!("{name}={text}")])
                .collect::<Vec<_>>()
                .join("&")
                .into_bytes();
        }
        let mut json: Value = serde_json::from_str(&good).unwrap_or_else(|_| json!({}));
        json[&name] = value;
        json.to_string().into_bytes()
    });
    let any_bytes = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![2 => Just(whole), 2 => cut, 4 => replaced, 1 => any_bytes].boxed()
}

#[tokio::test]
async fn every_answer_is_in_the_document() {
    let world = World::start_with("", "").await;
    let document: Value =
        world.http.get(format!("{}/openapi.json", world.url())).send().await.unwrap().json().await.unwrap();
    let alice = world.enlist("alice@partner.test").await;
    let form = world.form(&alice).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let (form, mut runner) = (form.join("&"), TestRunner::deterministic());
    let mut draw = |strategy: BoxedStrategy<Vec<u8>>| strategy.new_tree(&mut runner).unwrap().current();
    let good = |path: &str| match path {
        "/3p/interop_reg" => form.clone(),
        "/admin/native" => json!({"phone_number": "4915112345678", "display_name": "Bob",
            "noise_key": "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})
        .to_string(),
        "/admin/block" => json!({"jid": alice.jid, "blocked": false}).to_string(),
        _ => "a file".to_owned(),
    };
    let mut seen = BTreeSet::new();
    for round in 0..150 {
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let mut url = path.clone();
                for name in ["{integrator}", "{reference}", "{kind}", "{token}"] {
                    let text = String::from_utf8(draw(odd_text().prop_map(String::into_bytes).boxed())).unwrap();
                    let text = if name == "{integrator}" && round % 2 == 0 { "12".into() } else { text };
                    let text = if name == "{kind}" && round % 3 > 0 { "image".into() } else { text };
                    url = url.replace(name, &text.replace(['/', '?', '#'], "_"));
                }
                let is_form = path == "/3p/interop_reg";
                let mut request = world
                    .http
                    .request(method.to_uppercase().parse::<Method>().unwrap(), format!("{}{url}", world.url()));
                request = match round % 7 {
                    0 => request,
                    1 => request.bearer_auth("wrong"),
                    _ => request.bearer_auth(ADMIN),
                };
                if method == "post" {
                    let kind = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
                    request = request.header("content-type", if round % 11 == 10 { "text/plain" } else { kind });
                    request = request.body(draw(body(&good(path), is_form)));
                }
                let Ok(request) = request.build() else { continue }; // what this client does not send
                if request.url().path().trim_end_matches('/').matches('/').count()
                    != path.trim_end_matches('/').matches('/').count()
                {
                    continue; // `.` and `..` were taken out of it: another path
                }
                let answer = world.http.execute(request).await.unwrap();
                let status = answer.status().as_u16();
                let declared = &operation["responses"][status.to_string()];
                assert!(!declared.is_null(), "{method} {path} answered {status}, which the document does not name");
                let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
                assert!(!declared["content"][&content_type].is_null(), "{method} {path} {status}: {content_type}");
                if status >= 400 {
                    assert_eq!(content_type, "application/problem+json", "{method} {path} {status}");
                    assert_eq!(answer.json::<Value>().await.unwrap()["status"], status);
                }
                seen.insert((path.clone(), status));
            }
        }
    }
    for (path, status) in [
        ("/3p/interop_reg", 200),
        ("/admin/native", 200),
        ("/admin/native", 400),
        ("/admin/native", 401),
        ("/admin/block", 200),
        ("/admin/block", 400),
        ("/.well-known/jwks", 200),
        ("/v/t/{reference}", 404),
        ("/mms/{kind}/{token}", 401),
        ("/interop/whatsapp/download/{integrator}/{reference}/", 404),
    ] {
        assert!(seen.contains(&(path.to_owned(), status)), "{path} never answered {status}: {seen:?}");
    }
}
