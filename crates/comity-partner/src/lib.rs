//! Partner-server kit: what a messenger's back end adds to interoperate (PROTOCOL §3, §10, §11).
//!
//! Each function below gives an axum [`Router`](axum::Router) that a partner mounts into its own server:
//!
//! | router | paths | for |
//! |---|---|---|
//! | [`jwks_router`] | `GET /.well-known/oauth/openid/jwks` | the gatekeeper |
//! | [`token_router`] | `POST /v1/token` | the partner's clients |
//! | [`push_router`] | `POST /push` | the gatekeeper |
//! | [`wake_router`] | `GET /v1/wake` | clients without a push service |
//! | [`subscription_router`] | `PUT`, `DELETE /v1/push/subscription`, `GET /v1/push/key` | clients with Web Push |
//! | [`media_router`] | `POST /v1/media`, tus at `/v1/uploads`, `GET /media/{storage_reference}` | clients, the gatekeeper |
//! | [`openapi_router`] | `GET /openapi.json` | developers |
//!
//! | the partner plugs in | ready ones |
//! |---|---|
//! | who its users are: [`Authenticator`] | [`StaticUsers`], [`Oidc`], [`SidecarAuth`]; [`Throttled`] around any |
//! | how their devices are woken: [`PushSink`] | [`WakeBoard`], [`WebPush`], [`Webhook`] |
//! | where state is kept: [`PartnerStore`] | [`SqliteStore`] |
//! | what tokens are signed with: [`TokenKeys`] | [`SigningKeys`], or an `Arc<TokenIssuer>` |
//!
//! [`Server`] is all of it, as its [`Config`] says: the `comity-partner` binary. In *sidecar mode* it asks the partner's own
//! back end, in whatever language, over signed HTTP.
//!
//! A partner's server sees ownership tokens, push calls and encrypted files; it links no code that could decrypt.
#![allow(clippy::disallowed_methods, reason = "a server: it reads the clock and uses sockets and files")]

mod auth;
#[cfg(feature = "s3")]
mod bucket;
mod clock;
mod config;
mod error;
mod files;
mod gatekeeper;
mod keyfile;
mod keys;
pub mod limits;
mod media;
mod metrics;
mod oidc;
mod openapi;
mod outgoing;
mod partial;
mod push;
mod range;
mod server;
mod sidecar;
mod signature;
mod storage;
mod store;
mod subscription;
mod throttle;
mod token;
mod tus;
mod wake;
mod webpush;

use core::future::Future;
use core::pin::Pin;

pub use auth::{Authenticator, StaticUsers};
pub use comity_server::Problem;
pub use config::{Config, S3Config, SidecarConfig, UserConfig, WebPushConfig};
pub use error::Error;
pub use gatekeeper::{Gatekeeper, GatekeeperConfig};
pub use keys::{KeyCommand, KeyStatus, SigningKeys, TokenKeys, manage_keys};
pub use media::{MediaQuota, media_router};
pub use metrics::METRICS;
pub use oidc::{Oidc, OidcConfig};
pub use openapi::{openapi_json, openapi_router};
pub use push::{PushSink, Pushed, push_router};
pub use server::{Server, open_store};
pub use sidecar::{SidecarAuth, Webhook};
pub use signature::WebhookKey;
pub use storage::{
    Delivery, PartnerStore, SecretName, SqliteStore, StoreResult, StoredUpload, Subscription, UserQuota, Versioned,
};
pub use store::{MediaLimits, MediaStore, StorageReference};
pub use subscription::subscription_router;
pub use throttle::{Throttled, Tries};
pub use token::{jwks_router, token_router};
#[doc(hidden)]
pub use tus::fuzz::{FuzzedHeaders, fuzz_headers};
pub use wake::{WakeBoard, wake_router};
pub use webpush::WebPush;

/// A boxed future, so that the plugged-in parts can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
