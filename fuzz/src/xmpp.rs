//! Bodies for comity-xmpp: the tree and its two forms.

use super::alloc::cost;
use super::tree;
use arbitrary::Unstructured;
use bytes::{Bytes, BytesMut};
use comity_xmpp::xml::{self, XmlEvent, XmlStream, XmlVisitor};
use comity_xmpp::{
    Content, ContentRef, EncodeOptions, Error, Limits, Node, NodeRef, TextBuf, TextRef, ValueRef, Visitor,
};
use core::fmt::Write as _;
use core::hash::{Hash as _, Hasher as _};
use std::borrow::Cow;
use std::hash::DefaultHasher;

/// What decoding may cost beside the multiple of its input, in bytes (PROTOCOL §6.1).
pub(super) const SLACK: usize = 64 << 10;

/// Narrow limits, so that short inputs reach them.
const NARROW: Limits = Limits { max_depth: 3, max_nodes: 6, max_attrs: 3, ..Limits::DEFAULT };

/// What `read` gives; while fuzzing its steps are held to a multiple of the `len` bytes that it read.
pub(super) fn linear<T>(len: usize, read: impl FnOnce() -> T) -> T {
    #[cfg(fuzzing)]
    comity_xmpp::steps::take();
    let result = read();
    #[cfg(fuzzing)]
    {
        let steps = comity_xmpp::steps::take();
        assert!(steps <= comity_xmpp::steps::MAX_STEPS_PER_BYTE * (len + 64), "{steps} steps for {len} bytes");
    }
    let _ = len;
    result
}

/// All ways to read a frame agree, with each other and within the bounds of memory; what is written again is the same.
pub fn binary_decode(frame: &[u8]) {
    for limits in [Limits::DEFAULT, NARROW] {
        let len = comity_xmpp::body(frame, &limits).map_or(frame.len(), |body| body.len());
        let (owned, _, peak) = linear(len, || cost(|| comity_xmpp::decode(frame, &limits)));
        let shared = comity_xmpp::decode_bytes(&Bytes::copy_from_slice(frame), &limits);
        assert!(same_result(&shared, &owned), "{shared:?} {owned:?}");
        let body = match comity_xmpp::body(frame, &limits) {
            Ok(body) => body,
            Err(e) => return assert_eq!(owned, Err(e)),
        };
        assert!(peak <= 32 * body.len() + SLACK, "{peak} bytes for a body of {}", body.len());

        let (walked, calls, _) = cost(|| NodeRef::parse(&body, &limits).map(|node| Sum::default().walk(&node)));
        assert_eq!(calls, 0, "to walk");
        let (visited, calls, _) = cost(|| {
            let mut sum = Sum::default();
            comity_xmpp::visit(&body, &limits, &mut sum).map(|()| sum)
        });
        assert_eq!(calls, 0, "to visit");
        assert_eq!(walked.map(Sum::finish), visited.map(Sum::finish));
        let borrowed = NodeRef::parse(&body, &limits);
        assert!(same_result(&borrowed.map(|node| node.to_node()), &owned));
        let mut grown = Grow::default();
        let visited = comity_xmpp::visit(&body, &limits, &mut grown).map(|()| grown.done.expect("a root"));
        assert!(same_result(&visited, &owned));

        let Ok(node) = owned else { continue };
        let mut end = 0;
        let traced = comity_xmpp::trace(&body, &limits, &mut |piece| {
            assert_eq!(piece.at, end);
            end += piece.bytes.len();
        });
        assert!(traced.is_ok() && end == body.len());
        for (interop_server, compress) in [(true, false), (false, true)] {
            rewritten(&node, &EncodeOptions { interop_server, compress });
        }
    }
}

/// Any tree comes back from binary, from XML, and from binary after XML.
pub fn tree_round_trip(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let (Ok(interop_server), Ok(compress)) = (u.arbitrary(), u.ratio(1u8, 8)) else { return };
    let Ok(node) = tree::tree(&mut u) else { return };
    let options = EncodeOptions { interop_server, compress };
    let decoded = rewritten(&node, &options);
    for node in [&node, &decoded] {
        let parsed = retold(node, &Limits::DEFAULT);
        rewritten(&parsed, &options);
    }
}

