//! Servers: reachable, ready, of one time with us, with keys that fit, and known to be who they are.

use super::{Report, certificate, files};
use crate::Failure;
use crate::chat::root;
use crate::place::{Gatekeeper, Partner, Place};
use bytes::{Bytes, BytesMut};
use comity_client::{PartnerServer, TokenSource as _};
use comity_core::{Profile, Timestamp};
use comity_identity::{Jwks, JwksCache, TokenVerifier, UnverifiedToken, jkt};
use comity_noise::frame::FrameDecoder;
use comity_noise::{Initiator, InitiatorConfig, ServerTrust, StaticKey};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// A clock may be that much off, in seconds, before a check warns, and before it fails: tokens are then refused.
const CLOCK_WARN: i64 = 5;
const CLOCK_FAIL: i64 = 60;
/// Days before the end of a certificate from which on a check warns.
const EXPIRY_WARN: i64 = 14;

pub(super) struct Net(reqwest::Client);

struct Answer {
    status: u16,
    date: Option<String>,
    certificate: Option<Vec<u8>>,
    body: Vec<u8>,
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs())
}

fn now_secs() -> i64 {
    i64::try_from(now().as_secs()).unwrap_or(i64::MAX)
}

impl Net {
    pub(super) fn new() -> Result<Self, Failure> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        Ok(Self(http.timeout(PATIENCE).tls_info(true).build()?))
    }

    async fn get(&self, url: &str) -> Result<Answer, Failure> {
        let mut response = self.0.get(url).send().await.map_err(|e| format!("{url}: {}", cause(&e)))?;
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        let info = response.extensions().get::<reqwest::tls::TlsInfo>();
        let certificate = info.and_then(|info| info.peer_certificate()).map(<[u8]>::to_vec);
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|e| format!("{url}: {}", cause(&e)))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(format!("{url}: the answer is longer than {MAX_ANSWER} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, date, certificate, body })
    }

    /// Lives, is ready, has our time, and a certificate that lasts.
    async fn server(&self, report: &mut Report, name: &str, base: &str, start: &str, ready: &str) -> bool {
        let Some(alive) = report.take(name, self.get(&format!("{base}/livez")).await, start) else { return false };
        if alive.status != 200 {
            report.fail(name, format!("{base}/livez answers {}", alive.status), "something else listens there");
            return false;
        }
        match self.get(&format!("{base}/readyz")).await {
            Ok(answer) if answer.status == 200 => report.ok(name, format!("{base} is ready")),
            Ok(answer) => {
                let said: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
                report.fail(name, format!("{base} is not ready: {said}"), ready);
            }
            Err(error) => report.fail(name, error, start),
        }
        clock(report, &format!("{name}'s clock"), alive.date.as_deref());
        if base.starts_with("https:") {
            expiry(report, &format!("{name}'s TLS certificate"), alive.certificate.as_deref());
        }
        true
    }

    pub(super) async fn gatekeeper(&self, report: &mut Report, gatekeeper: &Gatekeeper) {
        let ready = "it has no keys of a partner: start `comity partner`, and see that `origin` in gatekeeper.toml is its address";
        if self.server(report, "gatekeeper", &gatekeeper.http, "start `comity sandbox`", ready).await {
            self.keys(report, "gatekeeper's keys", &format!("{}/.well-known/jwks", gatekeeper.http)).await;
        }
    }

    pub(super) async fn partner(&self, report: &mut Report, partner: &Partner) {
        let ready = "it has no keys of the gatekeeper: see `gatekeeper_jwks_url` in partner.toml";
        self.server(report, "partner server", &partner.http, "start `comity partner`", ready).await;
    }

    async fn keys(&self, report: &mut Report, check: &str, url: &str) -> Option<Jwks> {
        let advice = "see what answers there: it must be a key set (RFC 7517)";
        let answer = report.take(check, self.get(url).await, advice)?;
        let parsed = match answer.status {
            200 => Jwks::parse(&answer.body).map_err(|e| format!("{url}: {e}").into()),
            status => Err(format!("{url} answers {status}").into()),
        };
        let keys = report.take(check, parsed, advice)?;
        if keys.keys().is_empty() {
            report.fail(check, format!("{url} has no key"), advice);
            return None;
        }
        report.ok(check, format!("{} at {url}", keys.keys().len()));
        Some(keys)
    }

    /// A token of the partner server, verified as the gatekeeper does: by the key set at the origin it knows.
    pub(super) async fn token(&self, report: &mut Report, place: &Place, partner: &Partner, profile: &Profile) {
        let Some(integrator) = integrator(report, place) else { return };
        let url = comity_identity::jwks_url(&integrator.origin);
        let Some(keys) = self.keys(report, "partner's keys", &url).await else { return };
        let Some(user) = partner.users.first() else {
            return report.warn("ownership token", "the partner server has no user", "add `[[users]]` to partner.toml");
        };
        let thumbprint = jkt(StaticKey::generate(&mut UnwrapErr(SysRng)).public().as_bytes());
        let advice = "start `comity partner` again: partner.json may be older than partner.toml";
        let server = PartnerServer::new(&partner.http, &user.id, &user.secret).map_err(Failure::from);
        let Some(server) = report.take("ownership token", server, advice) else { return };
        let token = server.token(&thumbprint).await.map_err(Failure::from);
        let Some(token) = report.take("ownership token", token, advice) else { return };
        let verified = verify(&token, &thumbprint, &integrator, keys, profile);
        let advice = "`iss`, `aud` and keys must fit: `origin` and `audience` in partner.toml and gatekeeper.toml, and both clocks";
        if report.take("ownership token", verified, advice).is_some() {
            report.ok("ownership token", format!("the gatekeeper would take {}'s", user.id));
        }
    }

    /// Where the gatekeeper fetches the partner's media.
    pub(super) async fn media(&self, report: &mut Report, place: &Place) {
        let Some(integrator) = integrator(report, place) else { return };
        let base = integrator.media.trim_end_matches('/');
        let host = base.find("://").and_then(|at| base[at + 3..].find('/').map(|end| &base[..at + 3 + end]));
        let advice = "see `media_base_url` in gatekeeper.toml, and that the media host runs";
        let url = format!("{}/livez", host.unwrap_or(base));
        match self.get(&url).await {
            Ok(answer) if answer.status == 200 => report.ok("media host", base),
            Ok(answer) => report.fail("media host", format!("{url} answers {}", answer.status), advice),
            Err(error) => report.fail("media host", error, advice),
        }
    }

    /// A handshake up to the point where a client knows whom it talks to; nobody logs in.
    pub(super) async fn chat(&self, report: &mut Report, gatekeeper: &Gatekeeper) {
        let advice = "`gatekeeper.json` must be of the sandbox that runs: start `comity sandbox` here again";
        match timeout(PATIENCE, handshake(gatekeeper)).await {
            Ok(Ok(until)) => {
                report.ok("chat port", format!("{}: certificate chain verified under the root", gatekeeper.chat));
                lasts(report, "chat certificate", i64::try_from(until).unwrap_or(i64::MAX));
            }
            Ok(Err(error)) => report.fail("chat port", format!("{}: {error}", gatekeeper.chat), advice),
            Err(_) => report.fail("chat port", format!("{}: no answer", gatekeeper.chat), advice),
        }
    }
}

