//! Administration: native users of the sandbox, blocked partner users.

use super::{Ctx, bearer, openapi, problem};
use crate::hub::Ending;
use crate::limits::MAX_DISPLAY_NAME;
use crate::site::Site;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::{Jid, PartnerUser, Redacted, Server, StoreError};
use comity_noise::PublicKey;
use serde::Deserialize;

/// A native account: a phone number and the Noise key that logs in for it.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct Native {
    /// 5 to 15 digits, with or without `+`.
    #[schema(pattern = r"^\+?[1-9][0-9]{4,14}$")]
    phone_number: String,
    /// Curve25519, 32 bytes in base64url without padding.
    #[schema(pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]
    noise_key: String,
    /// Shown to others.
    #[serde(default)]
    display_name: String,
    /// Whether it sees partner users as `{15 digits}@lid`, from its next log-in on: for clients that know no interop JIDs.
    #[serde(default)]
    alias_view: bool,
    /// The integrators whose users may reach it: the whole list. Left as it is if this is missing.
    #[serde(default)]
    opt_in: Option<Vec<u16>>,
}

#[expect(clippy::result_large_err, reason = "an answer")]
fn authorize(site: &Site, headers: &HeaderMap) -> Result<(), Response> {
    let Some(expected) = &site.admin_token else {
        return Err(problem(StatusCode::NOT_FOUND, "no administration"));
    };
    if !bearer(headers).is_some_and(|token| expected.matches(token)) {
        return Err(problem(StatusCode::UNAUTHORIZED, "the admin token is required"));
    }
    Ok(())
}

/// A partner user who may no more enlist or log in, or may again.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct Block {
    /// A partner user's JID.
    jid: String,
    /// Whether it is to be.
    blocked: bool,
}

/// `POST /admin/block`: blocks a partner user, or lets it in again; a connection of a blocked one ends. Idempotent.
#[utoipa::path(post, path = "/admin/block", tag = "admin", request_body = Block, security(("admin" = [])), responses(
    (status = 200, description = "As it is now", body = openapi::Blocked, content_type = "application/json"),
    openapi::AdminRefusals,
))]
pub(super) async fn block(State(site): Ctx, headers: HeaderMap, body: Result<Json<Block>, JsonRejection>) -> Response {
    if let Err(refused) = authorize(&site, &headers) {
        return refused;
    }
    let Ok(Json(Block { jid, blocked })) = body else {
        return problem(StatusCode::BAD_REQUEST, "not the JSON expected");
    };
    let Ok(user) = jid.parse::<PartnerUser>() else {
        return problem(StatusCode::BAD_REQUEST, "jid is not a partner user's");
    };
    let account = user.jid();
    match site.store.set_blocked(account.clone(), blocked).await {
        Ok(true) => {
            if blocked {
                site.hub.end(&account, Ending::DeviceRemoved);
            }
            tracing::info!(account = %Redacted(&account), blocked, "partner user");
            Json(serde_json::json!({ "jid": account.to_string(), "blocked": blocked })).into_response()
        }
        Ok(false) => problem(StatusCode::NOT_FOUND, "no such user"),
        Err(error) => {
            tracing::error!(%error, "store");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "store")
        }
    }
}

/// `POST /admin/native`: registers a native user, or gives it a new Noise key, name, view or opt-ins. Idempotent.
#[utoipa::path(post, path = "/admin/native", tag = "admin", request_body = Native, security(("admin" = [])), responses(
    (status = 200, description = "Registered", body = openapi::Account, content_type = "application/json"),
    openapi::AdminRefusals,
))]
pub(super) async fn native(
    State(site): Ctx,
    headers: HeaderMap,
    body: Result<Json<Native>, JsonRejection>,
) -> Response {
    if let Err(refused) = authorize(&site, &headers) {
        return refused;
    }
    let Ok(Json(native)) = body else { return problem(StatusCode::BAD_REQUEST, "not the JSON expected") };
    let Some(account) = phone_account(&native.phone_number) else {
        return problem(StatusCode::BAD_REQUEST, "phone_number is 5 to 15 digits without leading zero");
    };
    let key = URL_SAFE_NO_PAD.decode(&native.noise_key).ok().and_then(|k| <[u8; 32]>::try_from(k).ok());
    let Some(key) = key.filter(|key| !PublicKey::from_bytes(*key).is_low_order()) else {
        return problem(StatusCode::BAD_REQUEST, "noise_key is a Curve25519 key, 32 bytes in base64url");
    };
    if native.display_name.len() > MAX_DISPLAY_NAME || native.display_name.chars().any(char::is_control) {
        return problem(StatusCode::BAD_REQUEST, "display_name is too long or has control characters");
    }
    let Native { display_name, alias_view, opt_in, .. } = native;
    let known = |id: &u16| site.partners.get(*id).map(|partner| partner.id);
    let opt_in = opt_in.map(|ids| ids.iter().map(known).collect::<Option<Vec<_>>>());
    if opt_in == Some(None) {
        return problem(StatusCode::BAD_REQUEST, "opt_in names an integrator that is not configured");
    }
    let registered = async {
        let store = &site.store;
        let rekeyed = store.register_native(account.clone(), key, display_name, alias_view, site.clock.now()).await?;
        if let Some(opt_in) = opt_in.flatten() {
            store.set_opt_ins(account.clone(), opt_in).await?;
        }
        Ok::<_, StoreError>(rekeyed)
    };
    match registered.await {
        Ok(rekeyed) => {
            if rekeyed {
                site.hub.end(&account, Ending::DeviceRemoved);
            }
            tracing::info!(account = %Redacted(&account), "native user registered");
            Json(serde_json::json!({ "jid": account.to_string() })).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "store");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "store")
        }
    }
}

/// The account of a phone number in digits, with or without `+`.
pub(crate) fn phone_account(number: &str) -> Option<Jid> {
    let digits = number.strip_prefix('+').unwrap_or(number);
    let plain =
        (5..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { Jid::new(digits, Server::Whatsapp).ok() } else { None }
}
