//! A directory that a sandbox, a partner server and chats share: where each finds the others.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The integrator id of the partner server in a place.
pub(crate) const INTEGRATOR: u16 = 1;

/// Such a directory.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

/// Where the sandbox is, as it said when it was ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Gatekeeper {
    pub(crate) chat: String,
    pub(crate) http: String,
    /// The key its certificates come from, 64 hexadecimal digits.
    pub(crate) root: String,
    pub(crate) admin_token: String,
}

/// Where the partner server is, and who may use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Partner {
    pub(crate) http: String,
    pub(crate) users: Vec<User>,
}

/// A user of the partner server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Place {
    /// The directory `path`, made if need be, for its owner alone.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
        #[cfg(unix)]
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Self(path.canonicalize()?))
    }

    /// The directory `path` as it is.
    pub(crate) fn at(path: &Path) -> Result<Self, Failure> {
        Ok(Self(path.canonicalize()?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn gatekeeper(&self) -> Result<Gatekeeper, Failure> {
        self.read("gatekeeper.json", "no sandbox has run here: start `comity sandbox` first")
    }

    pub(crate) fn partner(&self) -> Result<Partner, Failure> {
        self.read("partner.json", "no partner server has run here: start `comity partner` first")
    }

    pub(crate) fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        write_private(&self.path(name), &serde_json::to_string_pretty(value)?)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str, missing: &str) -> Result<T, Failure> {
        let path = self.path(name);
        let text = fs::read_to_string(&path).map_err(|e| format!("{missing} ({}: {e})", path.display()))?;
        Ok(serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?)
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())?;
    Ok(())
}

/// A fresh secret of 128 bits, as text.
pub(crate) fn fresh_secret() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| format!("no randomness: {e}"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
