//! Wake-ups by long poll, for clients without a push service: a [`PushSink`] on one side, `GET /v1/wake` on the other.

use crate::auth::Authenticator;
use crate::limits::{MAX_WAKE_USERS, WAKE_WAIT};
use crate::push::{PushSink, Pushed};
use crate::storage::{PartnerStore, StoreResult};
use crate::subscription::store_failed;
use crate::{BoxFuture, Problem, clock, openapi};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use comity_core::UserVisibleId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Who is to be woken, in a [`PartnerStore`], and who waits for it, in memory. As a [`PushSink`] it accepts every user, once
/// the mark is durable.
///
/// Of several servers on one store, a waiting client is told by the one that it waits at; a mark that another sets is found by
/// its next poll.
pub struct WakeBoard {
    store: Arc<dyn PartnerStore>,
    waiting: Mutex<HashMap<UserVisibleId, Slot>>,
}

#[derive(Default)]
struct Slot {
    waiters: usize,
    notify: Arc<Notify>,
}

impl core::fmt::Debug for WakeBoard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WakeBoard").finish_non_exhaustive()
    }
}

impl WakeBoard {
    /// A board over `store`.
    pub fn new(store: Arc<dyn PartnerStore>) -> Self {
        Self { store, waiting: Mutex::default() }
    }

    /// Marks a user as to be woken, durably. `false`: too many are.
    ///
    /// # Errors
    /// As the store says.
    pub async fn wake(&self, user: &UserVisibleId) -> StoreResult<bool> {
        let marked = self.store.put_wake(user, clock::now()).await?;
        if let Some(slot) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(user) {
            slot.notify.notify_waiters();
        }
        Ok(marked)
    }

    /// Waits until the user is to be woken; the mark stays until [`taken`](Self::taken). Cancel-safe. `false`: too many users
    /// wait.
    ///
    /// # Errors
    /// As the store says.
    pub async fn woken(&self, user: &UserVisibleId) -> StoreResult<bool> {
        let Some(waiting) = self.wait(user) else { return Ok(false) };
        loop {
            let told = waiting.notify.notified();
            tokio::pin!(told);
            told.as_mut().enable(); // before the look: what comes after it is not missed
            if self.store.has_wake(user).await? {
                return Ok(true);
            }
            told.await;
        }
    }

    /// The user was told: the mark is taken off.
    ///
    /// # Errors
    /// As the store says.
    pub async fn taken(&self, user: &UserVisibleId) -> StoreResult<()> {
        self.store.take_wake(user).await
    }

    fn wait<'a>(&'a self, user: &'a UserVisibleId) -> Option<Waiting<'a>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.contains_key(user) && waiting.len() >= MAX_WAKE_USERS {
            return None;
        }
        let slot = waiting.entry(user.clone()).or_default();
        slot.waiters += 1;
        Some(Waiting { board: self, user, notify: Arc::clone(&slot.notify) })
    }
}

/// Removes the slot when the last waiter leaves.
struct Waiting<'a> {
    board: &'a WakeBoard,
    user: &'a UserVisibleId,
    notify: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.board.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = waiting.get_mut(self.user) {
            slot.waiters = slot.waiters.saturating_sub(1);
            if slot.waiters == 0 {
                waiting.remove(self.user);
            }
        }
    }
}

impl PushSink for WakeBoard {
    fn push<'a>(&'a self, user: &'a UserVisibleId) -> BoxFuture<'a, Pushed> {
        Box::pin(async move {
            match self.wake(user).await {
                Ok(true) => Pushed::Accepted,
                Ok(false) => Pushed::Unavailable,
                Err(error) => {
                    tracing::error!(%error, "a wake-up was not stored");
                    Pushed::Unavailable
                }
            }
        })
    }
}

/// `GET /v1/wake`: 200 `{"wake":true}` once a push has arrived for the authenticated user since the last such answer, else
/// 204 after [`WAKE_WAIT`] or when `stop` is cancelled.
pub fn wake_router(board: Arc<WakeBoard>, users: Arc<dyn Authenticator>, stop: CancellationToken) -> Router {
    Router::new().route("/v1/wake", get(wake)).with_state(WakeState { board, users, stop })
}

#[derive(Clone)]
pub(crate) struct WakeState {
    board: Arc<WakeBoard>,
    users: Arc<dyn Authenticator>,
    stop: CancellationToken,
}

/// Wait until there is something to fetch
///
/// A long poll, for devices without a push service.
#[utoipa::path(get, path = "/v1/wake", tag = "clients", security(("user" = [])), responses(
    (status = 200, description = "A push has arrived since the last such answer", body = openapi::Wake, content_type = "application/json"),
    (status = 204, description = "Nothing for 25 s, or the server stops"),
    openapi::Refusals,
))]
pub(crate) async fn wake(State(state): State<WakeState>, request: Request) -> Result<Response, Problem> {
    let user = state.users.authenticate(&request.into_parts().0).await?;
    let woken = tokio::select! {
        biased;
        woken = state.board.woken(&user) => woken,
        () = tokio::time::sleep(WAKE_WAIT) => return Ok(StatusCode::NO_CONTENT.into_response()),
        () = state.stop.cancelled() => return Ok(StatusCode::NO_CONTENT.into_response()),
    };
    if !woken.map_err(|e| store_failed(&e))? {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many clients are waiting"));
    }
    state.board.taken(&user).await.map_err(|e| store_failed(&e))?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, r#"{"wake":true}"#).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SqliteStore;
    use core::time::Duration;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_mark_stays_until_it_is_taken_and_cancelled_waits_take_none() {
        let store = SqliteStore::in_memory().unwrap();
        let board = Arc::new(WakeBoard::new(Arc::new(store.clone())));
        let user: UserVisibleId = "alice@partner.test".parse().unwrap();
        assert!(timeout(SHORT, board.woken(&user)).await.is_err());
        assert_eq!(board.waiting.lock().unwrap().len(), 0); // nothing stays of one who left
        assert_eq!(board.wake(&user).await, Ok(true));
        assert_eq!(board.wake(&user).await, Ok(true));
        assert_eq!(timeout(SHORT, board.woken(&user)).await, Ok(Ok(true)));
        let restarted = WakeBoard::new(Arc::new(store));
        assert_eq!(timeout(SHORT, restarted.woken(&user)).await, Ok(Ok(true)));
        board.taken(&user).await.unwrap();
        assert!(timeout(SHORT, board.woken(&user)).await.is_err());

        // Two wait; one leaves, the other is told.
        let wait = || {
            let (board, user) = (Arc::clone(&board), user.clone());
            tokio::spawn(async move { board.woken(&user).await })
        };
        let (first, second) = (wait(), wait());
        tokio::time::sleep(SHORT).await;
        first.abort();
        let _ = first.await;
        assert_eq!(board.wake(&user).await, Ok(true));
        assert_eq!(timeout(SHORT, second).await.unwrap().unwrap(), Ok(true));
        assert_eq!(board.waiting.lock().unwrap().len(), 0);
    }
}
