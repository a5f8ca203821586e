//! The signing keys of a running server: kept in the store, changed by an operator or by age, published (PROTOCOL §3).

use crate::limits::KEYS_POLL;
use crate::metrics::KEY_CHANGES;
use crate::storage::{PartnerStore, SecretName};
use crate::{Error, clock};
use comity_core::{Profile, StoreError, Timestamp};
use comity_identity::{Algorithm, KeyRing, KeyState, SigningKey, TokenIssuer};
use core::time::Duration;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::task::AbortOnDropHandle;

/// The issuer of ownership tokens at this moment.
pub trait TokenKeys: Send + Sync {
    /// With its keys.
    fn issuer(&self) -> Arc<TokenIssuer>;
}

/// Keys that stay as they are.
impl TokenKeys for Arc<TokenIssuer> {
    fn issuer(&self) -> Arc<TokenIssuer> {
        Self::clone(self)
    }
}

/// The stored key ring in use: a change in the store, by an operator or another process, is in use within [`KEYS_POLL`].
/// Cheap to clone; the task that watches ends with the last clone.
#[derive(Clone)]
pub struct SigningKeys {
    shared: Arc<Shared>,
    _task: Arc<AbortOnDropHandle<()>>,
}

struct Shared {
    store: Arc<dyn PartnerStore>,
    /// The age at which the key is changed; `None`: by an operator alone.
    rotate_every: Option<Duration>,
    current: Mutex<(u64, Arc<TokenIssuer>)>,
}

