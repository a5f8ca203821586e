//! The operating system's random numbers.

use comity_core::CryptoRng;

/// The generator. If the operating system has no randomness to give, the process cannot go on.
pub(crate) fn os_rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::Rng::fill_bytes(&mut os_rng(), &mut bytes);
    bytes
}
