//! A sandbox server, its clients, and reproducible randomness.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use bytes::Bytes;
use comity_core::Timestamp;
use comity_noise::cert::Issuer;
use comity_noise::{InitiatorConfig, Profile, ResponderConfig, ServerTrust, StaticKey, TrustRoot, Validity};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// The time of the tests.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// When the sandbox's certificates are valid.
pub const VALIDITY: Validity = Validity { not_before: 1_799_999_000, not_after: 1_800_001_000 };

/// Reproducible randomness.
pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A server with its own root.
pub struct Sandbox {
    pub root: StaticKey,
    pub issuer: Issuer,
    pub config: ResponderConfig,
}

impl Sandbox {
    pub fn new(seed: u64, profile: Profile) -> Self {
        let mut rng = rng(seed);
        let root = StaticKey::generate(&mut rng);
        let issuer = Issuer::new(&root, StaticKey::generate(&mut rng), 5, VALIDITY, &mut rng);
        let key = StaticKey::generate(&mut rng);
        let chain = issuer.chain(key.public(), 9, VALIDITY, &mut rng);
        Self { root, issuer, config: ResponderConfig { profile, ..ResponderConfig::new(key, chain) } }
    }

    pub fn client(&self, seed: u64) -> InitiatorConfig {
        InitiatorConfig {
            profile: self.config.profile.clone(),
            ..InitiatorConfig::new(
                StaticKey::generate(&mut rng(seed)),
                ServerTrust::Chain(TrustRoot(self.root.public())),
            )
        }
    }

    /// The same root, another static key.
    pub fn with_new_key(&self, seed: u64) -> Self {
        let mut rng = rng(seed);
        let issuer = Issuer::new(&self.root, StaticKey::generate(&mut rng), 6, VALIDITY, &mut rng);
        let key = StaticKey::generate(&mut rng);
        let chain: Bytes = issuer.chain(key.public(), 10, VALIDITY, &mut rng);
        let config = ResponderConfig { profile: self.config.profile.clone(), ..ResponderConfig::new(key, chain) };
        Self { root: self.root.clone(), issuer, config }
    }
}

/// The twelve published encodings of points of low order (seven u-coordinates below 2²⁵⁵: 0, 1, two of order 8, p − 1, p,
/// p + 1; five of them again with the ignored top bit).
pub const LOW_ORDER: [[u8; 32]; 12] = {
    const fn tail(low: u8, top: u8) -> [u8; 32] {
        let mut point = [0xff; 32];
        point[0] = low;
        point[31] = top;
        point
    }
    const fn small(low: u8) -> [u8; 32] {
        let mut point = [0; 32];
        point[0] = low;
        point
    }
    const EIGHT: [u8; 32] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    const EIGHT_TOO: [u8; 32] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    const fn high(mut point: [u8; 32]) -> [u8; 32] {
        point[31] |= 0x80;
        point
    }
    [
        small(0),
        small(1),
        EIGHT,
        EIGHT_TOO,
        tail(0xec, 0x7f),
        tail(0xed, 0x7f),
        tail(0xee, 0x7f),
        high(EIGHT),
        high(EIGHT_TOO),
        tail(0xec, 0xff),
        tail(0xed, 0xff),
        tail(0xee, 0xff),
    ]
};
