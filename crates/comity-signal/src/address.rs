//! Signal addresses of chat identities (PROTOCOL §2).

use crate::Error;
use crate::limits::MAX_NAME_LEN;
use comity_core::{Jid, PartnerUser, Redacted, Server};
use core::fmt;

/// Whom a session is with: a name and a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    name: Box<str>,
    device: u32,
}

impl Address {
    /// An address from its parts.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] for a name over [`MAX_NAME_LEN`], [`Error::Misuse`] for an empty one.
    pub fn new(name: &str, device: u32) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::Misuse("an address without a name"));
        }
        if name.len() > MAX_NAME_LEN {
            return Err(Error::LimitExceeded("name of an address"));
        }
        Ok(Self { name: name.into(), device })
    }

    /// A partner user's address: `{integrator}-{user}`, device 0.
    pub fn of_partner(user: PartnerUser) -> Self {
        Self { name: user.signal_name().into(), device: 0 }
    }

    /// The address of a JID: a partner user's as [`Address::of_partner`]; any other's is `{user}@{server}` and the device,
    /// so that equal users of two servers stay apart.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bare server, a group, or an `interop` JID that is no partner user.
    pub fn of_jid(jid: &Jid) -> Result<Self, Error> {
        match jid.server() {
            Server::Interop => {
                let user = PartnerUser::try_from(jid).map_err(|_| Error::Misuse("not a partner user's JID"))?;
                Ok(Self::of_partner(user))
            }
            Server::Whatsapp | Server::Lid | Server::Hosted | Server::HostedLid | Server::Msgr
                if !jid.user().is_empty() =>
            {
                Self::new(&jid.account().to_string(), u32::from(jid.device()))
            }
            _ => Err(Error::Misuse("a JID that has no sessions")),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device.
    pub const fn device(&self) -> u32 {
        self.device
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.device)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}.{})", Redacted(&self.name), self.device)
    }
}
