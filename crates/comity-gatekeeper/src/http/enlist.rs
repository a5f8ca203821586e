//! Enlistment: `POST /3p/interop_reg` (PROTOCOL §4).

use super::{Ctx, openapi};
use crate::chat::notice;
use crate::hub::Ending;
use crate::limits::NUMBER_CANDIDATES;
use crate::location::subscriber;
use crate::metrics::{ENLISTMENTS, count};
use crate::rng::os_rng;
use crate::site::Site;
use crate::store::{Enlisted, Enlistment, SignedKey, Use};
use crate::{IntegratorStatus, Location};
use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Form, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::{Jid, Redacted, UserNumber};
use comity_identity::Error as TokenError;
use comity_noise::{PublicKey, xeddsa};
use comity_server::{Problem, client_address};
use serde::Deserialize;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The form. Every field is required; that one is missing is found with the sizes.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[schema(as = Enlistment)]
#[serde(default)]
pub(super) struct Request {
    /// The client's Noise static public key, 32 bytes in base64url without padding, as all that follow.
    #[schema(required, pattern = "^[A-Za-z0-9_-]{43}$")]
    authkey: String,
    /// 5: Curve25519.
    #[schema(required, pattern = "^BQ$")]
    e_keytype: String,
    /// The registration id, 4 bytes, big endian.
    #[schema(required, pattern = "^[A-Za-z0-9_-]{6}$")]
    e_regid: String,
    /// The Signal identity public key.
    #[schema(required, pattern = "^[A-Za-z0-9_-]{43}$")]
    e_ident: String,
    /// The signed pre-key's id, 3 bytes, big endian.
    #[schema(required, pattern = "^[A-Za-z0-9_-]{4}$")]
    e_skey_id: String,
    /// The signed pre-key.
    #[schema(required, pattern = "^[A-Za-z0-9_-]{43}$")]
    e_skey_val: String,
    /// XEdDSA of the identity key over 5 and the signed pre-key.
    #[schema(required, pattern = "^[A-Za-z0-9_-]{86}$")]
    e_skey_sig: String,
    /// The ownership token.
    #[schema(required, min_length = 1, max_length = 4096)]
    token: String,
    /// The interop protocol version.
    #[schema(required, pattern = "^[0-9.]+$")]
    v: String,
}

/// The closed list of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest,
    BadIntegrator,
    BadToken,
    TokenExpired,
    /// The token is bound to another key than the one to be enlisted.
    IdMismatch,
    BadKey,
    BadSignature,
    BadVersion,
    Location,
    RateLimited(u64),
    Blocked,
    /// Not a reason of the protocol: 503, try again.
    Unavailable,
}

impl Refusal {
    const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadIntegrator => "bad_integrator",
            Self::BadToken => "bad_token",
            Self::TokenExpired => "token_expired",
            Self::IdMismatch => "id_mismatch",
            Self::BadKey => "bad_key",
            Self::BadSignature => "bad_signature",
            Self::BadVersion => "bad_version",
            Self::Location => "location",
            Self::Blocked => "blocked",
            Self::RateLimited(_) => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let reason = self.reason();
        match self {
            Self::RateLimited(wait) => {
                Json(json!({ "reason": reason, "retry_after": wait, "status": "fail" })).into_response()
            }
            Self::Unavailable => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the integrator's key set or the store is not at hand")
                    .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
                    .into_response()
            }
            _ => Json(json!({ "reason": reason, "status": "fail" })).into_response(),
        }
    }
}

/// What the sizes admit.
struct Fields {
    authkey: [u8; 32],
    keytype: u8,
    registration: u32,
    identity: [u8; 32],
    skey_id: u32,
    skey_value: [u8; 32],
    skey_signature: [u8; 64],
}

fn exactly<const N: usize>(text: &str) -> Result<[u8; N], Refusal> {
    // The text's length first: nothing is decoded that cannot be right.
    if text.len() != N.saturating_mul(4).div_ceil(3) {
        return Err(Refusal::BadRequest);
    }
    URL_SAFE_NO_PAD.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or(Refusal::BadRequest)
}

impl Request {
    /// What can be said of the form by itself: sizes first, then version, keys, signature.
    fn check(&self, version: &str) -> Result<Fields, Refusal> {
        let fields = self.sized()?;
        if self.v != version {
            return Err(Refusal::BadVersion);
        }
        let keys = [fields.authkey, fields.identity, fields.skey_value];
        if fields.keytype != 5 || keys.iter().any(|key| PublicKey::from_bytes(*key).is_low_order()) {
            return Err(Refusal::BadKey);
        }
        if !signed_by(&fields.identity, &fields.skey_value, &fields.skey_signature) {
            return Err(Refusal::BadSignature);
        }
        Ok(fields)
    }

    fn sized(&self) -> Result<Fields, Refusal> {
        let [keytype] = exactly::<1>(&self.e_keytype)?;
        let [a, b, c] = exactly::<3>(&self.e_skey_id)?;
        let fields = Fields {
            authkey: exactly(&self.authkey)?,
            keytype,
            registration: u32::from_be_bytes(exactly(&self.e_regid)?),
            identity: exactly(&self.e_ident)?,
            skey_id: u32::from_be_bytes([0, a, b, c]),
            skey_value: exactly(&self.e_skey_val)?,
            skey_signature: exactly(&self.e_skey_sig)?,
        };
        if self.token.is_empty() || self.token.len() > comity_identity::limits::MAX_TOKEN_LEN || self.v.is_empty() {
            return Err(Refusal::BadRequest);
        }
        Ok(fields)
    }
}

