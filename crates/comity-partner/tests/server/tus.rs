//! Resumable upload: tus 1.0.0 as a client sees it.

use crate::world::{ALICE, Partner, SECRET, problem, start};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_core::Timestamp;
use comity_partner::{PartnerStore as _, SqliteStore, UserQuota};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
use sha2::Digest as _;
use std::time::Duration;

impl Partner {
    pub(crate) fn tus(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        self.http.request(method, self.url(path)).basic_auth(ALICE, Some(SECRET)).header("tus-resumable", "1.0.0")
    }

    pub(crate) async fn begin(&self, len: u64) -> String {
        let answer = self.tus("POST", "/v1/uploads").header("upload-length", len).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        assert!(answer.headers().contains_key("upload-expires") || len == 0);
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    pub(crate) fn patch(&self, upload: &str, offset: u64) -> RequestBuilder {
        self.tus("PATCH", upload)
            .header("upload-offset", offset)
            .header("content-type", "application/offset+octet-stream")
    }

    pub(crate) async fn offset(&self, upload: &str) -> u64 {
        let answer = self.tus("HEAD", upload).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        number(&answer)
    }
}

fn number(answer: &Response) -> u64 {
    assert_eq!(answer.headers()["tus-resumable"], "1.0.0");
    answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_comes_in_parts_and_is_then_served() {
    let partner = start("").await;
    let options = partner.http.request(Method::OPTIONS, partner.url("/v1/uploads")).send().await.unwrap();
    assert_eq!(options.status(), 204);
    for (name, value) in [
        ("tus-version", "1.0.0"),
        ("tus-resumable", "1.0.0"),
        ("tus-extension", "creation,termination,expiration,checksum"),
        ("tus-max-size", "2147549184"),
        ("tus-checksum-algorithm", "sha1,sha256"),
    ] {
        assert_eq!(options.headers()[name], value);
    }
    let file = data(1_000_000);
    let upload = partner.begin(1_000_000).await;
    let reference = upload.strip_prefix("/v1/uploads/").unwrap().to_owned();
    assert!(reference.len() >= 22, "128 bits and more");
    assert_eq!(partner.offset(&upload).await, 0);
    problem(partner.media(&reference, None).await, 404).await;
    for (from, to) in [(0, 300_000), (300_000, 300_000), (300_000, 999_999)] {
        let answer = partner.patch(&upload, from).body(file[from as usize..to].to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(number(&answer), to as u64);
        assert!(answer.headers().contains_key("upload-expires"));
        assert_eq!(partner.offset(&upload).await, to as u64);
        problem(partner.media(&reference, None).await, 404).await;
    }
    for wrong in [0, 999_998, 1_000_000, u64::MAX] {
        problem(partner.patch(&upload, wrong).body("x").send().await.unwrap(), 409).await;
    }
    problem(partner.patch(&upload, 999_999).body("xx").send().await.unwrap(), 413).await;
    let answer = partner.patch(&upload, 999_999).body(file[999_999..].to_vec()).send().await.unwrap();
    assert_eq!((answer.status(), number(&answer)), (StatusCode::NO_CONTENT, 1_000_000));
    assert_eq!(answer.headers()["content-location"], format!("/media/{reference}").as_str());
    let head = partner.tus("HEAD", &upload).send().await.unwrap();
    assert_eq!((number(&head), &head.headers()["upload-length"]), (1_000_000, &"1000000".parse().unwrap()));
    assert_eq!(head.headers()["content-location"], format!("/media/{reference}").as_str());

    let got = partner.media(&reference, None).await;
    assert_eq!(got.headers()["content-disposition"], "attachment");
    assert_eq!(got.headers()["x-content-type-options"], "nosniff");
    assert!(got.bytes().await.unwrap() == file);
    assert_eq!(partner.media(&reference, Some("bytes=5-9")).await.bytes().await.unwrap(), file[5..10]);

    // A delete is real, and gives the room back.
    assert_eq!(partner.tus("DELETE", &upload).send().await.unwrap().status(), 204);
    problem(partner.media(&reference, None).await, 404).await;
    problem(partner.tus("DELETE", &upload).send().await.unwrap(), 404).await;
    for dir in ["files", "parts", "partial"] {
        let dir = partner.dir.path().join("data/media").join(dir);
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }
    // What came in one piece can be deleted the same way.
    let reference = partner.upload(vec![1; 10]).await;
    assert_eq!(partner.tus("DELETE", &format!("/v1/uploads/{reference}")).send().await.unwrap().status(), 204);
    problem(partner.media(&reference, None).await, 404).await;
    // A file without a byte is whole at once.
    let empty = partner.begin(0).await;
    assert_eq!(partner.offset(&empty).await, 0);
    assert_eq!(partner.media(&empty["/v1/uploads/".len()..], None).await.status(), 200);
}

#[tokio::test]
async fn what_is_not_tus_or_not_ours_is_refused() {
    let partner = start("max_media_len = 1000\nmax_media_total = 1500\nuser_max_media_files = 2").await;
    let create = |length: &'static str| partner.tus("POST", "/v1/uploads").header("upload-length", length).send();
    for bad in ["", "-1", "1e3", "0x1", " ", "99999999999999999999"] {
        problem(create(bad).await.unwrap(), 400).await;
    }
    problem(partner.tus("POST", "/v1/uploads").header("upload-defer-length", "1").send().await.unwrap(), 400).await;
    problem(create("1001").await.unwrap(), 413).await;
    let plain = partner.http.post(partner.url("/v1/uploads")).basic_auth(ALICE, Some(SECRET));
    let answer = plain.header("upload-length", 1).send().await.unwrap();
    assert_eq!(answer.headers()["tus-version"], "1.0.0");
    problem(answer, 412).await;
    let anonymous = partner.http.post(partner.url("/v1/uploads")).header("tus-resumable", "1.0.0");
    problem(anonymous.header("upload-length", 1).send().await.unwrap(), 401).await;

    let upload = partner.begin(1000).await;
    problem(create("501").await.unwrap(), 507).await; // all together
    let typed = partner.tus("PATCH", &upload).header("upload-offset", 0).body("x");
    problem(typed.send().await.unwrap(), 415).await;
    for bad in ["", "-0", "x"] {
        let answer = partner.tus("PATCH", &upload).header("upload-offset", bad);
        let answer = answer.header("content-type", "application/offset+octet-stream").body("x").send().await.unwrap();
        problem(answer, 400).await;
    }
    for method in ["HEAD", "PATCH", "DELETE"] {
        let other =
            partner.http.request(method.parse().unwrap(), partner.url(&upload)).basic_auth("+4915", Some("test"));
        let other = other.header("tus-resumable", "1.0.0").header("upload-offset", 0);
        let answer = other.header("content-type", "application/offset+octet-stream").send().await.unwrap();
        assert_eq!(answer.status(), 404, "{method} of another's upload");
    }
    partner.begin(100).await;
    problem(create("1").await.unwrap(), 507).await; // files of one user
    assert_eq!(partner.tus("DELETE", &upload).send().await.unwrap().status(), 204);
    partner.begin(1000).await;
}

#[tokio::test]
async fn checksums_keep_damage_out() {
    let partner = start("").await;
    let upload = partner.begin(10).await;
    let sum = |name: &str, bytes: &[u8]| format!("{name} {}", STANDARD.encode(bytes));
    let wrong = partner.patch(&upload, 0).header("upload-checksum", sum("sha256", &[0; 32])).body("hello");
    let answer = wrong.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 460);
    assert_eq!(partner.offset(&upload).await, 0);
    for bad in ["md5 AAAA", "sha1", "sha1 AA"] {
        problem(partner.patch(&upload, 0).header("upload-checksum", bad).body("hello").send().await.unwrap(), 400)
            .await;
    }
    let right = sum("sha256", &sha2::Sha256::digest(b"hello"));
    let answer = partner.patch(&upload, 0).header("upload-checksum", right).body("hello").send().await.unwrap();
    assert_eq!((answer.status(), number(&answer)), (StatusCode::NO_CONTENT, 5));
    let overridden = partner.tus("POST", &upload).header("x-http-method-override", "PATCH").header("upload-offset", 5);
    let overridden = overridden.header("content-type", "application/offset+octet-stream").body("world");
    assert_eq!(overridden.send().await.unwrap().status(), 204);
    assert_eq!(partner.media(&upload["/v1/uploads/".len()..], None).await.text().await.unwrap(), "helloworld");
    problem(partner.tus("POST", &upload).header("x-http-method-override", "GET").send().await.unwrap(), 405).await;
}

#[tokio::test]
async fn an_upload_past_its_time_is_gone() {
    let partner = start("").await;
    let store = SqliteStore::open(&partner.dir.path().join("data/partner.db")).unwrap();
    let quota = UserQuota { max_files: 10, max_bytes: 1000 };
    let (user, past) = (ALICE.parse().unwrap(), Timestamp::from_secs(1));
    assert!(store.begin_upload(&user, "abcdefghijklmnopqrstuv", 10, quota, past, past).await.unwrap());
    let upload = "/v1/uploads/abcdefghijklmnopqrstuv";
    // 404 once the sweep has been there.
    let looked = partner.tus("HEAD", upload).send().await.unwrap().status().as_u16();
    assert!([404, 410].contains(&looked), "{looked}");
    let written = partner.patch(upload, 0).body("x").send().await.unwrap().status().as_u16();
    assert!([404, 410].contains(&written), "{written}");
}

/// A client that goes away in the middle loses nothing that arrived; one that comes back does not wait for the first to
/// be given up.
#[tokio::test]
async fn broken_connections_lose_nothing() {
    let partner = start("").await;
    let file = data(400_000);
    let upload = partner.begin(400_000).await;
    let stuck = futures_util::stream::once({
        let part = file[..100_000].to_vec();
        async move { Ok::<_, std::io::Error>(part) }
    });
    let stuck = futures_util::StreamExt::chain(stuck, futures_util::stream::pending());
    let patch = partner.patch(&upload, 0).body(Body::wrap_stream(stuck));
    let first = tokio::spawn(patch.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(partner.offset(&upload).await, 100_000, "the first saves what it has when asked");
    assert_eq!(first.await.unwrap().unwrap().status(), 423);

    let part = file[100_000..250_000].to_vec();
    let stuck = futures_util::stream::once(async move { Ok::<_, std::io::Error>(part) });
    let stuck = futures_util::StreamExt::chain(stuck, futures_util::stream::pending());
    let patch = partner.patch(&upload, 100_000).body(Body::wrap_stream(stuck));
    let gone = tokio::spawn(patch.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    gone.abort();
    let mut offset = partner.offset(&upload).await;
    assert_eq!(offset, 250_000);
    while offset < 400_000 {
        let answer = partner.patch(&upload, offset).body(file[offset as usize..].to_vec()).send().await.unwrap();
        offset = number(&answer);
    }
    assert!(partner.media(&upload["/v1/uploads/".len()..], None).await.bytes().await.unwrap() == file);
}
