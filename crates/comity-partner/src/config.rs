//! The ready server's configuration: file < environment < flag.

use crate::limits::{
    DEFAULT_MAX_DOWNLOADS, DEFAULT_MAX_MEDIA_LEN, DEFAULT_MAX_MEDIA_TOTAL, DEFAULT_MAX_UPLOADS,
    DEFAULT_MEDIA_RETENTION_DAYS, DEFAULT_ROTATE_KEYS_DAYS, DEFAULT_UPLOAD_EXPIRY_HOURS, DEFAULT_USER_MAX_BYTES,
    DEFAULT_USER_MAX_FILES, MAX_BUCKET_FILE,
};
use crate::outgoing::configured_url;
use crate::webpush::check_subject;
use crate::{Error, OidcConfig, SidecarAuth, StaticUsers, Webhook, WebhookKey};
use comity_core::{Secret, UserVisibleId};
use comity_identity::WHATSAPP;
use comity_server::config::{de_secret, secret};
use comity_server::limits::DEFAULT_MAX_CONNECTIONS;
use comity_server::{Tls, TlsFiles};
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
    /// Directory of the database, with the signing keys, and the media files.
    pub data_dir: PathBuf,
    /// Where the gatekeeper publishes its keys.
    pub gatekeeper_jwks_url: String,
    /// The `iss` of the gatekeeper's tokens.
    pub gatekeeper_issuer: String,
    /// The gatekeeper's audience string: the `aud` of ownership tokens.
    pub audience: String,
    /// The profile: `sandbox`, `whatsapp-1.0.3`, or a file.
    pub profile: String,
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
    /// Hours after which an upload in parts that is not whole is given up.
    pub upload_expiry_hours: u32,
    /// Uploads at once.
    pub max_uploads: usize,
    /// Downloads at once.
    pub max_downloads: usize,
    /// Media files of one user.
    pub user_max_media_files: u64,
    /// All media files of one user together, in bytes.
    pub user_max_media_bytes: u64,
    /// Connections at once.
    pub max_connections: usize,
    /// TLS: the certificate chain in PEM, read again when it changes and on SIGHUP.
    pub tls_chain: Option<PathBuf>,
    /// TLS: its private key in PEM.
    pub tls_key: Option<PathBuf>,
    /// A second address, in the clear, for `/livez`, `/readyz` and `/metrics`; without it `/metrics` is served in a sandbox alone.
    pub listen_ops: Option<SocketAddr>,
    /// Clients' addresses are the last in `X-Forwarded-For`, which a proxy in front appends.
    pub forwarded_for: bool,
    /// Days after which the signing key is changed; 0: by an operator alone.
    pub rotate_keys_days: u32,
    /// Users of the partner's OpenID provider.
    pub oidc: Option<OidcConfig>,
    /// The partner's own back end.
    pub sidecar: Option<SidecarConfig>,
    /// Whole media files are objects of this bucket, not files of `data_dir`.
    pub s3: Option<S3Config>,
    /// Wake-ups by Web Push.
    pub web_push: Option<WebPushConfig>,
    /// The static users.
    pub users: Vec<UserConfig>,
}

/// Sidecar mode: what the partner's own back end is asked over signed HTTP, and the secret of the signature: `secret` or
/// `secret_file`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SidecarConfig {
    /// Asked who a client's user is.
    pub auth_url: Option<String>,
    /// Handed the push calls.
    pub push_url: Option<String>,
    /// `whsec_` and base64 of 24 to 64 bytes.
    #[serde(deserialize_with = "de_secret")]
    pub secret: Option<Secret<String>>,
    /// A file with that.
    pub secret_file: Option<PathBuf>,
}

/// A bucket of an S3-compatible object store, and the key to it: `secret_access_key` or `secret_access_key_file`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct S3Config {
    /// Where the store is: https, or http to this machine. Default: Amazon's of the region.
    pub endpoint: Option<String>,
    /// The region, which signatures name.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What the names of objects begin with, before a `/`; all objects named so are this server's.
    pub prefix: String,
    /// The bucket is named in the path of a URL, not in its host.
    pub path_style: bool,
    /// The id of the access key.
    pub access_key_id: String,
    /// Its secret.
    #[serde(deserialize_with = "de_secret")]
    pub secret_access_key: Option<Secret<String>>,
    /// A file with that.
    pub secret_access_key_file: Option<PathBuf>,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".into(),
            bucket: String::new(),
            prefix: "comity-media".into(),
            path_style: true,
            access_key_id: String::new(),
            secret_access_key: None,
            secret_access_key_file: None,
        }
    }
}

