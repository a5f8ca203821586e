//! Log-in: who a finished handshake belongs to (PROTOCOL §3, §5.4, §5.5).

use crate::limits::MAX_DISPLAY_NAME;
use crate::site::Site;
use crate::store::{Kind, Status, User};
use crate::{IntegratorStatus, Location};
use comity_core::{Jid, PartnerUser, Profile, Server, StoreError, UserNumber};
use comity_identity::{Error as TokenError, SingleUse};
use comity_proto::Codec as _;
use comity_proto::handshake::{ClientPayload, Product};
use std::net::IpAddr;

/// Why a log-in is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The payload says nothing usable.
    Generic,
    /// No good token, or another key.
    Token,
    Blocked,
    Version,
    NotEnlisted,
    RateLimited,
    Internal,
    Product,
    /// Key set not to be had, or integrator suspended.
    Unavailable,
}

impl Refusal {
    /// The `reason` of the `<failure/>`.
    pub(crate) const fn reason(self, profile: &Profile) -> u16 {
        match self {
            Self::Generic => 400,
            Self::Token => profile.failure_token,
            Self::Blocked => profile.failure_blocked,
            Self::Version => profile.failure_version,
            Self::NotEnlisted => profile.failure_not_enlisted,
            Self::RateLimited => profile.failure_rate_limited,
            Self::Internal => 500,
            Self::Product => profile.failure_product,
            Self::Unavailable => profile.failure_unavailable,
        }
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
    let payload = ClientPayload::decode(payload).map_err(|_| Refusal::Generic)?;
    let (user, single_use) = match payload.product {
        Some(product) if u32::try_from(product) == Ok(site.profile.login_product) => {
            partner(site, &payload, noise_key, from).await?
        }
        None => (native(site, &payload, noise_key).await?, None),
        Some(product) if product == Product::Whatsapp as i32 => (native(site, &payload, noise_key).await?, None),
        Some(_) => return Err(Refusal::Product),
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
    let version = payload.user_agent.as_ref().and_then(|agent| agent.app_version).ok_or(Refusal::Version)?;
    let version = [version.primary, version.secondary, version.tertiary]
        .map(|part| part.unwrap_or_default().to_string())
        .join(".");
    if version != site.profile.interop_version {
        return Err(Refusal::Version);
    }
    let data = payload.interop_data.as_ref().ok_or(Refusal::Generic)?;
    let number = data.account_id.and_then(|id| UserNumber::new(id).ok()).ok_or(Refusal::Generic)?;
    let token = data.token.as_deref().and_then(|token| str::from_utf8(token).ok()).ok_or(Refusal::Token)?;
    let (partner, token) = site.partners.verify(token, noise_key).await.map_err(|error| {
        tracing::info!(%error, "log-in: token refused");
        match error {
            TokenError::NoKeys => Refusal::Unavailable,
            TokenError::UnknownIssuer if site.partners.is_removed(token) => Refusal::Blocked,
            _ => Refusal::Token,
        }
    })?;
    if partner.config.status == IntegratorStatus::Suspended {
        return Err(Refusal::Unavailable);
    }
    let account = PartnerUser { integrator: partner.id, number }.jid();
    let user = find(site, account).await?.ok_or(Refusal::NotEnlisted)?;
    let owner = matches!(&user.kind, Kind::Partner { visible_id, .. } if *visible_id == token.user_visible_id);
    if !owner || user.auth_key != *noise_key {
        return Err(Refusal::Token);
    }
    if user.status == Status::Blocked {
        return Err(Refusal::Blocked);
    }
    if user.has_lapsed(site.clock.now(), site.profile.lapse_after) {
        return Err(Refusal::NotEnlisted);
    }
    if site.location(from) == Location::Denied {
        return Err(Refusal::Blocked);
    }
    if let Some(single_use) = &token.single_use
        && site.store.is_used(single_use.clone()).await.map_err(internal)?
    {
        return Err(Refusal::Token);
    }
    Ok((user, token.single_use))
}

async fn native(site: &Site, payload: &ClientPayload, noise_key: &[u8; 32]) -> Result<User, Refusal> {
    let number = payload.username.ok_or(Refusal::Generic)?;
    if payload.device.unwrap_or(0) != 0 {
        return Err(Refusal::Token); // linked devices are not part of the sandbox
    }
    let account = Jid::new(&number.to_string(), Server::Whatsapp).map_err(|_| Refusal::Generic)?;
    // The same answer for an unknown number and another key.
    let user = find(site, account).await?.filter(|user| user.kind == Kind::Native && user.auth_key == *noise_key);
    user.ok_or(Refusal::Token)
}

async fn find(site: &Site, account: Jid) -> Result<Option<User>, Refusal> {
    site.store.user(account).await.map_err(internal)
}

fn internal(error: StoreError) -> Refusal {
    tracing::error!(%error, "store");
    Refusal::Internal
}
