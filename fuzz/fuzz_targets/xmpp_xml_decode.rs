//! See `xmpp_xml_decode` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("xmpp_xml_decode", data));
