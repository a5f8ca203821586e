//! A running gatekeeper: its listeners, its background work, its end.

use crate::hub::{Ending, Hub};
use crate::keys::{CHAIN_RENEW, Keys, rotate_bearer};
use crate::limits::{DRAIN_DEADLINE, MEDIA_KEEP, ROTATE_LOOK, SWEEP_EVERY};
use crate::metrics::{KEY_CHANGES, METRICS};
use crate::partners::Partners;
use crate::site::Site;
use crate::store::{Store, Terms};
use crate::{Clock, Config, Error, LocationPolicy, conn, http};
use comity_core::{Profile, Timestamp};
use comity_identity::BearerIssuer;
use comity_noise::PublicKey;
use comity_server::{HttpLimits, Listener, Metrics, Readiness, describe, observe, ops_router, with_fallbacks};
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// What a gatekeeper runs with beside its configuration.
#[derive(Clone, Default)]
pub struct Options {
    /// The wall clock.
    pub clock: Clock,
    /// Judges the addresses of partner users (PROTOCOL §18), instead of the configured [networks](crate::Networks); without
    /// either all are let in.
    pub location_policy: Option<LocationPolicy>,
    /// The profile, instead of the configured one.
    pub profile: Option<Profile>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// A running gatekeeper. Dropping it stops it without waiting; [`shutdown`](Self::shutdown) waits.
pub struct Gatekeeper {
    chat_addr: SocketAddr,
    http_addr: SocketAddr,
    http_scheme: &'static str,
    ops_addr: Option<SocketAddr>,
    root: PublicKey,
    stop: CancellationToken,
    drain: watch::Sender<bool>,
    serving: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    /// Locked for as long as this lives: two gatekeepers on one data directory would lose mail.
    _lock: File,
}

impl Gatekeeper {
    /// Starts: opens the data directory, binds both listeners, serves. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] if the configuration, the data directory or a listener is not usable. Nothing keeps running.
    pub async fn start(config: Config, options: Options) -> Result<Self, Error> {
        config.check()?;
        let profile = match options.profile {
            Some(profile) => profile,
            None => config.profile()?,
        };
        let (dir, clock, terms) = (config.data_dir.clone(), options.clock, Terms::from(&profile));
        let now = clock.now();
        let (lock, keys, store) = tokio::task::spawn_blocking(move || open(&dir, terms, now))
            .await
            .map_err(|_| Error::Internal("start"))??;
        let chat = bind(config.listen_chat).await?;
        let http = Listener::bind(config.listen_http, config.tls()?, HttpLimits::default()).await?;
        let ops = match config.listen_ops {
            Some(address) => Some(Listener::bind(address, None, HttpLimits::default()).await?),
            None => None,
        };
        let chat_addr = chat.local_addr().map_err(Error::io("listener"))?;
        let (http_addr, http_scheme) = (http.local_addr(), http.scheme());
        let ops_addr = ops.as_ref().map(Listener::local_addr);

        let hub = Arc::new(Hub::default());
        let bearer = BearerIssuer::new(&profile.bearer_issuer, keys.bearer.clone());
        let partners = Arc::new(Partners::new(&config, &profile, bearer, clock.clone())?);
        let public_http = config.public_http.clone().unwrap_or_else(|| format!("{http_scheme}://{http_addr}"));
        let root = keys.root.public();
        let admin_token = config.admin_token()?;
        let configured = config.location.policy()?;
        let policy = options.location_policy.or(configured);
        let (drain, draining) = watch::channel(false);
        let site = Arc::new(Site::new(
            config,
            profile,
            admin_token,
            clock,
            Arc::new(store),
            hub,
            partners,
            &keys,
            public_http,
            policy,
            draining.clone(),
        ));

        let metrics = Metrics::install();
        describe(METRICS);
        let ready = {
            let (partners, draining) = (Arc::clone(&site.partners), draining.clone());
            move || {
                let keys = partners.ready();
                Readiness::new(keys && !*draining.borrow()).with("integrator_keys", keys)
            }
        };
        let stop = CancellationToken::new();
        let here = ops.is_none().then(|| metrics.clone());
        let app = observe(with_fallbacks(http::router(Arc::clone(&site)).merge(ops_router(ready.clone(), here))));
        let mut serving =
            vec![tokio::spawn(conn::serve(Arc::clone(&site), chat)), tokio::spawn(http.serve(app, stop.clone()))];
        if let Some(ops) = ops {
            let app = with_fallbacks(ops_router(ready, Some(metrics)));
            serving.push(tokio::spawn(ops.serve(app, stop.clone())));
        }
        let background = vec![
            tokio::spawn(Arc::clone(&site.partners).keep_keys_fresh()),
            tokio::spawn(sweep(Arc::clone(&site))),
            tokio::spawn(renew_chain(Arc::clone(&site), keys)),
            tokio::spawn(rotate_keys(Arc::clone(&site))),
        ];
        for account in site.store.to_wake().await? {
            site.push.wake(&account);
        }
        Ok(Self { chat_addr, http_addr, http_scheme, ops_addr, root, drain, stop, serving, background, _lock: lock })
    }

