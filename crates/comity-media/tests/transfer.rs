//! Upload and download against a real socket: what goes wrong is typed, and leaves no file behind.
#![cfg(feature = "transfer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::panic, reason = "tests")]

use comity_core::{IntegratorId, Secret};
use comity_media::transfer::{
    Download, EncryptedFile, NativeHost, PartnerHost, Progress, TransferConfig, Transfers, Uploader, encrypt_file,
    resolve, safe_file_name,
};
use comity_media::{Error, Expected, Limits, MediaKey, MediaKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves one request: the head and body as received, and `answer` written raw; then holds the socket open.
async fn serve(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (head, body) = read_request(&mut socket).await;
        socket.write_all(&answer).await.unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(socket);
        });
        (head, body)
    });
    (base, task)
}

async fn read_request(socket: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap()))
            .unwrap_or(0);
        while bytes.len() < end + 4 + length {
            assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
        }
        return (head, bytes.split_off(end + 4));
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn transfers() -> Transfers {
    let config = TransferConfig::default().with_idle_timeout(Duration::from_millis(300));
    Transfers::new(config.with_limits(Limits::default().with_max_file_len(10 << 20))).unwrap()
}

async fn encrypted(dir: &Path, len: usize) -> (Vec<u8>, EncryptedFile) {
    let plain: Vec<u8> = [b"%PDF-1.7".to_vec(), (0..len).map(|i| (i >> 7) as u8).collect()].concat();
    std::fs::write(dir.join("source"), &plain).unwrap();
    let key = MediaKey::from([3; 32]);
    let file = encrypt_file(&dir.join("source"), None, key, dir, Limits::default(), Progress::none()).await.unwrap();
    (plain, file)
}

fn download(base: &str, dir: &Path, file: &EncryptedFile) -> Download {
    Download {
        base: base.into(),
        direct_path: "/interop/whatsapp/download/7/abcdefghijklmnop/".into(),
        kind: file.kind(),
        key: file.key().clone(),
        expected: Expected::from(file.encrypted()),
        dir: dir.join("received"),
        name_hint: "../../etc/report.pdf".into(),
        declared: Some("application/pdf".into()),
    }
}