/// Refusals of the protocol are status 200, too: `status` says which.
#[utoipa::path(post, path = "/3p/interop_reg", tag = "partners",
    request_body(content = Request, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "Enlisted, or refused", body = openapi::Enlisted, content_type = "application/json"),
    (status = 408, description = "The form took too long", body = openapi::ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Not now: again after `Retry-After`", body = openapi::ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn enlist(
    State(site): Ctx,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    form: Result<Form<Request>, FormRejection>,
) -> Response {
    let named = site.config.forwarded_for.then(|| client_address(&headers, &Extensions::new(), true)).flatten();
    match admit(&site, named.unwrap_or(from.ip()), form).await {
        Ok(account) => {
            count(ENLISTMENTS, "result", "ok");
            tracing::info!(account = %Redacted(&account), "enlisted");
            Json(json!({ "login": account.to_string(), "status": "ok" })).into_response()
        }
        Err(refusal) => {
            count(ENLISTMENTS, "result", refusal.reason());
            tracing::info!(?refusal, "enlistment refused");
            refusal.into_response()
        }
    }
}

async fn admit(site: &Arc<Site>, from: IpAddr, form: Result<Form<Request>, FormRejection>) -> Result<Jid, Refusal> {
    let now = site.clock.now();
    let limited = Refusal::RateLimited;
    site.enlist_by_address.take(subscriber(from), site.config.enlist_per_minute, now).map_err(limited)?;
    let Form(request) = form.map_err(|_| Refusal::BadRequest)?;
    let fields = request.check(&site.profile.interop_version)?;
    let (partner, token) = site.partners.verify(&request.token, &fields.authkey).await.map_err(|error| {
        tracing::info!(%error, "enlistment: token refused");
        match error {
            TokenError::UnknownIssuer => Refusal::BadIntegrator,
            TokenError::Expired => Refusal::TokenExpired,
            TokenError::WrongKeyBinding => Refusal::IdMismatch,
            TokenError::NoKeys => Refusal::Unavailable,
            _ => Refusal::BadToken,
        }
    })?;
    if partner.config.status == IntegratorStatus::Suspended {
        return Err(Refusal::Blocked);
    }
    if site.location(from) == Location::Denied {
        return Err(Refusal::Location);
    }
    // Only what is proved counts against a user or an integrator: nobody else can use their share up.
    let (user, limits) = ((partner.id, token.user_visible_id.clone()), &partner.config.limits);
    site.enlist_by_user.take(user, limits.enlist_per_user_and_hour, now).map_err(limited)?;
    site.enlist_by_integrator.take(partner.id, limits.enlist_per_minute, now).map_err(limited)?;
    let enlistment = Enlistment {
        integrator: partner.id,
        visible_id: token.user_visible_id,
        auth_key: fields.authkey,
        registration: fields.registration,
        identity: fields.identity,
        skey: SignedKey {
            id: fields.skey_id,
            value: fields.skey_value.to_vec(),
            signature: fields.skey_signature.to_vec(),
        },
        candidates: (0..NUMBER_CANDIDATES).map(|_| UserNumber::random(&mut os_rng())).collect(),
        single_use: token.single_use,
    };
    let here = Arc::clone(site);
    let notice = move |account: &Jid| notice::identity_changed(&here, account, now);
    let enlisted = site.store.enlist(enlistment, now, Box::new(notice)).await;
    match enlisted {
        Ok(Enlisted::Ok { account, rekeyed, told }) => {
            if rekeyed {
                site.hub.end(&account, Ending::DeviceRemoved);
            }
            for contact in &told {
                site.hub.nudge(contact);
            }
            site.push.came(&account); // a new device: a wake-up refused before may be sent again
            Ok(account)
        }
        Ok(Enlisted::Blocked) => Err(Refusal::Blocked),
        Ok(Enlisted::Refused(Use::Full)) => Err(Refusal::RateLimited(site.profile.token_lifetime.as_secs())),
        Ok(Enlisted::Refused(_)) => Err(Refusal::BadToken),
        Err(error) => {
            tracing::error!(%error, "store");
            Err(Refusal::Unavailable)
        }
    }
}

/// Whether `signature` is the identity key's over `0x05 ‖ value`.
pub(crate) fn signed_by(identity: &[u8; 32], value: &[u8], signature: &[u8; 64]) -> bool {
    xeddsa::verify(&PublicKey::from_bytes(*identity), &[&[5], value].concat(), signature).is_ok()
}

/// For the fuzzer: the fields of a body that is a good form, in the order of PROTOCOL §4, each in base64url or as it stands.
#[doc(hidden)]
pub fn fuzz_form(body: &[u8]) -> Option<[String; 9]> {
    use axum::extract::FromRequest as _;
    use futures_util::FutureExt as _;
    let request = axum::http::Request::post("/3p/interop_reg")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(axum::body::Body::from(body.to_vec()))
        .ok()?;
    let Form(form) = Form::<Request>::from_request(request, &()).now_or_never()?.ok()?;
    let fields = form.check(&comity_core::Profile::sandbox().interop_version).ok()?;
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    Some([
        text(&fields.authkey),
        text(&[fields.keytype]),
        text(&fields.registration.to_be_bytes()),
        text(&fields.identity),
        text(&fields.skey_id.to_be_bytes()[1..]),
        text(&fields.skey_value),
        text(&fields.skey_signature),
        form.token,
        form.v,
    ])
}
