//! See `snow_differential::run`.
#![no_main]

#[path = "../src/snow_differential.rs"]
mod snow_differential;

libfuzzer_sys::fuzz_target!(|data: &[u8]| snow_differential::run(data));
