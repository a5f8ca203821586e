//! What once went wrong, each as its smallest input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use comity_xmpp::stanza::{Integrators, Iq, Receipt};
use comity_xmpp::{Limits, xml};

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
