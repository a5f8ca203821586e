//! The areas, their drivers, and the cases each driver has to report.

/// What runs a driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// A script of the area's folder, with the packages of the `package.json` beside it.
    Node(&'static str),
    /// A script of the area's folder, with the packages of its `requirements.txt`.
    Python(&'static str),
    /// One of the area's examples, by the name of its variable; it starts the peers itself.
    #[allow(dead_code, reason = "for areas whose peers are driven from our side")]
    Ours(&'static str),
}

/// A program that runs cases.
pub(crate) struct Driver {
    pub(crate) program: Program,
    pub(crate) args: &'static [&'static str],
    /// `(peer, case)`: if one of these is not reported, it has failed.
    pub(crate) provides: &'static [(&'static str, &'static str)],
}

/// A part of the protocol.
pub(crate) struct Area {
    pub(crate) name: &'static str,
    /// `(package, example)`: our side, built with all features. `COMITY_EXAMPLE` tells drivers where it is.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    pub(crate) drivers: &'static [Driver],
}

pub(crate) const AREAS: &[Area] = &[
    Area {
        name: "noise",
        examples: &[("comity-noise", "noise_peer")],
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
    Area { name: "xmpp", examples: &[], drivers: &[] },
    Area { name: "signal", examples: &[], drivers: &[] },
    Area {
        name: "media",
        examples: &[("comity-media", "media_peer")],
        drivers: &[Driver {
            program: Program::Node("baileys.mjs"),
            args: &[],
            provides: &[
                ("baileys", "format1-ours-to-them"),
                ("baileys", "format1-theirs-to-us"),
                ("baileys", "range-and-sidecar"),
            ],
        }],
    },
    Area {
        name: "identity",
        examples: &[("comity-identity", "identity_interop")],
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
    Area { name: "native", examples: &[], drivers: &[] },
];
