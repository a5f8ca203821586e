//! What once went wrong, each as its smallest input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use comity_xmpp::stanza::{Integrators, Iq};
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
