//! The keys of a signer as they come and go: staged, current, retired, revoked (PROTOCOL §3, key sets).

use crate::limits::{KEY_RETIRED_FOR, KEY_STAGED_FOR, MAX_JWKS_KEYS, MAX_KEYRING_LEN};
use crate::{Error, Jwks, SigningKey, b64};
use comity_core::{Secret, Timestamp};
use core::fmt;
use core::time::Duration;
use std::sync::Arc;

/// Where a key of a [`KeyRing`] stands. All are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Signs.
    Current {
        /// When it began to.
        since: Timestamp,
    },
    /// Is published ahead of its use, so that every verifier knows it when it begins to sign.
    Staged {
        /// When it was first published.
        since: Timestamp,
    },
    /// Signs no more; tokens signed by it may still be in use.
    Retired {
        /// When the last of them has expired.
        until: Timestamp,
    },
}

/// What [`KeyRing::advance`] did and asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Advance {
    /// The ring is another than before: store it before it is used.
    pub changed: bool,
    /// A fresh key should be [staged](KeyRing::stage) now.
    pub wants_key: bool,
}

/// The keys of one signer: exactly one current, at most one staged, and the retired ones that are not yet forgotten; at
/// most [`MAX_JWKS_KEYS`] together. A value without I/O; clones share the key material.
///
/// A server rotates without a token refused anywhere like this: it keeps the ring in a file ([`to_bytes`](Self::to_bytes)),
/// asks [`advance`](Self::advance) at [`next_due`](Self::next_due), and **stores a changed ring before it publishes or signs
/// with it**. Change a clone, store it, and put it in the place of the old one ([`TokenIssuer::with_keys`],
/// [`BearerIssuer::with_keys`]).
///
/// ```
/// # use comity_core::Timestamp;
/// # use comity_identity::{Algorithm, KeyRing, SigningKey, TokenIssuer};
/// # use core::time::Duration;
/// # fn main() -> Result<(), comity_identity::Error> {
/// # let now = Timestamp::from_secs(1_764_000_000);
/// # let generate = || SigningKey::generate(Algorithm::EdDsa);
/// const ROTATE_EVERY: Duration = Duration::from_secs(30 * 86_400);
/// let mut issuer = TokenIssuer::new("https://partner.example", "comity-sandbox", KeyRing::new(generate()?, now))?;
/// // At the ring's `next_due`, and at every start:
/// let mut keys = issuer.keys().clone();
/// let step = keys.advance(ROTATE_EVERY, now);
/// if step.wants_key {
///     keys.stage(generate()?, now)?; // RSA takes some tenths of a second: not on a thread that serves connections
/// }
/// if step.changed || step.wants_key {
///     let _stored = keys.to_bytes()?; // written, synced, renamed into place, mode 0600
///     issuer = issuer.with_keys(keys);
/// }
/// // What `/.well-known/oauth/openid/jwks` answers, with `Cache-Control: ` `JWKS_CACHE_CONTROL`.
/// let _body = issuer.keys().jwks(now).to_json();
/// # Ok(())
/// # }
/// ```
///
/// A key that is no longer trusted is taken out with [`revoke`](Self::revoke); stage its successor first. Verifiers that
/// honour the published `Cache-Control` refuse it within a minute.
///
/// [`TokenIssuer::with_keys`]: crate::TokenIssuer::with_keys
/// [`BearerIssuer::with_keys`]: crate::BearerIssuer::with_keys
#[derive(Clone)]
pub struct KeyRing {
    current: Held,
    /// Staged and retired ones.
    others: Vec<Held>,
}

#[derive(Clone)]
struct Held {
    key: Arc<SigningKey>,
    state: KeyState,
}

impl Held {
    fn kid(&self) -> &str {
        self.key.public().kid()
    }

    const fn is_staged(&self) -> bool {
        matches!(self.state, KeyState::Staged { .. })
    }

    const fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.state, KeyState::Retired { until } if until.as_millis() <= now.as_millis())
    }
}

/// A key whose age is not known: it counts as old.
impl From<SigningKey> for KeyRing {
    fn from(key: SigningKey) -> Self {
        Self::new(key, Timestamp::default())
    }
}

