//! See `signal_message_decode_v3` in `comity_fuzz_signal::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz_signal::run("signal_message_decode_v3", data));
