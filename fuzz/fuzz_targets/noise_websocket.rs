//! See `noise_websocket` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("noise_websocket", data));
