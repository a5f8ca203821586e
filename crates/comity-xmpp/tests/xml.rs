//! The text form: what it says, what it refuses, and that no split of the bytes changes anything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods)]

mod common;

use comity_xmpp::xml::{XmlEvent, XmlStream, parse, to_string};
use comity_xmpp::{Error, Limits, Node, decode};

fn read(text: &str) -> Result<Node, Error> {
    parse(text.as_bytes(), &Limits::default())
}

#[test]
fn foreign_stanzas_survive() {
    let limits = Limits::default().with_max_depth(400);
    for (name, frame, _) in common::vectors("stanzas") {
        let node = decode(&frame.unwrap(), &limits).unwrap();
        let xml = to_string(&node).unwrap();
        assert!(
            parse(xml.as_bytes(), &limits).unwrap_or_else(|e| panic!("{name}: {e}\n{xml}")) == node,
            "{name}: {xml}"
        );
    }
}

#[test]
fn says() {
    let node = Node::new("message")
        .with_attr("to", "5@lid")
        .with_attr("note", "a<b>&\"'\n\t\r")
        .with_child(Node::new("body").with_bytes("x < y & ]]> z\r\n"));
    let xml = "<message to=\"5@lid\" note=\"a&lt;b&gt;&amp;&quot;'&#10;&#9;&#13;\"><body>x &lt; y &amp; ]]&gt; z&#13;\n</body></message>";
    assert_eq!(to_string(&node).unwrap(), xml);
    assert_eq!(read(xml).unwrap(), node);

    let odd = Node::new("0").with_attr("401", "a\0b").with_bytes(vec![0xff, 0]);
    let xml = "<c:node xmlns:c=\"urn:comity:stanza:1\" c:name=\"0\" c:enc=\"base64\"><c:attr name=\"401\" value64=\"YQBi\"/>/wA=</c:node>";
    assert_eq!(to_string(&odd).unwrap(), xml);
    assert_eq!(read(xml).unwrap(), odd);

    let stream = Node::new("stream:error").with_child(Node::new("conflict"));
    let xml = "<stream:error xmlns:stream=\"http://etherx.jabber.org/streams\"><conflict/></stream:error>";
    assert_eq!(to_string(&stream).unwrap(), xml);
    assert_eq!(read(xml).unwrap(), stream);
}

#[test]
fn takes() {
    let body = |text: &str| Node::new("a").with_bytes(text.to_owned());
    for (xml, node) in [
        ("<?xml version='1.0' encoding='utf-8'?>\n<a/>\n", Node::new("a")),
        ("<a  b = 'c\"d'\n></a >", Node::new("a").with_attr("b", "c\"d")),
        ("<a>&lt;&#65;&#x1F600;&amp;</a>", body("<A😀&")),
        ("<a><![CDATA[<b>&amp;]]]></a>", body("<b>&amp;]")),
        ("<a>\r\nx\ry</a>", body("\nx\ny")),
        ("<a>\n  <b/>\n</a>", Node::new("a").with_child(Node::new("b"))),
        ("<a b='x\ty\nz'/>", Node::new("a").with_attr("b", "x y z")),
        ("<a b='x\ny&#10;z'/>", Node::new("a").with_attr("b", "x y\nz")),
        ("<p:a xmlns:p='u' p:b='1'/>", Node::new("p:a").with_attr("xmlns:p", "u").with_attr("p:b", "1")),
        ("<a xml:lang='de'/>", Node::new("a").with_attr("xml:lang", "de")),
        ("<é>x</é>", Node::new("é").with_bytes("x")),
    ] {
        assert_eq!(read(xml).unwrap_or_else(|e| panic!("{xml}: {e}")), node, "{xml}");
        assert_eq!(read(&to_string(&node).unwrap()).unwrap(), node, "{xml}");
    }
}

const REFUSED: [&str; 47] = [
    "",
    "\u{feff}<?xml version='1.0'?><a/>",
    "x",
    "<a>",
    "</a>",
    "<a></b>",
    "<a/><b/>",
    "<a/>x",
    "x<a/>",
    "<!DOCTYPE a><a/>",
    "<a><!-- c --></a>",
    "<a><?pi x?></a>",
    "<?pi x?><a/>",
    "<a/><?xml version='1.0'?>",
    "<?xml version='1.1'?><a/>",
    "<?xml version='1.0' encoding='latin1'?><a/>",
    "<a>&nbsp;</a>",
    "<a>&#0;</a>",
    "<a>&#xD800;</a>",
    "<a>&#x110000;</a>",
    "<a>&#+65;</a>",
    "<a>& </a>",
    "<a b='&foo;'/>",
    "<a b='&'/>",
    "<a b='<'/>",
    "<a b='1' b='2'/>",
    "<a b='1'c='2'/>",
    "<a b=1/>",
    "<a b/>",
    "<a b='1/>",
    "<1/>",
    "<a 1='x'/>",
    "< a/>",
    "<a/ >",
    "<p:a/>",
    "<a p:b='1'/>",
    "<a xmlns:p=''/>",
    "<a>]]></a>",
    "<a>\u{1}</a>",
    "<a>\u{ffff}</a>",
    "<a>x<b/></a>",
    "<a c:enc='hex'>00</a>",
    "<a c:enc='base64'>!</a>",
    "<a c:enc='base64'><b/></a>",
    "<c:attr name='a' value='b'/>",
    "<a><c:attr name='a'/></a>",
    "<a xmlns:c='other'/>",
];

