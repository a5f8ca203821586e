//! The ready server: all routers on one listener, as the configuration says.

use crate::auth::{Authenticator, StaticUsers};
use crate::gatekeeper::{Gatekeeper, GatekeeperConfig};
use crate::limits::{MEDIA_SWEEP, UPLOAD_TOTAL, WAKE_KEEP};
use crate::storage::{PartnerStore, SqliteStore, StoredUpload, UserQuota};
use crate::store::{MediaLimits, MediaStore};
use crate::{
    BoxFuture, Config, Error, METRICS, MediaQuota, Oidc, PushSink, Pushed, SigningKeys, Throttled, TokenKeys,
    WakeBoard, WebPush, Webhook, clock, jwks_router, keys, media_router, openapi_router, push_router,
    subscription_router, token_router, wake_router,
};
use axum::Router;
use comity_core::{Timestamp, UserVisibleId};
use comity_server::{HttpLimits, Listener, Metrics, Readiness, describe, observe, ops_router, with_fallbacks};
use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The ready server, bound to its addresses.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    router: Router,
    ops: Option<(Listener, Router)>,
    stop: CancellationToken,
    _sweeper: AbortOnDropHandle<()>,
    /// Locked for as long as this lives: two servers on one directory would count its media apart.
    _lock: File,
}

impl Server {
    /// Binds the listeners, opens the store and the media directory, loads or makes the signing keys. Call it in a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Error`], saying what cannot be had.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        config.check()?;
        let mut limits = HttpLimits::default();
        limits.max_connections = config.max_connections;
        let listener = Listener::bind(config.listen, config.tls()?, limits.clone()).await?;
        let origin = config.origin.clone();
        let origin = origin.unwrap_or_else(|| format!("{}://{}", listener.scheme(), listener.local_addr()));
        let listen_opser = match config.listen_ops {
            Some(address) => Some(Listener::bind(address, None, limits).await?),
            None => None,
        };

        let sqlite = open_store(&config.data_dir).await?;
        let lock = lock(&config.data_dir)?;
        sqlite.forget_unfinished().await?;
        let store: Arc<dyn PartnerStore> = Arc::new(sqlite);
        let media_dir = config.data_dir.join("media");
        let media = open_media(config, &media_dir).await?;
        media.take_up_uploads(&*store).await.map_err(Error::io(format!("cannot open {}", media_dir.display())))?;
        let media = Arc::new(media);

        let day = Duration::from_secs(24 * 3600);
        let rotate_every = Some(day * config.rotate_keys_days).filter(|every| !every.is_zero());
        let profile = comity_server::config::profile(&config.profile)?;
        let signing = SigningKeys::start(Arc::clone(&store), &origin, &config.audience, &profile, rotate_every).await?;
        let signing: Arc<dyn TokenKeys> = Arc::new(signing);
        let gatekeeper = Gatekeeper::start(&GatekeeperConfig {
            jwks_url: config.gatekeeper_jwks_url.clone(),
            issuer: config.gatekeeper_issuer.clone(),
            origin,
            profile,
            sandbox: config.sandbox,
        })?;
        let (users, table) = authenticator(config)?;
        let web_push = match &config.web_push {
            Some(web_push) => Some(WebPush::start(Arc::clone(&store), &web_push.subject, config.sandbox).await?),
            None => None,
        };
        let board = Arc::new(WakeBoard::new(Arc::clone(&store)));
        let webhook = config.webhook()?;

        let stop = CancellationToken::new();
        let bearer = config.require_bearer.then(|| gatekeeper.clone());
        let quota = UserQuota { max_files: config.user_max_media_files, max_bytes: config.user_max_media_bytes };
        let quota = MediaQuota { store: Arc::clone(&store), limits: quota };
        let mut router = jwks_router(Arc::clone(&signing))
            .merge(token_router(signing, Arc::clone(&users)))
            .merge(media_router(Arc::clone(&media), Arc::clone(&users), bearer, Some(quota)))
            .merge(openapi_router());
        if let Some(web_push) = &web_push {
            router = router.merge(subscription_router(web_push.clone(), Arc::clone(&users)));
        }
        if webhook.is_none() {
            router = router.merge(wake_router(Arc::clone(&board), users, stop.clone()));
        }
        let hand_over = HandOver { table, webhook, web_push, board };
        let router = router.merge(push_router(gatekeeper.clone(), Arc::new(hand_over)));

