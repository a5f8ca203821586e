//! The store's values.

use comity_core::{IntegratorId, Jid, Profile, Timestamp, UserVisibleId};
use std::time::Duration;

/// What of the profile the store goes by (PROTOCOL §12, §13).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) mail_keep: Duration,
    pub(crate) lapse_after: Duration,
    pub(crate) pings_per_day: u32,
}

impl From<&Profile> for Terms {
    fn from(profile: &Profile) -> Self {
        let Profile { mail_keep, lapse_after, pings_per_day, .. } = *profile;
        Self { mail_keep, lapse_after, pings_per_day }
    }
}

#[cfg(test)]
impl Default for Terms {
    fn default() -> Self {
        Self::from(&Profile::sandbox())
    }
}

/// Whether a partner user may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Enlisted.
    Active = 0,
    /// Too long without a connection: must enlist again (PROTOCOL §12).
    Lapsed = 1,
    /// Blocked by the operator.
    Blocked = 2,
}

/// What an account is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Partner { integrator: IntegratorId, visible_id: UserVisibleId },
    Native,
}

/// An account.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) account: Jid,
    pub(crate) kind: Kind,
    pub(crate) auth_key: [u8; 32],
    pub(crate) display_name: String,
    pub(crate) status: Status,
    /// Whether a native user sees partner users by their aliases (PROTOCOL §2).
    pub(crate) alias_view: bool,
    /// When it was last known to be connected.
    pub(crate) last_seen: Timestamp,
}

impl User {
    /// Whether a partner user has stayed away for so long that it must enlist again, swept up or not (PROTOCOL §12).
    pub(crate) fn has_lapsed(&self, now: Timestamp, after: Duration) -> bool {
        self.status == Status::Lapsed || (self.kind != Kind::Native && now.since(self.last_seen) >= after)
    }

    /// The integrator of a partner user.
    pub(crate) fn integrator(&self) -> Option<IntegratorId> {
        match &self.kind {
            Kind::Partner { integrator, .. } => Some(*integrator),
            Kind::Native => None,
        }
    }
}

/// A signed pre-key, Curve25519 or post-quantum (PROTOCOL §8).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SignedKey {
    pub(crate) id: u32,
    pub(crate) value: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// A one-time Curve25519 key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OneTimeKey {
    pub(crate) id: u32,
    pub(crate) value: Vec<u8>,
}

/// What an account publishes, without its one-time keys.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) skey: SignedKey,
    /// The last-resort post-quantum key.
    pub(crate) pq_last: Option<SignedKey>,
}

/// What a fetch hands out: the bundle and at most one one-time key of each kind.
#[derive(Clone)]
pub(crate) struct Handout {
    pub(crate) bundle: Bundle,
    pub(crate) key: Option<OneTimeKey>,
    /// A one-time post-quantum key, else the last-resort one.
    pub(crate) pq: Option<SignedKey>,
    /// One-time keys left after this one.
    pub(crate) left: u32,
}

/// A key upload (PROTOCOL §8).
pub(crate) struct Upload {
    pub(crate) bundle: Bundle,
    pub(crate) keys: Vec<OneTimeKey>,
    pub(crate) pq_keys: Vec<SignedKey>,
}

/// How many one-time keys an account has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyCount {
    pub(crate) ec: u32,
    pub(crate) pq: u32,
}
