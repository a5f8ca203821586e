//! The areas, their drivers, and the cases each driver has to report.

/// What runs a driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// A script of the area's folder, with the packages of the `package.json` beside it.
    Node(&'static str),
    /// A script of the area's folder, with the packages of its `requirements.txt`.
    Python(&'static str),
    /// One of the area's examples, by the name of its variable; it starts the peers itself.
    Ours(&'static str),
}

/// A program that runs cases.
pub(crate) struct Driver {
    pub(crate) program: Program,
    /// `$COMITY_NAME` stands for that example, `$PEERS` for the folder of scripts, `$PACKAGES` for what is installed.
    pub(crate) args: &'static [&'static str],
    /// `(peer, case)`: if one of these is not reported, it has failed.
    pub(crate) provides: &'static [(&'static str, &'static str)],
}

/// A part of the protocol.
pub(crate) struct Area {
    pub(crate) name: &'static str,
    /// `(package, example)`: our side, built with all features. `COMITY_EXAMPLE` tells drivers where it is.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// `(package, binary)`: what drivers start. `COMITY_PARTNER` tells where comity-partner's is.
    pub(crate) binaries: &'static [(&'static str, &'static str)],
    /// Under `packages/`: a folder's name, and the npm packages and versions in it.
    pub(crate) packages: &'static [(&'static str, &'static [(&'static str, &'static str)])],
    pub(crate) drivers: &'static [Driver],
}

/// Signal's own library for Node.
const OFFICIAL: &str = "@signalapp/libsignal-client";

pub(crate) const AREAS: &[Area] = &[
    Area {
        name: "noise",
        examples: &[("comity-noise", "noise_peer")],
        binaries: &[],
        packages: &[],
        drivers: &[
            Driver {
                program: Program::Node("baileys.mjs"),
                args: &["$COMITY_NOISE_PEER"],
                provides: &[("baileys", "xx-tcp"), ("baileys", "xx-websocket"), ("baileys", "xx-edge-routing")],
            },
            Driver {
                program: Program::Python("noiseprotocol.py"),
                args: &["$COMITY_NOISE_PEER"],
                provides: &[
                    ("noiseprotocol-py", "xx-plain-initiator"),
                    ("noiseprotocol-py", "xx-plain-responder"),
                    ("noiseprotocol-py", "ik-plain"),
                ],
            },
        ],
    },
    Area {
        name: "xmpp",
        examples: &[("comity-xmpp", "xmpp_peer")],
        binaries: &[],
        packages: &[],
        drivers: &[Driver {
            program: Program::Node("baileys.mjs"),
            args: &[],
            provides: &[("baileys", "decode-ours"), ("baileys", "encode-theirs")],
        }],
    },
    Area {
        name: "signal",
        examples: &[("comity-signal-pqxdh", "signal_interop")],
        binaries: &[],
        packages: &[
            ("official-0.103.0", &[(OFFICIAL, "0.103.0")]),
            ("official-0.92.0", &[(OFFICIAL, "0.92.2")]),
            ("official-0.75.0", &[(OFFICIAL, "0.75.1")]),
            ("official-0.72.1", &[(OFFICIAL, "0.72.1")]),
            ("official-0.23.1", &[(OFFICIAL, "0.23.1")]),
            ("js-v3", &[("libsignal", "6.0.0"), ("baileys", "7.0.0-rc14")]),
        ],
        drivers: &[Driver {
            program: Program::Ours("COMITY_SIGNAL_INTEROP"),
            args: &["$PEERS", "$PACKAGES"],
            provides: &[
                ("official-0.103", "v4-initiator"),
                ("official-0.103", "v4-responder"),
                ("official-0.103", "v4-no-one-time-key"),
                ("official-0.103", "tamper-replay-refused"),
                ("official-0.103", "fingerprint"),
                ("official-0.92", "v4-both"),
                ("official-0.75", "v4-both"),
                ("official-0.23.1", "v3-initiator"),
                ("official-0.23.1", "v3-responder"),
                ("official-0.72.1", "v3-both"),
                ("libsignal-js", "v3-initiator"),
                ("libsignal-js", "v3-responder"),
                ("baileys", "group-send"),
                ("baileys", "group-receive"),
            ],
        }],
    },
    Area {
        name: "media",
        examples: &[("comity-media", "media_peer")],
        binaries: &[("comity-partner", "comity-partner")],
        packages: &[],
        drivers: &[
            Driver {
                program: Program::Node("baileys.mjs"),
                args: &[],
                provides: &[
                    ("baileys", "format1-ours-to-them"),
                    ("baileys", "format1-theirs-to-us"),
                    ("baileys", "range-and-sidecar"),
                ],
            },
            Driver {
                program: Program::Python("tink_py.py"),
                args: &[],
                provides: &[("tink-py", "format2-ours-to-them"), ("tink-py", "format2-theirs-to-us")],
            },
            Driver { program: Program::Node("tus-js.mjs"), args: &[], provides: &[("tus-js-client", "upload-resume")] },
            Driver { program: Program::Python("tus_py.py"), args: &[], provides: &[("tuspy", "upload-resume")] },
            Driver {
                program: Program::Python("moto_s3.py"),
                args: &[],
                provides: &[("moto", "s3-round-trip"), ("moto", "s3-restart")],
            },
        ],
    },
    Area {
        name: "identity",
        examples: &[("comity-identity", "identity_interop")],
        binaries: &[],
        packages: &[],
        drivers: &[
            Driver {
                program: Program::Python("drive.py"),
                args: &[],
                provides: &[("pyjwt", "token-theirs"), ("pyjwt", "token-ours"), ("jwcrypto", "jwks-ours")],
            },
            Driver {
                program: Program::Node("drive.mjs"),
                args: &[],
                provides: &[("jose", "token-theirs"), ("jose", "token-ours")],
            },
        ],
    },
    Area {
        name: "native",
        examples: &[],
        binaries: &[
            ("comity-gatekeeper", "comity-gatekeeper"),
            ("comity-partner", "comity-partner"),
            ("comity-cli", "comity"),
        ],
        packages: &[],
        drivers: &[Driver {
            program: Program::Node("baileys.mjs"),
            args: &[],
            provides: &[
                ("baileys", "login"),
                ("baileys", "text-from-partner-first"),
                ("baileys", "text-to-partner-first"),
                ("baileys", "receipts"),
                ("baileys", "image"),
            ],
        }],
    },
];
