//! See `media_format2_decrypt_stream` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("media_format2_decrypt_stream", data));
