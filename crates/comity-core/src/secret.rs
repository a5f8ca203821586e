//! Values that must not reach a log.

use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What a [`Secret`] may hold. As `Zeroize`, but a vector is wiped as a whole and not byte after byte: records of many
/// kilobytes are wiped with each message.
pub trait Wipe {
    /// Overwrites the value with zeros.
    fn wipe(&mut self);
}

impl Wipe for Vec<u8> {
    fn wipe(&mut self) {
        self.clear();
        self.spare_capacity_mut().zeroize();
    }
}

impl Wipe for String {
    fn wipe(&mut self) {
        core::mem::take(self).into_bytes().wipe();
    }
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        self.zeroize();
    }
}

/// Secret bytes: wiped on drop, compared in constant time, silent in `Debug`.
#[derive(Clone)]
pub struct Secret<T: Wipe>(T);

impl<T: Wipe> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> ZeroizeOnDrop for Secret<T> {}

impl<T: Wipe> Secret<T> {
    /// Wraps a secret value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every call is a place to look at in review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Wipe + AsRef<[u8]>> Eq for Secret<T> {}

impl<T: Wipe> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Shows a personal identifier as a short stable tag instead of its text: enough to follow one user through a log, not
/// enough to know who it is.
///
/// The tag is a 32-bit FNV-1a hash, not a cryptographic one: whoever holds a list of candidates can recognise them.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T: fmt::Display> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Fnv(u32);
        impl fmt::Write for Fnv {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                for b in s.bytes() {
                    self.0 = (self.0 ^ u32::from(b)).wrapping_mul(0x0100_0193);
                }
                Ok(())
            }
        }
        let mut hash = Fnv(0x811c_9dc5);
        fmt::Write::write_fmt(&mut hash, format_args!("{}", self.0))?;
        write!(f, "…{:08x}", hash.0)
    }
}

impl<T: fmt::Display> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Wipe as _;

    #[test]
    #[allow(unsafe_code, reason = "looks at what was wiped")]
    fn all_that_a_vector_held_is_wiped() {
        let mut bytes = vec![7; 40];
        bytes.truncate(30);
        bytes.wipe();
        assert!(bytes.is_empty());
        // SAFETY: 40 bytes were initialised above, and are still this vector's.
        unsafe { bytes.set_len(40) };
        assert_eq!(bytes, [0; 40]);
    }
}
