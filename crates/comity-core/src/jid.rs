//! JIDs: the ids of the chat wire (PROTOCOL §2).

use crate::ids::{IdError, IntegratorId, UserNumber, decimal};
use crate::limits::MAX_JID_USER_LEN;
use compact_str::CompactString;
use core::fmt;
use core::str::FromStr;

/// The part of a JID after `@`, or the whole of a bare server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Server {
    /// `s.whatsapp.net`: native users by phone number.
    Whatsapp,
    /// `lid`: native users by an opaque number.
    Lid,
    /// `hosted`.
    Hosted,
    /// `hosted.lid`.
    HostedLid,
    /// `g.us`: groups.
    Group,
    /// `msgr`: Messenger users.
    Msgr,
    /// `interop`: partner users.
    Interop,
    /// `broadcast`.
    Broadcast,
    /// `call`.
    Call,
    /// `newsletter`; passes through.
    Newsletter,
    /// `bot`; passes through.
    Bot,
}

impl Server {
    /// All servers, in no meaningful order.
    pub const ALL: [Self; 11] = [
        Self::Whatsapp,
        Self::Lid,
        Self::Hosted,
        Self::HostedLid,
        Self::Group,
        Self::Msgr,
        Self::Interop,
        Self::Broadcast,
        Self::Call,
        Self::Newsletter,
        Self::Bot,
    ];

    /// The server's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "s.whatsapp.net",
            Self::Lid => "lid",
            Self::Hosted => "hosted",
            Self::HostedLid => "hosted.lid",
            Self::Group => "g.us",
            Self::Msgr => "msgr",
            Self::Interop => "interop",
            Self::Broadcast => "broadcast",
            Self::Call => "call",
            Self::Newsletter => "newsletter",
            Self::Bot => "bot",
        }
    }

    /// The server of that text, if it is a known one.
    pub fn parse(s: &str) -> Option<Self> {
        Some(match s {
            "s.whatsapp.net" => Self::Whatsapp,
            "lid" => Self::Lid,
            "hosted" => Self::Hosted,
            "hosted.lid" => Self::HostedLid,
            "g.us" => Self::Group,
            "msgr" => Self::Msgr,
            "interop" => Self::Interop,
            "broadcast" => Self::Broadcast,
            "call" => Self::Call,
            "newsletter" => Self::Newsletter,
            "bot" => Self::Bot,
            _ => return None,
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A JID as it stands on the wire. Equality, order and hash are by identity: device 0 and no device are one.
///
/// The fields are what the codec takes (any user string, any `u16`); an identity is made of it, and its grammar checked,
/// by [`PartnerUser`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    server: Server,
    integrator: u16,
    user: CompactString,
    device: u16,
}

impl Jid {
    /// `user@server`. For [`Server::Interop`], `user` may be `{integrator}-{user}`. An empty user gives the bare server.
    ///
    /// # Errors
    /// [`IdError::Jid`] if the user is longer than [`MAX_JID_USER_LEN`] or has `@`, `:`, or a control character.
    #[inline(always)]
    pub fn new(user: &str, server: Server) -> Result<Self, IdError> {
        if !is_user(user) {
            return Err(IdError::Jid);
        }
        let (integrator, user) = if server == Server::Interop { split_integrator(user) } else { (0, user) };
        Ok(Self { server, integrator, user: user.into(), device: 0 })
    }

    /// The bare server.
    pub const fn server_only(server: Server) -> Self {
        Self { server, integrator: 0, user: CompactString::const_new(""), device: 0 }
    }

    /// The same user's device `device`.
    #[must_use]
    pub fn with_device(mut self, device: u16) -> Self {
        self.device = device;
        self
    }

    /// A partner user's JID from the parts of an INTEROP_JID, unchecked but for the characters of `user`.
    ///
    /// # Errors
    /// As [`Jid::new`].
    #[inline]
    pub fn interop(integrator: u16, user: &str, device: u16) -> Result<Self, IdError> {
        if integrator == 0 {
            return Ok(Self::new(user, Server::Interop)?.with_device(device)); // the user may name one
        }
        if !is_user(user) {
            return Err(IdError::Jid);
        }
        Ok(Self { server: Server::Interop, integrator, user: user.into(), device })
    }

    /// The server.
    pub const fn server(&self) -> Server {
        self.server
    }

    /// The user part without integrator and device; empty for a bare server.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The device; 0 where none is given.
    pub const fn device(&self) -> u16 {
        self.device
    }

    /// The integrator of a partner user's JID; 0 for all others.
    pub const fn integrator(&self) -> u16 {
        self.integrator
    }

    /// Whether this is a group.
    pub fn is_group(&self) -> bool {
        self.server == Server::Group
    }

    /// The same id without its device: the account.
    #[must_use]
    pub fn account(&self) -> Self {
        Self { device: 0, ..self.clone() }
    }
}

/// The parts of `{integrator}-{user}`, as INTEROP_JID splits it: anything else stays one opaque user under integrator 0.
#[inline(never)]
fn split_integrator(text: &str) -> (u16, &str) {
    let split = text.split_once('-').and_then(|(head, tail)| {
        let integrator = decimal(head, 5).and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)?;
        Some((integrator, tail))
    });
    split.unwrap_or((0, text))
}

/// Whether a text is a user part: not longer than [`MAX_JID_USER_LEN`], without `@`, `:` and control characters.
#[inline]
fn is_user(text: &str) -> bool {
    is_number_like(text.as_bytes()) || is_user_slow(text)
}

/// Whether these are 8 to 16 digits, `-`, `.` and `/`: almost every user is. Eight bytes a step.
#[inline]
fn is_number_like(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (Some(head), Some(tail)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) else { return false };
    let inside = |chunk: [u8; 8]| {
        let word = u64::from_ne_bytes(chunk);
        // The high bit of a byte: set in the first sum from `:` on, in the second from `-` on.
        let above = word.wrapping_add(0x4646_4646_4646_4646);
        let least = word.wrapping_add(0x5353_5353_5353_5353);
        (!(word | above) & least & HIGH) == HIGH
    };
    bytes.len() <= 16 && inside(*head) && inside(*tail)
}

#[inline(never)]
fn is_user_slow(text: &str) -> bool {
    if text.len() > MAX_JID_USER_LEN {
        return false;
    }
    // One pass without branches settles it for printable ASCII.
    let other = text.bytes().fold(false, |bad, b| bad | !(b' '..0x7f).contains(&b) | (b == b'@') | (b == b':'));
    !other || !text.chars().any(|c| c == '@' || c == ':' || c.is_control())
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.integrator != 0 {
            write!(f, "{}-", self.integrator)?;
        }
        if self.integrator == 0 && self.user.is_empty() && self.device == 0 {
            return f.write_str(self.server.as_str());
        }
        f.write_str(&self.user)?;
        if self.device != 0 {
            write!(f, ":{}", self.device)?;
        }
        write!(f, "@{}", self.server)
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jid({}@{})", crate::Redacted(&self.user), self.server)
    }
}

