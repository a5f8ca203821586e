//! See `xmpp_xml_split` in `comity_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comity_fuzz::run("xmpp_xml_split", data));
