//! Log-in: who a finished handshake belongs to (PROTOCOL §3, §5.4, §5.5).

use crate::limits::MAX_DISPLAY_NAME;
use crate::site::Site;
use crate::store::{Kind, Status, User};
use crate::{INTEROP_VERSION, IntegratorStatus, Location};
use comity_core::{Jid, PartnerUser, Server, StoreError, UserNumber};
use comity_identity::{Error as TokenError, SingleUse};
use comity_proto::Codec as _;
use comity_proto::handshake::{ClientPayload, Product};
use comity_xmpp::Node;
use std::net::IpAddr;

/// A refused log-in: the reason of `<failure/>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16);

impl Refusal {
    const GENERIC: Self = Self(400);
    pub(crate) const NOT_AUTHORIZED: Self = Self(401);
    const LOCKED: Self = Self(403);
    const VERSION: Self = Self(405);
    const NOT_FOUND: Self = Self(415);
    pub(crate) const RATE_LIMITED: Self = Self(429);
    pub(crate) const INTERNAL: Self = Self(500);
    const UNAVAILABLE: Self = Self(503);

    /// `<failure reason location/>`.
    pub(crate) fn into_node(self) -> Node {
        Node::new("failure").with_attr("reason", u32::from(self.0)).with_attr("location", "sandbox")
    }
}

/// A log-in that was found good, and has had no effect.
pub(crate) struct LogIn {
    pub(crate) user: User,
    /// The display name it brings.
    pub(crate) name: Option<String>,
    /// Its token is unbound: to be used up when the log-in takes effect, which it may not if that fails.
    pub(crate) single_use: Option<SingleUse>,
}

/// Checks a login payload against the proved static key. Reads, and changes nothing: the payload may be a replay.
pub(crate) async fn authenticate(
    site: &Site,
    payload: &[u8],
    noise_key: &[u8; 32],
    from: IpAddr,
) -> Result<LogIn, Refusal> {
    let payload = ClientPayload::decode(payload).map_err(|_| Refusal::GENERIC)?;
    let (user, single_use) = match payload.product {
        Some(product) if product == Product::Interop as i32 => partner(site, &payload, noise_key, from).await?,
        None => (native(site, &payload, noise_key).await?, None),
        Some(product) if product == Product::Whatsapp as i32 => (native(site, &payload, noise_key).await?, None),
        Some(_) => return Err(Refusal(501)),
    };
    let name = payload
        .push_name
        .filter(|name| !name.is_empty() && name.len() <= MAX_DISPLAY_NAME && !name.chars().any(char::is_control));
    Ok(LogIn { user, name, single_use })
}

async fn partner(
    site: &Site,
    payload: &ClientPayload,
    noise_key: &[u8; 32],
    from: IpAddr,
) -> Result<(User, Option<SingleUse>), Refusal> {
    let version = payload.user_agent.as_ref().and_then(|agent| agent.app_version).ok_or(Refusal::VERSION)?;
    let version = [version.primary, version.secondary, version.tertiary]
        .map(|part| part.unwrap_or_default().to_string())
        .join(".");
    if version != INTEROP_VERSION {
        return Err(Refusal::VERSION);
    }
    let data = payload.interop_data.as_ref().ok_or(Refusal::GENERIC)?;
    let number = data.account_id.and_then(|id| UserNumber::new(id).ok()).ok_or(Refusal::GENERIC)?;
    let token = data.token.as_deref().and_then(|token| str::from_utf8(token).ok()).ok_or(Refusal::NOT_AUTHORIZED)?;
    let (partner, token) = site.partners.verify(token, noise_key).await.map_err(|error| {
        tracing::info!(%error, "log-in: token refused");
        match error {
            TokenError::NoKeys => Refusal::UNAVAILABLE,
            TokenError::UnknownIssuer if site.partners.is_removed(token) => Refusal::LOCKED,
            _ => Refusal::NOT_AUTHORIZED,
        }
    })?;
    if partner.config.status == IntegratorStatus::Suspended {
        return Err(Refusal::UNAVAILABLE);
    }
    let account = PartnerUser { integrator: partner.id, number }.jid();
    let user = find(site, account).await?.ok_or(Refusal::NOT_FOUND)?;
    let owner = matches!(&user.kind, Kind::Partner { visible_id, .. } if *visible_id == token.user_visible_id);
    if !owner || user.auth_key != *noise_key {
        return Err(Refusal::NOT_AUTHORIZED);
    }
    if user.status == Status::Blocked {
        return Err(Refusal::LOCKED);
    }
    if user.has_lapsed(site.clock.now()) {
        return Err(Refusal::NOT_FOUND);
    }
    if site.location(from) == Location::Denied {
        return Err(Refusal::LOCKED);
    }
    if let Some(single_use) = &token.single_use
        && site.store.is_used(single_use.clone()).await.map_err(internal)?
    {
        return Err(Refusal::NOT_AUTHORIZED);
    }
    Ok((user, token.single_use))
}

async fn native(site: &Site, payload: &ClientPayload, noise_key: &[u8; 32]) -> Result<User, Refusal> {
    let number = payload.username.ok_or(Refusal::GENERIC)?;
    if payload.device.unwrap_or(0) != 0 {
        return Err(Refusal::NOT_AUTHORIZED); // linked devices are not part of the sandbox
    }
    let account = Jid::new(&number.to_string(), Server::Whatsapp).map_err(|_| Refusal::GENERIC)?;
    // The same answer for an unknown number and another key.
    let user = find(site, account).await?.filter(|user| user.kind == Kind::Native && user.auth_key == *noise_key);
    user.ok_or(Refusal::NOT_AUTHORIZED)
}

async fn find(site: &Site, account: Jid) -> Result<Option<User>, Refusal> {
    site.store.user(account).await.map_err(internal)
}

fn internal(error: StoreError) -> Refusal {
    tracing::error!(%error, "store");
    Refusal::INTERNAL
}
