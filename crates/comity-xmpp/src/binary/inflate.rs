//! The flags byte and zlib (PROTOCOL §6.1): one-shot, with hard caps, no state kept.

use super::FLAG_ZLIB;
use crate::error::{Error, Limited, Malformed};
use crate::limits::{INFLATE_RATIO_FLOOR, Limits, MIN_DEFLATE_LEN};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::borrow::Cow;

/// Output grows in steps of at most this many bytes, so that a small frame never reserves the cap.
const STEP: usize = 64 << 10;

/// Whether the body is compressed, and the body as it stands in the frame.
pub(super) fn flags<'a>(frame: &'a [u8], limits: &Limits) -> Result<(bool, &'a [u8]), Error> {
    if frame.len() > limits.max_frame_len {
        return Err(Error::Limit { what: Limited::Frame, max: limits.max_frame_len });
    }
    let Some((&flags, body)) = frame.split_first() else {
        return Err(Error::Binary { at: 0, what: Malformed::Truncated });
    };
    if flags & !FLAG_ZLIB != 0 {
        return Err(Error::Binary { at: 0, what: Malformed::Flags(flags) });
    }
    Ok((flags & FLAG_ZLIB != 0, body))
}

/// The body of a frame: all after the flags byte, inflated if that byte says so. Allocates only to inflate.
///
/// # Errors
/// [`Error::Limit`] if the frame, the output or the ratio exceeds `limits`; [`Error::Binary`] on an empty frame, unknown
/// flags, broken zlib or bytes after its end.
pub fn body<'a>(frame: &'a [u8], limits: &Limits) -> Result<Cow<'a, [u8]>, Error> {
    let (compressed, body) = flags(frame, limits)?;
    if compressed { inflate(body, limits).map(Cow::Owned) } else { Ok(Cow::Borrowed(body)) }
}

fn inflate(input: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    const BROKEN: Error = Error::Binary { at: 0, what: Malformed::Zlib };
    let by_ratio = input.len().saturating_mul(limits.max_inflate_ratio).max(INFLATE_RATIO_FLOOR);
    let cap = by_ratio.min(limits.max_inflated_len);
    let over = if by_ratio < limits.max_inflated_len {
        Error::Limit { what: Limited::Ratio, max: limits.max_inflate_ratio }
    } else {
        Error::Limit { what: Limited::Inflated, max: limits.max_inflated_len }
    };

    let mut zlib = Decompress::new(true);
    let mut out = Vec::with_capacity(input.len().saturating_mul(4).clamp(256, STEP).min(cap.saturating_add(1)));
    loop {
        let consumed = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
        let rest = input.get(consumed..).unwrap_or_default();
        let before = out.len();
        let status = zlib.decompress_vec(rest, &mut out, FlushDecompress::Finish).map_err(|_| BROKEN)?;
        if out.len() > cap {
            return Err(over);
        }
        if status == Status::StreamEnd {
            break;
        }
        let stalled = out.len() == before && zlib.total_in() == consumed as u64;
        if out.len() == out.capacity() {
            // One byte beyond the cap is room enough to see that it is exceeded.
            let room = (cap + 1 - out.len()).min(out.len().max(STEP));
            if room == 0 {
                return Err(over);
            }
            out.reserve_exact(room);
        } else if stalled || consumed == input.len() {
            return Err(BROKEN);
        }
    }
    if zlib.total_in() != input.len() as u64 {
        return Err(Error::Binary { at: 0, what: Malformed::Trailing });
    }
    Ok(out)
}

/// The zlib form of `body`, if it is long enough to try and the result is shorter.
pub(super) fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < MIN_DEFLATE_LEN {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() - 1);
    let mut zlib = Compress::new(Compression::default(), true);
    match zlib.compress_vec(body, &mut out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Some(out),
        _ => None, // it did not fit: no gain
    }
}
