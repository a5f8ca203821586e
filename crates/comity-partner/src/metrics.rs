//! The metrics of this server. Labels are of closed sets; `docs/metrics.md` explains each name.

use comity_server::{Metric, MetricKind};

pub(crate) const TOKENS: &str = "comity_partner_tokens_issued_total";
pub(crate) const AUTH_FAILURES: &str = "comity_partner_auth_failures_total";
pub(crate) const PUSHES: &str = "comity_partner_pushes_total";
pub(crate) const WEBPUSH: &str = "comity_partner_webpush_total";
pub(crate) const BACKEND: &str = "comity_partner_backend_calls_total";
pub(crate) const JWKS_FETCHES: &str = "comity_partner_gatekeeper_jwks_fetches_total";
pub(crate) const OIDC_FETCHES: &str = "comity_partner_oidc_fetches_total";
pub(crate) const KEY_CHANGES: &str = "comity_partner_signing_key_changes_total";
pub(crate) const MEDIA_BYTES: &str = "comity_partner_media_bytes_total";

/// The metrics of this crate; those of requests and connections are `comity_server::METRICS`.
pub const METRICS: &[Metric] = &[
    Metric::new(TOKENS, MetricKind::Counter, "Ownership tokens issued"),
    Metric::new(AUTH_FAILURES, MetricKind::Counter, "Clients not authenticated, by reason"),
    Metric::new(PUSHES, MetricKind::Counter, "Push calls of the gatekeeper, by outcome"),
    Metric::new(WEBPUSH, MetricKind::Counter, "Web Push requests, by outcome"),
    Metric::new(BACKEND, MetricKind::Counter, "Calls to the partner's own back end, by call and outcome"),
    Metric::new(JWKS_FETCHES, MetricKind::Counter, "Fetches of the gatekeeper's key set, by result"),
    Metric::new(OIDC_FETCHES, MetricKind::Counter, "Fetches of the OpenID provider's keys, by result"),
    Metric::new(KEY_CHANGES, MetricKind::Counter, "Times the signing keys in use changed"),
    Metric::new(MEDIA_BYTES, MetricKind::Counter, "Bytes of media, by direction"),
];

/// One more, with one label.
pub(crate) fn count(name: &'static str, label: &'static str, value: &'static str) {
    metrics::counter!(name, label => value).increment(1);
}
