//! The application in the process that is killed: what it sent and what it was given stands in files of its own, which
//! are what is judged in the end.
//!
//! An event is written down, and that is on the medium, before it is confirmed. So, after a kill between the two, the same
//! event (by its id) is given again, and is only noted: that is the promise ("until it is confirmed"), not a duplicate. A
//! duplicate is a second event of one message. What is sent has an id made of its number and is noted once it is queued;
//! after a kill between the two the same number is sent again under the same id, which must not make two messages of it.

use base64::Engine as _;
use comity_client::{Client, Config, Content, Event, EventId, Events, LookUp, PartnerServer, SqliteStore};
use comity_core::{IntegratorId, Jid, MessageId};
use comity_noise::TrustRoot;
use comity_signal::Suites;
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Under this name, in its environment, a process of this test finds the client that it is.
pub(crate) const SETUP: &str = "COMITY_SOAK_CLIENT";
/// Messages that were queued and not yet taken by the server.
const WINDOW: usize = 32;
/// Between two messages.
const PACE: Duration = Duration::from_millis(20);
/// Before something that failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Between noting an event and confirming it, so that kills fall in between.
const BEFORE_CONFIRM: Duration = Duration::from_millis(20);
/// Events taken in one go.
const GROUP: usize = 256;

/// Who this client is, and where the others are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) who: String,
    /// The other end's external id.
    pub(crate) peer: String,
    pub(crate) dir: PathBuf,
    pub(crate) post_quantum: bool,
    pub(crate) chat: String,
    pub(crate) http: String,
    pub(crate) partner: String,
    pub(crate) secret: String,
    pub(crate) root: String,
}

impl Setup {
    fn phone(&self) -> Option<u64> {
        self.who.strip_prefix('+')?.parse().ok()
    }
}

/// The id of a client's message `n`.
pub(crate) fn message_id(n: usize) -> String {
    format!("M{n:08}")
}

/// Its text.
pub(crate) fn text(n: usize) -> String {
    format!("{n} {}", "x".repeat(n % 200))
}

/// A file of lines that only grows.
pub(crate) struct Journal(File);

impl Journal {
    /// Opens it, and gives the lines that are there; half a line at the end goes.
    pub(crate) fn open(path: &Path) -> (Self, Vec<String>) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.set_len(whole as u64).unwrap();
        (Self(file), text[..whole].lines().map(str::to_owned).collect())
    }

    fn add(&mut self, lines: &str) {
        self.0.write_all(lines.as_bytes()).unwrap();
        self.0.sync_data().unwrap();
    }
}

type InFlight = Arc<Mutex<HashMap<MessageId, OwnedSemaphorePermit>>>;

pub(crate) async fn run(setup: &Setup) {
    let (client, mut events) = start(setup);
    let noise_key = loop {
        match events.next().await.expect("the client stopped") {
            Event::AccountReady { noise_key, .. } => break noise_key,
            other => eprintln!("{other:?}"),
        }
    };
    let in_flight = InFlight::default();
    let reader = tokio::spawn(read(client.clone(), events, setup.dir.join("received"), Arc::clone(&in_flight)));
    if setup.phone().is_some() {
        enter(setup, &client, &noise_key).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(setup.clone(), client.clone(), in_flight, Arc::clone(&stop)));
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    // `stop`, then the end of the input.
    if input.next_line().await.unwrap().as_deref() == Some("stop") {
        stop.store(true, Ordering::Relaxed);
        println!("sent {}", writer.await.unwrap());
        drop(input.next_line().await);
    }
    reader.abort();
}

fn start(setup: &Setup) -> (Client, Events) {
    let root = TrustRoot(setup.root.parse().unwrap());
    let config = match setup.phone() {
        Some(phone) => Config::native(phone, root).offline(),
        None => Config::partner(setup.who.parse().unwrap(), root),
    };
    let mut suites = Suites::new().with(X3dh);
    if setup.post_quantum {
        suites = suites.with(Pqxdh::new());
    }
    let store = Arc::new(SqliteStore::open(&setup.dir.join("store.db")).unwrap());
    let mut builder = Client::builder(config, suites, store, &setup.chat, &setup.http).files(setup.dir.join("files"));
    if setup.phone().is_none() {
        builder = builder.partner(PartnerServer::new(&setup.partner, &setup.who, &setup.secret).unwrap());
    }
    builder.start().unwrap()
}

