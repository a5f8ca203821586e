//! Format 1's passes on two threads: CBC encryption is serial, so one thread encrypts, and the other hashes and
//! authenticates what is ready (PROTOCOL §10).

use super::io;
use crate::encrypt::{Readers, Sealer};
use crate::{Encrypted, Error, Limits, MediaKey, MediaKind};
use bytes::BytesMut;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{Builder, Thread, current, park};

/// Bytes that go from one thread to the other at once.
const CHUNK_LEN: usize = 64 << 10;
/// Chunks under way, each as plaintext and as ciphertext: less than 1 MiB in all.
const SLOTS: usize = 7;
/// As many wait for the second thread before the first hashes plaintext rather than encrypt more.
const AHEAD: usize = 3;
/// Looks for work before a thread sleeps: a sleep and a wake take longer than most waits.
const SPINS: u32 = 1000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far each pass is, in chunks. No two threads want the same buffer at a time, so that its lock is always free.
struct Shared {
    slots: [(Mutex<BytesMut>, Mutex<BytesMut>); SLOTS],
    sealed: AtomicUsize,
    /// By the second thread: MAC and hash of the ciphertext.
    read: AtomicUsize,
    /// By whichever thread has less to do: hash of the plaintext.
    hashed: AtomicUsize,
    hash: Mutex<Sha256>,
    /// No more comes.
    complete: AtomicBool,
    first: Thread,
}

impl Shared {
    fn slot(&self, chunk: usize) -> Option<&(Mutex<BytesMut>, Mutex<BytesMut>)> {
        self.slots.get(chunk % SLOTS)
    }

    /// How many chunks are sealed, and wait for the second thread, and to be hashed.
    fn waiting(&self) -> (usize, usize) {
        let (read, hashed) = (self.read.load(Ordering::Acquire), self.hashed.load(Ordering::Acquire));
        let sealed = self.sealed.load(Ordering::Acquire);
        (sealed.saturating_sub(read), sealed.saturating_sub(hashed))
    }

    fn is_slot_free(&self) -> bool {
        let (unread, unhashed) = self.waiting();
        unread.max(unhashed) < SLOTS
    }

    /// Hashes the next chunk of plaintext; whether there was one and no other thread at it.
    fn hash(&self) -> bool {
        let mut hash = match self.hash.try_lock() {
            Ok(hash) => hash,
            Err(TryLockError::Poisoned(hash)) => hash.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let next = self.hashed.load(Ordering::Acquire);
        if next == self.sealed.load(Ordering::Acquire) {
            return false;
        }
        if let Some((plain, _)) = self.slot(next) {
            hash.update(&*lock(plain));
        }
        self.hashed.store(next + 1, Ordering::Release);
        true
    }
}

fn wait(until: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if until() {
            return;
        }
        std::hint::spin_loop();
    }
    while !until() {
        park();
    }
}

/// Says that no more comes, even if reading or writing panics: the second thread ends then.
struct Complete<'a>(&'a Shared, Thread);

impl Drop for Complete<'_> {
    fn drop(&mut self) {
        self.0.complete.store(true, Ordering::Release);
        self.1.unpark();
    }
}

/// Encrypts what `read` gives, format 1, and hands the encrypted file to `write`, in order, on this thread and one more, in
/// less than 1 MiB at any length.
///
/// `read` fills a buffer as far as it can: less than the whole of it is the end.
///
/// # Errors
/// [`Error::TooLarge`], and those of `read` and `write`.
pub fn encrypt_parallel(
    kind: MediaKind,
    key: &MediaKey,
    limits: Limits,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Error>,
    mut write: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Encrypted, Error> {
    let (mut sealer, readers) = (Sealer::new(kind, key, limits), Readers::new(kind, key));
    let shared = Shared {
        slots: std::array::from_fn(|_| {
            (Mutex::new(BytesMut::zeroed(CHUNK_LEN)), Mutex::new(BytesMut::with_capacity(CHUNK_LEN + 32)))
        }),
        sealed: AtomicUsize::new(0),
        read: AtomicUsize::new(0),
        hashed: AtomicUsize::new(0),
        hash: Mutex::default(),
        complete: AtomicBool::new(false),
        first: current(),
    };
    let readers = std::thread::scope(|scope| {
        let second =
            Builder::new().spawn_scoped(scope, || read_along(readers, &shared)).map_err(io("start a thread"))?;
        let complete = Complete(&shared, second.thread().clone());
        let mut all = || -> Result<(), Error> {
            for chunk in 0.. {
                let Some((plain, out)) = shared.slot(chunk) else { break };
                let filled = {
                    let (mut plain, mut out) = (lock(plain), lock(out));
                    let filled = read(&mut plain)?;
                    plain.truncate(filled);
                    out.clear();
                    sealer.update(&plain, &mut out)?;
                    if filled < CHUNK_LEN {
                        sealer.finish(&mut out);
                    }
                    write(&out)?;
                    filled
                };
                shared.sealed.store(chunk + 1, Ordering::Release);
                second.thread().unpark();
                if filled < CHUNK_LEN {
                    break;
                }
                // The slot that comes next must be free, and the second thread not run out of work.
                loop {
                    let free = shared.is_slot_free();
                    if free && (shared.waiting().0 < AHEAD || !shared.hash()) {
                        break;
                    }
                    if !free && !shared.hash() {
                        wait(|| shared.is_slot_free());
                    }
                }
            }
            Ok(())
        };
        let done = all();
        drop(complete);
        while done.is_ok() && shared.waiting().1 > 0 {
            if !shared.hash() {
                wait(|| shared.waiting().1 == 0 || shared.hash.try_lock().is_ok());
            }
        }
        let readers = second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        done.map(|()| readers)
    })?;
    let hash = shared.hash.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut tail = BytesMut::new();
    let encrypted = readers.finish(&sealer, hash, &mut tail);
    write(&tail)?;
    Ok(encrypted)
}

/// The second thread.
fn read_along(mut readers: Readers, shared: &Shared) -> Readers {
    for chunk in 0.. {
        loop {
            let complete = shared.complete.load(Ordering::Acquire);
            let (unread, unhashed) = shared.waiting();
            if unread > 0 && unhashed <= unread + 1 {
                break;
            }
            if shared.hash() {
                shared.first.unpark();
            } else if unread > 0 {
                break;
            } else if complete {
                return readers;
            } else {
                wait(|| shared.waiting().0 > 0 || shared.complete.load(Ordering::Acquire));
            }
        }
        if let Some((_, sealed)) = shared.slot(chunk) {
            readers.update(&lock(sealed));
        }
        shared.read.store(chunk + 1, Ordering::Release);
        shared.first.unpark();
    }
    readers
}