        let metrics = Metrics::install();
        describe(METRICS);
        let ready = readiness(gatekeeper, stop.clone());
        let ops =
            listen_opser.map(|listener| (listener, with_fallbacks(ops_router(ready.clone(), Some(metrics.clone())))));
        // Numbers are for the operator: without an address of their own they are served in a sandbox alone.
        let here = (ops.is_none() && config.sandbox).then_some(metrics);
        let router = observe(with_fallbacks(router.merge(ops_router(ready, here))));
        let retention = media_limits(config).retention;
        let sweeper = AbortOnDropHandle::new(tokio::spawn(sweep(media, store, retention)));
        Ok(Self { listener, router, ops, stop, _sweeper: sweeper, _lock: lock })
    }

    /// The address listened on.
    pub const fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// `https` with a certificate, else `http`.
    pub const fn scheme(&self) -> &'static str {
        self.listener.scheme()
    }

    /// The address of probes and metrics, if they have one of their own.
    pub fn ops_addr(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(|(listener, _)| listener.local_addr())
    }

    /// Serves until `shutdown` resolves; then takes no more connections, ends long polls, and lets open requests finish
    /// within [`DRAIN`](comity_server::limits::DRAIN).
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, router, ops, stop, _sweeper, _lock } = self;
        let until = async {
            shutdown.await;
            stop.cancel();
        };
        let ops = async {
            if let Some((listener, router)) = ops {
                listener.serve(router, stop.clone()).await;
            }
        };
        tokio::join!(listener.serve(router, stop.clone()), ops, until);
    }
}

/// Opens the store in a data directory, made if missing: what [`Server::bind`] does, and what
/// [`manage_keys`](crate::manage_keys) works on. A signing key of a version before the store is taken over.
///
/// # Errors
/// [`Error`], saying what cannot be had.
pub async fn open_store(data_dir: &Path) -> Result<SqliteStore, Error> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(data_dir).await.map_err(Error::io(format!("cannot make {}", data_dir.display())))?;
    let path = data_dir.join("partner.db");
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
    let store = opened.map_err(|_| Error::config("the store could not be opened"))??;
    keys::load_or_make(&store, Some(data_dir.join("signing-key.p8"))).await?;
    Ok(store)
}

async fn open_media(config: &Config, dir: &Path) -> Result<MediaStore, Error> {
    #[cfg(feature = "s3")]
    if let Some(s3) = &config.s3 {
        return MediaStore::open_s3(dir, s3, config.sandbox, media_limits(config)).await;
    }
    let opened = MediaStore::open_dir(dir, media_limits(config)).await;
    opened.map_err(Error::io(format!("cannot open {}", dir.display())))
}

fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("lock");
    let lock = File::create(&path).map_err(Error::io(format!("cannot make {}", path.display())))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(Error::config(format!("{} is in use by another server", data_dir.display()))),
    }
}

/// Who says who users are, behind limits on failures; and the table of users, where that is who.
#[expect(clippy::type_complexity, reason = "a pair")]
fn authenticator(config: &Config) -> Result<(Arc<dyn Authenticator>, Option<Arc<StaticUsers>>), Error> {
    let mut table = None;
    let inner: Arc<dyn Authenticator> = if let Some(sidecar) = config.sidecar_auth()? {
        Arc::new(sidecar)
    } else if let Some(oidc) = &config.oidc {
        Arc::new(Oidc::new(oidc.clone(), config.sandbox)?)
    } else {
        let users = Arc::new(config.static_users()?);
        table = Some(Arc::clone(&users));
        users
    };
    Ok((Arc::new(Throttled::new(inner, config.forwarded_for)), table))
}

/// What the ready server does with a push. Whatever it accepts is durable, here or in the partner's own back end.
struct HandOver {
    table: Option<Arc<StaticUsers>>,
    webhook: Option<Webhook>,
    web_push: Option<WebPush>,
    board: Arc<WakeBoard>,
}

impl PushSink for HandOver {
    fn push<'a>(&'a self, user: &'a UserVisibleId) -> BoxFuture<'a, Pushed> {
        Box::pin(async move {
            if let Some(webhook) = &self.webhook {
                let handed = webhook.push(user).await;
                return match &self.web_push {
                    Some(web_push) if handed == Pushed::Accepted => match web_push.push(user).await {
                        Pushed::Gone => Pushed::Accepted, // no subscription: the back end wakes
                        pushed => pushed,
                    },
                    _ => handed,
                };
            }
            if self.table.as_ref().is_some_and(|table| !table.contains(user)) {
                return Pushed::Gone;
            }
            let pushed = self.board.push(user).await;
            if let Some(web_push) = &self.web_push {
                web_push.look();
            }
            pushed
        })
    }
}