/// What parses as XML is written as text that parses to the same tree, and comes back from binary.
pub fn xml_decode(text: &[u8]) {
    for limits in [Limits::DEFAULT, NARROW] {
        let parsed = linear(text.len(), || xml::parse(text, &limits));
        let mut grown = Grow::default();
        assert_eq!(xml::visit(text, &limits, &mut grown).map(|()| grown.done.expect("a root")), parsed);
        let Ok(node) = parsed else { continue };
        let again = retold(&node, &limits);
        assert_eq!(xml::to_string(&again), xml::to_string(&retold(&again, &limits)));
        rewritten(&node, &EncodeOptions::default());
    }
}

const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:q='u'>";

/// A stream says the same, however its bytes are cut. The first byte says whether a header is put before the rest, and
/// how many sizes of pieces follow it.
pub fn xml_split(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let (sizes, text) = rest.split_at(usize::from(first & 15).min(rest.len()));
    let header = if first & 0x80 == 0 { "" } else { HEADER };
    let text = [header.as_bytes(), text].concat();

    let whole = events(&text, XmlStream::next, [text.len()].into_iter());
    assert_eq!(events(&text, XmlStream::next, core::iter::repeat(1)), whole);
    assert_eq!(events(&text, visited, sizes.iter().map(|size| usize::from(*size)).chain([text.len()])), whole);
    // What it said is said again by what is written of it; a prefix that the header declared is in the names.
    let stanzas: Vec<_> = whole.0.iter().filter(|event| matches!(event, XmlEvent::Stanza(_))).cloned().collect();
    let mut told = HEADER.to_owned();
    for stanza in &stanzas {
        let XmlEvent::Stanza(node) = stanza else { continue };
        xml::write(node, &mut told).expect("within the limits");
    }
    let (again, error) = events(told.as_bytes(), XmlStream::next, [told.len()].into_iter());
    assert!(error.is_none() && again.get(1..) == Some(&stanzas[..]), "{error:?}\n{told}");
}

type Next = Result<Option<XmlEvent>, Error>;

/// The next event, its stanza built of what a visitor is shown.
fn visited(stream: &mut XmlStream, input: &mut &[u8]) -> Next {
    let mut grown = Grow::default();
    let event = stream.visit_next(input, &mut grown)?;
    Ok(event.map(|event| match event {
        XmlEvent::Open(node) => XmlEvent::Open(node),
        XmlEvent::Stanza(()) => XmlEvent::Stanza(grown.done.expect("a root")),
        _ => XmlEvent::Close,
    }))
}

fn events(
    text: &[u8],
    next: impl Fn(&mut XmlStream, &mut &[u8]) -> Next,
    sizes: impl Iterator<Item = usize>,
) -> (Vec<XmlEvent>, Option<Error>) {
    let mut stream = XmlStream::new(Limits::DEFAULT);
    let (mut all, mut rest) = (Vec::new(), text);
    for size in sizes {
        let (mut piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        loop {
            match next(&mut stream, &mut piece) {
                Ok(Some(event)) => all.push(event),
                Ok(None) => break,
                Err(e) => {
                    assert_eq!(stream.next(&mut HEADER.as_bytes()), Err(e.clone()), "dead after an error");
                    return (all, Some(e));
                }
            }
        }
        assert!(piece.is_empty());
        if rest.is_empty() {
            break;
        }
    }
    (all, None)
}

/// The tree after binary: the same, and written the same again.
fn rewritten(node: &Node, options: &EncodeOptions) -> Node {
    let (mut frame, mut again) = (BytesMut::new(), BytesMut::new());
    comity_xmpp::encode(node, &mut frame, options).expect("within the limits");
    // What repeats itself for long may inflate further than a reader takes.
    let limits = Limits { max_inflate_ratio: 2000, ..Limits::DEFAULT };
    let decoded = comity_xmpp::decode(&frame, &limits).expect("what we write, we read");
    assert_eq!(&decoded, node);
    comity_xmpp::encode(&decoded, &mut again, options).expect("within the limits");
    assert_eq!(again, frame);
    decoded
}

/// The tree after XML: the same.
fn retold(node: &Node, limits: &Limits) -> Node {
    let text = xml::to_string(node).expect("within the limits");
    let parsed = xml::parse(text.as_bytes(), limits);
    assert_eq!(parsed.as_ref(), Ok(node), "{text}");
    parsed.expect("just compared")
}

/// Whether two results are the same in more than what trees are compared by: order, forms, and faults.
fn same_result(a: &Result<Node, Error>, b: &Result<Node, Error>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => is_same(a, b) && a == b,
        (Err(a), Err(b)) => a == b,
        _ => false,
    }
}

