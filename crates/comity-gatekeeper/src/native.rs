//! What an operator asks of a running gatekeeper: to register a native user. One process has the database; the request goes
//! through its administration interface, so that a connection with an old key ends and nothing is written beside it.

use crate::limits::{ADMIN_DEADLINE, MAX_ADMIN_ANSWER};
use crate::{Config, Error};
use reqwest::redirect::Policy;
use serde::Serialize;
use serde_json::Value;

/// A native account as `POST /admin/native` takes it.
#[derive(Clone, Debug, Serialize)]
pub struct NativeUser {
    /// 5 to 15 digits, with or without `+`.
    pub phone_number: String,
    /// The Noise public key that logs in for it: 32 bytes in base64url without padding.
    pub noise_key: String,
    /// Shown to others.
    pub display_name: String,
    /// Whether it sees partner users as `{15 digits}@lid` (PROTOCOL §2).
    pub alias_view: bool,
    /// The integrators whose users may reach it, as the whole list; `None` leaves it as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_in: Option<Vec<u16>>,
}

/// Registers `user` with the gatekeeper that runs on `config`, reached at `url`, else where the configuration says; gives the
/// account's JID. Registering it again gives it the new key, name and view.
///
/// # Errors
/// [`Error::Server`]: there is no admin token, the gatekeeper cannot be reached, or why it refused.
pub async fn register_native(config: &Config, url: Option<&str>, user: &NativeUser) -> Result<String, Error> {
    let token = config.admin_token()?.ok_or_else(|| Error::config("no `admin_token`: there is no administration"))?;
    let scheme = if config.tls_chain.is_some() { "https" } else { "http" };
    let base = url.map_or_else(
        || config.public_http.clone().unwrap_or_else(|| format!("{scheme}://{}", config.listen_http)),
        str::to_owned,
    );
    let failed = |what: &str| Error::config(format!("{base}: {what}"));
    let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().timeout(ADMIN_DEADLINE).build();
    let http = http.map_err(|_| Error::Internal("TLS set-up"))?;
    let asked =
        http.post(format!("{}/admin/native", base.trim_end_matches('/'))).bearer_auth(token.expose()).json(user);
    let mut answer = asked.send().await.map_err(|_| failed("the gatekeeper cannot be reached: does it run?"))?;
    let (status, mut body) = (answer.status(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|_| failed("the answer broke off"))? {
        if body.len() + chunk.len() > MAX_ADMIN_ANSWER {
            return Err(failed("not a gatekeeper's answer"));
        }
        body.extend_from_slice(&chunk);
    }
    let body: Value = serde_json::from_slice(&body).map_err(|_| failed("not a gatekeeper's answer"))?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    if !status.is_success() {
        return Err(failed(&format!("refused, {}: {}", status.as_u16(), text("detail").unwrap_or_default())));
    }
    text("jid").ok_or_else(|| failed("not a gatekeeper's answer"))
}
