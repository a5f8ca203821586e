//! The bodies of the signal fuzz targets: each takes any bytes and ends in an agreement, not only in the absence of a
//! panic. The tests of comity-cli, which links both suites, include this file and run every seed through it.

#[path = "../../src/alloc.rs"]
pub mod alloc;
mod bundle;
mod client;
mod damage;
mod group;
mod message;
mod record;
mod session;

use comity_signal::Suites;
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;

/// A body and its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets.
pub const TARGETS: &[Target] = &[
    ("client_ops", client::ops),
    ("signal_bundle_parse", bundle::parse),
    ("signal_group_ops", group::ops),
    ("signal_message_decode_v3", message::decode_v3),
    ("signal_message_decode_v4", message::decode_v4),
    ("signal_record_decode", record::decode),
    ("signal_session_ops", session::ops),
];

/// Message version 3 alone, and 4 alone.
fn suites() -> [Suites; 2] {
    [Suites::new().with(X3dh), Suites::new().with(Pqxdh::new())]
}

/// Runs a target's body.
///
/// # Panics
/// If there is no such target, or its body finds a disagreement.
pub fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    body(input);
}