fn nothing_left(dir: &Path) {
    let left = std::fs::read_dir(dir.join("received")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a refused download leaves no file");
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, file) = encrypted(dir.path(), 3_000_000).await;
    assert_eq!(file.kind(), MediaKind::Document);
    assert_eq!(file.sniffed().mime, "application/pdf");
    let stored = std::fs::read(file.path()).unwrap();

    let (base, server) = serve(ok(br#"{"storage_reference":"abcdefghijklmnop"}"#)).await;
    let host = PartnerHost::new(
        transfers(),
        &base,
        IntegratorId::new(7).unwrap(),
        "alice@partner.test".into(),
        Secret::new("pass".into()),
    )
    .unwrap();
    let furthest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&furthest);
    let progress = Progress::new(move |done, total| {
        assert!(done <= total);
        seen.fetch_max(done, Ordering::Relaxed);
    });
    let uploaded = host.upload(&file, &progress).await.unwrap();
    assert_eq!(uploaded.direct_path, "/interop/whatsapp/download/7/abcdefghijklmnop/");
    assert_eq!(furthest.load(Ordering::Relaxed), stored.len() as u64);
    let (head, body) = server.await.unwrap();
    assert!(head.starts_with("POST /v1/media HTTP/1.1"));
    assert!(head.to_ascii_lowercase().contains("authorization: basic "));
    assert!(body == stored);

    for (n, name) in ["report.pdf", "report (1).pdf"].into_iter().enumerate() {
        let (base, server) = serve(ok(&stored)).await;
        let received = transfers().download(download(&base, dir.path(), &file), &Progress::none()).await.unwrap();
        assert_eq!(received.path, dir.path().join("received").join(name));
        assert_eq!(received.file_sha256, file.encrypted().file_sha256);
        assert!(std::fs::read(&received.path).unwrap() == plain);
        let (head, _) = server.await.unwrap();
        assert!(head.starts_with("GET /interop/whatsapp/download/7/abcdefghijklmnop/?hash="));
        assert!(head.contains("&mms-type=document&__wa-mms= "));
        assert_eq!(std::fs::read_dir(dir.path().join("received")).unwrap().count(), n + 1, "no temporary file stays");
    }
    let temp = file.path().to_path_buf();
    drop(file);
    assert!(!temp.exists());
}

#[tokio::test]
async fn native_upload_names_type_token_and_auth() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = encrypted(dir.path(), 10).await;
    let (base, server) = serve(ok(br#"{"url":"http://h/v/t1","direct_path":"/v/t1"}"#)).await;
    let host = NativeHost::new(transfers(), &base, Secret::new("a/b".into())).unwrap();
    let uploaded = host.upload(&file, &Progress::none()).await.unwrap();
    assert_eq!((uploaded.direct_path.as_str(), uploaded.url.as_deref()), ("/v/t1", Some("http://h/v/t1")));
    let (head, _) = server.await.unwrap();
    assert!(head.starts_with("POST /mms/document/"));
    assert!(head.contains("?auth=a%2Fb&token="));
}

#[tokio::test]
async fn what_goes_wrong_is_typed_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = encrypted(dir.path(), 100_000).await;
    let stored = std::fs::read(file.path()).unwrap();
    let total = stored.len() as u64;
    let mut flipped = stored.clone();
    flipped[77] ^= 1;
    let head =
        |status: &str, length: usize| format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let cases: [(Vec<u8>, Error); 9] = [
        (ok(&flipped), Error::EncHash),
        (ok(&stored[..50]), Error::Truncated { expected: total, actual: 50 }),
        (ok(&[&stored[..], b"more"].concat()), Error::Overlong { expected: total }),
        ([head("200 OK", stored.len()), stored[..5000].to_vec()].concat(), Error::Stalled),
        (Vec::new(), Error::Stalled),
        (head("404 Not Found", 0), Error::Gone { status: 404 }),
        (head("403 Forbidden", 0), Error::Refused { status: 403 }),
        (b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_vec(), Error::Status { status: 302 }),
        (b"garbage\r\n\r\n".to_vec(), Error::Interrupted),
    ];
    for (answer, error) in cases {
        let (base, _server) = serve(answer).await;
        let outcome = transfers().download(download(&base, dir.path(), &file), &Progress::none()).await;
        assert_eq!(outcome, Err(error));
        nothing_left(dir.path());
    }
    let chunked =
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40000\r\n".to_vec(), vec![7; 0x40000]].concat();
    let (base, _server) = serve(chunked).await;
    let outcome = transfers().download(download(&base, dir.path(), &file), &Progress::none()).await;
    assert_eq!(outcome, Err(Error::Overlong { expected: total }), "a body without a length is cut off too");
    nothing_left(dir.path());

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome =
        transfers().download(download(&format!("http://{closed}"), dir.path(), &file), &Progress::none()).await;
    assert_eq!(outcome, Err(Error::Connect));

    for answer in [ok(b"{}"), ok(b"no json"), ok(br#"{"storage_reference":"../x"}"#), ok(&[b' '; 20_000])] {
        let (base, _server) = serve(answer).await;
        let (id, user) = (IntegratorId::new(7).unwrap(), "u".to_owned());
        let host = PartnerHost::new(transfers(), &base, id, user, Secret::new("p".into())).unwrap();
        assert_eq!(host.upload(&file, &Progress::none()).await, Err(Error::Response));
    }
}

/// Serves whatever stands in the cell, one answer a connection.
async fn serve_cell() -> (String, Arc<std::sync::Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let cell = Arc::new(std::sync::Mutex::new(Vec::new()));
    let served = Arc::clone(&cell);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = read_request(&mut socket).await;
            let body: Vec<u8> = served.lock().unwrap().clone();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await; // the client may have heard enough
        }
    });
    (base, cell)
}

