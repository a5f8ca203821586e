//! The binary form against a second decoder, `wacore-binary`.
//!
//! It is shown only what ours accepts, for a JID in a JID overflows its stack. Where the two are known to differ is all in
//! [`is_known`] and [`text_of`].

use bytes::BytesMut;
use comity_xmpp::{ContentRef, EncodeOptions, Limits, NodeRef, Piece, TextRef, ValueRef};
use std::borrow::Cow;
use wacore_binary::NodeContentRef;
use wacore_binary::node::{NodeRef as TheirNode, ValueRef as TheirValue};

/// What ours accepts, theirs reads as the same tree; and so it does what we write of that tree.
pub fn run(frame: &[u8]) {
    let limits = Limits::DEFAULT;
    let Ok(body) = comity_xmpp::body(frame, &limits) else { return };
    let Ok(node) = NodeRef::parse(&body, &limits) else { return };
    assert_eq!(wacore_binary::util::unpack(frame).expect("it inflates"), body);
    let mut written = BytesMut::new();
    comity_xmpp::encode(&node.to_node(), &mut written, &EncodeOptions::default()).expect("within the limits");
    for body in [&*body, &written[1..]] {
        let mut known = false;
        comity_xmpp::trace(body, &limits, &mut |piece| known |= is_known(&piece)).expect("it decodes");
        let ours = NodeRef::parse(body, &limits).expect("it decodes");
        if !known && !any_foreign(&ours) {
            same_node(&ours, &wacore_binary::marshal::unmarshal_ref(body).expect("it decodes"));
        }
    }
}

/// Whether this is a JID that theirs is known to refuse or to misread:
/// - an AD_JID, FB_JID or INTEROP_JID whose user is LIST_EMPTY;
/// - an INTEROP_JID without the string `interop`, as the official web encoder writes it.
fn is_known(piece: &Piece<'_>) -> bool {
    match (piece.form, piece.bytes) {
        ("AD_JID", [_, _, _, 0, ..]) | ("FB_JID" | "INTEROP_JID", [_, 0, ..]) => true,
        // What looks like the string may be the end of the user: then what stands before it is no JID.
        ("INTEROP_JID", bytes) => bytes
            .strip_suffix(b"\xfc\x07interop")
            .is_none_or(|jid| NodeRef::parse(&[&[0xf8, 3, 1, 1], jid].concat(), &Limits::DEFAULT).is_err()),
        _ => false,
    }
}

/// Whether a JID_PAIR has a server that we do not know. It is text to us; theirs refuses it, or knows it (`c.us`).
fn any_foreign(node: &NodeRef<'_>) -> bool {
    let foreign = |value: ValueRef<'_>| matches!(value, ValueRef::Jid(jid) if jid.server().is_none());
    node.attrs().any(|(_, value)| foreign(value))
        || match node.content() {
            ContentRef::Text(value) => foreign(value),
            _ => node.children().any(|child| any_foreign(&child)),
        }
}

fn same_node(ours: &NodeRef<'_>, theirs: &TheirNode<'_>) {
    same_text(ours.tag(), &theirs.tag);
    assert_eq!(ours.attrs().len(), theirs.attrs.len());
    for ((name, value), (their_name, their_value)) in ours.attrs().zip(theirs.attrs.iter()) {
        same_text(name, their_name);
        match (value, their_value) {
            (ValueRef::Str(text), TheirValue::String(their_text)) => same_text(text, their_text),
            (ValueRef::Jid(jid), TheirValue::Jid(their_jid)) => {
                same_text(jid.user(), &their_jid.user);
                assert_eq!((jid.device(), jid.integrator()), (their_jid.device, their_jid.integrator));
                assert_eq!(jid.server().map(|server| server.as_str()), Some(their_jid.server.as_str()));
            }
            _ => panic!("{value:?} {their_value:?}"),
        }
    }
    match (ours.content(), &theirs.content) {
        (ContentRef::Empty, None) => {}
        (ContentRef::Nodes(nodes), None) => assert_eq!(nodes.len(), 0),
        (ContentRef::Nodes(nodes), Some(NodeContentRef::Nodes(their_nodes))) => {
            assert_eq!(nodes.len(), their_nodes.len());
            nodes.zip(their_nodes).for_each(|(ours, theirs)| same_node(&ours, theirs));
        }
        (ContentRef::Bytes(bytes), Some(NodeContentRef::Bytes(their_bytes))) => assert_eq!(bytes, &their_bytes[..]),
        (ContentRef::Text(value), Some(NodeContentRef::String(text))) => assert_eq!(text_of(value), **text),
        (ours, theirs) => panic!("{ours:?} {theirs:?}"),
    }
}

fn same_text(ours: TextRef<'_>, theirs: &str) {
    assert_eq!(ours, *theirs);
}

/// A content's text as theirs has it: of a JID without the integrator, and without a device that has no user.
fn text_of(value: ValueRef<'_>) -> Cow<'static, str> {
    match value {
        ValueRef::Jid(jid) if jid.user().is_empty() => {
            jid.server().map_or_else(|| jid.to_string(), |server| server.to_string()).into()
        }
        ValueRef::Jid(jid) if jid.integrator() != 0 => {
            let text = jid.to_string();
            text.split_once('-').map_or(text.clone(), |(_, text)| text.to_owned()).into()
        }
        _ => value.to_string().into(),
    }
}
