//! A sandbox server, its clients, and reproducible randomness.
#![allow(dead_code, unreachable_pub, clippy::expect_used, reason = "each test uses its part")]

use bytes::Bytes;
use comity_core::Timestamp;
use comity_noise::cert::Issuer;
use comity_noise::{InitiatorConfig, Profile, PublicKey, ResponderConfig, ServerTrust, StaticKey, TrustRoot, Validity};
use core::convert::Infallible;
use rand::SeedableRng as _;
use rand::rand_core::{TryCryptoRng, TryRng};
use rand::rngs::StdRng;

/// The time of the tests.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// When the sandbox's certificates are valid.
pub const VALIDITY: Validity = Validity { not_before: 1_799_999_000, not_after: 1_800_001_000 };

/// Reproducible randomness.
pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Randomness that gives the same 32 bytes again and again.
pub struct Fixed(pub [u8; 32]);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

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
            ..InitiatorConfig::new(StaticKey::generate(&mut rng(seed)), ServerTrust::Chain(self.trust()))
        }
    }

    pub const fn trust(&self) -> TrustRoot {
        TrustRoot(self.root.public())
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

/// The twelve published encodings of points of low order, and four of them again with the top bit, which is ignored.
pub fn low_order() -> Vec<[u8; 32]> {
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
        "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
        "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "daffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "dbffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ]
    .map(|hex| *hex.parse::<PublicKey>().expect("32 bytes").as_bytes())
    .to_vec()
}
