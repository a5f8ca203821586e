//! The kit in a partner's own server: its users, its push service, its routes beside ours.
#![allow(clippy::print_stdout, reason = "an example")]

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use comity_core::UserVisibleId;
use comity_identity::{Algorithm, SigningKey, TokenIssuer};
use comity_partner::{
    Authenticator, BoxFuture, Gatekeeper, GatekeeperConfig, Problem, PushSink, Pushed, jwks_router, push_router,
    token_router,
};
use std::sync::Arc;

/// Who is this? The partner's session cookie, OIDC access token, … ; here a header that a gateway in front has set.
struct Sessions;

impl Authenticator for Sessions {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<UserVisibleId, Problem>> {
        let user =
            request.headers.get("x-authenticated-user").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        Box::pin(async { user.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "please log in")) })
    }
}

/// Wakes a device: the partner's own push service.
struct Devices;

impl PushSink for Devices {
    fn push<'a>(&'a self, _user: &'a UserVisibleId) -> BoxFuture<'a, Pushed> {
        Box::pin(async { Pushed::Accepted })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let origin = "https://partner.example";
    let issuer = Arc::new(TokenIssuer::new(origin, "comity-sandbox", SigningKey::generate(Algorithm::Rs256)?)?);
    let gatekeeper = Gatekeeper::start(&GatekeeperConfig {
        jwks_url: "https://gatekeeper.example/.well-known/jwks".into(),
        issuer: comity_identity::WHATSAPP.into(),
        origin: origin.into(),
        profile: comity_core::Profile::default(),
        sandbox: false,
    })?;
    let app = axum::Router::new()
        .route("/", get(async || "the partner's own pages"))
        .merge(jwks_router(Arc::new(Arc::clone(&issuer))))
        .merge(token_router(Arc::new(issuer), Arc::new(Sessions)))
        .merge(push_router(gatekeeper, Arc::new(Devices)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
