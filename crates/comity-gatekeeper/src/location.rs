//! Where partner users may be: the hook, and a ready policy of networks (PROTOCOL §18: they must be and remain in the EEA).

use crate::Error;
use crate::limits::{MAX_NETWORKS, MAX_NETWORKS_FILE};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

/// Whether a user at an address may take part: partner users must be and remain in the EEA (PROTOCOL §18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Inside.
    Allowed,
    /// Outside: refused.
    Denied,
    /// Not known; let in.
    Unknown,
}

/// Judges the address of an enlistment or a log-in. The decision is logged, the address is not.
pub type LocationPolicy = Arc<dyn Fn(IpAddr) -> Location + Send + Sync>;

/// Networks by configuration. The smallest network that holds an address decides; the same one in both lists denies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    /// Networks in CIDR form whose addresses are allowed.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Networks whose addresses are denied.
    #[serde(default)]
    pub deny: Vec<String>,
    /// A file with more allowed ones, one a line; what follows `#` is a comment.
    #[serde(default)]
    pub allow_file: Option<PathBuf>,
    /// A file with more denied ones.
    #[serde(default)]
    pub deny_file: Option<PathBuf>,
    /// Whether an address in no network is denied; otherwise it is unknown, and let in.
    #[serde(default)]
    pub deny_others: bool,
}

impl Networks {
    /// The policy; `None` if nothing is configured.
    ///
    /// # Errors
    /// [`Error::Server`] for a network that does not parse, over [`MAX_NETWORKS`], or a file that cannot be read.
    pub fn policy(&self) -> Result<Option<LocationPolicy>, Error> {
        let mut table = Table::default();
        // Denied ones last: they replace the same network's permission.
        for (list, file, location) in
            [(&self.allow, &self.allow_file, Location::Allowed), (&self.deny, &self.deny_file, Location::Denied)]
        {
            for network in list {
                table.add(network, location).map_err(|what| Error::config(format!("`location`: {what}")))?;
            }
            if let Some(path) = file {
                let at = path.display();
                let mut text = String::new();
                let file = std::fs::File::open(path).map_err(Error::io(at.to_string()))?;
                file.take(MAX_NETWORKS_FILE + 1).read_to_string(&mut text).map_err(Error::io(at.to_string()))?;
                if text.len() as u64 > MAX_NETWORKS_FILE {
                    return Err(Error::config(format!("{at}: longer than {MAX_NETWORKS_FILE} bytes")));
                }
                for (n, line) in text.lines().enumerate() {
                    let network = line.split('#').next().unwrap_or_default().trim();
                    if !network.is_empty() {
                        let added = table.add(network, location);
                        added.map_err(|what| Error::config(format!("{at}: line {}: {what}", n + 1)))?;
                    }
                }
            }
        }
        if table.count == 0 && !self.deny_others {
            return Ok(None);
        }
        let others = if self.deny_others { Location::Denied } else { Location::Unknown };
        Ok(Some(Arc::new(move |address| table.find(address).unwrap_or(others))))
    }
}

/// Networks by the length of their prefix; IPv4 ones as IPv6-mapped.
#[derive(Default)]
struct Table {
    by_length: BTreeMap<u32, HashMap<u128, Location>>,
    count: usize,
}

impl Table {
    fn add(&mut self, network: &str, location: Location) -> Result<(), String> {
        let bad = || format!("`{network}` is not a network in CIDR form");
        let (address, length) = network.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let (most, above) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = length.parse::<u32>().ok().filter(|length| *length <= most).ok_or_else(bad)? + above;
        let bits = mapped(address);
        if bits != masked(bits, length) {
            return Err(format!("`{network}` has bits set beyond its prefix"));
        }
        self.count += 1;
        if self.count > MAX_NETWORKS {
            return Err(format!("more than {MAX_NETWORKS} networks"));
        }
        self.by_length.entry(length).or_default().insert(bits, location);
        Ok(())
    }

    fn find(&self, address: IpAddr) -> Option<Location> {
        let bits = mapped(address);
        self.by_length.iter().rev().find_map(|(length, networks)| networks.get(&masked(bits, *length)).copied())
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

const fn masked(bits: u128, length: u32) -> u128 {
    // A shift by all 128 bits leaves nothing.
    bits & !(match u128::MAX.checked_shr(length) {
        Some(rest) => rest,
        None => 0,
    })
}

/// Who an address stands for when it is counted: an IPv4 address, or the /64 that one IPv6 subscriber has at least.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(masked(v6.to_bits(), 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(toml: &str) -> LocationPolicy {
        toml::from_str::<Networks>(toml).unwrap().policy().unwrap().unwrap()
    }

    #[test]
    fn the_smallest_network_decides() {
        let judge = policy(
            r#"
            allow = ["10.0.0.0/8", "10.1.2.0/24", "2001:db8::/32", "192.0.2.7/32"]
            deny = ["10.1.0.0/16", "2001:db8:bad::/48", "192.0.2.7/32"]
            "#,
        );
        for (address, wanted) in [
            ("10.9.9.9", Location::Allowed),
            ("10.1.9.9", Location::Denied),
            ("10.1.2.255", Location::Allowed),
            ("10.1.3.0", Location::Denied),
            ("11.0.0.0", Location::Unknown),
            ("9.255.255.255", Location::Unknown),
            ("::ffff:10.1.9.9", Location::Denied),
            ("2001:db8:1::1", Location::Allowed),
            ("2001:db8:bad:1::1", Location::Denied),
            ("2001:db9::", Location::Unknown),
            ("192.0.2.7", Location::Denied),
            ("192.0.2.6", Location::Unknown),
        ] {
            assert_eq!(judge(address.parse().unwrap()), wanted, "{address}");
        }
        let all = policy(r#"allow = ["0.0.0.0/0"]"#);
        assert_eq!(all("203.0.113.1".parse().unwrap()), Location::Allowed);
        assert_eq!(all("2001:db8::1".parse().unwrap()), Location::Unknown);
        let nobody = policy("deny_others = true");
        assert_eq!(nobody("203.0.113.1".parse().unwrap()), Location::Denied);
        assert!(Networks::default().policy().unwrap().is_none());
    }

    #[test]
    fn networks_come_from_files_and_broken_ones_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eea.txt");
        std::fs::write(&path, "# the union\n\n192.0.2.0/24 # one\n2001:db8::/32\n").unwrap();
        let judge = policy(&format!("allow_file = {path:?}\ndeny_others = true"));
        assert_eq!(judge("192.0.2.1".parse().unwrap()), Location::Allowed);
        assert_eq!(judge("198.51.100.1".parse().unwrap()), Location::Denied);
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "2001:db8::/129", "::1/64", "x/8", "10.0.0.0/-1", "/"] {
            std::fs::write(&path, format!("192.0.2.0/24\n{bad}\n")).unwrap();
            let told = Networks { deny_file: Some(path.clone()), ..Networks::default() }.policy().err().unwrap();
            assert!(told.to_string().contains("line 2"), "{bad}: {told}");
            assert!(Networks { allow: vec![bad.into()], ..Networks::default() }.policy().is_err(), "{bad}");
        }
        std::fs::write(&path, "192.0.2.0/24\n".repeat(MAX_NETWORKS + 1)).unwrap();
        assert!(Networks { deny_file: Some(path.clone()), ..Networks::default() }.policy().is_err());
        let gone = Networks { deny_file: Some(dir.path().join("none")), ..Networks::default() };
        assert!(gone.policy().is_err());
    }

    #[test]
    fn ipv6_subscribers_count_once() {
        let of = |address: &str| subscriber(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
