//! What an account needs to know before it starts.

use comity_core::UserVisibleId;
use comity_noise::{Profile, TrustRoot};
use comity_signal::IdentityPolicy;

/// Which side of the protocol an account is on.
#[derive(Clone, Debug)]
pub enum Role {
    /// A partner's user: enlists with an ownership token.
    Partner {
        /// The id the partner knows the user by; the token's `sub`.
        user: UserVisibleId,
    },
    /// A gatekeeper's user, for tests and the sandbox: registered there by phone number and Noise key.
    Native {
        /// Digits, with country code.
        phone_number: u64,
    },
}

/// An account's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which side.
    pub role: Role,
    /// The name others see.
    pub display_name: String,
    /// The form of the Noise transport.
    pub profile: Profile,
    /// The key that signs the gatekeeper's certificates.
    pub root: TrustRoot,
    /// What happens when a peer's identity key changes.
    pub identity_policy: IdentityPolicy,
    /// Tell senders when their messages were read.
    pub read_receipts: bool,
    /// Connect right after the start; else with [`crate::Command::GoOnline`].
    pub online: bool,
}
