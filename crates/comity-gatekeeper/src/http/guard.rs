//! Bounds of a media transfer (PROTOCOL §10): its length, its silences, its time.

use bytes::Bytes;
use comity_core::Profile;
use futures_util::{Stream, StreamExt as _};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// What the profile allows a transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) len: u64,
    pub(super) idle: Duration,
    pub(super) total: Duration,
}

impl From<&Profile> for Bounds {
    fn from(profile: &Profile) -> Self {
        Self { len: profile.media_max_len, idle: profile.media_idle, total: profile.media_total }
    }
}

/// A stream cut off at a length, after a silence, or at an end. When that has come, the source and its place are given back
/// even if whoever reads this does not ask any more.
pub(super) struct Guarded<S> {
    source: Source<S>,
    idle: Duration,
    end: Instant,
    left: u64,
    /// Runs while the source is waited for; a reader's own slowness is not the source's.
    silence: Pin<Box<Sleep>>,
    waiting: bool,
    over: bool,
    _ends: AbortOnDropHandle<()>,
}

type Source<S> = Arc<Mutex<Option<(S, OwnedSemaphorePermit)>>>;

fn locked<S>(source: &Source<S>) -> MutexGuard<'_, Option<(S, OwnedSemaphorePermit)>> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Send + 'static> Guarded<S> {
    /// `began` is when the transfer was asked for; `permit` is its place.
    pub(super) fn new(source: S, permit: OwnedSemaphorePermit, bounds: Bounds, began: Instant) -> Self {
        let (source, end) = (Arc::new(Mutex::new(Some((source, permit)))), began + bounds.total);
        let ended = Arc::clone(&source);
        let ends = tokio::spawn(async move {
            sleep_until(end).await;
            let _gone = locked(&ended).take();
        });
        let silence = Box::pin(sleep_until(end));
        let ends = AbortOnDropHandle::new(ends);
        Self { source, idle: bounds.idle, end, left: bounds.len, silence, waiting: false, over: false, _ends: ends }
    }
}

impl<S, E> Stream for Guarded<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        if !this.waiting {
            this.silence.as_mut().reset(this.end.min(Instant::now() + this.idle));
        }
        let next = match &mut *locked(&this.source) {
            None => Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into()))),
            Some((source, _)) => match source.poll_next_unpin(cx) {
                Poll::Pending if this.silence.as_mut().poll(cx).is_ready() => {
                    Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
                }
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
                Poll::Ready(Some(Ok(chunk))) => match this.left.checked_sub(chunk.len() as u64) {
                    None => Poll::Ready(Some(Err(io::ErrorKind::FileTooLarge.into()))),
                    Some(left) => {
                        this.left = left;
                        Poll::Ready(Some(Ok(chunk)))
                    }
                },
            },
        };
        this.waiting = next.is_pending();
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            this.over = true;
            let _gone = locked(&this.source).take();
        }
        next
    }
}
