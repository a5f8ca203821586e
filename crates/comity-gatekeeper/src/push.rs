//! The push caller: wakes a disconnected partner user through its partner's server (PROTOCOL §11).
//!
//! One outstanding wake-up per account. What arrives while it is outstanding, or for a while after it was taken, is
//! covered by it; the user's log-in ends it.

use crate::IntegratorStatus;
use crate::hub::Hub;
use crate::limits::{MAX_WAKES, PUSH_CALLS};
use crate::metrics::{PUSHES, count};
use crate::partners::Partners;
use crate::rng;
use crate::store::{Kind, Storage};
use comity_core::{Jid, Profile, Redacted};
use reqwest::StatusCode;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, Semaphore, watch};

struct Wake {
    /// More arrived since the last call.
    more: bool,
    /// Rung when the user has come.
    came: Arc<Notify>,
}

pub(crate) struct Push {
    wakes: Mutex<HashMap<Jid, Wake>>,
    calls: Semaphore,
    store: Arc<dyn Storage>,
    partners: Arc<Partners>,
    hub: Arc<Hub>,
    profile: Profile,
    drain: watch::Receiver<bool>,
}

enum Answer {
    Taken,
    Gone,
    Refused(StatusCode),
    Later,
}

impl Answer {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
            Self::Later => "later",
        }
    }
}

impl Push {
    pub(crate) fn new(
        store: Arc<dyn Storage>,
        partners: Arc<Partners>,
        hub: Arc<Hub>,
        profile: Profile,
        drain: watch::Receiver<bool>,
    ) -> Self {
        Self { drain, profile, wakes: Mutex::default(), calls: Semaphore::new(PUSH_CALLS), store, partners, hub }
    }

    fn wakes(&self) -> std::sync::MutexGuard<'_, HashMap<Jid, Wake>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is new activity for a disconnected partner user.
    pub(crate) fn wake(self: &Arc<Self>, account: &Jid) {
        let mut wakes = self.wakes();
        if let Some(wake) = wakes.get_mut(account) {
            wake.more = true;
            return;
        }
        if wakes.len() >= MAX_WAKES {
            tracing::warn!("too many outstanding wake-ups; one was dropped");
            return;
        }
        let came = Arc::new(Notify::new());
        wakes.insert(account.clone(), Wake { more: false, came: Arc::clone(&came) });
        let (push, account, mut drain) = (Arc::clone(self), account.clone(), self.drain.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = push.run(&account, &came) => {}
                () = came.notified() => {}
                _ = drain.wait_for(|draining| *draining) => {} // the next start wakes whom mail waits for
            }
            let mut wakes = push.wakes();
            if wakes.get(&account).is_some_and(|wake| Arc::ptr_eq(&wake.came, &came)) {
                wakes.remove(&account);
            }
        });
    }

    /// The user has logged in: nothing is outstanding any more.
    pub(crate) fn came(&self, account: &Jid) {
        if let Some(wake) = self.wakes().remove(account) {
            wake.came.notify_one();
        }
    }

    async fn run(&self, account: &Jid, mine: &Arc<Notify>) {
        loop {
            if !self.call_until_taken(account).await {
                return;
            }
            tokio::time::sleep(self.profile.push_quiet).await;
            let mut wakes = self.wakes();
            match wakes.get_mut(account) {
                Some(wake) if wake.more && Arc::ptr_eq(&wake.came, mine) => wake.more = false,
                _ => {
                    wakes.remove(account);
                    return;
                }
            }
        }
    }

    /// Whether the partner took it.
    async fn call_until_taken(&self, account: &Jid) -> bool {
        let mut wait = self.profile.push_backoff;
        for _ in 0..self.profile.push_tries {
            if self.hub.is_active(account) {
                return false;
            }
            match self.call(account).await {
                Some(Answer::Taken) => {
                    tracing::info!(account = %Redacted(account), "push taken");
                    return true;
                }
                Some(Answer::Later) => {}
                Some(Answer::Gone) => {
                    tracing::info!(account = %Redacted(account), "push: gone");
                    if let Err(error) = self.store.push_gone(account.clone()).await {
                        tracing::error!(%error, "store");
                    }
                    return false;
                }
                Some(Answer::Refused(status)) => {
                    tracing::warn!(account = %Redacted(account), %status, "push refused");
                    return false;
                }
                None => return false,
            }
            // Half to one and a half of the time, so that many wake-ups do not come in step.
            let jitter = 0.5 + f64::from(u16::from_le_bytes(rng::random())) / f64::from(u16::MAX);
            tokio::time::sleep(wait.mul_f64(jitter)).await;
            wait = wait.saturating_mul(2).min(self.profile.push_backoff_max);
        }
        tracing::warn!(account = %Redacted(account), "push given up until the next activity");
        false
    }

    /// One call; `None` if there is nothing to wake the user for.
    async fn call(&self, account: &Jid) -> Option<Answer> {
        let user = self.store.push_target(account.clone()).await.ok()??;
        let Kind::Partner { integrator, visible_id } = user.kind else { return None };
        let partner = self.partners.get(integrator.get())?;
        if matches!(partner.config.status, IntegratorStatus::Suspended | IntegratorStatus::Removed) {
            return None;
        }
        let bearer = self.partners.bearer_for(partner).ok()?;
        let _slot = self.calls.acquire().await.ok()?;
        let sent = self
            .partners
            .http()
            .post(format!("{}/push", partner.config.origin))
            .bearer_auth(bearer)
            .timeout(self.profile.push_timeout)
            .json(&serde_json::json!({ "to": visible_id.as_str() }))
            .send()
            .await;
        let answer = match sent.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Answer::Taken,
            Ok(StatusCode::GONE) => Answer::Gone,
            Ok(status) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Answer::Later,
            Ok(status) => Answer::Refused(status),
            Err(_) => Answer::Later,
        };
        count(PUSHES, "outcome", answer.as_str());
        Some(answer)
    }
}