fn media_limits(config: &Config) -> MediaLimits {
    MediaLimits {
        max_len: config.max_media_len,
        max_total: config.max_media_total,
        retention: Duration::from_secs(u64::from(config.media_retention_days) * 24 * 3600),
        upload_expiry: Duration::from_secs(u64::from(config.upload_expiry_hours) * 3600),
        uploads: config.max_uploads,
        downloads: config.max_downloads,
    }
}

async fn sweep(media: Arc<MediaStore>, store: Arc<dyn PartnerStore>, retention: Duration) {
    loop {
        match media.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "media past its time was removed"),
            Err(error) => tracing::warn!(%error, "media past its time could not be removed"),
        }
        let before = |age: Duration| {
            Timestamp::from_millis(0).after(clock::now().since(Timestamp::from_millis(0)).saturating_sub(age))
        };
        if let Err(error) = store.sweep(before(WAKE_KEEP), before(retention)).await {
            tracing::warn!(%error, "the store could not be swept");
        }
        give_up(&media, &*store).await;
        tokio::time::sleep(MEDIA_SWEEP).await;
    }
}

/// Removes files in parts whose time is over, and that of the last request for them, too.
async fn give_up(media: &MediaStore, store: &dyn PartnerStore) {
    let uploads = store.open_uploads().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the store could not be swept");
        Vec::new()
    });
    let now = clock::now();
    let over = |upload: &StoredUpload| upload.until.is_some_and(|until| until.after(2 * UPLOAD_TOTAL) <= now);
    for (reference, upload) in uploads.into_iter().filter(|(_, upload)| over(upload)) {
        let Ok(name) = reference.parse() else { continue };
        if let Err(error) = media.remove_part(&name, upload.len).await {
            tracing::warn!(?error, "an upload past its time could not be removed");
            continue;
        }
        if let Err(error) = store.release_media(&reference).await {
            tracing::warn!(%error, "room on the media host was not given back");
        }
    }
}

/// Ready: it takes requests, until it is told to stop. Without the gatekeeper's keys it still serves its own clients.
fn readiness(
    gatekeeper: Gatekeeper,
    stop: CancellationToken,
) -> impl Fn() -> Readiness + Clone + Send + Sync + 'static {
    move || Readiness::new(!stop.is_cancelled()).with("gatekeeper_keys", gatekeeper.has_keys())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_finishes_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::in_memory().unwrap();
        let limits = MediaLimits { max_len: 100, max_total: 100, ..media_limits(&Config::default()) };
        let media = Arc::new(MediaStore::open_dir(dir.path(), limits).await.unwrap());
        let quota = UserQuota { max_files: 10, max_bytes: 100 };
        let user: UserVisibleId = "alice@partner.test".parse().unwrap();
        let now = clock::now();
        for (reference, until) in [("a".repeat(22), Timestamp::from_secs(1)), ("b".repeat(22), now)] {
            media.set_aside(50).unwrap();
            assert!(store.begin_upload(&user, &reference, 50, quota, now, until).await.unwrap());
            let mut part = media.part(&reference.parse().unwrap(), 0).await.unwrap();
            part.write(b"bytes").await.unwrap();
            part.sync().await.unwrap();
        }
        std::fs::write(dir.path().join("parts/unknown"), b"x").unwrap();
        let left = || std::fs::read_dir(dir.path().join("parts")).unwrap().count();
        assert!(media.set_aside(1).is_err());
        give_up(&media, &store).await;
        assert_eq!(left(), 2, "the other may still be on its way");
        assert!(media.set_aside(50).is_ok());
        media.give_back(50);
        assert!(store.upload(&"a".repeat(22)).await.unwrap().is_none());
        drop(media);
        let media = MediaStore::open_dir(dir.path(), limits).await.unwrap();
        media.take_up_uploads(&store).await.unwrap();
        assert_eq!(left(), 1, "what nobody knows is gone");
        assert!(media.set_aside(51).is_err(), "room is set aside again");
        assert!(media.set_aside(50).is_ok());
    }
}
