//! Users of the partner's own OpenID provider: a bearer token (access or ID token, a signed JWT), verified with the keys that
//! the provider's discovery document names (OpenID Connect Discovery 1.0, RFC 9068, RFC 8725).

use crate::auth::{Authenticator, credentials};
use crate::limits::{
    MAX_OIDC_ANSWER, MAX_OIDC_KEYS, OIDC_LEEWAY, OIDC_MAX_AGE, OIDC_MIN_GAP, OIDC_REFRESH, OIDC_RETRY, OIDC_TIMEOUT,
};
use crate::metrics::{OIDC_FETCHES, count};
use crate::outgoing::{build, causes, client, configured_url, read};
use crate::{BoxFuture, Error, Problem, clock};
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::{Timestamp, UserVisibleId};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::MutexGuard;

/// What is expected of a token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OidcConfig {
    /// The provider: `iss`, and where its discovery document is. https unless in a sandbox.
    pub issuer: String,
    /// What must be in `aud`.
    pub audience: String,
    /// The claim that is the user-visible id. `email` counts only together with `email_verified: true`.
    #[serde(default = "sub")]
    pub claim: String,
}

fn sub() -> String {
    "sub".into()
}

impl OidcConfig {
    /// A provider whose `sub` is the user-visible id.
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self { issuer: issuer.into(), audience: audience.into(), claim: sub() }
    }

    /// With another claim as the user-visible id.
    #[must_use]
    pub fn with_claim(mut self, claim: &str) -> Self {
        self.claim = claim.into();
        self
    }

    pub(crate) fn check(&self, sandbox: bool) -> Result<(), Error> {
        configured_url("oidc.issuer", &self.issuer, sandbox, false)?;
        if self.audience.is_empty() || self.claim.is_empty() {
            return Err(Error::config("oidc.audience and oidc.claim must not be empty"));
        }
        Ok(())
    }
}

/// Authenticates the users of an OpenID provider. Its keys are fetched when first needed, then every [`OIDC_REFRESH`], and for
/// an unknown `kid` at most once per [`OIDC_MIN_GAP`].
pub struct Oidc(Arc<Shared>);

struct Shared {
    config: OidcConfig,
    sandbox: bool,
    http: reqwest::Client,
    keys: RwLock<Option<Arc<Keys>>>,
    /// When the provider was last asked; held while it is.
    asked: tokio::sync::Mutex<Option<Timestamp>>,
}

impl core::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Oidc").field("config", &self.0.config).finish_non_exhaustive()
    }
}

struct Keys {
    fetched: Timestamp,
    keys: Vec<Key>,
}

