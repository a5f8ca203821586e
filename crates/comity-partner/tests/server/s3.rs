//! Media in an object store that comes and goes: a small S3 in memory, which can be out of order.

use crate::world::{ALICE, Partner, SECRET, start};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Store {
    objects: Mutex<BTreeMap<String, Bytes>>,
    broken: AtomicBool,
}

impl Store {
    fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }
}

async fn list(State(store): State<Arc<Store>>) -> String {
    let objects = store.objects.lock().unwrap();
    let row = |(name, body): (&String, &Bytes)| {
        let len = body.len();
        format!(
            "<Contents><Key>{name}</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified><ETag>\"x\"</ETag><Size>{len}</Size></Contents>"
        )
    };
    let rows: String = objects.iter().map(row).collect();
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>")
}

async fn object(
    State(store): State<Arc<Store>>,
    method: Method,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if store.broken.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("no {name} now")).into_response();
    }
    let credential = "AWS4-HMAC-SHA256 Credential=key/";
    assert!(headers[AUTHORIZATION].to_str().unwrap().starts_with(credential), "signed");
    let mut objects = store.objects.lock().unwrap();
    let stamps = [(ETAG, "\"x\""), (LAST_MODIFIED, "Sun, 01 Nov 2026 00:00:00 GMT")];
    match method {
        Method::PUT => {
            objects.insert(name, body);
            (stamps, "").into_response()
        }
        Method::DELETE => {
            objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => {
            let Some(found) = objects.get(&name).cloned() else { return StatusCode::NOT_FOUND.into_response() };
            let Some(range) = headers.get(RANGE).filter(|_| method == Method::GET) else {
                return (stamps, [(CONTENT_LENGTH, found.len())], found).into_response();
            };
            let (first, last) = range.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let of = format!("bytes {first}-{last}/{}", found.len());
            (StatusCode::PARTIAL_CONTENT, stamps, [(CONTENT_RANGE, of)], found.slice(first..=last)).into_response()
        }
    }
}

async fn with_store() -> (Arc<Store>, Partner) {
    let store = Arc::new(Store::default());
    let app =
        Router::new().route("/bucket", get(list)).route("/bucket/{*name}", any(object)).with_state(Arc::clone(&store));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    let config = format!(
        "require_bearer = false\nuser_max_media_bytes = 100\n[s3]\nendpoint = '{endpoint}'\nbucket = 'bucket'\n\
         prefix = 'of/ours'\naccess_key_id = 'key'\nsecret_access_key = 'secret'\n"
    );
    (store, start(&config).await)
}

impl Partner {
    async fn post(&self, body: &'static [u8]) -> reqwest::Response {
        self.http.post(self.url("/v1/media")).basic_auth(ALICE, Some(SECRET)).body(body).send().await.unwrap()
    }

    async fn status(&self, reference: &str) -> StatusCode {
        self.http.get(self.url(&format!("/media/{reference}"))).send().await.unwrap().status()
    }
}

#[tokio::test]
async fn files_are_objects_and_gone_when_they_are_deleted() {
    let (store, partner) = with_store().await;
    let upload = partner.begin(11).await;
    let reference = upload.rsplit('/').next().unwrap();
    assert_eq!(partner.patch(&upload, 0).body("hello").send().await.unwrap().status(), 204);
    assert!(store.names().is_empty(), "half a file");
    assert_eq!(partner.patch(&upload, 5).body(" world").send().await.unwrap().status(), 204);
    assert_eq!(store.names(), [format!("of/ours/{reference}")]);
    let url = partner.url(&format!("/media/{reference}"));
    let part = partner.http.get(url).header("range", "bytes=4-6").send().await.unwrap();
    assert_eq!(
        (part.status(), part.headers()["content-range"].to_str().unwrap()),
        (StatusCode::PARTIAL_CONTENT, "bytes 4-6/11")
    );
    assert_eq!(part.bytes().await.unwrap(), "o w");
    assert_eq!(partner.tus("DELETE", &upload).send().await.unwrap().status(), 204);
    assert!(store.names().is_empty());
    assert_eq!(partner.status(reference).await, 404);
}

#[tokio::test]
async fn a_store_out_of_order_loses_nothing_that_was_acknowledged() {
    let (store, partner) = with_store().await;
    let upload = partner.begin(60).await;
    let reference = upload.rsplit('/').next().unwrap();
    store.broken.store(true, Ordering::SeqCst);
    // The bytes are durable here; the file is not whole anywhere.
    assert_eq!(partner.patch(&upload, 0).body([7; 60].to_vec()).send().await.unwrap().status(), 500);
    assert_eq!(partner.tus("HEAD", &upload).send().await.unwrap().status(), 500);
    assert_eq!(partner.status(reference).await, 500, "not 404: it may be there");
    // What is sent at once is refused, and takes no room.
    assert_eq!(partner.post(&[8; 40]).await.status(), 500);
    store.broken.store(false, Ordering::SeqCst);
    assert!(store.names().is_empty());
    assert_eq!(partner.offset(&upload).await, 60);
    assert_eq!(store.names(), [format!("of/ours/{reference}")]);
    assert_eq!(partner.status(reference).await, 200);
    assert_eq!(partner.post(&[8; 40]).await.status(), 201);
    assert_eq!(partner.post(&[8; 1]).await.status(), 507);

    // A deletion that failed is done when it is asked for again.
    store.broken.store(true, Ordering::SeqCst);
    assert_eq!(partner.tus("DELETE", &upload).send().await.unwrap().status(), 500);
    store.broken.store(false, Ordering::SeqCst);
    assert_eq!(partner.tus("DELETE", &upload).send().await.unwrap().status(), 204);
    assert_eq!(store.names().len(), 1);
    assert_eq!(partner.post(&[9; 60]).await.status(), 201, "its room is free again");
}
