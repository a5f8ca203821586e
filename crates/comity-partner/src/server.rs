//! The ready server: all routers on one listener, HTTP/1.1 and HTTP/2, with a bounded number of everything.

use crate::auth::Authenticator;
use crate::gatekeeper::{Gatekeeper, GatekeeperConfig};
use crate::idle::IdleStream;
use crate::limits::{CONNECTION_IDLE, DRAIN, HEADER_TIMEOUT, MAX_HEADERS, MAX_STREAMS, MEDIA_SWEEP};
use crate::push::BoardSink;
use crate::store::{MediaLimits, MediaStore};
use crate::{
    Config, Error, Problem, WakeBoard, jwks_router, keyfile, media_router, push_router, token_router, wake_router,
};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use comity_identity::{Jwks, TokenIssuer};
use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The ready server, bound to its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    router: Router,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    _sweeper: AbortOnDropHandle<()>,
}

impl Server {
    /// Binds the listener, loads or makes the signing key, opens the media store.
    ///
    /// # Errors
    /// [`Error`], saying what cannot be had.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        config.check()?;
        let users = Arc::new(config.static_users()?);
        let listener =
            TcpListener::bind(config.listen).await.map_err(Error::io(format!("cannot listen on {}", config.listen)))?;
        let local = listener.local_addr().map_err(Error::io("no local address"))?;
        let origin = config.origin.clone().unwrap_or_else(|| format!("http://{local}"));

        make_private_dir(&config.data_dir)
            .await
            .map_err(Error::io(format!("cannot make {}", config.data_dir.display())))?;
        let key_path = config.data_dir.join("signing-key.p8");
        let key = tokio::task::spawn_blocking(move || keyfile::load_or_generate(&key_path))
            .await
            .map_err(|_| Error::Config("the signing key could not be loaded".into()))??;
        let identity = |what: &'static str| move |source| Error::Identity { what: what.into(), source };
        let issuer = TokenIssuer::new(&origin, &config.audience, key).map_err(identity("the token issuer"))?;
        let keys = Jwks::new([issuer.public()]).map_err(identity("the key set"))?;

        let media_dir = config.data_dir.join("media");
        let store = MediaStore::open_dir(&media_dir, media_limits(config))
            .await
            .map_err(Error::io(format!("cannot open {}", media_dir.display())))?;
        let store = Arc::new(store);
        let gatekeeper = Gatekeeper::start(&GatekeeperConfig {
            jwks_url: config.gatekeeper_jwks_url.clone(),
            issuer: config.gatekeeper_issuer.clone(),
            origin,
            sandbox: config.sandbox,
        })?;

        let stop = CancellationToken::new();
        let board = Arc::new(WakeBoard::new());
        let sink = Arc::new(BoardSink { users: Arc::clone(&users), board: Arc::clone(&board) });
        let auth: Arc<dyn Authenticator> = users;
        let bearer = config.require_bearer.then(|| gatekeeper.clone());
        let router = jwks_router(&keys)
            .merge(token_router(Arc::new(issuer), Arc::clone(&auth)))
            .merge(push_router(gatekeeper.clone(), sink))
            .merge(wake_router(board, Arc::clone(&auth), stop.clone()))
            .merge(media_router(Arc::clone(&store), auth, bearer))
            .merge(health_router(gatekeeper, stop.clone()))
            .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
            .method_not_allowed_fallback(async || {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here")
            });
        let connections = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        let sweeper = AbortOnDropHandle::new(tokio::spawn(sweep(store)));
        Ok(Self { listener, local, router, connections, stop, _sweeper: sweeper })
    }

    /// The address listened on.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `shutdown` resolves; then takes no more connections, ends long polls, and lets open requests finish
    /// within [`DRAIN`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, router, connections, stop, _sweeper, .. } = self;
        let graceful = GracefulShutdown::new();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX))
            .adaptive_window(true);
        let service = TowerToHyperService::new(router);
        tokio::pin!(shutdown);
        loop {
            let (stream, permit) = tokio::select! {
                accepted = accept(&listener, &connections) => accepted,
                () = &mut shutdown => break,
            };
            let _ = stream.set_nodelay(true); // a matter of speed alone
            let io = TokioIo::new(IdleStream::new(stream, CONNECTION_IDLE));
            let connection = graceful.watch(builder.serve_connection(io, service.clone()).into_owned());
            tokio::spawn(async move {
                let _permit = permit;
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended badly");
                }
            });
        }
        drop(listener);
        stop.cancel();
        tracing::info!("stopping: open requests may finish");
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were cut off after {} s", DRAIN.as_secs());
        }
    }
}

/// Accepts when a place is free: the next client waits in the system's queue.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, impl Sized + Send + use<>) {
    let permit = Arc::clone(places).acquire_owned().await; // the semaphore is never closed
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                // Out of file descriptors, most likely: it passes when connections end.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn media_limits(config: &Config) -> MediaLimits {
    MediaLimits {
        max_len: config.max_media_len,
        max_total: config.max_media_total,
        retention: Duration::from_secs(u64::from(config.media_retention_days) * 24 * 3600),
        uploads: config.max_uploads,
        downloads: config.max_downloads,
    }
}

async fn make_private_dir(dir: &std::path::Path) -> std::io::Result<()> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(dir).await
}

async fn sweep(store: Arc<MediaStore>) {
    loop {
        match store.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "media past its time was removed"),
            Err(error) => tracing::warn!(%error, "media past its time could not be removed"),
        }
        tokio::time::sleep(MEDIA_SWEEP).await;
    }
}

/// `GET /livez`: the process answers. `GET /readyz`: it takes requests (503 once it is told to stop), and whether the
/// gatekeeper's keys are at hand; without them it still serves its own clients.
fn health_router(gatekeeper: Gatekeeper, stop: CancellationToken) -> Router {
    let ready = move || async move { readiness(&gatekeeper, &stop) };
    Router::new().route("/livez", get(async || "ok")).route("/readyz", get(ready))
}

fn readiness(gatekeeper: &Gatekeeper, stop: &CancellationToken) -> Response {
    let ready = !stop.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": ready, "gatekeeper_keys": gatekeeper.has_keys()}).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
