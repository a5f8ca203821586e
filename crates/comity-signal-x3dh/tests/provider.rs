//! The engine's process-wide cryptography can be replaced once; whoever did so before us gets no session.
#![allow(clippy::unwrap_used, reason = "test code")]

use comity_signal::Error;
use comity_signal::suite_tests::two;
use wacore_libsignal::crypto::{RustCryptoProvider, set_crypto_provider};

#[test]
fn replaced_cryptography_is_refused() {
    set_crypto_provider(RustCryptoProvider).unwrap();
    let (mut a, mut b) = two(comity_signal_x3dh::X3dh, 1);
    let bundle = b.bundle();
    let refused = a.establish(&b.address, &bundle).unwrap_err();
    assert_eq!(refused, Error::Engine("crypto provider replaced"));
}
