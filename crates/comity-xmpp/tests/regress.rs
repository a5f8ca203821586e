//! What once went wrong, each as its smallest input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use comity_xmpp::stanza::{Integrators, Iq, Problem, Receipt};
use comity_xmpp::{Limits, Node, xml};

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
