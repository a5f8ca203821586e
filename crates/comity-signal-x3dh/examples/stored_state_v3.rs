//! Prints the records and messages that `tests/data/state` keeps of each layout, for `tests/suite.rs`.
#![allow(clippy::print_stdout, reason = "an example")]

fn main() {
    print!("{}", comity_signal::suite_tests::make_stored_state(comity_signal_x3dh::X3dh, 1));
}