struct Integrator {
    origin: String,
    media: String,
    audience: String,
}

/// What the gatekeeper knows of the place's partner.
fn integrator(report: &mut Report, place: &Place) -> Option<Integrator> {
    let table = files::config(place, "gatekeeper.toml").ok()?;
    let text = |value: Option<&toml::Value>| value.and_then(toml::Value::as_str).map(str::to_owned);
    let audience = text(table.get("audience")).unwrap_or_else(|| "comity-sandbox".into());
    let all = table.get("integrator").and_then(toml::Value::as_array);
    let id = i64::from(crate::place::INTEGRATOR);
    let found = all.and_then(|all| all.iter().find(|i| i.get("id").and_then(toml::Value::as_integer) == Some(id)));
    let (origin, media) = (text(found?.get("origin")), text(found?.get("media_base_url")));
    let (Some(origin), Some(media)) = (origin, media) else {
        report.fail("gatekeeper.toml", "the partner has no origin or media_base_url", "add them to its [[integrator]]");
        return None;
    };
    Some(Integrator { origin, media, audience })
}

fn verify(token: &str, jkt: &str, integrator: &Integrator, keys: Jwks, profile: &Profile) -> Result<(), Failure> {
    let unverified = UnverifiedToken::parse(token)?;
    let (issuer, kid) = (unverified.issuer(), unverified.kid());
    if issuer != integrator.origin {
        let known = &integrator.origin;
        return Err(format!("the partner calls itself {issuer}, the gatekeeper knows it as {known}").into());
    }
    if keys.get(kid).is_none() {
        return Err(format!("the key {kid} that signed it is not in the published set").into());
    }
    let mut cache = JwksCache::new().with_profile(profile);
    cache.add_issuer(issuer, &comity_identity::jwks_url(issuer))?;
    cache.put(issuer, keys, now())?;
    TokenVerifier::new(&integrator.audience).with_profile(profile).verify(&mut cache, token, jkt, now())?;
    Ok(())
}

