//! See `noise_cert_parse` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("noise_cert_parse", data));
