//! Wake-ups by Web Push (RFC 8030, RFC 8291, RFC 8292): stored first, then sent by a task that tries again.

mod crypt;
mod vapid;

pub(crate) use crypt::is_public_key;

use crate::limits::{
    MAX_ENDPOINT_LEN, WAKE_KEEP, WEBPUSH_CALLS, WEBPUSH_FIRST_RETRY, WEBPUSH_LEASE, WEBPUSH_MAX_RETRY, WEBPUSH_TIMEOUT,
    WEBPUSH_TRIES, WEBPUSH_TTL,
};
use crate::metrics::{WEBPUSH, count};
use crate::outgoing::{acceptable, causes, guarded_client};
use crate::push::{PushSink, Pushed};
use crate::storage::{Delivery, PartnerStore, SecretName, StoreResult, Subscription};
use crate::{BoxFuture, Error, clock};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use comity_core::{Redacted, StoreError, UserVisibleId};
use core::time::Duration;
use rand_core::Rng as _;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use vapid::VapidKey;

/// What a device is sent: that there is something to fetch, and nothing else.
const WAKE: &[u8] = br#"{"wake":true}"#;

/// Sends wake-ups to the devices that subscribed ([`subscription_router`](crate::subscription_router)). As a [`PushSink`]:
/// accepted once it is stored; `Gone` for a user without a subscription. Cheap to clone; the task that sends ends with the
/// last clone.
#[derive(Clone)]
pub struct WebPush {
    sender: Arc<Sender>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl core::fmt::Debug for WebPush {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WebPush").finish_non_exhaustive()
    }
}

struct Sender {
    store: Arc<dyn PartnerStore>,
    vapid: VapidKey,
    subject: String,
    sandbox: bool,
    http: reqwest::Client,
    places: Arc<Semaphore>,
    more: Notify,
}

