//! The bodies of the fuzz targets: each takes any bytes and ends in an agreement, not only in the absence of a panic.
//! The workspace's tests include this file and run every seed through it.

pub mod alloc;
mod identity;
mod inflate;
mod media;
mod noise;
mod stanza;
mod tree;
mod tus;
mod websocket;
mod xmpp;

/// A body and its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets.
pub const TARGETS: &[Target] = &[
    ("xmpp_binary_decode", xmpp::binary_decode),
    ("xmpp_inflate", inflate::inflate),
    ("xmpp_stanza_parse", stanza::parse),
    ("xmpp_tree_round_trip", xmpp::tree_round_trip),
    ("xmpp_xml_decode", xmpp::xml_decode),
    ("xmpp_xml_split", xmpp::xml_split),
    ("media_format1_decrypt", media::format1_decrypt),
    ("media_format2_decrypt_stream", media::format2_decrypt_stream),
    ("noise_cert_parse", noise::cert_parse),
    ("noise_frame_decode", noise::frame_decode),
    ("noise_handshake_initiator", noise::handshake_initiator),
    ("noise_handshake_null", noise::handshake_null),
    ("noise_handshake_responder", noise::handshake_responder),
    ("noise_transport_ops", noise::transport_ops),
    ("noise_websocket", websocket::websocket),
    ("identity_token", identity::token),
    ("identity_jwks", identity::jwks),
    ("gatekeeper_enlist_form", identity::enlist_form),
    ("partner_tus_headers", tus::headers),
];

/// Targets whose body is a file of its own, for it needs a foreign implementation that only this folder's lock file has.
/// `tests/differential.rs` here runs their seeds.
pub const DIFFERENTIAL: &[&str] = &["noise_snow_differential", "xmpp_binary_differential"];

/// Runs a target's body.
///
/// # Panics
/// If there is no such target, or its body finds a disagreement.
pub fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    body(input);
}
