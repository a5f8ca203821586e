//! The gatekeeper's own keys, in its data directory: made at the first start, mode 0600, never anywhere else.

use crate::Error;
use crate::rng::{os_rng, random};
use comity_core::{Secret, Timestamp};
use comity_identity::{Algorithm, SigningKey};
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

/// What signs and authenticates for the gatekeeper.
pub(crate) struct Keys {
    /// Signs intermediates: what clients are given as configuration.
    pub(crate) root: StaticKey,
    /// The Noise static key.
    pub(crate) server: StaticKey,
    /// Signs the bearer tokens of calls to partners (PKCS #8).
    pub(crate) bearer: Secret<Vec<u8>>,
    /// Authenticates the gatekeeper's own short-lived tokens (media uploads).
    pub(crate) mac: Secret<[u8; 32]>,
}

impl Keys {
    /// Loads the keys under `dir`, making what is missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let static_key = |name| -> Result<StaticKey, Error> {
            let bytes = load(dir, name, || Ok(StaticKey::generate(&mut os_rng()).to_bytes().expose().to_vec()))?;
            bytes.expose().as_slice().try_into().map(StaticKey::from_bytes).map_err(|_| Error::KeyFile(name))
        };
        let bearer = load(dir, "bearer.pk8", || {
            let key = SigningKey::generate(Algorithm::Rs256).map_err(|_| Error::Internal("key generation failed"))?;
            let pkcs8 = key.to_pkcs8().map_err(|_| Error::Internal("key generation failed"))?;
            Ok(pkcs8.expose().clone())
        })?;
        let mac = load(dir, "mac.key", || Ok(random::<32>().to_vec()))?;
        Ok(Self {
            root: static_key("root.key")?,
            server: static_key("server.key")?,
            bearer,
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
