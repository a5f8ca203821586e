//! A partner's server: key set, push endpoint, media host.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use comity_core::Timestamp;
use comity_identity::{Algorithm, JWKS_CACHE_CONTROL, KeyRing, SigningKey, TokenIssuer, jkt};
use futures_util::{StreamExt as _, stream};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct Partner {
    pub(crate) origin: String,
    pub(crate) issuer: TokenIssuer,
    pub(crate) state: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) jwks: Mutex<String>,
    /// How often it was fetched.
    pub(crate) fetches: AtomicU32,
    /// Bodies and bearer tokens of the push calls taken.
    pub(crate) pushes: Mutex<Vec<(String, String)>>,
    /// Answers to give to the next push calls; 200 after them.
    pub(crate) push_answers: Mutex<Vec<u16>>,
    pub(crate) files: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) media_bearers: Mutex<Vec<String>>,
    /// Bytes of endless files given out.
    pub(crate) produced: AtomicU64,
    /// Where redirects lead.
    pub(crate) elsewhere: Mutex<String>,
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as u64)
}

fn bearer(headers: &HeaderMap) -> String {
    headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

async fn push(State(state): State<Arc<Shared>>, headers: HeaderMap, body: String) -> StatusCode {
    let mut answers = state.push_answers.lock().unwrap();
    if !answers.is_empty() {
        return StatusCode::from_u16(answers.remove(0)).unwrap();
    }
    state.pushes.lock().unwrap().push((body, bearer(&headers)));
    StatusCode::OK
}

/// Files, with ranges; a reference that begins with `endless` is a file without end, one that begins with `redirect` leads
/// elsewhere, and others misbehave as they are called.
async fn media(
    State(state): State<Arc<Shared>>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    state.media_bearers.lock().unwrap().push(bearer(&headers));
    if reference.starts_with("endless") {
        let served = Arc::clone(&state);
        let chunks = futures_util::stream::repeat_with(move || {
            served.produced.fetch_add(64 << 10, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[7; 64 << 10]))
        });
        return Ok(Body::from_stream(chunks).into_response());
    }
    if reference.starts_with("redirect") {
        let to = state.elsewhere.lock().unwrap().clone();
        return Ok((StatusCode::FOUND, [(LOCATION, to)]).into_response());
    }
    let chunk = |len| Ok::<_, std::io::Error>(Bytes::from_static(&[7; 64 << 10]).slice(..len));
    let misbehaved = match reference.split('_').next() {
        Some("silent") => std::future::pending().await,
        Some("stalling") => (1 << 20, stream::iter([chunk(1000)]).chain(stream::pending()).boxed()),
        Some("trickling") => {
            let drops = stream::repeat(()).then(async |()| tokio::time::sleep(Duration::from_millis(20)).await);
            (1 << 20, drops.map(move |()| chunk(1)).boxed())
        }
        Some("boasting") => ((1 << 20) + 1, stream::repeat_with(move || chunk(1000)).boxed()),
        Some("truncated") => {
            let broken = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await; // the head is on its way
                Err(std::io::ErrorKind::BrokenPipe.into())
            });
            (100_000, stream::iter([chunk(1000)]).chain(broken).boxed())
        }
        _ => (0, stream::empty().boxed()),
    };
    if misbehaved.0 > 0 {
        return Ok(([(CONTENT_LENGTH, misbehaved.0)], Body::from_stream(misbehaved.1)).into_response());
    }
    let file = state.files.lock().unwrap().get(&reference).cloned().ok_or(StatusCode::NOT_FOUND)?;
    let Some(range) = headers.get(RANGE) else { return Ok(file.into_response()) };
    let (first, last) = range.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    if first >= file.len() {
        return Err(StatusCode::RANGE_NOT_SATISFIABLE);
    }
    let last = last.parse().unwrap_or(usize::MAX).min(file.len() - 1);
    let content_range = format!("bytes {first}-{last}/{}", file.len());
    Ok((StatusCode::PARTIAL_CONTENT, [(CONTENT_RANGE, content_range)], file[first..=last].to_vec()).into_response())
}

impl Partner {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Shared::default());
        let app = Router::new()
            .route(
                "/.well-known/oauth/openid/jwks",
                get(|State(state): State<Arc<Shared>>| async move {
                    state.fetches.fetch_add(1, Ordering::Relaxed);
                    ([(CACHE_CONTROL, JWKS_CACHE_CONTROL)], state.jwks.lock().unwrap().clone())
                }),
            )
            .route("/push", post(push))
            .route("/media/{reference}", get(media))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let keys = KeyRing::new(SigningKey::generate(Algorithm::Es256).unwrap(), now());
        let issuer = TokenIssuer::new(&origin, "comity-sandbox", keys.clone()).unwrap();
        let mut partner = Self { origin, issuer, state };
        partner.publish(keys, now());
        partner
    }

    /// Signs with these keys from now on, and publishes them.
    pub(crate) fn publish(&mut self, keys: KeyRing, at: Timestamp) {
        *self.state.jwks.lock().unwrap() = keys.jwks(at).to_json();
        self.issuer = self.issuer.with_keys(keys);
    }

    pub(crate) fn fetches(&self) -> u32 {
        self.state.fetches.load(Ordering::Relaxed)
    }

    /// A token with these claims changed (null: removed), truly signed; unbound unless `cnf` is among them.
    pub(crate) fn forge(&self, user: &str, change: serde_json::Value) -> String {
        use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
        let iat = now().as_secs();
        let mut claims = serde_json::json!({
            "iss": self.origin, "aud": "comity-sandbox", "sub": user, "iat": iat, "nbf": iat, "exp": iat + 600,
            "jti": format!("{:x}", rand_core::Rng::next_u64(&mut crate::world::rng())),
        });
        let members = claims.as_object_mut().unwrap();
        for (name, value) in change.as_object().unwrap() {
            members.insert(name.clone(), value.clone());
        }
        members.retain(|_, value| !value.is_null());
        let key = EncodingKey::from_ec_der(self.issuer.keys().current().to_pkcs8().unwrap().expose());
        let header = Header { kid: Some(self.issuer.public().kid().into()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &key).unwrap()
    }

    pub(crate) fn token(&self, user: &str, noise: &[u8; 32]) -> String {
        self.token_at(user, noise, now())
    }

    pub(crate) fn token_at(&self, user: &str, noise: &[u8; 32], at: Timestamp) -> String {
        self.issuer.issue(&user.parse().unwrap(), &jkt(noise), at, &mut crate::world::rng()).unwrap()
    }

    /// Signs with another key from now on, which is published at that moment, in the place of the old one.
    pub(crate) fn rotate(&mut self) {
        self.publish(KeyRing::new(SigningKey::generate(Algorithm::EdDsa).unwrap(), now()), now());
    }
}
