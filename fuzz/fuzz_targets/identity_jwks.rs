//! See `identity_jwks` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("identity_jwks", data));
