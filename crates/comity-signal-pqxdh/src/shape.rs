//! The shape of a message's post-quantum ratchet part, checked before the engine parses it.

/// Whether the engine can parse `part` without panicking.
///
/// The form is empty, or: version (1 byte), epoch (varint, not 0), index (varint, u32), type (0..=6), and for types 1, 2,
/// 3, 5, 6 a chunk: index (varint, u16) and 32 bytes. What follows is ignored, and so is all of a version above 1.
pub fn pq_ratchet_well_formed(part: &[u8]) -> bool {
    match part.split_first() {
        Some((1, rest)) => version_1(rest).is_some(),
        _ => true,
    }
}

fn version_1(mut rest: &[u8]) -> Option<()> {
    let rest = &mut rest;
    if varint(rest)? == 0 || varint(rest)? > u64::from(u32::MAX) {
        return None;
    }
    match take(rest, 1)? {
        [0 | 4] => Some(()),
        [1 | 2 | 3 | 5 | 6] => (varint(rest)? <= 0xFFFF).then(|| take(rest, 32).map(|_| ()))?,
        _ => None,
    }
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for i in 0..10_u32 {
        let b = *take(rest, 1)?.first()?;
        if i == 9 && b > 1 {
            return None;
        }
        n |= u64::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            return Some(n);
        }
    }
    None
}
