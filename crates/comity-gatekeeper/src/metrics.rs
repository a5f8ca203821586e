//! What is counted. Labels are of closed sets; nothing of a person. `docs/metrics.md` explains each name.

use comity_server::{Metric, MetricKind};

pub(crate) const ENLISTMENTS: &str = "comity_gatekeeper_enlistments_total";
pub(crate) const LOG_INS: &str = "comity_gatekeeper_log_ins_total";
pub(crate) const CONNECTIONS: &str = "comity_gatekeeper_chat_connections_open";
pub(crate) const MESSAGES: &str = "comity_gatekeeper_messages_total";
pub(crate) const PUSHES: &str = "comity_gatekeeper_pushes_total";
pub(crate) const JWKS_FETCHES: &str = "comity_gatekeeper_jwks_fetches_total";
pub(crate) const KEY_CHANGES: &str = "comity_gatekeeper_bearer_key_changes_total";

/// The metrics of this crate; those of requests and HTTP connections are `comity_server::METRICS`.
pub const METRICS: &[Metric] = &[
    Metric::new(ENLISTMENTS, MetricKind::Counter, "Enlistments by result: ok, or the reason of the refusal"),
    Metric::new(LOG_INS, MetricKind::Counter, "Log-ins by result: ok, or the refusal's number"),
    Metric::new(CONNECTIONS, MetricKind::Gauge, "Chat connections open, all phases"),
    Metric::new(MESSAGES, MetricKind::Counter, "Messages, calls and media retries taken from clients, by outcome"),
    Metric::new(PUSHES, MetricKind::Counter, "Push calls to partners, by outcome"),
    Metric::new(JWKS_FETCHES, MetricKind::Counter, "Fetches of integrators' key sets, by result"),
    Metric::new(KEY_CHANGES, MetricKind::Counter, "Times the keys of the bearer tokens changed"),
];

/// One more, with one label.
pub(crate) fn count(name: &'static str, label: &'static str, value: impl Into<metrics::SharedString>) {
    metrics::counter!(name, label => value.into()).increment(1);
}

/// One more in a gauge for as long as it lives.
pub(crate) struct Counted(&'static str);

impl Counted {
    pub(crate) fn new(name: &'static str) -> Self {
        metrics::gauge!(name).increment(1);
        Self(name)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1);
    }
}
