//! Benchmarks: criterion benches under `benches/`, and under `src/bin/` our side of `cargo xtask bench`, a process that
//! measures on request.
