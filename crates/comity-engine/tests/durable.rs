//! Nothing that depends on a batch leaves the engine before the batch is durable.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use comity_core::{Record, Revision, StoreError, Timestamp};
use comity_engine::{
    BatchId, Command, CommandId, Config, Content, Engine, Error, Event, Input, Output, Query, Reply, RequestId,
};
use comity_noise::TrustRoot;
use comity_signal::Suites;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The engine of a native user over an empty store that answers loads at once and commits when told to.
struct Rig {
    engine: Engine,
    rng: StdRng,
}

impl Rig {
    fn new() -> Self {
        let config = Config::native(4_915_100_000_001, TrustRoot::WHATSAPP).offline();
        Self { engine: Engine::new(config, Suites::new()), rng: StdRng::seed_from_u64(1) }
    }

    /// Feeds one input and all the loads that follow.
    fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut inputs = vec![input];
        let mut rest = Vec::new();
        while let Some(input) = inputs.pop() {
            for output in self.engine.handle(Timestamp::from_secs(1), input, &mut self.rng) {
                match output {
                    Output::Load(id, query) => inputs.push(loaded(id, query)),
                    other => rest.push(other),
                }
            }
        }
        rest
    }
}

fn loaded(id: RequestId, query: Query) -> Input {
    let keys = match query {
        Query::Keys(keys) => keys,
        _ => Vec::new(),
    };
    let absent = |key| Record { key, revision: Revision::ABSENT, value: None };
    Input::Loaded(id, Ok(keys.into_iter().map(absent).collect()))
}

fn only_persist(outputs: &[Output]) -> BatchId {
    match outputs {
        [Output::Persist(id, batch)] if !batch.is_empty() => *id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_exists_once_its_keys_are_stored() {
    let mut rig = Rig::new();
    let batch = only_persist(&rig.feed(Input::Start));
    assert!(rig.feed(Input::Tick).is_empty());
    let after = rig.feed(Input::Persisted(batch));
    assert!(matches!(after.as_slice(), [Output::Event(Event::AccountReady { .. })]), "{after:?}");
}

#[test]
fn a_command_is_answered_once_its_message_is_stored() {
    let mut rig = Rig::new();
    let start = only_persist(&rig.feed(Input::Start));
    rig.feed(Input::Persisted(start));
    let send = || Command::Send {
        to: "1-10853634039893@interop".parse().unwrap(),
        content: Content::text("x"),
        id: Some("3EB0".parse().unwrap()),
    };
    let batch = only_persist(&rig.feed(Input::Command(CommandId(1), send())));
    let failed = rig.feed(Input::PersistFailed(batch, StoreError::Medium("full".into())));
    assert!(
        matches!(failed.as_slice(), [Output::Reply(CommandId(1), Err(Error::Store(_)))]),
        "a store that failed is told: {failed:?}"
    );
    // It was not queued, so the same id is not taken for one that is.
    let batch = only_persist(&rig.feed(Input::Command(CommandId(2), send())));
    let done = rig.feed(Input::Persisted(batch));
    assert!(matches!(done.as_slice(), [Output::Reply(CommandId(2), Ok(Reply::Queued(_)))]), "{done:?}");
}

#[test]
fn a_store_that_cannot_be_read_starts_nobody_new() {
    let mut rig = Rig::new();
    let outputs: Vec<_> = rig.engine.handle(Timestamp::from_secs(1), Input::Start, &mut rig.rng).collect();
    let [Output::Load(id, _)] = outputs.as_slice() else { panic!("{outputs:?}") };
    let failed = rig.feed(Input::Loaded(*id, Err(StoreError::Corrupt("x".into()))));
    assert!(matches!(failed.as_slice(), [Output::Event(Event::Warning(Error::Store(_)))]), "{failed:?}");
    assert!(rig.feed(Input::Start).is_empty());
}