impl core::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SigningKeys").finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// Loads the ring, or makes one. With `rotate_every`, a key of that age is followed by a fresh one that was published long
    /// enough before. Call it in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Identity`] if what is stored is no ring, or for an `origin` or `audience` out of range.
    pub async fn start(
        store: Arc<dyn PartnerStore>,
        origin: &str,
        audience: &str,
        profile: &Profile,
        rotate_every: Option<Duration>,
    ) -> Result<Self, Error> {
        let (revision, ring) = load_or_make(&*store, None).await?;
        let issuer = TokenIssuer::new(origin, audience, ring)
            .map_err(|source| Error::Identity { what: "the token issuer".into(), source })?
            .with_profile(profile);
        let current = Mutex::new((revision, Arc::new(issuer)));
        let shared = Arc::new(Shared { store, rotate_every, current });
        let task = tokio::spawn(watch(Arc::clone(&shared)));
        Ok(Self { shared, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }
}

impl TokenKeys for SigningKeys {
    fn issuer(&self) -> Arc<TokenIssuer> {
        self.shared.current().1
    }
}

impl Shared {
    fn current(&self) -> (u64, Arc<TokenIssuer>) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, revision: u64, ring: KeyRing) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (revision, Arc::new(current.1.with_keys(ring)));
        metrics::counter!(KEY_CHANGES).increment(1);
        tracing::info!(revision, "the signing keys changed");
    }

    async fn look(&self) -> Result<(), Error> {
        let (revision, issuer) = self.current();
        if self.store.secret_revision(SecretName::SigningKeys).await? != revision {
            if let Some((revision, ring)) = load(&*self.store).await? {
                self.take(revision, ring);
            }
            return Ok(());
        }
        let Some(every) = self.rotate_every else { return Ok(()) };
        if clock::now() < issuer.keys().next_due(every) {
            return Ok(());
        }
        let mut ring = issuer.keys().clone();
        let step = ring.advance(every, clock::now());
        if step.wants_key {
            let key = generate().await?;
            ring.stage(key, clock::now()).map_err(identity)?;
        }
        if step.changed || step.wants_key {
            match store_ring(&*self.store, &ring, revision).await {
                Ok(revision) => self.take(revision, ring),
                Err(Error::Store(StoreError::Conflict)) => {} // another was first; the next look takes it
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn watch(shared: Arc<Shared>) {
    loop {
        if let Err(error) = shared.look().await {
            tracing::error!(%error, "the signing keys could not be looked at; those in use stay");
        }
        tokio::time::sleep(KEYS_POLL).await;
    }
}

fn identity(source: comity_identity::Error) -> Error {
    Error::Identity { what: "the signing keys".into(), source }
}

/// An RSA key takes some tenths of a second: not on a thread that serves connections.
async fn generate() -> Result<SigningKey, Error> {
    let made = tokio::task::spawn_blocking(|| SigningKey::generate(Algorithm::Rs256)).await;
    made.map_err(|_| Error::config("a signing key could not be made"))?.map_err(identity)
}

async fn load(store: &dyn PartnerStore) -> Result<Option<(u64, KeyRing)>, Error> {
    let Some(stored) = store.secret(SecretName::SigningKeys).await? else { return Ok(None) };
    let ring = KeyRing::from_bytes(stored.bytes.expose()).map_err(identity)?;
    Ok(Some((stored.revision, ring)))
}

async fn store_ring(store: &dyn PartnerStore, ring: &KeyRing, replaces: u64) -> Result<u64, Error> {
    let bytes = ring.to_bytes().map_err(identity)?;
    Ok(store.put_secret(SecretName::SigningKeys, bytes, replaces).await?)
}

/// The ring; if there is none, one of the key at `legacy`, or of a fresh one.
pub(crate) async fn load_or_make(store: &dyn PartnerStore, legacy: Option<PathBuf>) -> Result<(u64, KeyRing), Error> {
    loop {
        if let Some(found) = load(store).await? {
            return Ok(found);
        }
        let from_file = legacy.clone().map(|path| tokio::task::spawn_blocking(move || crate::keyfile::load(&path)));
        let from_file = match from_file {
            Some(task) => task.await.map_err(|_| Error::config("the signing key could not be loaded"))??,
            None => None,
        };
        let ring = match from_file {
            Some(key) => KeyRing::from(key),
            None => KeyRing::new(generate().await?, clock::now()),
        };
        match store_ring(store, &ring, 0).await {
            Ok(revision) => return Ok((revision, ring)),
            Err(Error::Store(StoreError::Conflict)) => {} // another process was first: its key counts
            Err(error) => return Err(error),
        }
    }
}

/// What an operator does with the keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyCommand {
    /// Look at them.
    List,
    /// Publish a fresh key, to be the next that signs.
    Stage,
    /// Let the staged key sign.
    Rotate,
    /// Take out the key with this `kid` at once. If it is the one that signs and none is staged, a fresh one takes its place.
    Revoke(String),
}

/// A key of the ring: its `kid` and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// Its id, as published.
    pub kid: String,
    /// Where it stands.
    pub state: KeyState,
}

/// Does what an operator asks with the stored ring, also while a server runs on it; gives the ring as it is then.
///
/// # Errors
/// [`Error::Identity`] if it cannot be done now, saying why; [`Error::Store`].
pub async fn manage_keys(store: &dyn PartnerStore, command: &KeyCommand) -> Result<Vec<KeyStatus>, Error> {
    manage(store, command, clock::now()).await
}

async fn manage(store: &dyn PartnerStore, command: &KeyCommand, now: Timestamp) -> Result<Vec<KeyStatus>, Error> {
    loop {
        let (revision, mut ring) = load_or_make(store, None).await?;
        match command {
            KeyCommand::List => {}
            KeyCommand::Stage => ring.stage(generate().await?, now).map_err(identity)?,
            KeyCommand::Rotate => ring.promote(now).map_err(identity)?,
            KeyCommand::Revoke(kid) => {
                let current = ring.current().public().kid() == kid;
                let staged = ring.keys().any(|(_, state)| matches!(state, KeyState::Staged { .. }));
                if current && !staged {
                    ring.stage(generate().await?, now).map_err(identity)?;
                }
                ring.revoke(kid, now).map_err(identity)?;
            }
        }
        if !matches!(command, KeyCommand::List) {
            match store_ring(store, &ring, revision).await {
                Ok(_) => {}
                Err(Error::Store(StoreError::Conflict)) => continue,
                Err(error) => return Err(error),
            }
        }
        return Ok(ring.keys().map(|(kid, state)| KeyStatus { kid: kid.into(), state }).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SqliteStore;
    use comity_identity::limits::KEY_STAGED_FOR;

    #[tokio::test]
    async fn an_operator_rotates_and_revokes() {
        let store = SqliteStore::in_memory().unwrap();
        let now = Timestamp::from_secs(1_764_000_000);
        let run = |command, now| {
            let store = store.clone();
            async move { manage(&store, &command, now).await }
        };
        let first = run(KeyCommand::List, now).await.unwrap().remove(0).kid;
        assert!(run(KeyCommand::Rotate, now).await.unwrap_err().to_string().contains("no key is staged"));
        let staged = run(KeyCommand::Stage, now).await.unwrap();
        assert_eq!((staged.len(), &staged[0].kid), (2, &first));
        assert!(run(KeyCommand::Stage, now).await.is_err());
        assert!(run(KeyCommand::Rotate, now).await.is_err()); // not yet known everywhere
        let later = now.after(KEY_STAGED_FOR);
        let rotated = run(KeyCommand::Rotate, later).await.unwrap();
        assert_eq!(rotated[0].kid, staged[1].kid);
        assert!(matches!(rotated[1].state, KeyState::Retired { .. }));
        // In an emergency a fresh key takes the place of the one that signs.
        let revoked = run(KeyCommand::Revoke(rotated[0].kid.clone()), later).await.unwrap();
        assert!(revoked.iter().all(|key| key.kid != rotated[0].kid));
        assert!(run(KeyCommand::Revoke("none".into()), later).await.is_err());
        assert_eq!(run(KeyCommand::List, later).await.unwrap(), revoked);
    }
}
