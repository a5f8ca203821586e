//! What an account needs to know before it starts.

use comity_core::{Profile, UserVisibleId};
use comity_noise::TrustRoot;
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
    /// What of the protocol is not published, and what this account takes it to be.
    pub profile: Profile,
    /// The form of the Noise transport.
    pub noise: comity_noise::Profile,
    /// The key that signs the gatekeeper's certificates.
    pub root: TrustRoot,
    /// What happens when a peer's identity key changes.
    pub identity_policy: IdentityPolicy,
    /// Tell senders when their messages were read.
    pub read_receipts: bool,
    /// Connect right after the start; else with [`crate::Command::GoOnline`].
    pub online: bool,
}

impl Config {
    /// A partner's user, with the defaults: the wire's form, identity changes accepted and told, read receipts, online.
    pub fn partner(user: UserVisibleId, root: TrustRoot) -> Self {
        Self::new(user.as_str().to_owned(), Role::Partner { user }, root)
    }

    /// A native user, with the same defaults.
    pub fn native(phone_number: u64, root: TrustRoot) -> Self {
        Self::new(format!("+{phone_number}"), Role::Native { phone_number }, root)
    }

    fn new(display_name: String, role: Role, root: TrustRoot) -> Self {
        Self {
            role,
            display_name,
            profile: Profile::default(),
            noise: comity_noise::Profile::WhatsApp,
            root,
            identity_policy: IdentityPolicy::AcceptAndTell,
            read_receipts: true,
            online: true,
        }
    }

    /// The same under another profile.
    #[must_use]
    pub fn with_profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// The same, not connecting before it is told to.
    #[must_use]
    pub fn offline(self) -> Self {
        Self { online: false, ..self }
    }
}
