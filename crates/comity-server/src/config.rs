//! Configuration: a TOML file, over it environment variables and flags (both by clap), secrets from files of their own.

use crate::Error;
use crate::limits::{MAX_CONFIG_LEN, MAX_SECRET_LEN};
use comity_core::{Profile, Secret};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Reads a TOML file of at most [`MAX_CONFIG_LEN`] bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] with the line and what is wrong there, without the line's text, which may hold a secret.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = read_capped(path, MAX_CONFIG_LEN)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Config(format!("{}: not UTF-8", path.display())))?;
    parse_toml(&text).map_err(|(line, what)| Error::Config(format!("{}, line {line}: {what}", path.display())))
}

/// Parses TOML.
///
/// # Errors
/// The line, from 1, and what is wrong there, without the line's text.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, (usize, String)> {
    // Not the error's own text: it quotes the line.
    toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
        (line, e.message().to_owned())
    })
}

/// A profile by its name, or from a TOML file of at most [`MAX_CONFIG_LEN`] bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] names the field.
pub fn profile(name_or_path: &str) -> Result<Profile, Error> {
    if let Ok(profile) = Profile::named(name_or_path) {
        return Ok(profile);
    }
    let path = Path::new(name_or_path);
    let text = String::from_utf8(read_capped(path, MAX_CONFIG_LEN)?)
        .map_err(|_| Error::Config(format!("{}: not UTF-8", path.display())))?;
    Profile::from_toml(&text).map_err(|e| Error::Config(format!("{}: {e}", path.display())))
}

/// Reads a whole file of at most `max` bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] if it is larger.
pub fn read_capped(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(Error::io(format!("cannot open {}", path.display())))?;
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(Error::io(format!("cannot read {}", path.display())))?;
    if bytes.len() as u64 > max {
        return Err(Error::Config(format!("{} is larger than {max} bytes", path.display())));
    }
    Ok(bytes)
}

/// A secret that stands in the configuration itself (`key`) or in a file that it names (`key_file`), not both. Of a file,
/// one line break at the end does not belong to the secret.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] if both are given, or the secret is empty, too long or not UTF-8.
pub fn secret(
    key: &str,
    inline: Option<&Secret<String>>,
    file: Option<&PathBuf>,
) -> Result<Option<Secret<String>>, Error> {
    let found = match (inline, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(Error::Config(format!("{key} and {key}_file: one of them, not both"))),
        (Some(secret), None) => secret.clone(),
        (None, Some(path)) => {
            let bytes = Secret::new(read_capped(path, MAX_SECRET_LEN)?);
            let text = core::str::from_utf8(bytes.expose())
                .map_err(|_| Error::Config(format!("{}: not UTF-8", path.display())))?;
            let line = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
            Secret::new(line.to_owned())
        }
    };
    if found.expose().is_empty() {
        return Err(Error::Config(format!("{key} is empty")));
    }
    Ok(Some(found))
}

/// For `#[serde(deserialize_with)]`: a secret in a configuration.
///
/// # Errors
/// As the deserializer says.
pub fn de_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(Secret::new(text)))
}

/// Puts a value of the environment or a flag over one of the file.
pub fn overlay<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
