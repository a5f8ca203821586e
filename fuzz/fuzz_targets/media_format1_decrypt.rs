//! See `comity_fuzz::media_format1_decrypt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::media_format1_decrypt(data));