impl S3Config {
    fn check(&self, sandbox: bool) -> Result<(), Error> {
        let plain = |text: &str, more: &[u8]| {
            (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        let segments =
            |text: &str| text.split('/').all(|part| plain(part, b"-_.") && !part.trim_matches('.').is_empty());
        for (key, fits) in [
            ("region", plain(&self.region, b"-")),
            ("bucket", plain(&self.bucket, b"-.") && self.bucket.len() <= 63 && !self.bucket.starts_with('.')),
            ("prefix", segments(&self.prefix)),
            ("access_key_id", (1..=128).contains(&self.access_key_id.len()) && self.access_key_id.is_ascii()),
        ] {
            if !fits {
                return Err(Error::config(format!("s3.{key} is missing or not one")));
            }
        }
        self.endpoint_url(sandbox)?;
        self.secret().map(|_| ())
    }

    /// Where requests go: with the bucket in the host, unless it is in the path.
    pub(crate) fn endpoint_url(&self, sandbox: bool) -> Result<reqwest::Url, Error> {
        let amazon = || format!("https://s3.{}.amazonaws.com", self.region);
        let mut url = configured_url("s3.endpoint", &self.endpoint.clone().unwrap_or_else(amazon), sandbox, true)?;
        if url.path() != "/" || url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(Error::config("s3.endpoint must be scheme://host[:port] alone"));
        }
        if !self.path_style {
            let host = format!("{}.{}", self.bucket, url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|_| Error::config("s3.path_style = false needs a host with a name"))?;
        }
        Ok(url)
    }

    pub(crate) fn secret(&self) -> Result<Secret<String>, Error> {
        let given =
            secret("s3.secret_access_key", self.secret_access_key.as_ref(), self.secret_access_key_file.as_ref());
        given?.ok_or_else(|| Error::config("s3.secret_access_key or s3.secret_access_key_file is required"))
    }
}

/// Web Push.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WebPushConfig {
    /// How push services reach the operator: `mailto:…` or an https URL.
    pub subject: String,
}

