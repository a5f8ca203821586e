//! Format 1 on two threads gives what one thread gives, and ends when reading or writing fails (PROTOCOL §10).
#![cfg(feature = "transfer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests")]

use comity_media::transfer::encrypt_parallel;
use comity_media::{Encrypted, Error, Limits, MediaKey, MediaKind, encrypt};
use std::time::Duration;

const CHUNK: usize = 64 << 10;

/// Waits after each read and each write; both fail at that call.
fn run(kind: MediaKind, plain: &[u8], wait: [u64; 2], fails: [usize; 2]) -> Result<(Vec<u8>, Encrypted), Error> {
    let full = Error::Io { what: "test", kind: std::io::ErrorKind::StorageFull };
    let (mut rest, mut out, mut calls) = (plain, Vec::new(), [0, 0]);
    let mut called = |side: usize| {
        std::thread::sleep(Duration::from_micros(wait[side]));
        calls[side] += 1;
        if calls[side] == fails[side] { Err(full) } else { Ok(()) }
    };
    let called = std::cell::RefCell::new(&mut called);
    let read = |chunk: &mut [u8]| {
        (called.borrow_mut())(0)?;
        let (head, tail) = rest.split_at(chunk.len().min(rest.len()));
        chunk[..head.len()].copy_from_slice(head);
        rest = tail;
        Ok(head.len())
    };
    let write = |sealed: &[u8]| {
        out.extend_from_slice(sealed);
        (called.borrow_mut())(1)
    };
    let limits = Limits::default().with_max_file_len(40 * CHUNK as u64);
    let encrypted = encrypt_parallel(kind, &MediaKey::from([5; 32]), limits, read, write)?;
    Ok((out, encrypted))
}

#[test]
fn as_on_one_thread() {
    let plain: Vec<u8> = (0..40 * CHUNK).map(|i| (i / 251) as u8).collect();
    for kind in [MediaKind::Document, MediaKind::Video] {
        for length in [0, 1, 15, 16, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK + 7, 40 * CHUNK] {
            for wait in [[0, 0], [300, 0], [0, 300]] {
                let plain = &plain[..length];
                let (file, facts) = encrypt(kind, &MediaKey::from([5; 32]), plain).unwrap();
                assert_eq!(run(kind, plain, wait, [0, 0]).unwrap(), (file.to_vec(), facts), "{kind} {length}");
            }
        }
    }
}

#[test]
fn a_failure_ends_it() {
    let plain = vec![1; 40 * CHUNK + 1];
    assert_eq!(run(MediaKind::Video, &plain, [0, 0], [0, 0]).unwrap_err(), Error::TooLarge { max: 40 * CHUNK as u64 });
    for at in [1, 2, 5, 20, 41] {
        for fails in [[at, 0], [0, at]] {
            let failed = run(MediaKind::Video, &plain[1..], [0, 0], fails).unwrap_err();
            assert!(matches!(failed, Error::Io { what: "test", .. }), "{failed}");
        }
    }
    // The MAC's own write.
    assert!(run(MediaKind::Video, &plain[1..], [0, 0], [0, 42]).is_err());
}

/// The second thread does not outlive the first.
#[test]
fn a_panic_of_the_reader_comes_through() {
    let mut calls = 0;
    let read = |chunk: &mut [u8]| {
        calls += 1;
        assert!(calls < 10, "on purpose");
        Ok(chunk.len())
    };
    let key = MediaKey::from([5; 32]);
    let run = || encrypt_parallel(MediaKind::Document, &key, Limits::default(), read, |_| Ok(()));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
}
