//! Identifiers other than JIDs (PROTOCOL §2, §3).

use crate::limits::{MAX_MESSAGE_ID_LEN, MAX_USER_VISIBLE_ID_LEN};
use compact_str::CompactString;
use core::fmt;
use core::str::FromStr;
use rand_core::CryptoRng;

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// An integrator id is a number from 1 to 999 without leading zeros.
    #[error("an integrator id is 1..=999")]
    Integrator,
    /// An interop user number has 1 to 15 digits and no leading zero.
    #[error("an interop user number has 1 to 15 digits and no leading zero")]
    UserNumber,
    /// A partner user has the one device 0.
    #[error("a partner user has device 0 alone")]
    Device,
    /// A JID is `server`, `user@server` or `user:device@server`.
    #[error("not a JID")]
    Jid,
    /// A user-visible id is 1..=256 bytes of text without control characters.
    #[error("not a user-visible id")]
    UserVisible,
    /// A message id is 1..=128 bytes of printable ASCII.
    #[error("not a message id")]
    Message,
}

/// An integrator's number, 1..=999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntegratorId(u16);

impl IntegratorId {
    /// Checks the range.
    ///
    /// # Errors
    /// [`IdError::Integrator`] outside 1..=999.
    pub const fn new(id: u16) -> Result<Self, IdError> {
        if id >= 1 && id <= 999 { Ok(Self(id)) } else { Err(IdError::Integrator) }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for IntegratorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IntegratorId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        decimal(s, 3).and_then(|n| u16::try_from(n).ok()).ok_or(IdError::Integrator).and_then(Self::new)
    }
}

/// A partner user's internal number, 1..=999 999 999 999 999: assigned at random by the gatekeeper, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserNumber(u64);

impl UserNumber {
    /// The largest number: 15 digits.
    pub const MAX: u64 = 999_999_999_999_999;

    /// Checks the range.
    ///
    /// # Errors
    /// [`IdError::UserNumber`] outside 1..=[`Self::MAX`].
    pub const fn new(number: u64) -> Result<Self, IdError> {
        if number >= 1 && number <= Self::MAX { Ok(Self(number)) } else { Err(IdError::UserNumber) }
    }

    /// A number of exactly 15 digits, uniformly drawn.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        const LOW: u64 = 100_000_000_000_000;
        const SPAN: u64 = UserNumber::MAX - LOW + 1;
        loop {
            let n = rng.next_u64() >> 14; // 50 bits: the smallest power of two above SPAN
            if n < SPAN {
                return Self(LOW + n);
            }
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for UserNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for UserNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserNumber({})", crate::Redacted(self.0))
    }
}

impl FromStr for UserNumber {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        decimal(s, 15).ok_or(IdError::UserNumber).and_then(Self::new)
    }
}

/// Parses 1..=`max_digits` decimal digits without leading zero.
pub(crate) fn decimal(s: &str, max_digits: usize) -> Option<u64> {
    let plain = !s.is_empty() && s.len() <= max_digits && s.bytes().all(|b| b.is_ascii_digit());
    if plain && (s.len() == 1 || !s.starts_with('0')) { s.parse().ok() } else { None }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $err:expr, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(CompactString);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(s: &str) -> Result<Self, IdError> {
                let ok: fn(char) -> bool = $ok;
                if s.is_empty() || s.len() > $max || !s.chars().all(ok) { Err($err) } else { Ok(Self(s.into())) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), crate::Redacted(&self.0))
            }
        }
    };
}

text_id! {
    /// The id a user is known by to people (phone number, e-mail, user name): chosen by the partner, in the token and in
    /// push calls, never on the chat wire.
    UserVisibleId, MAX_USER_VISIBLE_ID_LEN, IdError::UserVisible, |c| !c.is_control()
}

text_id! {
    /// A message's id: opaque, unique per sender.
    MessageId, MAX_MESSAGE_ID_LEN, IdError::Message, |c| c.is_ascii_graphic()
}

impl MessageId {
    /// A fresh id of 32 upper-case hexadecimal digits (128 random bits).
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(compact_str::format_compact!("{:016X}{:016X}", rng.next_u64(), rng.next_u64()))
    }
}
