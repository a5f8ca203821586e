//! Calls to addresses that others choose: to the public internet alone. The address that is checked is the one that is
//! connected to, for this is the resolver of the connection.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::fmt;
use std::sync::Arc;

/// Whether a URL's host can be one on the public internet: no name of this network, no literal address that is not public.
/// Any other name is judged when it is resolved, by [`PublicOnly`]: a literal address is never resolved, so ask for both.
pub fn may_be_public(host: &str) -> bool {
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let local = name == "localhost" || [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end));
    !local && literal.is_none_or(is_public)
}

/// How names are looked up: by the system, or as a test has it.
type Lookup = Arc<dyn Fn(String) -> Resolving + Send + Sync>;

/// A resolver that knows public addresses alone; a name without any is an error.
#[derive(Clone)]
pub struct PublicOnly(Lookup);

impl Default for PublicOnly {
    fn default() -> Self {
        Self(Arc::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
                Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
            })
        }))
    }
}

impl fmt::Debug for PublicOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicOnly")
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            let public: Vec<SocketAddr> = lookup.await?.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address can be that of a host on the public internet (by the IANA special-purpose registries).
pub fn is_public(address: IpAddr) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn only_public_addresses_pass() {
        for (address, public) in [
            ("8.8.8.8", true),
            ("93.184.216.34", true),
            ("2606:2800:220:1::1", true),
            ("64:ff9b::8.8.8.8", true),
            ("1.1.1.1", true),
            ("100.63.255.255", true),
            ("100.128.0.1", true),
            ("172.15.255.255", true),
            ("172.32.0.1", true),
            ("2002:808:808::1", true),
            ("::ffff:8.8.8.8", true),
            ("100.127.255.255", false),
            ("192.0.2.1", false),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("192.88.99.1", false),
            ("198.19.255.255", false),
            ("239.255.255.255", false),
            ("::ffff:0.0.0.0", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:192.168.0.1", false),
            ("::10.0.0.1", false),
            ("::ffff:0:127.0.0.1", false),
            ("64:ff9b::127.0.0.1", false),
            ("64:ff9b::169.254.169.254", false),
            ("64:ff9b::192.168.1.1", false),
            ("2002:a00:1::1", false),
            ("2002:c0a8:101::1", false),
            ("2002:a9fe:a9fe::1", false),
            ("2001:0:4136:e378::1", false),
            ("2001:10::1", false),
            ("3fff::1", false),
            ("100::1", false),
            ("5f00::1", false),
            ("ff0e::1", false),
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

    /// Names that resolve to this machine in every way there is, and to other networks: refused before a connection, which
    /// the listener would have counted. The other answers of a name do not help a bad one, and a name that turns bad is
    /// judged again.
    #[tokio::test]
    async fn no_name_leads_into_this_network() {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let six = tokio::net::TcpListener::bind(("::1", port)).await.ok();
        let connections = Arc::new(AtomicUsize::new(0));
        for listener in [Some(listener), six].into_iter().flatten() {
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                loop {
                    let _held = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let answers = |addresses: Vec<IpAddr>| -> PublicOnly {
            PublicOnly(Arc::new(move |_| {
                let found: Vec<_> = addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect();
                Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
            }))
        };
        let refused = async |resolver: PublicOnly| {
            let http = reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(resolver));
            let http = http.timeout(Duration::from_secs(2)).build().unwrap();
            let error = http.get(format!("http://media.partner.test:{port}/")).send().await.unwrap_err();
            let (mut text, mut source) = (String::new(), std::error::Error::source(&error));
            while let Some(cause) = source {
                text += &cause.to_string();
                source = cause.source();
            }
            assert!(text.contains("no public address"), "{text}");
        };
        let bad: Vec<IpAddr> = [
            "127.0.0.1",
            "127.0.0.2",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.254",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.254",
            "198.18.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::ffff:10.0.0.1",
            "::ffff:100.64.0.1",
            "::ffff:169.254.169.254",
            "::ffff:172.16.0.1",
            "::ffff:192.168.0.1",
            "::ffff:224.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::192.168.0.1",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:1::1",
            "2001::7f00:1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fdff:ffff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff05::1",
            "ff0e::1",
        ]
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
        assert!(bad.len() >= 60, "{}", bad.len());
        for address in &bad {
            refused(answers(vec![*address])).await;
        }
        refused(answers(bad.clone())).await;
        refused(answers(Vec::new())).await;

        // A name that was public is looked up, and judged, each time.
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let rebinding = PublicOnly(Arc::new(move |_| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            let address = if first { "93.184.216.34" } else { "127.0.0.1" };
            let found = SocketAddr::new(address.parse().unwrap(), 0);
            Box::pin(async move { Ok(Box::new([found].into_iter()) as Addrs) })
        }));
        let name = || "media.partner.test".parse::<Name>().unwrap();
        assert_eq!(rebinding.resolve(name()).await.unwrap().count(), 1);
        refused(rebinding).await;
        assert_eq!(turns.load(Ordering::SeqCst), 2);
        // Of a mixed answer the public part is left.
        let mut mixed = bad;
        mixed.push("93.184.216.34".parse().unwrap());
        let left: Vec<_> =
            answers(mixed).resolve(name()).await.unwrap().map(|address| address.ip().to_string()).collect();
        assert_eq!(left, ["93.184.216.34"]);
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }
}
