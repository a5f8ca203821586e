//! What decoding costs in memory, by a counting allocator: nothing borrowed, a bounded multiple owned.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods)]
#![allow(unsafe_code, reason = "an allocator")]

mod common;

use bytes::BytesMut;
use comity_xmpp::{EncodeOptions, Limits, Node, NodeRef, TextRef, ValueRef, Visitor, decode, encode, visit};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(size: isize) {
    LIVE.set(LIVE.get() + size);
    PEAK.set(PEAK.get().max(LIVE.get()));
    if size > 0 {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: hands everything on to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls and peak of bytes while `f` runs.
fn cost<T>(f: impl FnOnce() -> T) -> (T, usize, usize) {
    let (calls, live) = (CALLS.get(), LIVE.get());
    PEAK.set(live);
    let result = f();
    (result, CALLS.get() - calls, (PEAK.get() - live) as usize)
}

/// Looks at everything.
#[derive(Default)]
struct Sum(usize);

impl<'a> Visitor<'a> for Sum {
    fn start(&mut self, tag: TextRef<'a>, attrs: usize) {
        self.0 += tag.len() + attrs;
    }

    fn attr(&mut self, name: TextRef<'a>, value: ValueRef<'a>) {
        self.0 += name.len();
        self.text(value);
    }

    fn bytes(&mut self, bytes: &'a [u8]) {
        self.0 += bytes.len();
    }

    fn text(&mut self, value: ValueRef<'a>) {
        self.0 += match value {
            ValueRef::Str(text) => text.len(),
            ValueRef::Jid(jid) => jid.user().len() + usize::from(jid.device()),
        };
    }

    fn end(&mut self) {}
}

fn walk(node: &NodeRef<'_>) -> usize {
    let attrs: usize = node.attrs().map(|(name, _)| name.len()).sum();
    attrs + node.bytes().map_or(0, <[u8]>::len) + node.children().map(|child| walk(&child)).sum::<usize>()
}

#[test]
fn borrowed_allocates_nothing() {
    let limits = Limits::default().with_max_depth(400);
    for (name, frame, _) in common::vectors("stanzas") {
        let frame = frame.unwrap();
        if frame[0] != 0 {
            continue; // inflating needs room
        }
        let (sum, calls, _) = cost(|| {
            let mut sum = Sum::default();
            visit(&frame[1..], &limits, &mut sum).unwrap();
            sum.0
        });
        assert!(sum > 0 && calls == 0, "{name}: {calls} allocations to visit");
        let (_, calls, _) = cost(|| walk(&NodeRef::parse(&frame[1..], &limits).unwrap()));
        assert_eq!(calls, 0, "{name} to walk");
    }
}

fn check_owned(name: &str, frame: &[u8]) {
    let limits = Limits { max_nodes: usize::MAX, max_depth: 1000, ..Limits::DEFAULT };
    let (node, _, peak) = cost(|| decode(frame, &limits));
    let body = comity_xmpp::body(frame, &limits).map_or(frame.len(), |body| body.len());
    assert!(peak <= 32 * body + (64 << 10), "{name}: {peak} bytes for a body of {body}");
    drop(node);
}

#[test]
fn owned_is_bounded() {
    for set in ["stanzas", "malformed"] {
        for (name, frame, _) in common::vectors(set) {
            if let Some(frame) = frame {
                check_owned(&name, &frame);
            }
        }
    }
    // The densest trees: leaves of 3 bytes, attributes of 2, both, and contents that make the body be copied.
    let leaves = |n: usize| Node::new("a").with_children(core::iter::repeat_n(Node::new("item"), n));
    let bytes = || Node::new("enc").with_bytes("x");
    let mut out = BytesMut::new();
    encode(
        &Node::new("a").with_children((0..50).map(|_| leaves(60_000).with_child(bytes()))),
        &mut out,
        &EncodeOptions::default(),
    )
    .unwrap();
    check_owned("leaves", &out);
    let attributes: Vec<u8> = (1..=235).flat_map(|token| [token, 8]).collect();
    let node = [&[0xf9, 1, 0xd7, 19][..], &attributes].concat();
    let many = [&[0, 0xf8, 4, 19, 8, 8, 0xf9, 0x27, 0x10][..], &node.repeat(10_000)].concat();
    check_owned("attributes", &many);
    assert!(decode(&many, &Limits::default()).is_ok());
    // Lists in lists that each announce all there is.
    let announce = [&[0][..], &[0xf8, 2, 8, 0xf9, 0xff, 0xff].repeat(30), &[8; 196_605]].concat();
    check_owned("announced", &announce);
    // Chains, JIDs, packed strings.
    check_owned("chain", &[&[0][..], &[0xf8, 2, 8, 0xf8, 1].repeat(900), &[0xf8, 1, 8]].concat());
    let jid = [0xf8, 3, 8, 8, 0xfa, 0, 3].repeat(20_000);
    check_owned("jids", &[&[0, 0xf8, 2, 8, 0xf9, 0x4e, 0x20][..], &jid].concat());
    let packed = [&[0xf8, 3, 8, 8, 0xff, 13][..], &[0x11; 13]].concat().repeat(20_000);
    check_owned("packed", &[&[0, 0xf8, 2, 8, 0xf9, 0x4e, 0x20][..], &packed].concat());
}

/// Attribute names are kept while their element is open, and no longer.
#[test]
fn xml_events_take_room_for_what_is_open_alone() {
    struct Ignore;
    impl comity_xmpp::xml::XmlVisitor for Ignore {
        fn start(&mut self, _: &str) {}
        fn attr(&mut self, _: &str, _: &str) {}
        fn bytes(&mut self, _: std::borrow::Cow<'_, [u8]>) {}
        fn end(&mut self) {}
    }
    let xml = format!("<a>{}</a>", "<b c='' d='' e='' f='' g=''/>".repeat(20_000));
    let (result, _, peak) = cost(|| comity_xmpp::xml::visit(xml.as_bytes(), &Limits::default(), &mut Ignore));
    assert!(result.is_ok() && peak < 16 << 10, "{result:?}, {peak} bytes");
}