impl WebPush {
    /// Loads or makes the key that signs, and begins to send what is stored. `subject` is how push services reach the operator:
    /// `mailto:…` or an https URL. In a sandbox push services may be http and at any address. Call it in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Server`] for another subject; [`Error::Store`], [`Error::HttpClient`].
    pub async fn start(store: Arc<dyn PartnerStore>, subject: &str, sandbox: bool) -> Result<Self, Error> {
        check_subject(subject)?;
        let vapid = load_key(&*store).await?;
        let http = guarded_client(sandbox, WEBPUSH_TIMEOUT)?;
        let places = Arc::new(Semaphore::new(WEBPUSH_CALLS));
        let sender = Sender { store, vapid, subject: subject.into(), sandbox, http, places, more: Notify::new() };
        let sender = Arc::new(sender);
        let task = tokio::spawn(keep_sending(Arc::clone(&sender)));
        Ok(Self { sender, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// The public key that devices subscribe with, in base64url.
    pub fn public_key(&self) -> &str {
        self.sender.vapid.public()
    }

    /// Whether a device may subscribe with this push resource.
    pub(crate) fn takes(&self, endpoint: &str) -> bool {
        acceptable(endpoint, MAX_ENDPOINT_LEN, self.sender.sandbox).is_some()
    }

    pub(crate) fn store(&self) -> &Arc<dyn PartnerStore> {
        &self.sender.store
    }

    /// A wake-up was stored.
    pub(crate) fn look(&self) {
        self.sender.more.notify_one();
    }
}

pub(crate) fn check_subject(subject: &str) -> Result<(), Error> {
    if subject.starts_with("mailto:") || subject.starts_with("https://") {
        return Ok(());
    }
    Err(Error::config("web_push.subject is mailto:… or an https URL (RFC 8292)"))
}

async fn load_key(store: &dyn PartnerStore) -> Result<VapidKey, Error> {
    let wrong = |_| Error::config("the stored Web Push key is not usable");
    loop {
        if let Some(stored) = store.secret(SecretName::Vapid).await? {
            return VapidKey::from_pkcs8(&stored.bytes).map_err(wrong);
        }
        let made = VapidKey::generate().map_err(wrong)?;
        match store.put_secret(SecretName::Vapid, made, 0).await {
            Ok(_) | Err(StoreError::Conflict) => {} // another process was first: its key counts
            Err(error) => return Err(error.into()),
        }
    }
}

impl PushSink for WebPush {
    fn push<'a>(&'a self, user: &'a UserVisibleId) -> BoxFuture<'a, Pushed> {
        Box::pin(async move {
            let store = &self.sender.store;
            let stored = async {
                if store.subscription(user).await?.is_none() {
                    return Ok(Pushed::Gone);
                }
                Ok(if store.put_wake(user, clock::now()).await? { Pushed::Accepted } else { Pushed::Unavailable })
            };
            let stored: StoreResult<Pushed> = stored.await;
            self.look();
            stored.unwrap_or_else(|error| {
                tracing::error!(%error, "a wake-up was not stored");
                Pushed::Unavailable
            })
        })
    }
}

async fn keep_sending(sender: Arc<Sender>) {
    loop {
        // Not in rounds: a push service that is slow holds its own place, not everyone's.
        let Ok(first) = Arc::clone(&sender.places).acquire_owned().await else { return };
        let room = u32::try_from(sender.places.available_permits()).unwrap_or(0) + 1;
        let now = clock::now();
        let claimed = sender.store.claim(now, now.after(WEBPUSH_LEASE), room).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the store failed: Web Push waits");
            Vec::new()
        });
        drop(first);
        if !claimed.is_empty() {
            for delivery in claimed {
                let Ok(place) = Arc::clone(&sender.places).acquire_owned().await else { return };
                let sender = Arc::clone(&sender);
                tokio::spawn(async move {
                    let _place = place;
                    if let Err(error) = sender.send(delivery).await {
                        tracing::error!(%error, "the store failed: a wake-up is sent again"); // when its claim ends
                    }
                    sender.more.notify_one(); // it may be due again before what is waited for
                });
            }
            continue;
        }
        let next = sender.store.next_due().await.ok().flatten();
        // At most a minute, so that a clock set back is noticed; never busy.
        let wait = next.map_or(Duration::MAX, |due| due.since(clock::now()));
        let wait = wait.clamp(Duration::from_millis(50), Duration::from_secs(60));
        let _ = tokio::time::timeout(wait, sender.more.notified()).await;
    }
}

/// What a push service said.
enum Said {
    Taken,
    /// The subscription is over.
    Gone,
    /// Again, at the earliest after so long.
    Later(Option<Duration>),
}

impl Sender {
    async fn send(&self, delivery: Delivery) -> StoreResult<()> {
        let Some(subscription) = self.store.subscription(&delivery.user).await? else { return Ok(()) };
        let said = self.post(&subscription).await.unwrap_or_else(|error| {
            tracing::warn!(user = %Redacted(&delivery.user), error, "a push service could not be asked");
            Said::Later(None)
        });
        match said {
            Said::Taken => {
                count(WEBPUSH, "outcome", "delivered");
                self.store.delivered(&delivery).await
            }
            Said::Gone => {
                count(WEBPUSH, "outcome", "gone");
                tracing::info!(user = %Redacted(&delivery.user), "a Web Push subscription is over");
                self.store.remove_subscription(&delivery.user, Some(&subscription.endpoint)).await.map(drop)
            }
            Said::Later(_) if delivery.attempts + 1 >= WEBPUSH_TRIES => {
                count(WEBPUSH, "outcome", "given_up");
                self.store.retry(&delivery, clock::now().after(WAKE_KEEP)).await // the mark stays for a poll
            }
            Said::Later(asked) => {
                count(WEBPUSH, "outcome", "retried");
                let wait = WEBPUSH_FIRST_RETRY.saturating_mul(2u32.saturating_pow(delivery.attempts));
                let wait = asked.unwrap_or_default().max(wait).min(WEBPUSH_MAX_RETRY);
                let jitter = rand_core::UnwrapErr(getrandom::SysRng).next_u32() % 1000;
                self.store.retry(&delivery, clock::now().after(wait + wait * jitter / 4000)).await
            }
        }
    }

    async fn post(&self, subscription: &Subscription) -> Result<Said, String> {
        // Judged again: it may have been stored in a sandbox.
        let Some(url) = acceptable(&subscription.endpoint, MAX_ENDPOINT_LEN, self.sandbox) else {
            return Ok(Said::Gone);
        };
        let sealed = || {
            let mut salt = [0; 16];
            rand_core::UnwrapErr(getrandom::SysRng).fill_bytes(&mut salt);
            let key = PrivateKey::generate(&ECDH_P256)?;
            let body = crypt::encrypt(WAKE, &subscription.p256dh, &subscription.auth, &key, salt)?;
            let origin = url.origin().ascii_serialization();
            Ok((body, self.vapid.authorization(&origin, &self.subject, clock::now())?))
        };
        let (body, authorization) =
            sealed().map_err(|aws_lc_rs::error::Unspecified| "the message could not be sealed".to_owned())?;
        let request = self.http.post(url.clone()).header(AUTHORIZATION, authorization);
        let request = request.header(CONTENT_ENCODING, "aes128gcm").header(CONTENT_TYPE, "application/octet-stream");
        // One topic: a newer wake-up takes the place of an older one that waits there.
        let request = request.header("ttl", WEBPUSH_TTL.as_secs()).header("urgency", "high").header("topic", "wake");
        let answer = request.body(body).send().await.map_err(|e| causes(&e.without_url()))?; // its body is not read
        Ok(match answer.status() {
            status if status.is_success() => Said::Taken,
            StatusCode::NOT_FOUND | StatusCode::GONE => Said::Gone,
            status => {
                tracing::warn!(status = status.as_u16(), "a push service did not take a wake-up");
                let after = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
                Said::Later(after.map(Duration::from_secs))
            }
        })
    }
}
