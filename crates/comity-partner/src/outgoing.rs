//! Calls to others over HTTP: no redirects, bounded answers, and for addresses that users choose, none into this network.

use crate::Error;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
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
    build(if sandbox { builder } else { builder.dns_resolver(Arc::new(PublicOnly)) })
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
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let local = name == "localhost" || [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end));
    (parsed.scheme() == "https" && !local && literal.is_none_or(is_public)).then_some(parsed)
}

/// Resolves names to public addresses alone.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address can be that of a host on the public internet (by the IANA special-purpose registries).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_documentation()
        || a == 0
        || a >= 224 // multicast, reserved, broadcast
        || (a == 100 && (64..128).contains(&b)) // shared address space
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99) // 6to4 relays
        || (a == 198 && (b == 18 || b == 19))) // benchmarking
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let embedded = |high: u16, low: u16| {
        let [w, x] = high.to_be_bytes();
        let [y, z] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b) {
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && embedded(g, h), // NAT64
        (0x2002, _) => embedded(b, c),                                    // 6to4
        (0x2001, 0xdb8) => false,                                         // documentation
        (0x2001, b) if b < 0x200 => false,                                // Teredo and other protocol assignments
        (0x3fff, b) if b < 0x1000 => false,                               // documentation
        (0x2000..=0x3fff, _) => true,                                     // all that is allocated
        _ => false,
    }
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
    fn only_public_addresses_pass() {
        for (address, public) in [
            ("8.8.8.8", true),
            ("93.184.216.34", true),
            ("2606:2800:220:1::1", true),
            ("64:ff9b::8.8.8.8", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("127.255.0.1", false),
            ("169.254.169.254", false), // cloud metadata
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.8", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::127.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::1", false),
            ("2002:7f00:1::", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

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
