//! Configuration: a TOML file, over it `COMITY_GATEKEEPER_*` variables, over them flags (both read by the binary).

use crate::limits::{
    ENLIST_PER_INTEGRATOR_AND_MINUTE, ENLIST_PER_MINUTE, ENLIST_PER_USER_AND_HOUR, MAX_INTEGRATORS,
    MEDIA_PER_INTEGRATOR, STANZAS_PER_INTEGRATOR_AND_SECOND,
};
use crate::{Error, Networks};
use comity_core::{IntegratorId, Profile, Secret};
use comity_server::{Tls, TlsFiles, may_be_public};
use serde::Deserialize;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What the gatekeeper is told before it starts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where chat connections are taken. Port 0 takes a free one.
    #[serde(default = "chat_address")]
    pub listen_chat: SocketAddr,
    /// Where HTTP is served: enlistment, keys, media, administration, chat over WebSocket, probes.
    #[serde(default = "http_address")]
    pub listen_http: SocketAddr,
    /// Where probes and metrics are served, in the clear; without it, at `listen_http`.
    #[serde(default)]
    pub listen_ops: Option<SocketAddr>,
    /// The certificate chain (PEM) of `listen_http`, with `tls_key`; without both it speaks plain HTTP.
    #[serde(default)]
    pub tls_chain: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    /// Database, keys and media; made if it is not there.
    pub data_dir: PathBuf,
    /// The profile: `sandbox`, `whatsapp-1.0.3`, or a file.
    #[serde(default = "sandbox_profile")]
    pub profile: String,
    /// The `aud` that ownership tokens must have (PROTOCOL §3).
    #[serde(default = "sandbox_audience")]
    pub audience: String,
    /// The bearer token of the administration interface; without it there is none.
    #[serde(default)]
    pub admin_token: Option<AdminToken>,
    /// The file of that token, instead.
    #[serde(default)]
    pub admin_token_file: Option<PathBuf>,
    /// A sandbox calls partners by plain HTTP, too.
    #[serde(default = "yes")]
    pub sandbox: bool,
    /// The HTTP listener as clients reach it, for media links; by default `http://{listen_http}`, with TLS `https`.
    #[serde(default)]
    pub public_http: Option<String>,
    /// Enlistments from one address, at once and per minute in the long run.
    #[serde(default = "enlist_per_minute")]
    pub enlist_per_minute: u32,
    /// The address of a client that enlists, or logs in over WebSocket, is the last in `X-Forwarded-For`: only behind a proxy
    /// that appends it.
    #[serde(default)]
    pub forwarded_for: bool,
    /// Where partner users may be.
    #[serde(default)]
    pub location: Networks,
    /// The integrators.
    #[serde(default, rename = "integrator")]
    pub integrators: Vec<Integrator>,
}

/// An integrator and its servers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Integrator {
    /// Its number, 1..=999.
    pub id: u16,
    /// Its name, as people see it.
    pub name: String,
    /// Where its key set and push endpoint live; the `iss` of its tokens.
    pub origin: String,
    /// Where its media host answers: `GET {media_base_url}/{storage_reference}`.
    pub media_base_url: String,
    /// A picture's address.
    #[serde(default)]
    pub icon: String,
    /// What its user-visible ids are.
    #[serde(default)]
    pub identifier_type: IdentifierType,
    /// Where it stands.
    #[serde(default)]
    pub status: IntegratorStatus,
    /// Whether it takes part in groups.
    #[serde(default)]
    pub group_messaging: bool,
    /// Whether its tokens may lack `cnf`: such a token is then good for one time, and whoever steals it before can use it
    /// with another key (PROTOCOL §3).
    #[serde(default)]
    pub allow_unbound_tokens: bool,
    /// How much of it is taken.
    #[serde(default)]
    pub limits: IntegratorLimits,
}

/// How much is taken of one integrator.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegratorLimits {
    /// Enlistments of all its users, at once and per minute in the long run.
    pub enlist_per_minute: u32,
    /// Enlistments of one user, at once and per hour in the long run.
    pub enlist_per_user_and_hour: u32,
    /// Relayed downloads at once.
    pub media_downloads: usize,
    /// Stanzas of all its users, at once and per second in the long run; further ones wait in their sockets.
    pub stanzas_per_second: u32,
}

impl Default for IntegratorLimits {
    fn default() -> Self {
        Self {
            enlist_per_minute: ENLIST_PER_INTEGRATOR_AND_MINUTE,
            enlist_per_user_and_hour: ENLIST_PER_USER_AND_HOUR,
            media_downloads: MEDIA_PER_INTEGRATOR,
            stanzas_per_second: STANZAS_PER_INTEGRATOR_AND_SECOND,
        }
    }
}

/// What user-visible ids are (PROTOCOL §13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentifierType {
    /// E-mail addresses.
    #[default]
    Email,
    /// Phone numbers.
    Pn,
    /// User names.
    Username,
}

impl IdentifierType {
    /// The wire's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Pn => "pn",
            Self::Username => "username",
        }
    }
}

