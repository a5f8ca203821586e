//! How far a message may be ahead of its chain, checked before the engine derives a key for each message skipped.
//!
//! The engine does so before it looks at the MAC, copies all keys it keeps at each step, tries one session after the
//! other, and knows no bound where a message shows our own identity.

use crate::engine::Sessions;
use comity_signal::wire::SignalMessage;
use comity_signal::{Error, Initial, State};
use prost::Message;
use zeroize::Zeroizing;

/// Most messages of a chain that one message may skip.
pub const MAX_SKIPPED: u32 = 2_000;

/// Most messages that one message may skip in all sessions it is tried on together. It is tried on more than one where
/// its ratchet key is new.
pub const MAX_SKIPPED_IN_ALL: u32 = 4_000;

/// Most sessions of a record: the current one, 40 archived, and one that a first message begins.
const MAX_SESSIONS: u32 = 42;

/// What the engine stores.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(bytes = "vec", optional, tag = "1")]
    current: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    archived: Vec<Vec<u8>>,
}

/// As much of a session as is needed here.
#[derive(Clone, PartialEq, Message)]
struct Session {
    #[prost(message, repeated, tag = "7")]
    receiver_chains: Vec<Chain>,
    #[prost(bytes = "vec", tag = "13")]
    base_key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Chain {
    #[prost(bytes = "vec", tag = "1")]
    ratchet_key: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    key: Option<ChainKey>,
}

#[derive(Clone, PartialEq, Message)]
struct ChainKey {
    #[prost(uint32, tag = "1")]
    index: u32,
}

/// The session that a message belongs to, alone in a record for the engine, and a record of those that are not tried.
pub(crate) struct Owner {
    pub(crate) record: State,
    others: State,
}

impl Owner {
    /// The record with all sessions again, the owner as the current one, as the engine itself leaves it.
    pub(crate) fn rejoin(self, mut changed: State) -> State {
        changed.extend_from_slice(&self.others); // repeated fields of one message
        changed
    }
}

/// Whether the engine may look at `message` (of the first message `initial`) with `record`; where its ratchet key is
/// known, with the session that knows it alone.
///
/// # Errors
/// [`Error::LimitExceeded`], [`Error::Corrupt`].
pub(crate) fn check(
    record: Option<&[u8]>,
    initial: Option<&Initial>,
    message: &SignalMessage<'_>,
) -> Result<Option<Owner>, Error> {
    const TOO_FAR: Error = Error::LimitExceeded("skipped messages");
    if message.counter <= MAX_SKIPPED_IN_ALL / MAX_SESSIONS {
        return Ok(None);
    }
    let corrupt = |_| Error::Corrupt("session");
    let mut record = Record::decode(record.unwrap_or_default()).map_err(corrupt)?;
    let (base_key, ratchet_key) =
        (initial.map(|initial| initial.base_key.with_type()), message.ratchet_key.with_type());
    let index_in = |session: &Vec<u8>| -> Result<Option<u32>, Error> {
        let session = Session::decode(session.as_slice()).map_err(corrupt)?;
        let mut chains = session.receiver_chains.iter().filter(|_| base_key.is_none_or(|key| session.base_key == key));
        let chain = chains.find(|chain| chain.ratchet_key == ratchet_key);
        Ok(chain.map(|chain| chain.key.as_ref().map_or(0, |key| key.index)))
    };
    for at in 0..=record.archived.len() {
        let session = if at == 0 { record.current.as_ref() } else { record.archived.get(at - 1) };
        let Some(index) = session.map(index_in).transpose()?.flatten() else { continue };
        if message.counter.saturating_sub(index) > MAX_SKIPPED {
            return Err(TOO_FAR);
        }
        let owner = if at == 0 { record.current.take() } else { Some(record.archived.remove(at - 1)) };
        let mut others = Zeroizing::new(record.encode_to_vec());
        if record.current.is_some() {
            others = Sessions::archive(&others)?;
        }
        let record = Record { current: owner, archived: Vec::new() };
        return Ok(Some(Owner { record: Zeroizing::new(record.encode_to_vec()), others }));
    }
    let tried = record.current.iter().len() + record.archived.len() + usize::from(initial.is_some());
    let in_all = message.counter.saturating_mul(u32::try_from(tried).unwrap_or(u32::MAX));
    if message.counter > MAX_SKIPPED || in_all > MAX_SKIPPED_IN_ALL { Err(TOO_FAR) } else { Ok(None) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
mod tests {
    use super::*;
    use comity_core::RecordKind;
    use comity_signal::suite_tests::{start, talking};

    #[test]
    fn of_three_sessions_the_one_that_knows_the_chain_is_tried() {
        let (mut a, mut b) = talking(crate::Pqxdh::new());
        let old = a.encrypt(&b.address, b"x").unwrap();
        b.opens(&a.address, &old, b"x");
        start(&mut a, &mut b);
        start(&mut a, &mut b);
        // The record of the session: layout, number of states, version, length; the engine's own; checksum.
        let stored = b.snapshot().into_iter().find(|(key, _)| key.kind == RecordKind::Session).unwrap().1;
        let stored = &stored[7..stored.len() - 4];
        let far = SignalMessage { counter: MAX_SKIPPED, ..SignalMessage::parse(&old.body).unwrap() };
        let near = SignalMessage { counter: MAX_SKIPPED_IN_ALL / MAX_SESSIONS, ..far };
        assert!(check(Some(stored), None, &near).unwrap().is_none());
        let owner = check(Some(stored), None, &far).unwrap().unwrap();
        let sessions = |bytes: &[u8]| Record::decode(bytes).unwrap();
        let (before, tried) = (sessions(stored), sessions(&owner.record));
        assert_eq!((before.archived.len(), tried.archived.len()), (2, 0));
        assert_eq!(tried.current.as_ref(), before.archived.last());
        let record = owner.record.clone();
        let after = sessions(&owner.rejoin(record));
        assert_eq!((after.current, after.archived.len()), (tried.current, 2));
        assert_eq!(after.archived[1], before.archived[0]);
    }

    #[test]
    fn a_first_message_belongs_to_the_session_of_its_base_key() {
        let (mut a, mut b) = comity_signal::suite_tests::two(crate::Pqxdh::new(), 2);
        let bundle = b.bundle();
        a.establish(&b.address, &bundle).unwrap();
        let first = a.encrypt(&b.address, b"x").unwrap();
        b.opens(&a.address, &first, b"x");
        let stored = b.snapshot().into_iter().find(|(key, _)| key.kind == RecordKind::Session).unwrap().1;
        let stored = Some(&stored[7..stored.len() - 4]);
        let (initial, message) = comity_signal::wire::inspect(4, first.kind, &first.body).unwrap();
        let initial = initial.unwrap();
        let at = |counter| SignalMessage { counter, ..message };
        assert!(check(stored, Some(&initial), &at(MAX_SKIPPED)).unwrap().is_some());
        assert!(check(stored, Some(&initial), &at(MAX_SKIPPED + 1)).unwrap().is_some(), "the first is read");
        assert!(check(stored, Some(&initial), &at(MAX_SKIPPED + 2)).is_err());
        let other = Initial { base_key: initial.identity, ..initial };
        assert!(check(stored, Some(&other), &at(MAX_SKIPPED)).unwrap().is_none());
        assert!(check(stored, Some(&other), &at(MAX_SKIPPED + 1)).is_err());
        assert!(check(None, Some(&initial), &at(u32::MAX)).is_err());
    }
}