    /// Where chat connections are taken.
    pub const fn chat_addr(&self) -> SocketAddr {
        self.chat_addr
    }

    /// Where HTTP is served.
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// `https` with a certificate, else `http`.
    pub const fn http_scheme(&self) -> &'static str {
        self.http_scheme
    }

    /// Where probes and metrics are served, if they have an address of their own.
    pub const fn ops_addr(&self) -> Option<SocketAddr> {
        self.ops_addr
    }

    /// The root of its certificates: what clients trust.
    pub const fn root(&self) -> PublicKey {
        self.root
    }

    /// Stops: takes nothing new, answers what was taken, tells the clients, waits for them a short while.
    pub async fn shutdown(mut self) {
        let _nobody_listens = self.drain.send(true);
        self.stop.cancel();
        for task in self.serving.drain(..) {
            let abort = task.abort_handle();
            if timeout(DRAIN_DEADLINE + Duration::from_secs(1), task).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Gatekeeper {
    fn drop(&mut self) {
        for task in self.serving.iter().chain(&self.background) {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper")
            .field("chat", &self.chat_addr)
            .field("http", &self.http_addr)
            .finish_non_exhaustive()
    }
}

fn open(dir: &Path, terms: Terms, now: Timestamp) -> Result<(File, Keys, Store), Error> {
    let media = dir.join("media");
    std::fs::create_dir_all(&media).map_err(Error::io(media.display().to_string()))?;
    // Keys, mailboxes and who writes to whom: for the operator's account alone.
    #[cfg(unix)]
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .map_err(Error::io(dir.display().to_string()))?;
    let lock = File::create(dir.join("lock")).map_err(Error::io(dir.display().to_string()))?;
    lock.try_lock().map_err(|_| Error::config(format!("{}: in use by another gatekeeper", dir.display())))?;
    Ok((lock, Keys::open(dir, now)?, Store::open(&dir.join("gatekeeper.db"), terms)?))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(Error::io(format!("listen on {address}")))
}

/// Removes what has expired.
async fn sweep(site: Arc<Site>) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match site.store.sweep(site.hub.connected(), site.clock.now()).await {
            Ok(lapsed) => lapsed.iter().for_each(|account| site.hub.end(account, Ending::DeviceRemoved)),
            Err(error) => tracing::error!(%error, "sweep"),
        }
        if let Err(error) = sweep_media(&site.media_dir).await {
            tracing::warn!(%error, "media sweep");
        }
    }
}

async fn sweep_media(dir: &Path) -> std::io::Result<()> {
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(entry) = entries.next_entry().await? {
        let old = entry.metadata().await?.modified()?.elapsed().is_ok_and(|age| age > MEDIA_KEEP);
        if old {
            tokio::fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}

async fn renew_chain(site: Arc<Site>, keys: Keys) {
    loop {
        tokio::time::sleep(CHAIN_RENEW).await;
        site.renew_chain(&keys);
    }
}

/// Rotates the keys of the bearer tokens; a ring is stored before it is used.
async fn rotate_keys(site: Arc<Site>) {
    loop {
        let looked = site.clock.sleep(ROTATE_LOOK);
        let (dir, ring, now) = (site.config.data_dir.clone(), site.partners.own_keys(), site.clock.now());
        match tokio::task::spawn_blocking(move || rotate_bearer(&dir, &ring, now)).await {
            Ok(Ok(Some(keys))) => {
                tracing::info!(?keys, "bearer keys rotated");
                metrics::counter!(KEY_CHANGES).increment(1);
                site.partners.set_own_keys(keys);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::error!(%error, "bearer keys"),
            Err(_) => {}
        }
        looked.await;
    }
}
