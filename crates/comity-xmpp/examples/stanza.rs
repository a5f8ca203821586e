//! A message from XML text to the wire and back, as a typed stanza.

use bytes::BytesMut;
use comity_xmpp::stanza::Message;
use comity_xmpp::{EncodeOptions, Limits, decode, encode, xml};

fn main() -> Result<(), comity_xmpp::Error> {
    let text = "<message id='3EB0C431' to='15551234567@s.whatsapp.net' type='text'>\
                <enc v='2' type='msg' xmlns:c='urn:comity:stanza:1' c:enc='base64'>MwoDAQID</enc></message>";
    let message = Message::from_node(xml::parse(text.as_bytes(), &Limits::default())?)?;

    let mut frame = BytesMut::new();
    encode(&message.into_node(), &mut frame, &EncodeOptions::default())?;
    assert!(frame.len() < text.len() / 2);

    let back = Message::from_node(decode(&frame, &Limits::default())?)?;
    assert_eq!(back.id.as_str(), "3EB0C431");
    Ok(())
}
