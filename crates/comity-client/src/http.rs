//! Calls to the partner's own server (tokens, wake-ups) and to the gatekeeper's enlistment (PROTOCOL §3, §4, §11).

use crate::Error;
use crate::limits::{HTTP_TIMEOUT, MAX_HTTP_ANSWER};
use bytes::Bytes;
use comity_core::Secret;
use comity_media::transfer::{TransferConfig, Transfers};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// The HTTP connections of a client. Cheap to clone: accounts of one process that share one need far less memory.
#[derive(Clone, Debug)]
pub struct Http {
    pub(crate) calls: reqwest::Client,
    pub(crate) transfers: Transfers,
}

impl Http {
    /// Sets up the connection pools; connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Http`] or [`Error::Media`] if the TLS back end cannot be set up.
    pub fn new() -> Result<Self, Error> {
        let calls = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(crate::limits::CONNECT_TIMEOUT)
            .timeout(HTTP_TIMEOUT)
            .build()
            .map_err(|e| http_error("set-up", &e))?;
        Ok(Self { calls, transfers: Transfers::new(TransferConfig::default())? })
    }
}

/// Gives ownership tokens: how a client proves to the gatekeeper which user it is. A partner's application implements it
/// over its own login; [`PartnerServer`] asks the partner-server kit.
pub trait TokenSource: Send + Sync {
    /// A fresh JWT bound to the Noise key whose RFC 7638 thumbprint is `jkt`; or, in words that may be shown, why not.
    fn token(&self, jkt: &str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;
}

/// A partner server of the kit (`comity-partner`), for one of its users.
#[derive(Clone)]
pub struct PartnerServer {
    http: reqwest::Client,
    base: String,
    user: String,
    secret: Secret<String>,
}

impl PartnerServer {
    /// The server at `base` (`https://…`, no path), and the user's credentials there.
    ///
    /// # Errors
    /// As [`Http::new`].
    pub fn new(base: &str, user: &str, secret: &str) -> Result<Self, Error> {
        Ok(Self::with_http(base, user, secret, &Http::new()?))
    }

    /// The same over connections that are shared.
    pub fn with_http(base: &str, user: &str, secret: &str, http: &Http) -> Self {
        Self {
            http: http.calls.clone(),
            base: base.trim_end_matches('/').to_owned(),
            user: user.to_owned(),
            secret: Secret::new(secret.to_owned()),
        }
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn secret(&self) -> &str {
        self.secret.expose()
    }

    /// Waits until the gatekeeper's push call for this user has arrived at the server, at most `wait` (the server answers
    /// after 25 s at the latest). `false`: nothing so far. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub async fn wake(&self, wait: Duration) -> Result<bool, Error> {
        let request = self
            .http
            .get(format!("{}/v1/wake", self.base))
            .basic_auth(&self.user, Some(self.secret.expose()))
            .timeout(wait.saturating_add(HTTP_TIMEOUT));
        let response = request.send().await.map_err(|e| http_error("wake-up", &e))?;
        match response.status().as_u16() {
            200 => Ok(true),
            204 => Ok(false),
            status => Err(Error::Http { what: "wake-up", cause: format!("status {status}") }),
        }
    }
}

impl std::fmt::Debug for PartnerServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PartnerServer({})", self.base)
    }
}

impl TokenSource for PartnerServer {
    fn token(&self, jkt: &str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        let body = serde_json::json!({ "jkt": jkt });
        Box::pin(async move {
            let request = self
                .http
                .post(format!("{}/v1/token", self.base))
                .basic_auth(&self.user, Some(self.secret.expose()))
                .json(&body);
            let response = request.send().await.map_err(|e| cause(&e))?;
            match response.status().as_u16() {
                200 => {}
                401 => return Err("the partner server does not accept the user's credentials".into()),
                status => return Err(format!("status {status}")),
            }
            let answer: serde_json::Value =
                serde_json::from_slice(&limited(response).await?).map_err(|_| "the answer is not JSON".to_owned())?;
            let token = answer.get("token").and_then(serde_json::Value::as_str);
            token.map(str::to_owned).ok_or_else(|| "the answer has no token".to_owned())
        })
    }
}

/// POSTs an enlistment form to the gatekeeper.
pub(crate) async fn enlist(http: &reqwest::Client, base: &str, form: String) -> Result<Bytes, String> {
    let response = http
        .post(format!("{base}/3p/interop_reg"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .map_err(|e| cause(&e))?;
    if response.status().as_u16() != 200 {
        return Err(format!("status {}", response.status().as_u16()));
    }
    limited(response).await
}

async fn limited(mut response: reqwest::Response) -> Result<Bytes, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| cause(&e))? {
        if body.len() + chunk.len() > MAX_HTTP_ANSWER {
            return Err("the answer is too large".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

fn http_error(what: &'static str, error: &reqwest::Error) -> Error {
    Error::Http { what, cause: cause(error) }
}

/// In words, without the URL.
fn cause(error: &reqwest::Error) -> String {
    let what = match error {
        e if e.is_timeout() => "no answer in time",
        e if e.is_connect() => "cannot connect",
        _ => "the connection failed",
    };
    what.to_owned()
}