/// Where an integrator stands (PROTOCOL §13), and what it means:
///
/// | | active | onboarding | suspended | removed |
/// |---|---|---|---|---|
/// | enlistment | taken | taken | `blocked` | `bad_integrator` |
/// | log-in | taken | taken | 503 | 403 |
/// | message to its users | stored, push | stored, push | stored, no push | ack 404 |
/// | media of its users | relayed | relayed | 503 | 404 |
/// | its key set | fetched; needed to be ready | fetched | fetched | not fetched |
/// | wire's word | `active` | `onboarding` | `onboarding` | `removed` |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntegratorStatus {
    /// Usable.
    #[default]
    Active,
    /// On the way in.
    Onboarding,
    /// Stopped for now: its users' mail is kept.
    Suspended,
    /// Gone.
    Removed,
}

impl IntegratorStatus {
    /// The wire's word: it has none for what is stopped for now.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Onboarding | Self::Suspended => "onboarding",
            Self::Removed => "removed",
        }
    }
}

/// The administration interface's bearer token.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct AdminToken(Secret<String>);

impl AdminToken {
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &str) -> bool {
        self.0 == Secret::new(other.to_owned())
    }
}

impl From<String> for AdminToken {
    fn from(token: String) -> Self {
        Self(Secret::new(token))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

const fn chat_address() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5222)
}

const fn http_address() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)
}

fn sandbox_profile() -> String {
    "sandbox".into()
}

fn sandbox_audience() -> String {
    "comity-sandbox".into()
}

const fn enlist_per_minute() -> u32 {
    ENLIST_PER_MINUTE
}

const fn yes() -> bool {
    true
}

impl Config {
    /// Parses and checks a TOML document.
    ///
    /// # Errors
    /// [`Error::Server`] says what is wrong and where.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        let parsed = comity_server::config::parse_toml(text);
        let config: Self = parsed.map_err(|(line, what)| Error::config(format!("line {line}: {what}")))?;
        config.check()?;
        Ok(config)
    }

    /// The administration interface's token, from wherever it is.
    pub(crate) fn admin_token(&self) -> Result<Option<AdminToken>, Error> {
        let inline = self.admin_token.as_ref().map(|token| &token.0);
        Ok(comity_server::config::secret("admin_token", inline, self.admin_token_file.as_ref())?.map(AdminToken))
    }

    /// The profile, from wherever it is.
    pub(crate) fn profile(&self) -> Result<Profile, Error> {
        Ok(comity_server::config::profile(&self.profile)?)
    }

    /// The certificate, if there is one.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Error> {
        match (self.tls_chain.clone(), self.tls_key.clone()) {
            (None, None) => Ok(None),
            (Some(chain), Some(key)) => Ok(Some(Tls::load(TlsFiles { chain, key })?)),
            _ => Err(Error::config("`tls_chain` and `tls_key`: both or none")),
        }
    }

    /// Checks what the types do not, files it names included.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn check(&self) -> Result<(), Error> {
        let bad = |what: String| Err(Error::config(what));
        if self.audience.is_empty() {
            return bad("`audience` is empty".into());
        }
        self.profile()?;
        self.admin_token()?;
        self.tls()?;
        self.location.policy()?;
        if self.enlist_per_minute == 0 {
            return bad("`enlist_per_minute` is 0".into());
        }
        if self.integrators.len() > MAX_INTEGRATORS {
            return bad(format!("more than {MAX_INTEGRATORS} integrators"));
        }
        for (index, integrator) in self.integrators.iter().enumerate() {
            let id = integrator.id;
            if IntegratorId::new(id).is_err() {
                return bad(format!("integrator {id}: an id is 1..=999"));
            }
            let limits = &integrator.limits;
            let rates = [limits.enlist_per_minute, limits.enlist_per_user_and_hour, limits.stanzas_per_second];
            if rates.contains(&0) || limits.media_downloads == 0 {
                return bad(format!("integrator {id}: a limit is 0; `status = \"suspended\"` stops it"));
            }
            if self.integrators.iter().skip(index + 1).any(|other| other.id == id || other.origin == integrator.origin)
            {
                return bad(format!("integrator {id}: its id or its origin occurs twice"));
            }
            for (name, url) in [("origin", &integrator.origin), ("media_base_url", &integrator.media_base_url)] {
                let Ok(parsed) = reqwest::Url::parse(url) else {
                    return bad(format!("integrator {id}: `{name}` is not a URL"));
                };
                let scheme_ok = parsed.scheme() == "https" || (self.sandbox && parsed.scheme() == "http");
                if !scheme_ok || parsed.host_str().is_none() || parsed.query().is_some() || parsed.fragment().is_some()
                {
                    return bad(format!(
                        "integrator {id}: `{name}` must be an https URL without query (http in a sandbox)"
                    ));
                }
                let public = self.sandbox || parsed.host_str().is_some_and(may_be_public);
                if !public || !parsed.username().is_empty() || parsed.password().is_some() {
                    return bad(format!(
                        "integrator {id}: `{name}` must lead to the public internet (anywhere in a sandbox), without credentials"
                    ));
                }
            }
            if integrator.origin.ends_with('/') {
                return bad(format!("integrator {id}: `origin` ends in `/`, a token's `iss` does not"));
            }
        }
        Ok(())
    }
}
