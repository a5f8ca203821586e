//! Metrics in Prometheus' form. Labels are of closed sets: routes as patterns, known methods, classes of status; nothing
//! of a person. `docs/metrics.md` explains each name.

use crate::limits::METRICS_UPKEEP;
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Instant;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// A present value.
    Gauge,
    /// Distribution of durations in seconds.
    Histogram,
}

/// A metric that is emitted: its name and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it says, for `# HELP`.
    pub help: &'static str,
}

impl Metric {
    /// A metric.
    pub const fn new(name: &'static str, kind: MetricKind, help: &'static str) -> Self {
        Self { name, kind, help }
    }
}

const REQUESTS: &str = "comity_http_requests_total";
const DURATION: &str = "comity_http_request_duration_seconds";
const IN_FLIGHT: &str = "comity_http_requests_in_flight";
const CONNECTIONS: &str = "comity_http_connections_total";
const OPEN_CONNECTIONS: &str = "comity_http_connections_open";
pub(crate) const TLS_FAILURES: &str = "comity_tls_handshake_failures_total";
pub(crate) const TLS_RELOADS: &str = "comity_tls_reloads_total";

/// The metrics of this crate.
pub const METRICS: &[Metric] = &[
    Metric::new(REQUESTS, MetricKind::Counter, "Answered requests by route, method and class of status"),
    Metric::new(
        DURATION,
        MetricKind::Histogram,
        "Time from a request's head to its answer's head, by route and method",
    ),
    Metric::new(IN_FLIGHT, MetricKind::Gauge, "Requests not yet answered"),
    Metric::new(CONNECTIONS, MetricKind::Counter, "Connections accepted"),
    Metric::new(OPEN_CONNECTIONS, MetricKind::Gauge, "Connections open"),
    Metric::new(TLS_FAILURES, MetricKind::Counter, "TLS handshakes that failed or took too long"),
    Metric::new(TLS_RELOADS, MetricKind::Counter, "Times the certificate was read again, by result"),
];

/// Upper bounds of the histograms' buckets, in seconds.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The process's metrics, to be rendered at `/metrics`.
#[derive(Clone)]
pub struct Metrics(Option<PrometheusHandle>);

impl core::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Metrics").field("recording", &self.0.is_some()).finish()
    }
}

impl Metrics {
    /// Makes this process record its metrics; the second call and later ones give the same. Where the program has
    /// installed a recorder of its own, that one records and nothing is rendered here.
    pub fn install() -> Self {
        static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS)
                .ok()?
                .build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe(METRICS);
            let upkeep = handle.clone();
            let spawned = std::thread::Builder::new().name("comity-metrics".into()).spawn(move || {
                loop {
                    std::thread::sleep(METRICS_UPKEEP);
                    upkeep.run_upkeep();
                }
            });
            spawned.ok().map(|_detached| handle)
        });
        Self(handle.clone())
    }

    /// The metrics as text, or `None` if another recorder has them.
    pub fn render(&self) -> Option<String> {
        self.0.as_ref().map(PrometheusHandle::render)
    }
}

/// Says what metrics mean, for `# HELP`; after [`Metrics::install`].
pub fn describe(metrics: &[Metric]) {
    for metric in metrics {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metrics::Unit::Seconds, metric.help),
        }
    }
}

/// Counts and times the requests of a router, fallbacks included. Call it last.
pub fn observe(router: Router) -> Router {
    router.layer(from_fn(track))
}

async fn track(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |p| p.as_str().to_owned());
    let method = method(request.method());
    let _in_flight = Counted::new(IN_FLIGHT);
    let started = Instant::now();
    let response = next.run(request).await;
    metrics::histogram!(DURATION, "route" => route.clone(), "method" => method).record(started.elapsed());
    let class = match response.status().as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics::counter!(REQUESTS, "route" => route, "method" => method, "status" => class).increment(1);
    response
}

/// A client may send any word as a method: those not known are one.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// One more in a gauge for as long as it lives: also for what is cancelled.
struct Counted(&'static str);

impl Counted {
    fn new(name: &'static str) -> Self {
        metrics::gauge!(name).increment(1);
        Self(name)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1);
    }
}

pub(crate) struct OpenConnection(#[expect(dead_code, reason = "held")] Counted);

impl OpenConnection {
    pub(crate) fn new() -> Self {
        metrics::counter!(CONNECTIONS).increment(1);
        Self(Counted::new(OPEN_CONNECTIONS))
    }
}
