//! See `comity_fuzz::xmpp_binary_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::xmpp_binary_decode(data));
