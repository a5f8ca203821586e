//! Push calls of the gatekeeper, and the long poll that hands them to a client (PROTOCOL §11).

use crate::auth::{Authenticator, StaticUsers};
use crate::gatekeeper::Gatekeeper;
use crate::limits::{MAX_PUSH_BODY, MAX_WAKE_USERS, WAKE_WAIT};
use crate::{BoxFuture, Problem};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use comity_core::{Redacted, UserVisibleId};
use comity_server::read_json;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushed {
    /// The user's device will be woken: 200.
    Accepted,
    /// There is no such user, or no device to wake: 410, and the gatekeeper stops until the next login.
    Gone,
    /// Not now: 503, and the gatekeeper tries again.
    Unavailable,
}

/// Takes push calls: the partner's own push service, plugged in.
pub trait PushSink: Send + Sync {
    /// There is new activity for a user who is not connected. A user may be woken once for several calls.
    fn push<'a>(&'a self, user: &'a UserVisibleId) -> BoxFuture<'a, Pushed>;
}

/// `POST /push`: the gatekeeper's call, its bearer token verified, its body exactly `{"to":"<user-visible id>"}`.
pub fn push_router(gatekeeper: Gatekeeper, sink: Arc<dyn PushSink>) -> Router {
    Router::new().route("/push", post(push)).with_state(PushState { gatekeeper, sink })
}

#[derive(Clone)]
struct PushState {
    gatekeeper: Gatekeeper,
    sink: Arc<dyn PushSink>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushRequest {
    to: String,
}

async fn push(State(state): State<PushState>, request: Request) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    state.gatekeeper.authorize(&parts.headers).await?;
    let PushRequest { to } = read_json(&parts.headers, body, MAX_PUSH_BODY).await?;
    let user: UserVisibleId =
        to.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "to is not a user-visible id"))?;
    let outcome = state.sink.push(&user).await;
    tracing::info!(user = %Redacted(&user), ?outcome, "push received");
    match outcome {
        Pushed::Accepted => Ok(StatusCode::OK),
        Pushed::Gone => Err(Problem::new(StatusCode::GONE, "no device of that user is to be woken")),
        Pushed::Unavailable => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the push service is not available")
            .with_header(RETRY_AFTER, HeaderValue::from_static("5"))),
    }
}

/// Wake-ups by long poll, for clients without a push service: a [`PushSink`] on one side, `GET /v1/wake` on the other.
///
/// Kept in memory: after a restart clients connect anyway, since their poll broke.
#[derive(Debug, Default)]
pub struct WakeBoard {
    slots: Mutex<HashMap<UserVisibleId, Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    pending: bool,
    waiters: usize,
    notify: Arc<Notify>,
}

impl WakeBoard {
    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks a user as to be woken. `false`: the board is full.
    pub fn wake(&self, user: &UserVisibleId) -> bool {
        self.with_slot(user, |slot| {
            slot.pending = true;
            slot.notify.notify_one();
        })
        .is_some()
    }

    /// Waits until the user is to be woken, and takes the mark. Cancel-safe: a cancelled wait takes nothing.
    /// `None`: the board is full.
    pub async fn woken(&self, user: &UserVisibleId) -> Option<()> {
        let notify = self.with_slot(user, |slot| {
            slot.waiters += 1;
            Arc::clone(&slot.notify)
        })?;
        let _waiting = Waiting { board: self, user };
        loop {
            if self.with_slot(user, |slot| core::mem::take(&mut slot.pending))? {
                return Some(());
            }
            notify.notified().await;
        }
    }

    fn with_slot<T>(&self, user: &UserVisibleId, f: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(user) && slots.len() >= MAX_WAKE_USERS {
            return None;
        }
        Some(f(slots.entry(user.clone()).or_default()))
    }
}

/// Removes the slot when the last waiter leaves and nothing is pending.
struct Waiting<'a> {
    board: &'a WakeBoard,
    user: &'a UserVisibleId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut slots = self.board.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(self.user) {
            slot.waiters = slot.waiters.saturating_sub(1);
            if slot.pending {
                slot.notify.notify_one(); // the one who leaves may have been the one who was told
            } else if slot.waiters == 0 {
                slots.remove(self.user);
            }
        }
    }
}

/// The push side of the ready server: known users are put on the board.
pub(crate) struct BoardSink {
    pub(crate) users: Arc<StaticUsers>,
    pub(crate) board: Arc<WakeBoard>,
}

impl PushSink for BoardSink {
    fn push<'a>(&'a self, user: &'a UserVisibleId) -> BoxFuture<'a, Pushed> {
        let pushed = match self.users.contains(user) {
            false => Pushed::Gone,
            true if self.board.wake(user) => Pushed::Accepted,
            true => Pushed::Unavailable,
        };
        Box::pin(async move { pushed })
    }
}

/// `GET /v1/wake`: 200 `{"wake":true}` once a push has arrived for the authenticated user since the last such answer, else
/// 204 after [`WAKE_WAIT`] or when `stop` is cancelled.
pub fn wake_router(board: Arc<WakeBoard>, users: Arc<dyn Authenticator>, stop: CancellationToken) -> Router {
    Router::new().route("/v1/wake", get(wake)).with_state(WakeState { board, users, stop })
}

#[derive(Clone)]
struct WakeState {
    board: Arc<WakeBoard>,
    users: Arc<dyn Authenticator>,
    stop: CancellationToken,
}

async fn wake(State(state): State<WakeState>, request: Request) -> Result<Response, Problem> {
    let user = state.users.authenticate(request.headers()).await?;
    let woken = tokio::select! {
        biased;
        woken = state.board.woken(&user) => woken,
        () = tokio::time::sleep(WAKE_WAIT) => return Ok(StatusCode::NO_CONTENT.into_response()),
        () = state.stop.cancelled() => return Ok(StatusCode::NO_CONTENT.into_response()),
    };
    woken.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many clients are waiting"))?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, r#"{"wake":true}"#).into_response())
}

#[cfg(test)]
mod tests {
    use super::WakeBoard;
    use core::time::Duration;
    use std::sync::Arc;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_mark_is_taken_once_and_cancelled_waits_take_none() {
        let board = Arc::new(WakeBoard::new());
        let user = "alice@partner.test".parse().unwrap();
        assert!(timeout(SHORT, board.woken(&user)).await.is_err());
        assert_eq!(board.slots.lock().unwrap().len(), 0); // nothing stays of one who left
        assert!(board.wake(&user) && board.wake(&user));
        assert_eq!(timeout(SHORT, board.woken(&user)).await, Ok(Some(())));
        assert!(timeout(SHORT, board.woken(&user)).await.is_err());

        // Two wait; one mark wakes one of them, and if that one leaves, the other.
        let wait = || {
            let (board, user) = (Arc::clone(&board), user.clone());
            tokio::spawn(async move { board.woken(&user).await })
        };
        let (first, second) = (wait(), wait());
        tokio::task::yield_now().await;
        first.abort();
        let _ = first.await;
        board.wake(&user);
        assert_eq!(timeout(SHORT, second).await.unwrap().unwrap(), Some(()));
        assert_eq!(board.slots.lock().unwrap().len(), 0);
    }
}
