//! HTTP/1.1 and HTTP/2 over TCP or TLS, with a bounded number of everything.

use crate::idle::IdleStream;
use crate::limits::{
    CONNECTION_IDLE, DEFAULT_MAX_CONNECTIONS, DRAIN, HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, MAX_HEADERS, MAX_STREAMS,
    TLS_POLL,
};
use crate::telemetry::{OpenConnection, TLS_FAILURES, TLS_RELOADS};
use crate::{Error, Tls};
use axum::Router;
use axum::extract::ConnectInfo;
use core::net::SocketAddr;
use core::time::Duration;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Bounds of a [`Listener`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpLimits {
    /// Connections at once; the next client waits in the system's queue.
    pub max_connections: usize,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// A connection on which no byte moved for so long is closed.
    pub idle: Duration,
    /// HTTP/2: most requests at once on one connection.
    pub max_streams: u32,
    /// HTTP/1: read buffer; HTTP/2: largest header list; in bytes.
    pub max_headers: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How often the certificate's files are looked at for a change.
    pub tls_poll: Duration,
    /// How long open requests may go on after the stop.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            header_timeout: HEADER_TIMEOUT,
            idle: CONNECTION_IDLE,
            max_streams: MAX_STREAMS,
            max_headers: MAX_HEADERS,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            tls_poll: TLS_POLL,
            drain: DRAIN,
        }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    tls: Option<Tls>,
    limits: HttpLimits,
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one. With `tls`, every connection is TLS.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn bind(address: SocketAddr, tls: Option<Tls>, limits: HttpLimits) -> Result<Self, Error> {
        let socket = TcpListener::bind(address).await.map_err(Error::io(format!("cannot listen on {address}")))?;
        let local = socket.local_addr().map_err(Error::io("no local address"))?;
        Ok(Self { socket, local, tls, limits })
    }

    /// The address listened on.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// `https` with TLS, else `http`.
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until `stop` is cancelled; then takes no more connections and lets open requests finish within
    /// [`HttpLimits::drain`]. Handlers find the peer as [`ConnectInfo<SocketAddr>`]. Dropping the future cuts the listener
    /// off; connections that are open go on until they end.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let Self { socket, tls, limits, .. } = self;
        let places = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
        let _reloading =
            tls.clone().map(|tls| AbortOnDropHandle::new(tokio::spawn(keep_current(tls, limits.tls_poll))));
        let graceful = GracefulShutdown::new();
        let builder = Arc::new(builder(&limits));
        let service = TowerToHyperService::new(router);
        loop {
            let (stream, peer, place) = tokio::select! {
                accepted = accept(&socket, &places) => accepted,
                () = stop.cancelled() => break,
            };
            let _ = stream.set_nodelay(true); // a matter of speed alone
            let open = OpenConnection::new();
            let stream = IdleStream::new(stream, limits.idle);
            let service = WithPeer { router: service.clone(), peer };
            let (builder, watcher) = (Arc::clone(&builder), graceful.watcher());
            let acceptor = tls.as_ref().map(Tls::acceptor);
            let handshake = limits.handshake_timeout;
            tokio::spawn(async move {
                let _held = (place, open);
                match acceptor {
                    None => connection(&builder, stream, service, watcher).await,
                    Some(acceptor) => match timeout(handshake, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => connection(&builder, stream, service, watcher).await,
                        outcome => {
                            let error = outcome.map_or_else(
                                |_| "too slow".into(),
                                |failed| failed.err().map_or_else(String::new, |e| e.to_string()),
                            );
                            metrics::counter!(TLS_FAILURES).increment(1);
                            tracing::debug!(%error, "a TLS handshake failed");
                        }
                    },
                }
            });
        }
        drop(socket);
        tracing::info!("stopping: open requests may finish");
        if timeout(limits.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were cut off after {} s", limits.drain.as_secs());
        }
    }
}

fn builder(limits: &HttpLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let http1 = limits.max_headers.max(8192); // hyper's own least
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(http1);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_headers).unwrap_or(u32::MAX))
        .adaptive_window(true);
    builder
}

async fn connection(
    builder: &auto::Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: WithPeer,
    watcher: Watcher,
) {
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// The connection of an HTTP/1.1 request as a byte stream, once its answer, status 101, is sent; `None` if it is not
/// upgraded. It holds no place of the listener's any more: whoever takes it bounds how many there are. The listener's idle
/// time still ends it; its stop does not.
pub fn upgraded<T>(request: &mut Request<T>) -> impl Future<Output = Option<Upgraded>> + Send + use<T> {
    let connection = hyper::upgrade::on(request);
    async move { connection.await.ok().map(TokioIo::new) }
}

/// A connection after its upgrade.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// Accepts when a place is free: the next client waits in the system's queue.
async fn accept(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok(); // the semaphore is never closed
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                // Out of file descriptors, most likely: it passes when connections end.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The router, told who the peer is.
#[derive(Clone)]
struct WithPeer {
    router: TowerToHyperService<Router>,
    peer: SocketAddr,
}

impl Service<Request<Incoming>> for WithPeer {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.router.call(request)
    }
}

/// Reads the certificate again on SIGHUP and when its files change; an unusable one is reported and not taken.
async fn keep_current(tls: Tls, every: Duration) {
    let mut hangup = Hangup::new();
    loop {
        let told = tokio::select! {
            () = tokio::time::sleep(every) => false,
            () = hangup.recv() => true,
        };
        let tls = tls.clone();
        let outcome = tokio::task::spawn_blocking(move || (told || tls.changed()).then(|| tls.reload())).await;
        match outcome.ok().flatten() {
            None => {}
            Some(Ok(())) => {
                metrics::counter!(TLS_RELOADS, "result" => "ok").increment(1);
                tracing::info!("the certificate was read again");
            }
            Some(Err(error)) => {
                metrics::counter!(TLS_RELOADS, "result" => "failed").increment(1);
                tracing::error!(%error, "the certificate was not taken; the one before stays in use");
            }
        }
    }
}

/// SIGHUP, where there is such a thing.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    fn new() -> Self {
        #[cfg(unix)]
        {
            let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
            Self { signal: signal.inspect_err(|error: &io::Error| tracing::warn!(%error, "no SIGHUP")).ok() }
        }
        #[cfg(not(unix))]
        Self {}
    }

    async fn recv(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        core::future::pending().await
    }
}
