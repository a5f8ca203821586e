//! The flags byte and zlib (PROTOCOL §6.1): one-shot, with hard caps, no state kept.

use super::FLAG_ZLIB;
use crate::error::{Error, Limited, Malformed};
use crate::limits::{INFLATE_RATIO_FLOOR, Limits, MIN_DEFLATE_LEN};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::borrow::Cow;

/// Bytes of the buffer that a compressed body is first inflated into.
const SCRATCH: usize = 8 << 10;

const BROKEN: Error = Error::Binary { at: 0, what: Malformed::Zlib };

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

/// Inflates twice: first into a small buffer, to learn the length and refuse a bomb before anything is allocated for it.
fn inflate(input: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    let by_ratio = input.len().saturating_mul(limits.max_inflate_ratio).max(INFLATE_RATIO_FLOOR);
    let cap = by_ratio.min(limits.max_inflated_len);
    let mut zlib = Decompress::new(true);
    let mut scratch = [0; SCRATCH];
    let mut read = 0;
    loop {
        let rest = input.get(read..).unwrap_or_default();
        let before = (zlib.total_in(), zlib.total_out());
        let status = zlib.decompress(rest, &mut scratch, FlushDecompress::None).map_err(|_| BROKEN)?;
        read = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
        if zlib.total_out() > cap as u64 {
            return Err(if by_ratio < limits.max_inflated_len {
                Error::Limit { what: Limited::Ratio, max: limits.max_inflate_ratio }
            } else {
                Error::Limit { what: Limited::Inflated, max: limits.max_inflated_len }
            });
        }
        if status == Status::StreamEnd {
            break;
        }
        if before == (zlib.total_in(), zlib.total_out()) {
            return Err(BROKEN); // it ends within the stream
        }
    }
    if read != input.len() {
        return Err(Error::Binary { at: 0, what: Malformed::Trailing });
    }

    let mut out = Vec::with_capacity(usize::try_from(zlib.total_out()).unwrap_or(0));
    zlib.reset(true);
    match zlib.decompress_vec(input, &mut out, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => Ok(out),
        _ => Err(BROKEN),
    }
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
