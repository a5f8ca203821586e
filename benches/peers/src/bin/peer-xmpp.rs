//! The other side of `cargo xtask bench xmpp`: wacore-binary for the binary form, rxml and minidom for XML.

#[path = "../../../src/side.rs"]
mod side;

use minidom::Element;
use rxml::{Event, Parse as _, Parser};
use side::{Answer, Refused, serve, time};
use std::error::Error;
use std::hint::black_box;
use wacore_binary::marshal::unmarshal_ref;
use wacore_binary::node::ValueRef;
use wacore_binary::{NodeContentRef, NodeRef, marshal};

fn main() -> Result<(), Box<dyn Error>> {
    serve(measure)
}

fn measure(bench: &str, input: &[u8]) -> Result<Answer, Refused> {
    Ok(match bench {
        "decode_borrowed" => {
            let body = plain(input)?;
            unmarshal_ref(body)?;
            time(|| {
                black_box(unmarshal_ref(black_box(body)).map(|node| touch(&node)).unwrap_or_default());
            })
        }
        "decode_owned" => {
            let body = plain(input)?;
            unmarshal_ref(body)?;
            time(|| drop(black_box(unmarshal_ref(black_box(body)).map(|node| node.to_owned()))))
        }
        "encode" => {
            let node = unmarshal_ref(plain(input)?)?.to_owned();
            time(|| drop(black_box(marshal(black_box(&node)))))
        }
        "xml_strict_events" => {
            events(input)?;
            time(|| {
                black_box(events(black_box(input)).unwrap_or_default());
            })
        }
        "xml_strict_tree" => {
            Element::from_reader(input)?;
            time(|| drop(black_box(Element::from_reader(black_box(input)))))
        }
        _ => return Err("no such bench".into()),
    })
}

/// The body of an uncompressed frame.
fn plain(frame: &[u8]) -> Result<&[u8], Refused> {
    match frame.split_first() {
        Some((0, body)) => Ok(body),
        _ => Err("not a plain frame".into()),
    }
}

/// Looks at every value, as our side does.
fn touch(node: &NodeRef<'_>) -> usize {
    let attrs = node.attrs_iter().map(|(name, value)| {
        name.len()
            + match value {
                ValueRef::String(text) => text.len(),
                ValueRef::Jid(jid) => jid.user.len(),
            }
    });
    let content = match &node.content {
        None => 0,
        Some(NodeContentRef::Bytes(bytes)) => bytes.len(),
        Some(NodeContentRef::String(text)) => text.len(),
        Some(NodeContentRef::Nodes(nodes)) => nodes.iter().map(touch).sum(),
    };
    node.tag.len() + attrs.sum::<usize>() + content
}

/// One document through the strict parser; the sum of its events' text.
fn events(mut document: &[u8]) -> Result<usize, Refused> {
    let mut parser = Parser::new();
    let mut sum = 0;
    loop {
        match parser.parse(&mut document, true).map_err(|error| format!("{error:?}"))? {
            None => return Ok(sum),
            Some(Event::XmlDeclaration(..)) => {}
            Some(Event::StartElement(_, (_, name), attrs)) => {
                sum += name.len() + attrs.iter().map(|((_, name), value)| name.len() + value.len()).sum::<usize>();
            }
            Some(Event::Text(_, text)) => sum += text.len(),
            Some(Event::EndElement(_)) => sum += 1,
        }
    }
}
