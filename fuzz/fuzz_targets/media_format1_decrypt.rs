//! See `media_format1_decrypt` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("media_format1_decrypt", data));
