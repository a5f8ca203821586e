//! Bodies for comity-xmpp: typed stanzas.

use super::tree;
use arbitrary::Unstructured;
use comity_xmpp::stanza::{self, AnyRequest, Iq, Payload, Stanza};
use comity_xmpp::{Content, Limits, Node, xml};

/// A stanza that parses is built again as it was, and what it carries too. The first byte says what the rest is: a frame,
/// XML, or choices of a tree.
pub fn parse(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    let node = match kind % 3 {
        0 => comity_xmpp::decode(rest, &Limits::DEFAULT).ok(),
        1 => xml::parse(rest, &Limits::DEFAULT).ok(),
        _ => tree::stanza(&mut Unstructured::new(rest), 1).ok(),
    };
    let Some(node) = node else { return };
    let Ok(stanza) = Stanza::parse(&node) else { return };
    let built = stanza.clone().into_node();
    assert_eq!(Stanza::parse(&built).as_ref(), Ok(&stanza));
    match stanza {
        Stanza::StreamEnd => return, // it is its name alone
        Stanza::Iq(iq) => {
            let _any = AnyRequest::parse(&iq);
            payloads(&iq.children);
        }
        Stanza::Notification(notification) => payloads(&notification.children),
        _ => {}
    }
    assert!(is_kept(&node, &built), "{node:?}\n{built:?}");
}

/// Whether all that `node` says is in `built`, which was made of it. The order among children of different tags has no
/// meaning, nor has a child that says nothing, nor leading zeros, nor whether a `false` is written.
fn is_kept(node: &Node, built: &Node) -> bool {
    let number = |node: &Node, name: &str| node.attr_str(name)?.parse::<u64>().ok();
    let attrs = node.attrs().iter().all(|attr| {
        let n = number(node, &attr.name);
        match built.attr(&attr.name) {
            Some(value) => *value == attr.value || n.is_some() && n == number(built, &attr.name),
            None => attr.value == "false",
        }
    });
    let empty = |node: &&Node| node.attrs().is_empty() && *node.content() == Content::Empty;
    let children = node.children().iter().all(|child| {
        let (all, kept) = (node.children_named(child.tag()), built.children_named(child.tag()));
        let all: Vec<_> = all.filter(|node| !empty(node)).collect();
        let kept: Vec<_> = kept.filter(|node| !empty(node)).collect();
        all.len() == kept.len() && all.iter().zip(kept).all(|(node, built)| is_kept(node, built))
    });
    attrs && children && node.bytes().unwrap_or_default() == built.bytes().unwrap_or_default()
}

fn payloads(children: &[Node]) {
    let node = Node::new("iq").with_attr("id", "1").with_attr("type", "result").with_children(children.to_vec());
    let iq = Iq::parse(&node).expect("an IQ");
    macro_rules! each {
        ($read:ident: $($name:ident)+) => { $($read::<stanza::$name>(&iq);)+ };
    }
    each! { bare:
        BlocklistQuery Delivery DeleteAccount GroupQuery IdentityChanged IntegratorsQuery KeyCountQuery KeyDigestQuery
        MediaConnQuery Ping ReachabilityQuery ServerPing
    }
    each! { full:
        BlockChange Blocklist DevicesQuery DevicesResult GroupChange GroupCreate GroupInfo GroupLeave Integrators
        InteropPing InteropPingNotice KeyCount KeyDigest KeyFetch KeyFetchResult KeyRotate KeyUpload MediaConn MediaRetry
        NativeBlockChange OptIn Reachability SpamReport UsersQuery UsersResult
    }
}

/// A payload that is its name alone.
fn bare<P: Payload + Clone + PartialEq + core::fmt::Debug>(iq: &Iq) {
    if let Ok(payload) = iq.payload::<P>() {
        assert_eq!(iq.result(payload.clone()).payload::<P>(), Ok(payload));
    }
}

/// A payload that keeps what stands in it.
fn full<P: Payload + Clone + PartialEq + core::fmt::Debug>(iq: &Iq) {
    bare::<P>(iq);
    let Ok(payload) = iq.payload::<P>() else { return };
    for built in payload.write() {
        let Some(read) = iq.children.iter().find(|child| child.tag() == built.tag()) else { continue };
        assert!(is_kept(read, &built), "{read:?}\n{built:?}");
    }
}