impl FromStr for Jid {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let Some((local, server)) = s.rsplit_once('@') else {
            return Server::parse(s).map(Self::server_only).ok_or(IdError::Jid);
        };
        let server = Server::parse(server).ok_or(IdError::Jid)?;
        let (user, device) = match local.split_once(':') {
            None => (local, 0),
            Some((user, device)) => {
                let device = decimal(device, 5).and_then(|d| u16::try_from(d).ok()).ok_or(IdError::Jid)?;
                (user.strip_suffix(".0").unwrap_or(user), device) // the full form `user.agent:device`, agent 0
            }
        };
        if user.is_empty() {
            return Err(IdError::Jid);
        }
        Ok(Self::new(user, server)?.with_device(device))
    }
}

/// A partner user: integrator and number, checked. The one E2EE identity and the one device (0) of a partner account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartnerUser {
    /// Whose user.
    pub integrator: IntegratorId,
    /// Which user.
    pub number: UserNumber,
}

impl PartnerUser {
    /// The JID, canonical (no device).
    pub fn jid(self) -> Jid {
        let mut digits = CompactString::const_new("");
        let _infallible = fmt::Write::write_fmt(&mut digits, format_args!("{}", self.number));
        Jid { server: Server::Interop, integrator: self.integrator.get(), user: digits, device: 0 }
    }

    /// The name of the user's Signal address, `{integrator}-{user}`; its device is 0.
    pub fn signal_name(self) -> String {
        format!("{}-{}", self.integrator, self.number)
    }
}

impl TryFrom<&Jid> for PartnerUser {
    type Error = IdError;

    fn try_from(jid: &Jid) -> Result<Self, IdError> {
        if jid.server != Server::Interop {
            return Err(IdError::Jid);
        }
        if jid.device != 0 {
            return Err(IdError::Device);
        }
        Ok(Self { integrator: IntegratorId::new(jid.integrator)?, number: jid.user.parse()? })
    }
}

impl From<PartnerUser> for Jid {
    fn from(user: PartnerUser) -> Self {
        user.jid()
    }
}

impl fmt::Display for PartnerUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@interop", self.integrator, self.number)
    }
}

impl fmt::Debug for PartnerUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartnerUser({}-{})", self.integrator, crate::Redacted(self.number))
    }
}

impl FromStr for PartnerUser {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let jid: Jid = s.parse()?;
        // `:0` is the only device text of a partner user, and `.0:0` is not one of its forms.
        let local = s.rsplit_once('@').map_or("", |(local, _)| local);
        if local.contains('.') || local.split_once(':').is_some_and(|(_, device)| device != "0") {
            return Err(IdError::Device);
        }
        Self::try_from(&jid)
    }
}

#[cfg(test)]
mod tests {
    use super::{is_number_like, is_user};

    #[test]
    fn the_quick_check_of_a_user_agrees_with_the_slow_one() {
        for len in 0..20 {
            for at in 0..len {
                for c in (0..=0x2ff).filter_map(char::from_u32) {
                    let user: String = (0..len).map(|i| if i == at { c } else { '5' }).collect();
                    let valid = !(c == '@' || c == ':' || c.is_control());
                    assert_eq!(is_user(&user), valid, "{user:?}");
                    assert!(valid || !is_number_like(user.as_bytes()), "{user:?}");
                }
            }
        }
        assert!(is_user(&"5".repeat(256)) && !is_user(&"5".repeat(257)));
    }
}
