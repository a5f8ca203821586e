//! A partner's server: key set, push endpoint, media host.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use comity_core::Timestamp;
use comity_identity::{Algorithm, Jwks, SigningKey, TokenIssuer, jkt};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) struct Partner {
    pub(crate) origin: String,
    pub(crate) issuer: TokenIssuer,
    pub(crate) state: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    jwks: Mutex<String>,
    /// Bodies and bearer tokens of the push calls taken.
    pub(crate) pushes: Mutex<Vec<(String, String)>>,
    /// Answers to give to the next push calls; 200 after them.
    pub(crate) push_answers: Mutex<Vec<u16>>,
    pub(crate) files: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) media_bearers: Mutex<Vec<String>>,
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

async fn media(
    State(state): State<Arc<Shared>>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Bytes, StatusCode> {
    state.media_bearers.lock().unwrap().push(bearer(&headers));
    state.files.lock().unwrap().get(&reference).map(|f| f.clone().into()).ok_or(StatusCode::NOT_FOUND)
}

impl Partner {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Shared::default());
        let app = Router::new()
            .route(
                "/.well-known/oauth/openid/jwks",
                get(|State(state): State<Arc<Shared>>| async move { state.jwks.lock().unwrap().clone() }),
            )
            .route("/push", post(push))
            .route("/media/{reference}", get(media))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let issuer =
            TokenIssuer::new(&origin, "comity-sandbox", SigningKey::generate(Algorithm::Es256).unwrap()).unwrap();
        *state.jwks.lock().unwrap() = Jwks::new([issuer.public()]).unwrap().to_json();
        Self { origin, issuer, state }
    }

    pub(crate) fn token(&self, user: &str, noise: &[u8; 32]) -> String {
        self.token_at(user, noise, now())
    }

    pub(crate) fn token_at(&self, user: &str, noise: &[u8; 32], at: Timestamp) -> String {
        self.issuer.issue(&user.parse().unwrap(), &jkt(noise), at, &mut crate::world::rng()).unwrap()
    }

    /// Signs with another key from now on, which is published.
    pub(crate) fn rotate(&mut self) {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        self.issuer = TokenIssuer::new(&self.origin, "comity-sandbox", key).unwrap();
        *self.state.jwks.lock().unwrap() = Jwks::new([self.issuer.public()]).unwrap().to_json();
    }
}
