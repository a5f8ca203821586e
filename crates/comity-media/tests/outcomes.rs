//! Every way in which a download can fail, against a real HTTP server: its error, its remedy, and that no plaintext
//! stays (PROTOCOL §10).
#![cfg(feature = "transfer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::panic, reason = "tests")]

use comity_media::transfer::{Download, Progress, TransferConfig, Transfers};
use comity_media::{Error, Expected, Limits, MediaKey, MediaKind, Remedy, encrypt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every request with the same bytes, then closes, or holds the connection.
async fn serve(answer: Vec<u8>, hold: bool) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut head = Vec::new();
            while !head.windows(4).any(|w| w == b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap_or(0) > 0 {}
            let _ = socket.write_all(&answer).await;
            if hold {
                held.push(socket);
            }
        }
    });
    (base, requests)
}

fn http(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn job(base: &str, dir: &Path, expected: Expected, declared: &str) -> Download {
    Download {
        base: base.into(),
        direct_path: "/f".into(),
        kind: MediaKind::Document,
        key: MediaKey::from([3; 32]),
        expected,
        dir: dir.into(),
        name_hint: "report.pdf".into(),
        declared: Some(declared.into()),
    }
}

#[tokio::test]
async fn every_failure_has_its_error_and_remedy() {
    const TRIES: u32 = 3;
    let mut config = TransferConfig::default().with_idle_timeout(Duration::from_millis(200)).with_retries(TRIES - 1);
    config.retry_wait = Duration::from_millis(1);
    let transfers = Transfers::new(config.with_limits(Limits::default().with_max_file_len(1 << 20))).unwrap();

    let key = MediaKey::from([3; 32]);
    let (file, facts) = encrypt(MediaKind::Document, &key, b"\x7fELF and the rest of a program").unwrap();
    let good = Expected::from(&facts);
    let total = file.len() as u64;
    let mut flipped = file.to_vec();
    flipped[5] ^= 1;
    let huge = Expected { file_length: (1 << 20) + 1, ..good };
    let other = Expected { file_sha256: [9; 32], ..good };
    let elf = "application/x-executable";
    let cut = [format!("HTTP/1.1 200 X\r\ncontent-length: {total}\r\n\r\n").as_bytes(), &file[..9]].concat();

    let status = |status| (http(status, b""), false, good, elf, Error::Status { status });
    let cases = [
        ((http(404, b""), false, good, elf, Error::Gone { status: 404 }), Remedy::AskSender, 1),
        ((http(410, b""), false, good, elf, Error::Gone { status: 410 }), Remedy::AskSender, 1),
        ((http(401, b""), false, good, elf, Error::Refused { status: 401 }), Remedy::AskSender, 1),
        ((http(403, b""), false, good, elf, Error::Refused { status: 403 }), Remedy::AskSender, 1),
        (status(302), Remedy::GiveUp, 1),
        (status(400), Remedy::GiveUp, 1),
        (status(500), Remedy::Retry, TRIES),
        (status(503), Remedy::Retry, TRIES),
        ((http(200, &file[..9]), false, good, elf, Error::Truncated { expected: total, actual: 9 }), Remedy::GiveUp, 1),
        (
            (http(200, &[&file[..], b"x"].concat()), false, good, elf, Error::Overlong { expected: total }),
            Remedy::GiveUp,
            1,
        ),
        ((http(200, &file), false, huge, elf, Error::TooLarge { max: 1 << 20 }), Remedy::GiveUp, 0),
        ((http(200, &file), false, other, elf, Error::Hash), Remedy::GiveUp, 1),
        ((http(200, &file), false, good, "application/pdf", Error::Disguised), Remedy::GiveUp, 1),
        ((Vec::new(), true, good, elf, Error::Stalled), Remedy::Retry, TRIES),
        // Nine bytes are progress, so the tries are counted anew once.
        ((cut, false, good, elf, Error::Interrupted), Remedy::Retry, TRIES + 1),
    ];
    for ((answer, hold, expected, declared, error), remedy, tries) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (base, requests) = serve(answer, hold).await;
        let job = job(&base, dir.path(), expected, declared);
        let outcome = transfers.download_resumable(job, &Progress::none()).await;
        assert_eq!(outcome.unwrap_err(), error);
        assert_eq!(error.remedy(), remedy, "{error}");
        assert_eq!(requests.load(Ordering::Relaxed), tries, "{error}");
        for left in std::fs::read_dir(dir.path()).unwrap_or_else(|e| panic!("{e}")) {
            assert_eq!(left.unwrap().path().extension().unwrap(), "enc", "{error}: only ciphertext may stay");
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let (base, _) = serve(http(200, &flipped), false).await;
    let error = transfers.download_resumable(job(&base, dir.path(), good, elf), &Progress::none()).await.unwrap_err();
    assert!(matches!(error, Error::EncHash | Error::Mac), "{error}");
    assert_eq!((error.remedy(), std::fs::read_dir(dir.path()).unwrap().count()), (Remedy::GiveUp, 0));

    let (base, _) = serve(http(200, &file), false).await;
    let received = transfers.download_resumable(job(&base, dir.path(), good, elf), &Progress::none()).await.unwrap();
    assert!(received.sniffed.executable, "a program that is called one comes through");
}