/// Format 1: whatever is done to a file at a segment's edge, nothing of it gets a name.
#[tokio::test]
async fn damage_at_every_edge_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = encrypted(dir.path(), 150_000).await;
    let stored = std::fs::read(file.path()).unwrap();
    let (base, cell) = serve_cell().await;
    let transfers = transfers();
    let mut tried = 0;
    let segment = 65_536;
    let mut damaged = Vec::new();
    for edge in [0, segment, 2 * segment, stored.len()] {
        for at in (-16isize..=16).filter_map(|distance| edge.checked_add_signed(distance)) {
            if at < stored.len() {
                damaged.push(stored[..at].to_vec());
                damaged.push([&stored[..at], &stored[at + 1..]].concat());
                let mut flipped = stored.clone();
                flipped[at] ^= 0x40;
                damaged.push(flipped);
            }
            if at <= stored.len() {
                damaged.push([&stored[..at], b"x", &stored[at..]].concat());
            }
        }
    }
    damaged.extend((1..=16).map(|more| [&stored[..], &vec![0; more]].concat()));
    let (a, rest) = stored.split_at(segment);
    let (b, c) = rest.split_at(segment);
    damaged.extend([
        [b, a, c].concat(),
        [a, c].concat(),
        [a, a, b, c].concat(),
        [c, b, a].concat(),
        [a, a, c].concat(),
    ]);
    for body in damaged {
        *cell.lock().unwrap() = body;
        let outcome = transfers.download(download(&base, dir.path(), &file), &Progress::none()).await;
        assert!(
            matches!(outcome, Err(Error::EncHash | Error::Truncated { .. } | Error::Overlong { .. })),
            "{tried}: {outcome:?}"
        );
        nothing_left(dir.path());
        tried += 1;
    }
    assert!(tried > 400, "{tried}");
    *cell.lock().unwrap() = stored;
    transfers.download(download(&base, dir.path(), &file), &Progress::none()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_download_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = encrypted(dir.path(), 1_000_000).await;
    let stored = std::fs::read(file.path()).unwrap();
    let half = [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", stored.len()).as_bytes(),
        &stored[..stored.len() / 2],
    ]
    .concat();
    let (base, _server) = serve(half).await;
    let transfers = transfers();
    let job = download(&base, dir.path(), &file);
    let silent = Progress::none();
    tokio::select! {
        _ = transfers.download(job, &silent) => panic!("cannot end yet"),
        () = tokio::time::sleep(Duration::from_millis(150)) => {}
    }
    for _ in 0..100 {
        if std::fs::read_dir(dir.path().join("received")).unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the temporary file stays");
}

#[tokio::test]
async fn too_large_and_odd_sources_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("big"), vec![0; 1001]).unwrap();
    let encrypt = |path: std::path::PathBuf| {
        let limits = Limits::default().with_max_file_len(1000);
        let temp = dir.path().to_path_buf();
        async move { encrypt_file(&path, Some(MediaKind::Image), [1; 32].into(), &temp, limits, Progress::none()).await }
    };
    assert_eq!(encrypt(dir.path().join("big")).await.unwrap_err(), Error::TooLarge { max: 1000 });
    assert!(matches!(encrypt(dir.path().join("none")).await, Err(Error::Io { .. })));
    assert!(matches!(encrypt(dir.path().to_path_buf()).await, Err(Error::Io { .. })));
}

#[test]
fn direct_paths_stay_on_the_media_host() {
    let at = |path: &str| resolve("https://media.test", path, MediaKind::Image, &[0; 32]);
    assert!(at("/v/t62.1?ccb=11&oh=x").unwrap().starts_with("https://media.test/v/t62.1?ccb=11&oh=x&hash=AAAA"));
    for bad in ["//evil.test/x", "https://evil.test/x", "v/t1", "", "/\\evil.test/x", "\\\\evil.test"] {
        assert_eq!(at(bad), Err(Error::Url), "{bad}");
    }
    assert_eq!(resolve("ftp://media.test", "/x", MediaKind::Image, &[0; 32]), Err(Error::Url));
}

#[test]
fn names_are_made_safe() {
    for (hint, name) in [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\y.txt", "y.txt"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\u{202e}gpj.exe", "agpj.exe"),
        ("nul.txt", "_nul.txt"),
        ("com1", "_com1"),
        ("a\0b\n?.pdf", "ab_.pdf"),
    ] {
        assert_eq!(safe_file_name(hint), name);
    }
    let long = safe_file_name(&format!("{}.pdf", "ä".repeat(500)));
    assert!(long.len() <= 180 && long.ends_with("ä.pdf"));
}
