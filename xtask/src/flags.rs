//! The command line.

use std::ffi::OsString;

xflags::xflags! {
    /// Tasks of the Comity workspace.
    cmd xtask {
        /// Everything that has to hold before a change lands.
        cmd ci {}
        /// All tests of the workspace; ends in a total line.
        cmd test {
            /// Arguments for `cargo test`, after `--`.
            repeated args: OsString
        }
        /// The rules of the house: arrows between crates, licences, files.
        cmd tidy {}
        /// Fuzz targets: list, build, replay (the seeds) or run TARGET.
        cmd fuzz {
            /// list, build, replay or run
            required action: String
            /// The target to run.
            optional target: String
            /// How long to run. Default 60.
            optional --seconds seconds: u32
        }
        /// Two users over the SQLite store, killed at any moment: no message lost, no key used twice.
        cmd kill {
            /// Kills of each suite. Default 1000.
            optional --kills kills: u32
        }
        /// Two clients write to each other while the gatekeeper is killed again and again: nothing lost, nothing twice.
        cmd soak {
            /// The server is the one that is killed. For now, the only choice.
            optional --server
            /// Kills. Default 200.
            optional --rounds rounds: u32
        }
        /// Benchmarks against their peers: a table, and target/bench/AREA.json.
        cmd bench {
            /// xmpp, noise, signal, media or gatekeeper; all if left out.
            optional area: String
            /// Takes the instruction counts of this run as the tracked ones.
            optional --accept
        }
        /// The guided demo: release build of `comity demo ARGS…`; `--profile dev` before ARGS uses the dev build.
        cmd demo {}
        /// Foreign peers: noise, xmpp, signal, media, identity, native or all.
        cmd interop {
            /// The area. Default all.
            optional area: String
        }
    }
}