impl KeyRing {
    /// A ring of one key that signs from `now` on.
    pub fn new(key: SigningKey, now: Timestamp) -> Self {
        Self { current: Held { key: Arc::new(key), state: KeyState::Current { since: now } }, others: Vec::new() }
    }

    /// The key that signs.
    pub fn current(&self) -> &SigningKey {
        &self.current.key
    }

    /// Every key's `kid` and where it stands, the current one first.
    pub fn keys(&self) -> impl Iterator<Item = (&str, KeyState)> {
        core::iter::once(&self.current).chain(&self.others).map(|held| (held.kid(), held.state))
    }

    /// What is published at `now`: all keys but those whose retirement is over.
    pub fn jwks(&self, now: Timestamp) -> Jwks {
        let held = core::iter::once(&self.current).chain(&self.others).filter(|held| !held.is_over(now));
        Jwks::of_distinct(held.map(|held| held.key.public().clone()).collect())
    }

    /// Publishes `key` from `now` on, to be the next that signs.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a key is staged already, this one is in the ring, or there are [`MAX_JWKS_KEYS`].
    pub fn stage(&mut self, key: SigningKey, now: Timestamp) -> Result<(), Error> {
        if self.others.iter().any(Held::is_staged) {
            return Err(Error::Misuse("a key is staged already"));
        }
        if self.keys().any(|(kid, _)| kid == key.public().kid()) {
            return Err(Error::Misuse("the key is in the ring already"));
        }
        if self.others.len() + 1 >= MAX_JWKS_KEYS {
            return Err(Error::Misuse("the ring is full"));
        }
        self.others.push(Held { key: Arc::new(key), state: KeyState::Staged { since: now } });
        Ok(())
    }

    /// Lets the staged key sign; the current one is retired, and published for [`KEY_RETIRED_FOR`].
    ///
    /// # Errors
    /// [`Error::Misuse`] if no key is staged, or it was published for less than [`KEY_STAGED_FOR`].
    pub fn promote(&mut self, now: Timestamp) -> Result<(), Error> {
        match self.others.iter().find(|held| held.is_staged()).map(|held| held.state) {
            Some(KeyState::Staged { since }) if now.since(since) >= KEY_STAGED_FOR => {}
            Some(_) => return Err(Error::Misuse("the staged key is not known to every verifier yet")),
            None => return Err(Error::Misuse("no key is staged")),
        }
        let mut old = self.replace_current(now)?;
        old.state = KeyState::Retired { until: now.after(KEY_RETIRED_FOR) };
        self.others.push(old);
        Ok(())
    }

    /// Takes a key out of the ring at once: the next published set is without it. If it is the current one, the staged key
    /// signs from `now` on however short it was published; verifiers fetch the set when they meet it.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is no such key, or it is the current one and none is staged.
    pub fn revoke(&mut self, kid: &str, now: Timestamp) -> Result<(), Error> {
        if self.current.kid() == kid {
            return self.replace_current(now).map(drop);
        }
        let before = self.others.len();
        self.others.retain(|held| held.kid() != kid);
        if self.others.len() == before { Err(Error::Misuse("no such key in the ring")) } else { Ok(()) }
    }

    fn replace_current(&mut self, now: Timestamp) -> Result<Held, Error> {
        let at = self.others.iter().position(Held::is_staged).ok_or(Error::Misuse("no key is staged"))?;
        let mut next = self.others.remove(at);
        next.state = KeyState::Current { since: now };
        Ok(core::mem::replace(&mut self.current, next))
    }

    /// What a signer does that changes its key every `every` (at least [`KEY_STAGED_FOR`]): lets a staged key sign when its
    /// time has come, forgets retired ones, and says when a new one should be staged.
    pub fn advance(&mut self, every: Duration, now: Timestamp) -> Advance {
        let before = self.others.len();
        self.others.retain(|held| !held.is_over(now));
        let changed = self.others.len() != before;
        let age = self.current_age(now);
        let promoted = age >= every.max(KEY_STAGED_FOR) && self.promote(now).is_ok();
        let staged = self.others.iter().any(Held::is_staged);
        let full = self.others.len() + 1 >= MAX_JWKS_KEYS;
        let wants_key = !promoted && !staged && !full && age >= every.saturating_sub(KEY_STAGED_FOR);
        Advance { changed: changed || promoted, wants_key }
    }