#[test]
fn refuses() {
    for xml in REFUSED {
        assert!(matches!(read(xml), Err(Error::Xml { .. })), "{xml}: {:?}", read(xml));
    }
    for bytes in [&b"<a>\xff</a>"[..], b"<a b='\xc3\x28'/>", b"<a>\0</a>"] {
        assert!(matches!(parse(bytes, &Limits::default()), Err(Error::Xml { .. })));
    }
    // An attribute and its `c:attr` are one.
    assert!(read("<a b='1'><c:attr name='b' value='2'/></a>").is_err());
    assert!(read("<c:node/>").is_err());
    assert!(read("<a><c:attr name='b' value='2'><x/></c:attr></a>").is_err());
}

#[test]
fn limits() {
    let limits = Limits { max_depth: 3, max_nodes: 4, max_attrs: 2, max_xml_stanza_len: 40, ..Limits::DEFAULT };
    for (ok, over) in [
        ("<a><a><a/></a></a>", "<a><a><a><a/></a></a></a>"),
        ("<a><b/><b/><b/></a>", "<a><b/><b/><b/><b/></a>"),
        ("<a b='1' c='2'/>", "<a b='1' c='2' d='3'/>"),
        ("<a b='1'><c:attr name='c' value=''/></a>", "<a b='1' c='1'><c:attr name='d' value=''/></a>"),
        ("<a>012345678901234567890123456789012</a>", "<a>0123456789012345678901234567890123456</a>"),
    ] {
        parse(ok.as_bytes(), &limits).unwrap_or_else(|e| panic!("{ok}: {e}"));
        assert!(
            matches!(
                parse(
                    over.as_bytes(),
                    &Limits {
                        max_xml_stanza_len: if over.len() < 44 && over.contains("d=") { 99 } else { 40 },
                        ..limits
                    }
                ),
                Err(Error::Limit { .. })
            ),
            "{over}"
        );
    }
}

#[test]
fn prefixes_are_bounded() {
    let declare = |count: usize| (0..count).map(|i| format!(" xmlns:p{i}='u'")).collect::<String>();
    assert!(read(&format!("<a{}><b{}/><b{}/></a>", declare(32), declare(32), declare(32))).is_ok());
    let over = read(&format!("<a{}><b{}/></a>", declare(32), declare(33)));
    assert!(matches!(over, Err(Error::Limit { max: 64, .. })), "{over:?}");
}

const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:q='u' to='x'>";

fn events(text: &str, sizes: impl Iterator<Item = usize>) -> Result<Vec<XmlEvent>, Error> {
    let mut stream = XmlStream::new(Limits::default());
    let (mut all, mut rest) = (Vec::new(), text.as_bytes());
    for size in sizes {
        let (mut piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        while let Some(event) = stream.next(&mut piece)? {
            all.push(event);
        }
        assert!(piece.is_empty());
        if rest.is_empty() {
            break;
        }
    }
    Ok(all)
}

#[test]
fn any_split() {
    let text = format!(
        "<?xml version='1.0'?>\n{HEADER} \n<message id='1' note=\"/>'\"><body>a &lt; b<![CDATA[</body>]]]]></body></message>\n\n<iq/><q:x>é</q:x><presence a='>'></presence></stream:stream>\n"
    );
    let whole = events(&text, core::iter::once(text.len())).unwrap();
    assert_eq!(whole.len(), 6, "{whole:?}");
    assert!(matches!(&whole[0], XmlEvent::Open(node) if node.attr_str("to").unwrap() == "x"));
    let XmlEvent::Stanza(message) = &whole[1] else { panic!() };
    assert_eq!(message.child("body").unwrap().text(), Some("a < b</body>]]"));
    assert_eq!(whole[5], XmlEvent::Close);
    assert_eq!(events(&text, core::iter::repeat(1)).unwrap(), whole);
    for at in 0..text.len() {
        assert_eq!(events(&text, [at, text.len()].into_iter()).unwrap(), whole, "split at {at}");
    }
}

#[test]
fn stream_refuses() {
    for tail in [
        "x",
        "<!-- -->",
        "<a><!-- --></a>",
        "<a></b>",
        "<?pi?>",
        "</a>",
        "<!DOCTYPE x>",
        "</stream:stream><a/>",
        "<a b='<a/>'/>",
    ] {
        let text = format!("{HEADER}{tail}");
        let whole = events(&text, core::iter::once(text.len())).unwrap_err();
        assert_eq!(events(&text, core::iter::repeat(1)).unwrap_err(), whole, "{tail}");
    }
    assert!(events("<a/>", core::iter::once(9)).is_err(), "no header");
    // Dead after an error.
    let mut stream = XmlStream::new(Limits::default());
    assert!(stream.next(&mut &b"x"[..]).is_err());
    assert!(stream.next(&mut HEADER.as_bytes()).is_err());
    // A stanza that never ends is cut off at the limit.
    let mut stream = XmlStream::new(Limits { max_xml_stanza_len: 100, ..Limits::DEFAULT });
    assert!(stream.next(&mut HEADER.as_bytes()).unwrap().is_some());
    assert_eq!(stream.next(&mut &[b"<a>", &[b'x'; 97][..]].concat()[..]).unwrap(), None);
    assert!(matches!(stream.next(&mut &b"x"[..]), Err(Error::Limit { max: 100, .. })));
    // So is one that nests.
    let mut stream = XmlStream::new(Limits::default());
    stream.next(&mut HEADER.as_bytes()).unwrap();
    assert!(matches!(stream.next(&mut "<a>".repeat(40).as_bytes()), Err(Error::Limit { .. })));
}
