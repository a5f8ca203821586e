//! Benchmarks: criterion benches and instruction counts under `benches/`, and under `src/bin/` our side of
//! `cargo xtask bench`. The other sides are `peers/` (a workspace of its own, so that they never enter our lock file) and
//! the foreign peers' own programs.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::expect_used, reason = "programs that measure time")]

pub mod side;
pub mod stanzas;
