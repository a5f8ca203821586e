//! See `client_ops` in `comity_fuzz_signal::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz_signal::run("client_ops", data));
