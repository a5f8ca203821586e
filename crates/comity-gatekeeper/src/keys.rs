//! The gatekeeper's own keys, in its data directory: made at the first start, mode 0600, never anywhere else.

use crate::Error;
use crate::limits::BEARER_ROTATE;
use crate::rng::{os_rng, random};
use comity_core::{Secret, Timestamp};
use comity_identity::{Algorithm, KeyRing, SigningKey};
use comity_noise::cert::{Issuer, Validity};
use comity_noise::{ResponderConfig, StaticKey};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

/// How long a certificate chain holds.
const CHAIN_VALID: Duration = Duration::from_secs(90 * 86_400);
/// How often a new one is made, beside every start.
pub(crate) const CHAIN_RENEW: Duration = Duration::from_secs(30 * 86_400);

/// Where the keys of the bearer tokens are.
const BEARER: &str = "bearer.keys";

/// What signs and authenticates for the gatekeeper.
pub(crate) struct Keys {
    /// Signs intermediates: what clients are given as configuration.
    pub(crate) root: StaticKey,
    /// The Noise static key.
    pub(crate) server: StaticKey,
    /// Sign the bearer tokens of calls to partners.
    pub(crate) bearer: KeyRing,
    /// Authenticates the gatekeeper's own short-lived tokens (media uploads).
    pub(crate) mac: Secret<[u8; 32]>,
}

impl Keys {
    /// Loads the keys under `dir`, making what is missing.
    pub(crate) fn open(dir: &Path, now: Timestamp) -> Result<Self, Error> {
        let static_key = |name| -> Result<StaticKey, Error> {
            let bytes = load(dir, name, || Ok(StaticKey::generate(&mut os_rng()).to_bytes().expose().to_vec()))?;
            bytes.expose().as_slice().try_into().map(StaticKey::from_bytes).map_err(|_| Error::KeyFile(name))
        };
        let bearer = load(dir, BEARER, || {
            let ring = match fs::read(dir.join("bearer.pk8")) {
                // The single key of a data directory from before there were rings.
                Ok(single) => {
                    KeyRing::from_bytes(Secret::new(single).expose()).map_err(|_| Error::KeyFile("bearer.pk8"))?
                }
                Err(_) => KeyRing::new(bearer_key()?, now),
            };
            ring.to_bytes().map(|bytes| bytes.expose().clone()).map_err(|_| Error::Internal("key encoding failed"))
        })?;
        let mac = load(dir, "mac.key", || Ok(random::<32>().to_vec()))?;
        Ok(Self {
            root: static_key("root.key")?,
            server: static_key("server.key")?,
            bearer: KeyRing::from_bytes(bearer.expose()).map_err(|_| Error::KeyFile(BEARER))?,
            mac: Secret::new(mac.expose().as_slice().try_into().map_err(|_| Error::KeyFile("mac.key"))?),
        })
    }

    /// The server key with a fresh chain from the root.
    pub(crate) fn responder(&self, now: Timestamp) -> ResponderConfig {
        let validity =
            Validity { not_before: now.as_secs().saturating_sub(3600), not_after: now.after(CHAIN_VALID).as_secs() };
        let rng = &mut os_rng();
        let issuer = Issuer::new(&self.root, StaticKey::generate(rng), 1, validity, rng);
        ResponderConfig::new(self.server.clone(), issuer.chain(self.server.public(), 2, validity, rng))
    }
}

fn bearer_key() -> Result<SigningKey, Error> {
    SigningKey::generate(Algorithm::Rs256).map_err(|_| Error::Internal("key generation failed"))
}

/// Brings the ring to where it should stand at `now`, and stores it under `dir`; `None` if it stands there. Takes some
/// tenths of a second when a key is made.
pub(crate) fn rotate_bearer(dir: &Path, ring: &KeyRing, now: Timestamp) -> Result<Option<KeyRing>, Error> {
    let mut next = ring.clone();
    let step = next.advance(BEARER_ROTATE, now);
    if step.wants_key {
        next.stage(bearer_key()?, now).map_err(|_| Error::Internal("key ring"))?;
    }
    if !step.changed && !step.wants_key {
        return Ok(None);
    }
    let bytes = next.to_bytes().map_err(|_| Error::Internal("key encoding failed"))?;
    let path = dir.join(BEARER);
    write_private(&path, bytes.expose()).map_err(Error::io(path.display().to_string()))?;
    Ok(Some(next))
}

fn load(
    dir: &Path,
    name: &'static str,
    make: impl FnOnce() -> Result<Vec<u8>, Error>,
) -> Result<Secret<Vec<u8>>, Error> {
    let path = dir.join(name);
    match fs::read(&path) {
        Ok(bytes) => return Ok(Secret::new(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io(path.display().to_string())(e)),
    }
    let bytes = Secret::new(make()?);
    write_private(&path, bytes.expose()).map_err(Error::io(path.display().to_string()))?;
    Ok(bytes)
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
