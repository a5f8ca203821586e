//! Drives the engine: one task per account that turns outputs into I/O and I/O into inputs.

use crate::Error;
use crate::http::{TokenSource, enlist};
use crate::limits::{EVENT_RESERVE, STORE_GROUP};
use crate::link::{Link, LinkEvent};
use comity_core::{Batch, Jid, Record, Store, StoreError, Timestamp};
use comity_engine::{BatchId, Command, CommandId, Engine, Event, Input, MediaRequest, Output, Query, Reply, RequestId};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};

/// A command and where its answer goes.
pub(crate) struct Ask {
    pub(crate) command: Command,
    pub(crate) answer: oneshot::Sender<Result<Reply, Error>>,
}

/// Where the driver reaches the outside.
pub(crate) struct Places {
    /// `host:port` of the chat server.
    pub(crate) chat: String,
    /// Base of the gatekeeper's HTTP.
    pub(crate) gatekeeper: String,
    pub(crate) http: reqwest::Client,
    pub(crate) tokens: Option<Arc<dyn TokenSource>>,
}

/// Who hears of events.
pub(crate) struct Tell {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) me: watch::Sender<Option<Jid>>,
    /// Requests for files that were sent.
    pub(crate) requests: mpsc::Sender<MediaRequest>,
}

enum StoreJob {
    Persist(BatchId, Batch),
    Load(RequestId, Query),
}

pub(crate) struct Driver {
    engine: Engine,
    places: Arc<Places>,
    link: Option<Link>,
    store: mpsc::UnboundedSender<StoreJob>,
    /// What the store and HTTP calls answer; as many as the engine has questions under way.
    answers: mpsc::UnboundedReceiver<Input>,
    answer: mpsc::UnboundedSender<Input>,
    asked: HashMap<CommandId, oneshot::Sender<Result<Reply, Error>>>,
    tell: Tell,
    next_command: u64,
    clock: Clock,
    /// Who it is, for the log.
    account: String,
}

impl Driver {
    pub(crate) fn new(engine: Engine, account: String, places: Places, store: Arc<dyn Store>, tell: Tell) -> Self {
        let (answer, answers) = mpsc::unbounded_channel();
        let (jobs, queue) = mpsc::unbounded_channel();
        tokio::spawn(store_task(store, queue, answer.clone()));
        Self {
            engine,
            places: Arc::new(places),
            link: None,
            store: jobs,
            answers,
            answer,
            asked: HashMap::new(),
            tell,
            next_command: 0,
            clock: Clock::new(),
            account,
        }
    }

    /// Runs until every handle is gone.
    #[tracing::instrument(name = "client", skip_all, fields(account = %comity_core::Redacted(&self.account)))]
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Ask>) {
        let mut deadline = self.feed(Input::Start).await;
        loop {
            // A full event queue stops reading from the server; everything else goes on.
            let may_read = self.tell.events.is_closed() || self.tell.events.capacity() > EVENT_RESERVE;
            let wait = deadline.map_or(Duration::from_secs(3600), |at| at.since(self.clock.now()));
            let wait = if may_read { wait } else { wait.min(Duration::from_millis(20)) };
            let input = tokio::select! {
                Some(input) = self.answers.recv() => input,
                event = next_event(&mut self.link), if may_read => match event {
                    LinkEvent::Open => Input::Connected,
                    LinkEvent::Bytes(bytes) => Input::Received(bytes),
                    LinkEvent::Closed => {
                        self.link = None;
                        Input::Disconnected
                    }
                },
                ask = commands.recv() => match ask {
                    Some(Ask { command, answer }) => {
                        self.next_command += 1;
                        let id = CommandId(self.next_command);
                        self.asked.insert(id, answer);
                        Input::Command(id, command)
                    }
                    None => return,
                },
                () = tokio::time::sleep(wait) => Input::Tick,
            };
            deadline = self.feed(input).await;
        }
    }

    async fn feed(&mut self, input: Input) -> Option<Timestamp> {
        let mut next = Some(input);
        let mut deadline = None;
        while let Some(input) = next.take() {
            let mut drain = self.engine.handle(self.clock.now(), input, &mut UnwrapErr(SysRng));
            let outputs: Vec<Output> = drain.by_ref().collect();
            deadline = drain.deadline();
            for output in outputs {
                if let Some(follow) = self.act(output).await {
                    next = Some(follow);
                }
            }
        }
        deadline
    }

    /// Does what the engine wants; gives the input that follows at once, if one does.
    async fn act(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Connect => self.link = Some(Link::open(self.places.chat.clone())),
            Output::Transmit(bytes) => {
                if let Some(link) = &self.link
                    && !link.write(bytes).await
                {
                    self.link = None;
                    return Some(Input::Disconnected);
                }
            }
            Output::Disconnect => {
                if self.link.take().is_some() {
                    return Some(Input::Disconnected);
                }
            }
            Output::Persist(id, batch) => self.to_store(StoreJob::Persist(id, batch)),
            Output::Load(id, query) => self.to_store(StoreJob::Load(id, query)),
            Output::FetchToken(id, noise_key) => {
                let (places, answer) = (Arc::clone(&self.places), self.answer.clone());
                tokio::spawn(async move {
                    let result = match &places.tokens {
                        Some(tokens) => tokens.token(&comity_identity::jkt(&noise_key)).await,
                        None => Err("no source of tokens is configured".into()),
                    };
                    let _stopped = answer.send(Input::Token(id, result));
                });
            }
            Output::Enlist(id, form) => {
                let (places, answer) = (Arc::clone(&self.places), self.answer.clone());
                tokio::spawn(async move {
                    let result = enlist(&places.http, &places.gatekeeper, form).await;
                    let _stopped = answer.send(Input::EnlistAnswer(id, result));
                });
            }
            Output::Reply(id, result) => {
                if let Some(answer) = self.asked.remove(&id) {
                    let _caller_gone = answer.send(result.map_err(Error::Engine));
                }
            }
            Output::Event(event) => self.tell(event),
            // `Output` may grow; a driver of the same version knows all of it.
            _ => tracing::error!("unknown output of the engine"),
        }
        None
    }

    fn tell(&self, event: Event) {
        if let Event::AccountReady { jid: Some(jid), .. } | Event::Enlisted { jid } = &event {
            self.tell.me.send_replace(Some(jid.clone()));
        }
        if let Event::MediaRequested(request) = &event
            && let Err(mpsc::error::TrySendError::Full(_)) = self.tell.requests.try_send((**request).clone())
        {
            tracing::warn!("more files are asked for than can be answered for; one waits for the next start");
        }
        // Reading stopped long before the queue is full. A message that finds no place is given again at the next start.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.tell.events.try_send(event) {
            tracing::warn!("the application takes no events; one was dropped");
        }
    }

    fn to_store(&self, job: StoreJob) {
        let _stopped = self.store.send(job);
    }
}