struct Key {
    kid: Option<String>,
    /// The only one it is used with.
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// Why a token does not count.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// It never will.
    Token(&'static str),
    /// Its key is not among those at hand.
    UnknownKey,
}

impl Oidc {
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::HttpClient`].
    pub fn new(config: OidcConfig, sandbox: bool) -> Result<Self, Error> {
        config.check(sandbox)?;
        let http = build(client(sandbox, OIDC_TIMEOUT).https_only(!sandbox))?;
        let (keys, asked) = (RwLock::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Shared { config, sandbox, http, keys, asked })))
    }
}

impl Shared {
    async fn user(self: &Arc<Self>, token: Option<&str>) -> Result<UserVisibleId, Problem> {
        let token = token.ok_or_else(|| unauthorized(r#"Bearer realm="partner""#))?;
        let mut verdict = self.judge(token);
        if verdict == Err(Refused::UnknownKey) {
            self.refresh(self.asked.lock().await).await;
            verdict = self.judge(token);
        } else if self.at_hand().is_some_and(|keys| clock::now().since(keys.fetched) > OIDC_REFRESH) {
            // Nobody waits for a regular fetch.
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(asked) = shared.asked.try_lock() {
                    shared.refresh(asked).await;
                }
            });
        }
        verdict.map_err(|refused| {
            if self.at_hand().is_none() {
                let problem =
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the OpenID provider's keys are not at hand");
                return problem.with_header(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            tracing::info!(?refused, "a client's token was refused");
            unauthorized(r#"Bearer realm="partner", error="invalid_token""#)
        })
    }

    fn at_hand(&self) -> Option<Arc<Keys>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        keys.filter(|keys| clock::now().since(keys.fetched) <= OIDC_MAX_AGE)
    }

    fn judge(&self, token: &str) -> Result<UserVisibleId, Refused> {
        let keys = self.at_hand().ok_or(Refused::UnknownKey)?;
        judge(token, &keys.keys, &self.config, clock::now())
    }

    /// Fetches the keys, if that is allowed now. One at a time: who waited for another's fetch does not fetch again.
    async fn refresh(&self, mut asked: MutexGuard<'_, Option<Timestamp>>) {
        let now = clock::now();
        let gap = if self.at_hand().is_some() { OIDC_MIN_GAP } else { OIDC_RETRY };
        if asked.is_some_and(|asked| asked <= now && now.since(asked) < gap) {
            return;
        }
        *asked = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                count(OIDC_FETCHES, "result", "ok");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::new(Keys { fetched: now, keys }));
            }
            Err(error) => {
                count(OIDC_FETCHES, "result", "failed");
                tracing::warn!(error, "the OpenID provider's keys could not be fetched");
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        let issuer = &self.config.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document: Discovery =
            serde_json::from_slice(&self.get(&url).await?).map_err(|_| "not a discovery document".to_owned())?;
        if document.issuer != *issuer {
            return Err("the discovery document is another issuer's".into()); // OpenID Connect Discovery §4.3
        }
        configured_url("jwks_uri", &document.jwks_uri, self.sandbox, false).map_err(|e| e.to_string())?;
        parse_keys(&self.get(&document.jwks_uri).await?).ok_or_else(|| "not a usable key set".into())
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let answer = self.http.get(url).send().await.map_err(|e| causes(&e.without_url()))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        read(answer, MAX_OIDC_ANSWER).await
    }
}

impl Authenticator for Oidc {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<UserVisibleId, Problem>> {
        Box::pin(self.0.user(credentials(&request.headers, "Bearer")))
    }
}

fn unauthorized(challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "a bearer token of the partner's OpenID provider is required")
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// The keys that can verify a signature; others, and those not understood, are passed over (RFC 7517 §5).
fn parse_keys(json: &[u8]) -> Option<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let Set { keys } = serde_json::from_slice(json).ok()?;
    let keys: Vec<Key> = keys.into_iter().take(MAX_OIDC_KEYS).filter_map(understand).collect();
    (!keys.is_empty()).then_some(keys)
}

fn understand(jwk: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|for_what| *for_what != PublicKeyUse::Signature) {
        return None;
    }
    let named = jwk.common.key_algorithm;
    // The key says what it is used with, the token does not (RFC 8725 §3.1).
    let algorithm = match (&jwk.algorithm, named) {
        (AlgorithmParameters::RSA(rsa), named) => {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            if modulus.iter().skip_while(|byte| **byte == 0).count() < 256 {
                return None; // below 2048 bits
            }
            match named {
                None | Some(KeyAlgorithm::RS256) => Algorithm::RS256,
                Some(KeyAlgorithm::PS256) => Algorithm::PS256,
                Some(_) => return None,
            }
        }
        (AlgorithmParameters::EllipticCurve(ec), None | Some(KeyAlgorithm::ES256))
            if ec.curve == EllipticCurve::P256 =>
        {
            Algorithm::ES256
        }
        (AlgorithmParameters::OctetKeyPair(okp), None | Some(KeyAlgorithm::EdDSA))
            if okp.curve == EllipticCurve::Ed25519 =>
        {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    Some(Key { kid: jwk.common.key_id.clone(), algorithm, decoding: DecodingKey::from_jwk(&jwk).ok()? })
}

fn judge(token: &str, keys: &[Key], config: &OidcConfig, now: Timestamp) -> Result<UserVisibleId, Refused> {
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header: Option<Map<String, Value>> = header.and_then(|json| serde_json::from_slice(&json).ok());
    let header = header.ok_or(Refused::Token("not a JWT"))?;
    if ["crit", "b64", "zip", "enc"].iter().any(|member| header.contains_key(*member)) {
        return Err(Refused::Token("a header that asks for an extension")); // RFC 7515 §4.1.11; the library passes over it
    }
    let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let usable = |key: &&Key| format!("{:?}", key.algorithm) == alg;
    let key = match header.get("kid").map(Value::as_str) {
        Some(Some(kid)) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)).ok_or(Refused::UnknownKey)?,
        Some(None) => return Err(Refused::Token("a kid that is not text")),
        // Without one there must be no choice (OpenID Connect Core §10.1).
        None => match keys.iter().filter(usable).collect::<Vec<_>>().as_slice() {
            [only] => only,
            _ => return Err(Refused::Token("no kid")),
        },
    };
    if !usable(&key) {
        return Err(Refused::Token("an algorithm that is not its key's"));
    }
    // Without this a crate elsewhere in the program that switches on the library's other back end makes it panic; an Err
    // says that a back end is installed.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let mut validation = Validation::new(key.algorithm);
    validation.validate_exp = false; // below
    validation.set_required_spec_claims(&["iss", "aud", "exp"]);
    validation.set_issuer(&[&config.issuer]);
    validation.set_audience(&[&config.audience]);
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &validation)
        .map_err(|_| Refused::Token("a signature, issuer or audience that is not right"))?
        .claims;
    let time = |name: &str| claims.get(name).map(seconds);
    match time("exp") {
        Some(Some(exp)) if now.as_secs() < exp.saturating_add(OIDC_LEEWAY.as_secs()) => {}
        _ => return Err(Refused::Token("expired")),
    }
    for name in ["nbf", "iat"] {
        match time(name) {
            None => {}
            Some(Some(at)) if at <= now.as_secs().saturating_add(OIDC_LEEWAY.as_secs()) => {}
            _ => return Err(Refused::Token("not valid yet")),
        }
    }
    if config.claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(Refused::Token("an e-mail address that nobody verified"));
    }
    let user = claims.get(&config.claim).and_then(Value::as_str).and_then(|text| text.parse().ok());
    user.ok_or(Refused::Token("a claim that is no user-visible id"))
}

/// A NumericDate: whole seconds, or a fraction that is cut off (RFC 7519 §2).
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let at = value.as_f64().filter(|at| (0.0..9e15).contains(at))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        Some(at as u64)
    })
}

#[cfg(test)]
#[path = "oidc_tests.rs"]
mod tests;
