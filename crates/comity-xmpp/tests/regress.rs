//! What once went wrong, each as its smallest input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bytes::BytesMut;
use comity_core::Jid;
use comity_xmpp::stanza::{Integrators, Iq, Problem, Receipt};
use comity_xmpp::{EncodeOptions, Error, Limits, Node, encode, xml};

/// Text that stood in an `<integrator>` was lost to the `<features>` that is written beside what was read.
#[test]
fn integrator_keeps_text() {
    let text = "<iq id='1' type='result'><integrator_list><integrator id='1' name='n' icon='i' status='active'>x\
                </integrator></integrator_list></iq>";
    let iq = Iq::parse(&xml::parse(text.as_bytes(), &Limits::DEFAULT).unwrap()).unwrap();
    let list: Integrators = iq.payload().unwrap();
    assert_eq!(iq.result(list.clone()).payload(), Ok(list));
}

/// Of two `<list>`s the first, empty, was not written; so the ids of the second became the receipt's.
#[test]
fn second_list_stays_second() {
    let text = "<receipt id='A1'><list/><list><item id='A2'/></list></receipt>";
    let node = xml::parse(text.as_bytes(), &Limits::DEFAULT).unwrap();
    let receipt = Receipt::parse(&node).unwrap();
    assert_eq!(receipt.ids().count(), 1);
    assert_eq!(receipt.clone().into_node(), node);
    assert_eq!(Receipt::parse(&receipt.clone().into_node()), Ok(receipt));
}

/// Seconds beyond what a time holds became another time.
#[test]
fn times_are_held_to_their_range() {
    let receipt = |t: u64| Receipt::parse(&Node::new("receipt").with_attr("id", "A1").with_attr("t", t));
    let error = receipt(u64::MAX).unwrap_err();
    assert_eq!((&*error.path, error.problem), ("receipt@t", Problem::Number));
    assert_eq!(receipt(u64::MAX / 1000).unwrap().t.unwrap().as_secs(), u64::MAX / 1000);
}

/// A nameless node or attribute was written, and no reader took it.
#[test]
fn names_are_written() {
    for node in [Node::new(""), Node::new("a").with_attr("", "b"), Node::new("a").with_child(Node::new(""))] {
        let mut out = BytesMut::new();
        assert_eq!(encode(&node, &mut out, &EncodeOptions::default()), Err(Error::EmptyName));
        assert!(out.is_empty());
        assert_eq!(xml::to_string(&node), Err(Error::EmptyName));
    }
}

/// An integrator in the user of a JID whose own field has none was another identity than the one that it printed as.
#[test]
fn one_identity_for_both_ways_to_name_an_integrator() {
    let jid = Jid::interop(0, "5-7", 3).unwrap();
    assert_eq!((jid.integrator(), jid.user(), jid.device()), (5, "7", 3));
    assert_eq!(jid.to_string().parse::<Jid>().unwrap(), jid);
}
