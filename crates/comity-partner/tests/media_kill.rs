//! Upload and download broken off at random bytes, by the network or by the client's end: byte-identical after they went
//! on. `COMITY_KILLS` says how often, `COMITY_SEED` where the dice begin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test"
)]

use comity_core::{IntegratorId, Secret};
use comity_media::transfer::{Download, PartnerHost, Progress, TransferConfig, Transfers, UploadId};
use comity_media::{Expected, MediaKey, MediaKind, encrypt};
use comity_partner::{Config, Server};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes bytes on until there were as many as it may; then everything breaks.
struct Wire {
    base: String,
    left: Arc<AtomicI64>,
    cut: Arc<Notify>,
    cuts: Arc<AtomicUsize>,
}

impl Wire {
    async fn new(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let wire = Self {
            base,
            left: Arc::new(AtomicI64::new(i64::MAX)),
            cut: Arc::new(Notify::new()),
            cuts: Arc::new(AtomicUsize::new(0)),
        };
        let (left, cut, cuts) = (Arc::clone(&wire.left), Arc::clone(&wire.cut), Arc::clone(&wire.cuts));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (to, left, cut, cuts) = (to.clone(), Arc::clone(&left), Arc::clone(&cut), Arc::clone(&cuts));
                tokio::spawn(async move {
                    let server = TcpStream::connect(to).await.unwrap();
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    let died = tokio::select! {
                        died = pass(&mut from_client, &mut to_server, &left) => died,
                        died = pass(&mut from_server, &mut to_client, &left) => died,
                    };
                    if died {
                        cuts.fetch_add(1, Ordering::SeqCst);
                        cut.notify_waiters();
                        // Both halves end here, wherever the other direction was.
                    }
                });
            }
        });
        wire
    }

    fn cut_after(&self, bytes: usize) {
        self.left.store(bytes as i64, Ordering::SeqCst);
    }
}

async fn pass(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    left: &AtomicI64,
) -> bool {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return false };
        let before = left.fetch_sub(count as i64, Ordering::SeqCst);
        let may = usize::try_from(before.max(0)).unwrap().min(count);
        if to.write_all(&buffer[..may]).await.is_err() {
            return false;
        }
        if may < count {
            let _ = to.shutdown().await;
            return true;
        }
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_byte_it_breaks_at() {
    let wanted = setting("COMITY_KILLS").map_or(400, |kills| usize::try_from(kills).unwrap()) / 2;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = setting("COMITY_SEED").unwrap_or(u64::from(now));
    println!("COMITY_SEED={seed}");
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let (server, origin) = start(dir.path()).await;
    let wire = Wire::new(origin).await;
    let config = TransferConfig::default().with_retries(0).with_idle_timeout(Duration::from_secs(20));
    let transfers = Transfers::new(config).unwrap();
    let (id, user, password) = (IntegratorId::new(7).unwrap(), "alice@partner.test", Secret::new("s3cret".into()));
    let host = PartnerHost::new(transfers.clone(), &wire.base, id, user.into(), password).unwrap();
    let (mut kills, mut files) = ([0, 0], 0);
    while kills[0] < wanted || kills[1] < wanted {
        files += 1;
        let plain: Vec<u8> = (0..dice.roll(300_000)).map(|_| dice.roll(256) as u8).collect();
        let mut key = [0; 32];
        key.fill_with(|| dice.roll(256) as u8);
        let key = MediaKey::from(key);
        let (sealed, facts) = encrypt(MediaKind::Document, &key, &plain).unwrap();
        let path = dir.path().join("sealed");
        std::fs::write(&path, &sealed).unwrap();

        wire.cut_after(usize::MAX >> 1);
        let upload: UploadId = host.begin(sealed.len() as u64).await.unwrap();
        let direct_path = loop {
            wire.cut_after(dice.roll(120_000));
            let drops = dice.roll(4) == 0;
            let silent = Progress::none();
            let ended = tokio::select! {
                done = host.resume(&upload, &path, &silent) => done.ok(),
                () = wire.cut.notified(), if drops => None, // the client's process ends at that moment
            };
            if let Some(uploaded) = ended {
                break uploaded.direct_path;
            }
            kills[0] += 1;
        };
        assert!(direct_path.contains(upload.as_str()));

        let received = dir.path().join("received");
        let job = || Download {
            base: wire.base.clone(),
            direct_path: format!("/media/{}", upload.as_str()),
            kind: MediaKind::Document,
            key: key.clone(),
            expected: Expected::from(&facts),
            dir: received.clone(),
            name_hint: "file".into(),
            declared: None,
        };
        let got = loop {
            wire.cut_after(dice.roll(120_000));
            let drops = dice.roll(4) == 0;
            let silent = Progress::none();
            let ended = tokio::select! {
                done = transfers.download_resumable(job(), &silent) => done.ok(),
                () = wire.cut.notified(), if drops => None,
            };
            match ended {
                Some(got) => break got,
                None => kills[1] += 1,
            }
            for entry in std::fs::read_dir(&received).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(name.starts_with(".comity-") && name.ends_with(".enc"), "{name} before all is verified");
            }
        };
        assert!(std::fs::read(&got.path).unwrap() == plain, "file {files}");
        std::fs::remove_file(got.path).unwrap();
        assert_eq!(std::fs::read_dir(&received).unwrap().count(), 0);
        wire.cut_after(usize::MAX >> 1);
        host.abandon(&upload).await.unwrap();
    }
    println!("{} uploads and {} downloads broken off, {files} files", kills[0], kills[1]);
    let left = std::fs::read_dir(dir.path().join("data/media/files")).unwrap().count();
    assert_eq!(left, 0);
    assert!(wire.cuts.load(Ordering::SeqCst) > 0);
    server.abort();
}

async fn start(dir: &Path) -> (tokio::task::JoinHandle<()>, String) {
    let config = format!(
        "listen = '127.0.0.1:0'\nsandbox = true\nrequire_bearer = false\ndata_dir = '{}'\n\
         [[users]]\nid = 'alice@partner.test'\nsecret = 's3cret'\n",
        dir.join("data").display()
    );
    std::fs::write(dir.join("partner.toml"), config).unwrap();
    let server = Server::bind(&Config::read(&dir.join("partner.toml")).unwrap()).await.unwrap();
    let address = server.local_addr().to_string();
    (tokio::spawn(server.serve(core::future::pending())), address)
}