async fn handshake(gatekeeper: &Gatekeeper) -> Result<u64, Failure> {
    let rng = &mut UnwrapErr(SysRng);
    let config = InitiatorConfig::new(StaticKey::generate(rng), ServerTrust::Chain(root(gatekeeper)?));
    let mut stream = TcpStream::connect(&gatekeeper.chat).await?;
    let (mut out, mut buffer, mut decoder) = (BytesMut::new(), BytesMut::new(), FrameDecoder::new());
    let initiator = Initiator::start(&config, Bytes::new(), now(), rng, &mut out)?;
    stream.write_all(&out).await?;
    let frame = loop {
        if let Some(frame) = decoder.decode(&mut buffer)? {
            break frame;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("the server hung up during the handshake".into());
        }
    };
    let established = initiator.read(&frame, now(), &mut BytesMut::new())?;
    Ok(established.server.validity.not_after)
}

/// An error of reqwest with what is below it, without the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(below) = source.source() {
        source = below;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { source.to_string() }
}

fn clock(report: &mut Report, check: &str, date: Option<&str>) {
    let Some(theirs) = date.and_then(certificate::http_date) else {
        return report.warn(check, "it does not tell the time", "compare the clocks by hand");
    };
    let off = now_secs() - theirs;
    let found = format!("ours is {} s {}", off.abs(), if off < 0 { "behind" } else { "ahead" });
    let advice = "set both clocks by NTP: tokens and certificates go by them";
    match off.abs() {
        off if off <= CLOCK_WARN => report.ok(check, found),
        off if off <= CLOCK_FAIL => report.warn(check, found, advice),
        _ => report.fail(check, found, advice),
    }
}

fn expiry(report: &mut Report, check: &str, der: Option<&[u8]>) {
    match der.and_then(certificate::validity) {
        Some((_, until)) => lasts(report, check, until),
        None => report.warn(check, "its dates cannot be read", "look with `openssl x509 -dates`"),
    }
}

fn lasts(report: &mut Report, check: &str, until: i64) {
    match until.saturating_sub(now_secs()) / 86_400 {
        days if days < EXPIRY_WARN => report.warn(check, format!("ends in {days} days"), "renew it"),
        days if days > 36_500 => report.ok(check, "does not end"),
        days => report.ok(check, format!("ends in {days} days")),
    }
}