fn is_same(a: &Node, b: &Node) -> bool {
    use core::mem::discriminant as form;
    let attrs = a.attrs().iter().zip(b.attrs()).all(|(a, b)| a == b && form(&a.value) == form(&b.value));
    let contents = match (a.content(), b.content()) {
        (Content::Nodes(nodes), Content::Empty) | (Content::Empty, Content::Nodes(nodes)) => nodes.is_empty(),
        (a, b) => form(a) == form(b),
    };
    let children = a.children().iter().zip(b.children()).all(|(a, b)| is_same(a, b));
    a.tag() == b.tag() && a.attrs().len() == b.attrs().len() && attrs && contents && children
}

/// A print of all values of a stanza in their order.
#[derive(Default)]
struct Sum(DefaultHasher);

impl Sum {
    fn finish(self) -> u64 {
        self.0.finish()
    }

    fn value(&mut self, value: ValueRef<'_>) {
        write!(self, "{value}").expect("no sink fails");
        self.0.write_u8(0xfe);
    }

    fn walk(mut self, node: &NodeRef<'_>) -> Self {
        self.start(node.tag(), node.attrs().len());
        for (name, value) in node.attrs() {
            self.attr(name, value);
            assert_eq!(node.attr(name.write_to(&mut TextBuf::new())), Some(value));
        }
        match node.content() {
            ContentRef::Empty => {}
            ContentRef::Nodes(nodes) => {
                for child in nodes {
                    self = self.walk(&child);
                }
            }
            ContentRef::Bytes(bytes) => self.bytes(bytes),
            ContentRef::Text(value) => self.text(value),
        }
        self.end();
        self
    }
}

impl core::fmt::Write for Sum {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl<'a> Visitor<'a> for Sum {
    fn start(&mut self, tag: TextRef<'a>, attrs: usize) {
        tag.write_to(&mut TextBuf::new()).hash(&mut self.0);
        attrs.hash(&mut self.0);
    }

    fn attr(&mut self, name: TextRef<'a>, value: ValueRef<'a>) {
        let mut buf = TextBuf::new();
        let text = name.write_to(&mut buf);
        assert!(text.len() == name.len() && name == *text);
        text.hash(&mut self.0);
        self.value(value);
    }

    fn bytes(&mut self, bytes: &'a [u8]) {
        bytes.hash(&mut self.0);
    }

    fn text(&mut self, value: ValueRef<'a>) {
        self.value(value);
    }

    fn end(&mut self) {
        self.0.write_u8(0xfd);
    }
}

/// The tree of what a visitor is shown.
#[derive(Default)]
struct Grow {
    open: Vec<Node>,
    done: Option<Node>,
}

impl Grow {
    fn top(&mut self) -> &mut Node {
        self.open.last_mut().expect("a node is open")
    }
}

impl Visitor<'_> for Grow {
    fn start(&mut self, tag: TextRef<'_>, _: usize) {
        self.open.push(Node::new(tag.to_text()));
    }

    fn attr(&mut self, name: TextRef<'_>, value: ValueRef<'_>) {
        self.top().set_attr(name.to_text(), value.to_value());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let node = self.open.pop().expect("a node is open");
        self.open.push(node.with_bytes(bytes.to_vec()));
    }

    fn text(&mut self, value: ValueRef<'_>) {
        let node = self.open.pop().expect("a node is open");
        self.open.push(node.with_content(Content::Text(value.to_string().into())));
    }

    fn end(&mut self) {
        let node = self.open.pop().expect("a node is open");
        match self.open.last_mut() {
            Some(parent) => parent.push_child(node),
            None => self.done = Some(node),
        }
    }
}

impl XmlVisitor for Grow {
    fn start(&mut self, tag: &str) {
        self.open.push(Node::new(tag));
    }

    fn attr(&mut self, name: &str, value: &str) {
        self.top().set_attr(name, value);
    }

    fn bytes(&mut self, bytes: Cow<'_, [u8]>) {
        assert!(!bytes.is_empty());
        Visitor::bytes(self, &bytes);
    }

    fn end(&mut self) {
        Visitor::end(self);
    }
}
