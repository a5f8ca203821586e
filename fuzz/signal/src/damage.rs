//! Changes to bytes, as the input says.

use arbitrary::{Arbitrary as _, Unstructured};

/// Changes `bytes` in up to four places.
pub(super) fn damage(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..4 {
        let kind = u.int_in_range(0..=6).unwrap_or(0);
        if kind == 0 {
            return;
        }
        let at = usize::from(u16::arbitrary(u).unwrap_or(0)) % (bytes.len() + 1);
        let n = usize::from(u8::arbitrary(u).unwrap_or(0));
        let end = bytes.len().min(at + n);
        match kind {
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= n as u8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, u.bytes(n.min(u.len())).unwrap_or_default().iter().copied())),
            // A part stands twice.
            5 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            _ => bytes[at..end].fill(u8::arbitrary(u).unwrap_or(0)),
        }
    }
}