/// Once: makes a native user known and reachable. Each time: goes online.
async fn enter(setup: &Setup, client: &Client, noise_key: &[u8; 32]) {
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(noise_key);
    let body = serde_json::json!({ "phone_number": setup.phone().unwrap().to_string(), "noise_key": key });
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let done = setup.dir.join("entered");
    while !done.exists() {
        let request = http.post(format!("{}/admin/native", setup.http)).bearer_auth(crate::world::ADMIN_TOKEN);
        match request.json(&body).send().await {
            Ok(answer) if answer.status().is_success() => break,
            answer => eprintln!("registration: {answer:?}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    client.go_online().await.unwrap();
    while !done.exists() {
        match client.opt_in(vec![IntegratorId::new(1).unwrap()]).await {
            Ok(()) => std::fs::write(&done, "").unwrap(),
            Err(error) => eprintln!("opt-in: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The peer's JID: looked up until it is found, then kept.
async fn peer(setup: &Setup, client: &Client) -> Jid {
    let kept = setup.dir.join("peer");
    if let Some(jid) = std::fs::read_to_string(&kept).ok().and_then(|jid| jid.parse().ok()) {
        return jid;
    }
    let integrator = setup.phone().map(|_| IntegratorId::new(1).unwrap());
    loop {
        let whom = LookUp { external_id: setup.peer.clone(), integrator };
        match client.look_up(vec![whom]).await {
            Ok(found) => {
                if let Some(jid) = found.into_iter().next().and_then(|(_, jid)| jid) {
                    std::fs::write(&kept, jid.to_string()).unwrap();
                    return jid;
                }
            }
            Err(error) => eprintln!("look-up: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Writes until told to stop; answers how many messages there are.
async fn write(setup: Setup, client: Client, in_flight: InFlight, stop: Arc<AtomicBool>) -> usize {
    let peer = peer(&setup, &client).await;
    let (mut journal, sent) = Journal::open(&setup.dir.join("sent"));
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut n = sent.len();
    while !stop.load(Ordering::Relaxed) {
        let Ok(permit) = tokio::time::timeout(AGAIN, Arc::clone(&window).acquire_owned()).await else { continue };
        let id: MessageId = message_id(n).parse().unwrap();
        in_flight.lock().unwrap().insert(id.clone(), permit.unwrap());
        assert_eq!(client.send(&peer, Content::text(text(n)), Some(id.clone())).await.unwrap(), id);
        journal.add(&format!("{id}\n"));
        n += 1;
        tokio::time::sleep(PACE).await;
    }
    n
}

/// Takes events: `+` for one that is new, `=` for one that is given again.
async fn read(client: Client, mut events: Events, path: PathBuf, in_flight: InFlight) {
    let (mut journal, known) = Journal::open(&path);
    let mut known: HashMap<EventId, ()> =
        known.iter().map(|line| (EventId(line.split(' ').nth(1).unwrap().into()), ())).collect();
    loop {
        let mut group = vec![events.next().await.expect("the client stopped")];
        while group.len() < GROUP
            && let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await
        {
            group.push(event);
        }
        let (mut lines, mut confirm) = (String::new(), Vec::new());
        for event in group {
            match event {
                Event::Message(message) => {
                    let Content::Text { text, .. } = message.content else { panic!("not a text") };
                    let mark = if known.insert(message.event.clone(), ()).is_none() { '+' } else { '=' };
                    lines += &format!("{mark} {} {} {text}\n", message.event.0, message.id);
                    confirm.push(message.event);
                }
                Event::State { id, state: comity_client::MessageState::Failed(failure), .. } => {
                    lines += &format!("! {id} failed: {failure:?}\n");
                }
                Event::State { id, .. } => drop(in_flight.lock().unwrap().remove(&id)),
                other => eprintln!("{other:?}"),
            }
        }
        if !lines.is_empty() {
            journal.add(&lines);
            tokio::time::sleep(BEFORE_CONFIRM).await;
        }
        let confirmed: Vec<_> = confirm
            .into_iter()
            .map(|event| {
                let client = client.clone();
                tokio::spawn(async move { client.confirm(event).await.unwrap() })
            })
            .collect();
        for confirmed in confirmed {
            confirmed.await.unwrap();
        }
    }
}
