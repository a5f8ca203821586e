//! A message from XML text to the wire and back, as a typed stanza.
#![allow(clippy::print_stdout, reason = "a program")]

use bytes::BytesMut;
use comity_xmpp::stanza::{EncType, Message};
use comity_xmpp::{EncodeOptions, Limits, decode, encode, xml};

fn main() -> Result<(), comity_xmpp::Error> {
    let text = "<message id='3EB0C431' to='15551234567@s.whatsapp.net' type='text'>\
                <enc v='2' type='msg' xmlns:c='urn:comity:stanza:1' c:enc='base64'>MwoDAQID</enc></message>";
    let message = Message::from_node(xml::parse(text.as_bytes(), &Limits::default())?)?;

    let mut frame = BytesMut::new();
    encode(&message.into_node(), &mut frame, &EncodeOptions::default())?;
    println!("{} bytes of XML are {} on the wire", text.len(), frame.len());

    // What came from the wire: no trust, no panic, and nothing of it in a log that should not be.
    let back = Message::from_node(decode(&frame, &Limits::default())?)?;
    assert!(back.enc.iter().all(|enc| enc.kind == EncType::Session && enc.v == 2));
    println!("{back:?}");

    frame.truncate(20);
    if let Err(error) = decode(&frame, &Limits::default()) {
        println!("cut short: {error}");
    }
    let broken = xml::parse(b"<message id='1' type='text'><enc v='two'/></message>", &Limits::default())?;
    if let Err(error) = Message::from_node(broken) {
        println!("not a message: {error}");
    }
    Ok(())
}
