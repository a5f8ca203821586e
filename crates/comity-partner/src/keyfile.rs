//! The signing key on disk: made once, mode 0600, never overwritten.

use crate::Error;
use comity_identity::{Algorithm, SigningKey};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// Largest key file read, in bytes.
const MAX_LEN: u64 = comity_identity::limits::MAX_PKCS8_LEN as u64;

/// Loads the PKCS#8 key at `path`, or makes an RSA key there.
///
/// # Errors
/// [`Error::Io`]; [`Error::Identity`] if the file is not a key; [`Error::Config`] if others than its owner may read it.
pub fn load_or_generate(path: &Path) -> Result<SigningKey, Error> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    let what = || format!("cannot make the signing key {}", path.display());
    let identity = |source| Error::Identity { what: what(), source };
    let key = SigningKey::generate(Algorithm::Rs256).map_err(identity)?;
    let pkcs8 = key.to_pkcs8().map_err(identity)?;
    match create(path, pkcs8.expose()) {
        Ok(()) => Ok(key),
        // Another process was first: its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            load(path)?.ok_or(()).map_err(|()| Error::Config(format!("{} comes and goes", path.display())))
        }
        Err(source) => Err(Error::Io { what: what(), source }),
    }
}

fn load(path: &Path) -> Result<Option<SigningKey>, Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { what: format!("cannot open {}", path.display()), source }),
    };
    let io = |source| Error::Io { what: format!("cannot read {}", path.display()), source };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(Error::Config(format!("{} must be readable by its owner alone (chmod 600)", path.display())));
        }
    }
    let mut der = Vec::with_capacity(4096);
    file.take(MAX_LEN + 1).read_to_end(&mut der).map_err(io)?;
    let der = comity_core::Secret::new(der);
    let what = || format!("{} is not a signing key", path.display());
    SigningKey::from_pkcs8(der.expose()).map(Some).map_err(|source| Error::Identity { what: what(), source })
}

/// Complete and durable under its name, or not there; an existing file stays.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::hard_link(&temporary, path) // unlike a rename, fails if there is one
    });
    let _gone = fs::remove_file(&temporary);
    written?;
    fs::File::open(dir)?.sync_all()
}
