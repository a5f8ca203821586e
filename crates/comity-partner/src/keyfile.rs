//! The signing key of a version before the store: a PKCS#8 file, taken over once.

use crate::Error;
use comity_core::Secret;
use comity_identity::SigningKey;
use comity_identity::limits::MAX_PKCS8_LEN;
use std::path::Path;

/// The key at `path`, if there is such a file.
pub(crate) fn load(path: &Path) -> Result<Option<SigningKey>, Error> {
    let Ok(meta) = std::fs::metadata(path) else { return Ok(None) };
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 != 0 {
        return Err(Error::config(format!("{} must be readable by its owner alone (chmod 600)", path.display())));
    }
    let _ = meta;
    let der = Secret::new(comity_server::config::read_capped(path, MAX_PKCS8_LEN as u64)?);
    let what = || format!("{} is not a signing key", path.display());
    SigningKey::from_pkcs8(der.expose()).map(Some).map_err(|source| Error::Identity { what: what(), source })
}
