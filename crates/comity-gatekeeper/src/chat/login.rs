//! Log-in: who a finished handshake belongs to (PROTOCOL §3, §5.4, §5.5).

use crate::INTEROP_VERSION;
use crate::IntegratorStatus;
use crate::limits::MAX_DISPLAY_NAME;
use crate::site::{Location, Site};
use crate::store::{Kind, Status, User};
use comity_core::{Jid, PartnerUser, Server, UserNumber};
use comity_identity::Error as TokenError;
use comity_proto::Codec as _;
use comity_proto::handshake::{ClientPayload, Product};
use comity_xmpp::Node;
use std::net::IpAddr;

/// A refused log-in: the reason of `<failure/>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16);

impl Refusal {
    const GENERIC: Self = Self(400);
    const NOT_AUTHORIZED: Self = Self(401);
    const LOCKED: Self = Self(403);
    const VERSION: Self = Self(405);
    const NOT_FOUND: Self = Self(415);
    const INTERNAL: Self = Self(500);
    const UNAVAILABLE: Self = Self(503);

    /// `<failure reason location/>`.
    pub(crate) fn into_node(self) -> Node {
        Node::new("failure").with_attr("reason", u32::from(self.0)).with_attr("location", "sandbox")
    }
}

/// Checks a login payload against the proved static key. Reads, and changes nothing: the payload may be a replay.
pub(crate) async fn authenticate(
    site: &Site,
    payload: &[u8],
    noise_key: &[u8; 32],
    from: IpAddr,
) -> Result<(User, Option<String>), Refusal> {
    let payload = ClientPayload::decode(payload).map_err(|_| Refusal::GENERIC)?;
    let user = match payload.product {
        Some(product) if product == Product::Interop as i32 => partner(site, &payload, noise_key, from).await?,
        None => native(site, &payload, noise_key).await?,
        Some(product) if product == Product::Whatsapp as i32 => native(site, &payload, noise_key).await?,
        Some(_) => return Err(Refusal(501)),
    };
    let name = payload
        .push_name
        .filter(|name| !name.is_empty() && name.len() <= MAX_DISPLAY_NAME && !name.chars().any(char::is_control));
    Ok((user, name))
}

async fn partner(site: &Site, payload: &ClientPayload, noise_key: &[u8; 32], from: IpAddr) -> Result<User, Refusal> {
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
        if error == TokenError::NoKeys { Refusal::UNAVAILABLE } else { Refusal::NOT_AUTHORIZED }
    })?;
    if partner.config.status == IntegratorStatus::Removed {
        return Err(Refusal::LOCKED);
    }
    let account = PartnerUser { integrator: partner.id, number }.jid();
    let user = find(site, account).await?.ok_or(Refusal::NOT_FOUND)?;
    let owner = matches!(&user.kind, Kind::Partner { visible_id, .. } if *visible_id == token.user_visible_id);
    if !owner || user.auth_key != *noise_key {
        return Err(Refusal::NOT_AUTHORIZED);
    }
    match user.status {
        Status::Active => {}
        Status::Lapsed => return Err(Refusal::NOT_FOUND),
        Status::Blocked => return Err(Refusal::LOCKED),
    }
    if site.location(from) == Location::Denied {
        return Err(Refusal::LOCKED);
    }
    Ok(user)
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
    site.store.user(account).await.map_err(|error| {
        tracing::error!(%error, "store");
        Refusal::INTERNAL
    })
}
