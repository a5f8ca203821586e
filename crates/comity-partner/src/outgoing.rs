//! Calls to others over HTTP: no redirects, bounded answers, and for addresses that users choose, none into this network.

use crate::Error;
use comity_server::{PublicOnly, may_be_public};
use core::net::IpAddr;
use core::time::Duration;
use reqwest::Url;
use std::sync::Arc;

/// A client that follows no redirect.
pub(crate) fn client(sandbox: bool, timeout: Duration) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(timeout);
    if sandbox { builder.no_proxy() } else { builder }
}

pub(crate) fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder.build().map_err(|e| Error::HttpClient(e.to_string()))
}

/// A client for addresses that users choose: outside a sandbox https alone, public addresses alone, whatever their names
/// resolve to when the connection is made; never through a proxy, which would resolve them elsewhere.
pub(crate) fn guarded_client(sandbox: bool, timeout: Duration) -> Result<reqwest::Client, Error> {
    let builder = client(sandbox, timeout).no_proxy().https_only(!sandbox);
    build(if sandbox { builder } else { builder.dns_resolver(Arc::new(PublicOnly::default())) })
}

/// Whether a user may name this address: https, no credentials in it, no address of this network (a name is judged when it
/// is resolved); in a sandbox http and any address.
pub(crate) fn acceptable(url: &str, max_len: usize, sandbox: bool) -> Option<Url> {
    let parsed = Url::parse(url).ok().filter(|_| url.len() <= max_len)?;
    if !parsed.username().is_empty() || parsed.password().is_some() || parsed.fragment().is_some() {
        return None;
    }
    let host = parsed.host_str()?;
    if sandbox {
        return matches!(parsed.scheme(), "http" | "https").then_some(parsed);
    }
    (parsed.scheme() == "https" && may_be_public(host)).then_some(parsed)
}

/// Reads at most `max` bytes of an answer.
pub(crate) async fn read(mut answer: reqwest::Response, max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| causes(&e.without_url()))? {
        if body.len() + chunk.len() > max {
            return Err("the answer is too large".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with what caused it: the HTTP client's own text stops at "error sending request".
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Whether a URL of the configuration is https, or http where that is harmless: in a sandbox, or to this very machine.
pub(crate) fn configured_url(key: &str, url: &str, sandbox: bool, here: bool) -> Result<Url, Error> {
    let parsed = Url::parse(url).map_err(|_| Error::config(format!("{key} is not a URL")))?;
    let loopback = parsed.host_str().is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    match parsed.scheme() {
        "https" => Ok(parsed),
        "http" if sandbox || (here && loopback) => Ok(parsed),
        _ if here => Err(Error::config(format!("{key} must be https (http to this machine, or with sandbox = true)"))),
        _ => Err(Error::config(format!("{key} must be https (http needs sandbox = true)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_users_name() {
        for (url, outside, sandbox) in [
            ("https://push.example/abc?x=1", true, true),
            ("https://push.example:8443/abc", true, true),
            ("http://push.example/abc", false, true),
            ("http://127.0.0.1:1/abc", false, true),
            ("https://127.0.0.1/abc", false, true),
            ("https://0x7f000001/abc", false, true),
            ("https://2130706433/abc", false, true),
            ("https://127.1/abc", false, true),
            ("https://[::1]/abc", false, true),
            ("https://[::ffff:10.0.0.1]/abc", false, true),
            ("https://localhost/abc", false, true),
            ("https://LOCALHOST./abc", false, true),
            ("https://printer.local/abc", false, true),
            ("https://metadata.google.internal/abc", false, true),
            ("https://user@push.example/abc", false, false),
            ("https://user:pass@push.example/abc", false, false),
            ("https://push.example/abc#x", false, false),
            ("ftp://push.example/abc", false, false),
            ("file:///etc/passwd", false, false),
            ("gopher://push.example/", false, false),
            ("push.example", false, false),
            ("", false, false),
        ] {
            assert_eq!(acceptable(url, 2048, false).is_some(), outside, "{url}");
            assert_eq!(acceptable(url, 2048, true).is_some(), sandbox, "{url} in a sandbox");
        }
        assert!(acceptable(&format!("https://push.example/{}", "x".repeat(2048)), 2048, false).is_none());
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_connected_to() {
        let http = guarded_client(false, Duration::from_secs(5)).unwrap();
        let refused = http.get("https://localhost:1/").send().await.unwrap_err();
        assert!(causes(&refused).contains("no public address"), "{}", causes(&refused));
    }
}
