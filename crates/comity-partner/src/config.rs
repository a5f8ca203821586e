//! The ready server's configuration: file < environment < flag.

use crate::limits::{
    DEFAULT_MAX_DOWNLOADS, DEFAULT_MAX_MEDIA_LEN, DEFAULT_MAX_MEDIA_TOTAL, DEFAULT_MAX_UPLOADS,
    DEFAULT_MEDIA_RETENTION_DAYS,
};
use crate::{Error, StaticUsers};
use comity_core::{Secret, UserVisibleId};
use comity_identity::WHATSAPP;
use comity_server::config::de_secret;
use comity_server::limits::DEFAULT_MAX_CONNECTIONS;
use core::net::SocketAddr;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// The configuration of the ready server; each field is a key of the TOML file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// This server's origin as the gatekeeper reaches it: the `iss` of tokens. Default: `http://` and the address
    /// listened on, which only a sandbox may use.
    pub origin: Option<String>,
    /// Directory of the signing key and the media files.
    pub data_dir: PathBuf,
    /// Where the gatekeeper publishes its keys.
    pub gatekeeper_jwks_url: String,
    /// The `iss` of the gatekeeper's tokens.
    pub gatekeeper_issuer: String,
    /// The gatekeeper's audience string: the `aud` of ownership tokens.
    pub audience: String,
    /// Whether `GET /media/…` needs the gatekeeper's bearer token.
    pub require_bearer: bool,
    /// Plain http is allowed for `origin` and `gatekeeper_jwks_url`.
    pub sandbox: bool,
    /// Largest media file, in bytes.
    pub max_media_len: u64,
    /// All media files together, in bytes.
    pub max_media_total: u64,
    /// Days a media file is kept.
    pub media_retention_days: u32,
    /// Uploads at once.
    pub max_uploads: usize,
    /// Downloads at once.
    pub max_downloads: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// The static users.
    pub users: Vec<UserConfig>,
}

/// A static user: `id` and either `secret` or `secret_sha256`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UserConfig {
    /// The user-visible id, which is also the user name of HTTP Basic.
    pub id: String,
    /// The secret itself.
    #[serde(default, deserialize_with = "de_secret")]
    pub secret: Option<Secret<String>>,
    /// Its SHA-256 in hexadecimal.
    pub secret_sha256: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            origin: None,
            data_dir: PathBuf::from("partner-data"),
            gatekeeper_jwks_url: "http://127.0.0.1:8080/.well-known/jwks".into(),
            gatekeeper_issuer: WHATSAPP.into(),
            audience: "comity-sandbox".into(),
            require_bearer: true,
            sandbox: false,
            max_media_len: DEFAULT_MAX_MEDIA_LEN,
            max_media_total: DEFAULT_MAX_MEDIA_TOTAL,
            media_retention_days: DEFAULT_MEDIA_RETENTION_DAYS,
            max_uploads: DEFAULT_MAX_UPLOADS,
            max_downloads: DEFAULT_MAX_DOWNLOADS,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            users: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] with the line and what is wrong there.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(comity_server::config::read_toml(path)?)
    }

    /// Checks everything that can be checked without touching the network or the disk.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<(), Error> {
        if let Some(origin) = &self.origin {
            check_origin(origin, self.sandbox)?;
        } else if self.listen.ip().is_unspecified() {
            return Err(Error::Config(format!("origin is required: nobody can reach {}", self.listen)));
        } else if !self.sandbox {
            return Err(Error::Config(
                "origin is required (the https address of this server) unless sandbox = true".into(),
            ));
        }
        let url = &self.gatekeeper_jwks_url;
        if !(url.starts_with("https://") || self.sandbox && url.starts_with("http://")) {
            return Err(Error::Config("gatekeeper_jwks_url must be https (http needs sandbox = true)".into()));
        }
        let counts = [self.max_uploads, self.max_downloads, self.max_connections];
        if counts.contains(&0) || self.max_media_len == 0 || self.media_retention_days == 0 {
            return Err(Error::Config("a limit is 0: nothing would be served".into()));
        }
        if self.audience.is_empty() || self.gatekeeper_issuer.is_empty() {
            return Err(Error::Config("audience and gatekeeper_issuer must not be empty".into()));
        }
        self.static_users().map(|_| ())
    }

    /// The table of static users.
    ///
    /// # Errors
    /// [`Error::Config`], naming the user by its place in the list.
    pub fn static_users(&self) -> Result<StaticUsers, Error> {
        let mut users = StaticUsers::new();
        for (n, user) in self.users.iter().enumerate() {
            let wrong = |what: &str| Error::Config(format!("user number {}: {what}", n + 1));
            let id: UserVisibleId = user.id.parse().map_err(|_| wrong("id is not a user-visible id"))?;
            let digest = match (&user.secret, &user.secret_sha256) {
                (Some(secret), None) if !secret.expose().is_empty() => Sha256::digest(secret.expose()).into(),
                (None, Some(text)) => hex32(text).ok_or_else(|| wrong("secret_sha256 is not 64 hexadecimal digits"))?,
                _ => return Err(wrong("either secret or secret_sha256 is required")),
            };
            users.add(id, digest).map_err(|e| wrong(&e.to_string()))?;
        }
        Ok(users)
    }
}

/// An origin is `scheme://host[:port]`, as RFC 6454 §6.2 writes it.
fn check_origin(origin: &str, sandbox: bool) -> Result<(), Error> {
    let url = reqwest::Url::parse(origin).map_err(|_| Error::Config("origin is not a URL".into()))?;
    if url.scheme() != "https" && !(sandbox && url.scheme() == "http") {
        return Err(Error::Config("origin must be https (http needs sandbox = true)".into()));
    }
    let canonical = url.origin().ascii_serialization();
    if canonical != origin {
        return Err(Error::Config(format!("origin must be written {canonical}, without a path")));
    }
    Ok(())
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}