/// A static user: `id` and one of `secret`, `secret_file`, `secret_sha256`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UserConfig {
    /// The user-visible id, which is also the user name of HTTP Basic.
    pub id: String,
    /// The secret itself.
    #[serde(default, deserialize_with = "de_secret")]
    pub secret: Option<Secret<String>>,
    /// A file with the secret.
    pub secret_file: Option<PathBuf>,
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
            profile: "sandbox".into(),
            require_bearer: true,
            sandbox: false,
            max_media_len: DEFAULT_MAX_MEDIA_LEN,
            max_media_total: DEFAULT_MAX_MEDIA_TOTAL,
            media_retention_days: DEFAULT_MEDIA_RETENTION_DAYS,
            upload_expiry_hours: DEFAULT_UPLOAD_EXPIRY_HOURS,
            max_uploads: DEFAULT_MAX_UPLOADS,
            max_downloads: DEFAULT_MAX_DOWNLOADS,
            user_max_media_files: DEFAULT_USER_MAX_FILES,
            user_max_media_bytes: DEFAULT_USER_MAX_BYTES,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            tls_chain: None,
            tls_key: None,
            listen_ops: None,
            forwarded_for: false,
            rotate_keys_days: DEFAULT_ROTATE_KEYS_DAYS,
            oidc: None,
            sidecar: None,
            s3: None,
            web_push: None,
            users: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Error::Server`], with the line and what is wrong there.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(comity_server::config::read_toml(path)?)
    }

    /// Checks everything that can be checked without the network, the files of secrets and of the certificate included.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::config(what));
        if let Some(origin) = &self.origin {
            check_origin(origin, self.sandbox)?;
        } else if self.listen.ip().is_unspecified() {
            return Err(Error::config(format!("origin is required: nobody can reach {}", self.listen)));
        } else if !self.sandbox {
            return wrong("origin is required (the https address of this server) unless sandbox = true");
        }
        configured_url("gatekeeper_jwks_url", &self.gatekeeper_jwks_url, self.sandbox, false)?;
        let counts = [self.max_uploads, self.max_downloads, self.max_connections];
        let sizes = [self.max_media_len, self.user_max_media_files, self.user_max_media_bytes];
        if counts.contains(&0) || sizes.contains(&0) || self.media_retention_days == 0 || self.upload_expiry_hours == 0
        {
            return wrong("a limit is 0: nothing would be served");
        }
        comity_server::config::profile(&self.profile)?;
        if self.audience.is_empty() || self.gatekeeper_issuer.is_empty() {
            return wrong("audience and gatekeeper_issuer must not be empty");
        }
        let ways = [!self.users.is_empty(), self.oidc.is_some(), self.auth_url().is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            return wrong("[[users]], [oidc] and sidecar.auth_url: one of them says who users are, not several");
        }
        if let Some(oidc) = &self.oidc {
            oidc.check(self.sandbox)?;
        }
        if let Some(web_push) = &self.web_push {
            check_subject(&web_push.subject)?;
        }
        if let Some(s3) = &self.s3 {
            s3.check(self.sandbox)?;
            if !cfg!(feature = "s3") {
                return wrong("s3: this server was built without it");
            }
            if self.max_media_len > MAX_BUCKET_FILE {
                return Err(Error::config(format!("max_media_len: an object has at most {MAX_BUCKET_FILE} bytes")));
            }
        }
        self.sidecar_auth()?;
        self.webhook()?;
        self.tls()?;
        self.static_users().map(|_| ())
    }

    fn auth_url(&self) -> Option<&str> {
        self.sidecar.as_ref()?.auth_url.as_deref()
    }

    fn webhook_key(&self) -> Result<WebhookKey, Error> {
        let sidecar = self.sidecar.as_ref();
        let secret =
            sidecar.map(|s| secret("sidecar.secret", s.secret.as_ref(), s.secret_file.as_ref())).transpose()?;
        let missing = || Error::config("sidecar.secret or sidecar.secret_file is required");
        WebhookKey::parse(secret.flatten().ok_or_else(missing)?.expose())
    }

    pub(crate) fn sidecar_auth(&self) -> Result<Option<SidecarAuth>, Error> {
        self.auth_url().map(|url| SidecarAuth::new(url, self.webhook_key()?, self.sandbox)).transpose()
    }

    pub(crate) fn webhook(&self) -> Result<Option<Webhook>, Error> {
        let url = self.sidecar.as_ref().and_then(|sidecar| sidecar.push_url.as_deref());
        url.map(|url| Webhook::new(url, self.webhook_key()?, self.sandbox)).transpose()
    }

    /// The certificate, if there is one.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Error> {
        match (&self.tls_chain, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(chain), Some(key)) => Ok(Some(Tls::load(TlsFiles { chain: chain.clone(), key: key.clone() })?)),
            _ => Err(Error::config("tls_chain and tls_key: both or neither")),
        }
    }

    /// The table of static users.
    ///
    /// # Errors
    /// [`Error::Server`], naming the user by its place in the list.
    pub fn static_users(&self) -> Result<StaticUsers, Error> {
        let mut users = StaticUsers::new();
        for (n, user) in self.users.iter().enumerate() {
            let wrong = |what: &str| Error::config(format!("user number {}: {what}", n + 1));
            let id: UserVisibleId = user.id.parse().map_err(|_| wrong("id is not a user-visible id"))?;
            let given = secret("secret", user.secret.as_ref(), user.secret_file.as_ref());
            let digest = match (given.map_err(|e| wrong(&e.to_string()))?, &user.secret_sha256) {
                (Some(secret), None) => Sha256::digest(secret.expose()).into(),
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
    let url = reqwest::Url::parse(origin).map_err(|_| Error::config("origin is not a URL"))?;
    if url.scheme() != "https" && !(sandbox && url.scheme() == "http") {
        return Err(Error::config("origin must be https (http needs sandbox = true)"));
    }
    let canonical = url.origin().ascii_serialization();
    if canonical != origin {
        return Err(Error::config(format!("origin must be written {canonical}, without a path")));
    }
    Ok(())
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}
