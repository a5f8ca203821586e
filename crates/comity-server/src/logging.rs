//! Logs to stderr, as text or JSON lines. What must not be in them is kept out by type: `comity_core::{Redacted, Secret}`.

use crate::Error;

/// Starts logging what `filter` says (`level` or `target=level,…`).
///
/// # Errors
/// [`Error::Config`] if the filter cannot be read, or logging was started before.
pub fn init_logging(filter: &str, json: bool) -> Result<(), Error> {
    let wrong = |e: &dyn core::fmt::Display| Error::Config(format!("log filter {filter:?}: {e}"));
    let parsed = tracing_subscriber::EnvFilter::try_new(filter).map_err(|e| wrong(&e))?;
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(parsed);
    let started = if json { log.json().try_init() } else { log.with_ansi(false).try_init() };
    started.map_err(|e| wrong(&e))
}