async fn next_event(link: &mut Option<Link>) -> LinkEvent {
    match link {
        Some(link) => link.events.recv().await.unwrap_or(LinkEvent::Closed),
        None => std::future::pending().await,
    }
}

/// Runs store operations in order on the blocking pool; batches that wait together are committed together.
async fn store_task(
    store: Arc<dyn Store>,
    mut queue: mpsc::UnboundedReceiver<StoreJob>,
    answer: mpsc::UnboundedSender<Input>,
) {
    loop {
        let mut jobs = Vec::new();
        if queue.recv_many(&mut jobs, STORE_GROUP).await == 0 {
            return;
        }
        let (store, answer) = (Arc::clone(&store), answer.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut ids = Vec::new();
            let mut batches = Vec::new();
            for job in jobs {
                match job {
                    StoreJob::Persist(id, batch) => {
                        ids.push(id);
                        batches.push(batch);
                    }
                    StoreJob::Load(id, query) => {
                        flush(&*store, &mut ids, &mut batches, &answer);
                        let _stopped = answer.send(Input::Loaded(id, load(&*store, &query)));
                    }
                }
            }
            flush(&*store, &mut ids, &mut batches, &answer);
        });
        if done.await.is_err() {
            tracing::error!("the store panicked; the client stops");
            return;
        }
    }
}

fn flush(store: &dyn Store, ids: &mut Vec<BatchId>, batches: &mut Vec<Batch>, answer: &mpsc::UnboundedSender<Input>) {
    if batches.is_empty() {
        return;
    }
    for (id, result) in ids.drain(..).zip(store.commit(batches)) {
        let _stopped = answer.send(match result {
            Ok(_revision) => Input::Persisted(id),
            Err(error) => Input::PersistFailed(id, error),
        });
    }
    batches.clear();
}

fn load(store: &dyn Store, query: &Query) -> Result<Vec<Record>, StoreError> {
    match query {
        Query::Keys(keys) => store.load(keys),
        Query::First(kind, limit) => store.scan(*kind, "", "", *limit),
        Query::After(kind, after, limit) => store.scan(*kind, "", after, *limit),
        _ => Err(StoreError::Medium("unknown query".into())),
    }
}

/// The time as the engine has it: the wall clock's, never backwards, and on at its own pace after the wall clock was set
/// back, so that no deadline waits for the difference.
struct Clock {
    base: Timestamp,
    since: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { base: wall(), since: Instant::now() }
    }

    fn now(&mut self) -> Timestamp {
        let (steady, wall) = (self.base.after(self.since.elapsed()), wall());
        if wall <= steady {
            return steady;
        }
        *self = Self { base: wall, since: Instant::now() };
        wall
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_goes_on() {
        let ahead = wall().after(Duration::from_secs(3600));
        let mut clock = Clock { base: ahead, since: Instant::now() };
        let first = clock.now();
        assert!(first >= ahead);
        std::thread::sleep(Duration::from_millis(20));
        assert!(clock.now() >= first.after(Duration::from_millis(20)));
    }

    #[test]
    fn a_clock_that_was_set_forward_follows() {
        let mut clock = Clock { base: Timestamp::from_secs(1), since: Instant::now() };
        assert!(clock.now() >= Timestamp::from_secs(1_700_000_000));
    }
}
