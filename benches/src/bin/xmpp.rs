//! Our side of `cargo xtask bench xmpp`.

use bytes::{Bytes, BytesMut};
use comity_benches::side::{Answer, Refused, serve, time};
use comity_benches::stanzas::{LIMITS, Sum};
use comity_xmpp::xml::{self, XmlStream};
use comity_xmpp::{EncodeOptions, body, decode, decode_bytes, encode, visit};
use std::error::Error;
use std::hint::black_box;

fn main() -> Result<(), Box<dyn Error>> {
    serve(measure)
}

fn measure(bench: &str, input: &[u8]) -> Result<Answer, Refused> {
    Ok(match bench {
        "decode_borrowed" => {
            let body = body(input, &LIMITS)?;
            touch(&body)?;
            time(|| {
                black_box(touch(black_box(&body)).unwrap_or_default());
            })
        }
        "decode_owned" => {
            let frame = Bytes::copy_from_slice(input);
            decode_bytes(&frame, &LIMITS)?;
            time(|| drop(black_box(decode_bytes(black_box(&frame), &LIMITS))))
        }
        "encode" => {
            let (node, mut out) = (decode(input, &LIMITS)?, BytesMut::new());
            time(|| {
                out.clear();
                drop(black_box(encode(black_box(&node), &mut out, &EncodeOptions::default())));
            })
        }
        // The stanza as XML, if XML alone can say it; its root in the namespace that a stream would give it.
        "xml" => {
            let text = xml::to_string(&decode(input, &LIMITS)?)?;
            let end = text.find([' ', '/', '>']).ok_or("no root")?;
            let (name, rest) = text.split_at(end);
            if rest.contains("c:") || name.contains(':') {
                return Err("XML cannot say it".into());
            }
            let declared = rest.split('>').next().is_some_and(|attrs| attrs.contains(" xmlns="));
            let namespace = if declared { "" } else { " xmlns=\"jabber:client\"" };
            Answer::Output(format!("{name}{namespace}{rest}").into_bytes())
        }
        "xml_strict_events" => {
            let mut stream = opened()?;
            events(&mut stream, input)?;
            time(|| {
                black_box(events(&mut stream, black_box(input)).unwrap_or_default());
            })
        }
        "xml_strict_tree" => {
            let mut stream = opened()?;
            stream.next(&mut &*input)?.ok_or("no stanza")?;
            time(|| drop(black_box(stream.next(&mut black_box(input)))))
        }
        _ => return Err("no such bench".into()),
    })
}

/// Decodes a body, looking at every value.
fn touch(body: &[u8]) -> Result<usize, Refused> {
    let mut sum = Sum(0);
    visit(body, &LIMITS, &mut sum)?;
    Ok(sum.0)
}

/// An XML stream after its header.
fn opened() -> Result<XmlStream, Refused> {
    let mut stream = XmlStream::new(LIMITS);
    stream.next(&mut &b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>"[..])?;
    Ok(stream)
}

/// One stanza of a stream, looking at every value.
fn events(stream: &mut XmlStream, mut stanza: &[u8]) -> Result<usize, Refused> {
    let mut sum = Sum(0);
    stream.visit_next(&mut stanza, &mut sum)?.ok_or("no stanza")?;
    Ok(sum.0)
}
