//! The ready server: all routers on one listener, HTTP/1.1 and HTTP/2, with a bounded number of everything.

use crate::auth::Authenticator;
use crate::gatekeeper::{Gatekeeper, GatekeeperConfig};
use crate::limits::MEDIA_SWEEP;
use crate::push::BoardSink;
use crate::store::{MediaLimits, MediaStore};
use crate::{Config, Error, WakeBoard, jwks_router, keyfile, media_router, push_router, token_router, wake_router};
use axum::Router;
use comity_identity::{Jwks, TokenIssuer};
use comity_server::{HttpLimits, Listener, Metrics, Readiness, observe, ops_router, with_fallbacks};
use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The ready server, bound to its address.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    router: Router,
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
        let mut limits = HttpLimits::default();
        limits.max_connections = config.max_connections;
        let listener = Listener::bind(config.listen, None, limits).await?;
        let local = listener.local_addr();
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
            .merge(ops_router(readiness(gatekeeper, stop.clone()), Some(Metrics::install())));
        let router = observe(with_fallbacks(router));
        let sweeper = AbortOnDropHandle::new(tokio::spawn(sweep(store)));
        Ok(Self { listener, router, stop, _sweeper: sweeper })
    }

    /// The address listened on.
    pub const fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` resolves; then takes no more connections, ends long polls, and lets open requests finish
    /// within [`DRAIN`](comity_server::limits::DRAIN).
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, router, stop, _sweeper, .. } = self;
        let until = async {
            shutdown.await;
            stop.cancel();
        };
        tokio::join!(listener.serve(router, stop.clone()), until);
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

/// Ready: it takes requests, until it is told to stop. Without the gatekeeper's keys it still serves its own clients.
fn readiness(gatekeeper: Gatekeeper, stop: CancellationToken) -> impl Fn() -> Readiness + Send + Sync + 'static {
    move || Readiness::new(!stop.is_cancelled()).with("gatekeeper_keys", gatekeeper.has_keys())
}
