//! What every Comity server shares, and nothing of any protocol.
//!
//! | part | what |
//! |---|---|
//! | [`Listener`], [`HttpLimits`] | HTTP/1.1 and HTTP/2 over TCP or TLS, everything bounded, drained gracefully |
//! | [`TlsFiles`], [`Tls`] | certificate and key from PEM files, read again when they change |
//! | [`observe`], [`ops_router`], [`Metrics`] | request metrics, `/livez`, `/readyz`, `/metrics` |
//! | [`Problem`], [`with_fallbacks`], [`read_json`] | errors as problem details (RFC 9457), small bodies |
//! | [`config`] | TOML files, secrets from files, flags over them |
//! | [`PublicOnly`], [`may_be_public`] | outgoing calls to the public internet alone |
//! | [`init_logging`], [`stop_signal`] | logs to stderr, the end of the process |
//!
//! ```no_run
//! use comity_server::{HttpLimits, Listener, Metrics, Readiness, observe, ops_router, with_fallbacks};
//! use tokio_util::sync::CancellationToken;
//! # async fn example() -> Result<(), comity_server::Error> {
//! let metrics = Metrics::install();
//! let stop = CancellationToken::new();
//! let app = axum::Router::new().merge(ops_router(|| Readiness::new(true), Some(metrics)));
//! let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None, HttpLimits::default()).await?;
//! println!("http://{}", listener.local_addr());
//! listener.serve(observe(with_fallbacks(app)), stop).await;
//! # Ok(())
//! # }
//! ```
#![allow(clippy::disallowed_methods, reason = "a server: it reads the clock and uses sockets and files")]

mod body;
pub mod config;
mod error;
mod idle;
pub mod limits;
mod listener;
mod logging;
mod ops;
mod outgoing;
mod peer;
mod problem;
mod signal;
mod telemetry;
mod tls;

pub use body::read_json;
pub use error::Error;
pub use listener::{HttpLimits, Listener, Upgraded, upgraded};
pub use logging::init_logging;
pub use ops::{Readiness, ops_router};
pub use outgoing::{PublicOnly, is_public, may_be_public};
pub use peer::client_address;
pub use problem::{Problem, ProblemDetails, ProblemResponses, with_fallbacks};
pub use signal::stop_signal;
pub use telemetry::{METRICS, Metric, MetricKind, Metrics, describe, observe};
pub use tls::{Tls, TlsFiles};
