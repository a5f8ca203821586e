//! See `gatekeeper_enlist_form` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("gatekeeper_enlist_form", data));
