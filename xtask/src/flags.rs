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
        /// Clients write to each other while clients, gatekeeper and partner server, each a process, are killed at any
        /// moment: nothing lost, nothing twice, nothing out of order.
        cmd soak {
            /// For how long. Default 20.
            optional --minutes minutes: u32
            /// Which process is killed when; printed by each run. Default random.
            optional --seed seed: u64
            /// Only the gatekeeper is killed, in quick succession.
            optional --server
            /// Kills, with `--server`. Default 200.
            optional --rounds rounds: u32
        }
        /// The simulation: clients, a gatekeeper and a network under virtual time, everything that can fail failing.
        cmd sim {
            /// Seeds. Default 500.
            optional --seeds seeds: u64
            /// Events of each before the faults stop. Default 2000.
            optional --steps steps: u32
            /// Replays this seed alone and prints its trace.
            optional --seed seed: u64
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