    /// When [`advance`](Self::advance) will next have something to do.
    pub fn next_due(&self, every: Duration) -> Timestamp {
        let KeyState::Current { since } = self.current.state else { return Timestamp::default() };
        let promote = since.after(every.max(KEY_STAGED_FOR));
        let mut due = since.after(every.saturating_sub(KEY_STAGED_FOR));
        let mut first_end = None;
        for held in &self.others {
            match held.state {
                KeyState::Staged { since } => due = promote.max(since.after(KEY_STAGED_FOR)),
                KeyState::Retired { until } => {
                    first_end = Some(first_end.map_or(until, |end: Timestamp| end.min(until)))
                }
                KeyState::Current { .. } => {}
            }
        }
        first_end.map_or(due, |end| end.min(due))
    }

    fn current_age(&self, now: Timestamp) -> Duration {
        match self.current.state {
            KeyState::Current { since } => now.since(since),
            _ => Duration::ZERO,
        }
    }

    /// The ring with its private keys, to be stored where only the signer reads it: a line of text per key, its state, a
    /// time in milliseconds, and its PKCS#8 document in base64url.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the library fails.
    pub fn to_bytes(&self) -> Result<Secret<Vec<u8>>, Error> {
        let mut lines = Vec::new();
        for held in core::iter::once(&self.current).chain(&self.others) {
            let (state, at) = match held.state {
                KeyState::Current { since } => (CURRENT, since),
                KeyState::Staged { since } => (STAGED, since),
                KeyState::Retired { until } => (RETIRED, until),
            };
            let key = Secret::new(b64::encode(held.key.to_pkcs8()?.expose()));
            lines.push((format!("\n{state} {} ", at.as_millis()), key));
        }
        // Room for all of it, so that no part of a key is left behind by growth.
        let len: usize = lines.iter().map(|(head, key)| head.len() + key.expose().len()).sum();
        let mut text = Vec::with_capacity(HEADER.len() + len + 1);
        text.extend_from_slice(HEADER.as_bytes());
        for (head, key) in &lines {
            text.extend_from_slice(head.as_bytes());
            text.extend_from_slice(key.expose().as_bytes());
        }
        text.push(b'\n');
        Ok(Secret::new(text))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; or a single PKCS#8 document in DER, as a current key of unknown age.
    ///
    /// # Errors
    /// [`Error::BadSigningKey`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_KEYRING_LEN {
            return Err(Error::BadSigningKey);
        }
        let Some(rest) = bytes.strip_prefix(HEADER.as_bytes()) else {
            return SigningKey::from_pkcs8(bytes).map(Self::from);
        };
        let lines = core::str::from_utf8(rest).map_err(|_| Error::BadSigningKey)?;
        let (mut current, mut others) = (None, Vec::new());
        for line in lines.trim_matches('\n').split('\n') {
            let held = line_of(line).ok_or(Error::BadSigningKey)?;
            let seen = current.iter().chain(&others).any(|other: &Held| other.kid() == held.kid());
            let second = held.is_staged() && others.iter().any(Held::is_staged);
            if seen || second || others.len() + 1 > MAX_JWKS_KEYS {
                return Err(Error::BadSigningKey);
            }
            match held.state {
                KeyState::Current { .. } if current.is_some() => return Err(Error::BadSigningKey),
                KeyState::Current { .. } => current = Some(held),
                _ => others.push(held),
            }
        }
        match current {
            Some(current) if others.len() < MAX_JWKS_KEYS => Ok(Self { current, others }),
            _ => Err(Error::BadSigningKey),
        }
    }
}

const HEADER: &str = "comity-keyring 1";
const CURRENT: &str = "current";
const STAGED: &str = "staged";
const RETIRED: &str = "retired";

fn line_of(line: &str) -> Option<Held> {
    let mut words = line.split(' ');
    let (state, at, key) = (words.next()?, words.next()?, words.next()?);
    let at = Timestamp::from_millis(at.parse().ok()?);
    let state = match state {
        CURRENT => KeyState::Current { since: at },
        STAGED => KeyState::Staged { since: at },
        RETIRED => KeyState::Retired { until: at },
        _ => return None,
    };
    let key = Secret::new(b64::decode(key)?);
    let key = SigningKey::from_pkcs8(key.expose()).ok()?;
    words.next().is_none().then(|| Held { key: Arc::new(key), state })
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}
