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
//! | [`media_router`] | `POST /v1/media`, `GET /media/{storage_reference}` | clients, the gatekeeper |
//!
//! The partner plugs in who its users are ([`Authenticator`]) and how their devices are woken ([`PushSink`]). [`Server`] is
//! all of it around a static user table: the `comity-partner` binary.
//!
//! A partner's server sees ownership tokens, push calls and encrypted files; it links no code that could decrypt.
#![allow(clippy::disallowed_methods, reason = "a server: it reads the clock and uses sockets and files")]

mod auth;
mod clock;
mod config;
mod error;
mod gatekeeper;
pub mod keyfile;
pub mod limits;
mod media;
mod push;
mod range;
mod server;
mod store;
mod token;

use core::future::Future;
use core::pin::Pin;

pub use auth::{Authenticator, StaticUsers};
pub use comity_server::Problem;
pub use config::{Config, UserConfig};
pub use error::Error;
pub use gatekeeper::{Gatekeeper, GatekeeperConfig};
pub use media::media_router;
pub use push::{PushSink, Pushed, WakeBoard, push_router, wake_router};
pub use server::Server;
pub use store::{MediaLimits, MediaStore, StorageReference};
pub use token::{jwks_router, token_router};

/// A boxed future, so that the plugged-in parts can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
