//! The demo's large file: made as it is written, and no process may need much memory for it.

use crate::Failure;
use comity_media::limits::MAX_FILE_LEN;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Most memory that a process may have had while a large file went by, in bytes.
pub(super) const MAX_MEMORY: u64 = 200_000_000;

/// Bytes made at a time.
const CHUNK: usize = 256 << 10;

/// A number of bytes, with `KiB`, `MiB` or `GiB` behind it or without.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("a number of bytes, KiB, MiB or GiB is wanted".into()),
    };
    let number = digits.parse::<u64>().map_err(|e| e.to_string())?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes <= MAX_FILE_LEN);
    bytes.ok_or_else(|| format!("at most {MAX_FILE_LEN} bytes can be sent"))
}

/// Writes `bytes` bytes into a file of `dir` that are the same for every run and do not repeat.
pub(super) async fn make(dir: &Path, bytes: u64) -> Result<PathBuf, Failure> {
    let path = dir.join("large.bin");
    let file = path.clone();
    let write = move || {
        let mut file = std::fs::File::create(file)?;
        let (mut left, mut seed, mut chunk) = (bytes, bytes, vec![0; CHUNK]);
        while left > 0 {
            chunk.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&split_mix(&mut seed).to_le_bytes()));
            let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            file.write_all(chunk.get(..now).unwrap_or_default())?;
            left -= now as u64;
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::task::spawn_blocking(write).await??;
    Ok(path)
}

/// SplitMix64: fast, and nothing compresses it.
const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("3 B", 3), ("5KiB", 5 << 10), ("7 MiB", 7 << 20), ("2GiB", 2 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "GiB", "3GiB", "2147483649", "1GB", "-1", "1.5GiB", "99999999999999999999", "18446744073709551615KiB"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
