//! The stanzas that are measured: the uncompressed frames of the wire data.

use comity_xmpp::xml::XmlVisitor;
use comity_xmpp::{Limits, TextRef, ValueRef, Visitor};
use std::borrow::Cow;
use std::path::Path;

/// Deep enough for the deepest stanza of the corpus.
pub const LIMITS: Limits = Limits::DEFAULT.with_max_depth(400);

/// Names and frames, sorted by name.
///
/// # Panics
/// Without the wire data, which is in the checkout.
pub fn corpus() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/comity-xmpp/tests/data/baileys/stanzas");
    let files = std::fs::read_dir(dir).expect("the wire data").flatten().map(|entry| entry.path());
    let mut frames: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ext| ext == "hex")).filter_map(read).collect();
    frames.sort();
    frames
}

fn read(path: std::path::PathBuf) -> Option<(String, Vec<u8>)> {
    let frame = crate::side::unhex(std::fs::read_to_string(&path).ok()?.trim()).ok()?;
    let name = path.file_stem()?.to_str()?.to_owned();
    (frame.first() == Some(&0)).then_some((name, frame))
}

/// Looks at every value.
#[derive(Debug)]
pub struct Sum(pub usize);

impl<'a> Visitor<'a> for Sum {
    fn start(&mut self, tag: TextRef<'a>, _: usize) {
        self.0 += tag.len();
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
            ValueRef::Jid(jid) => jid.user().len(),
        };
    }

    fn end(&mut self) {}
}

impl XmlVisitor for Sum {
    fn start(&mut self, tag: &str) {
        self.0 += tag.len();
    }

    fn attr(&mut self, name: &str, value: &str) {
        self.0 += name.len() + value.len();
    }

    fn bytes(&mut self, bytes: Cow<'_, [u8]>) {
        self.0 += bytes.len();
    }

    fn end(&mut self) {}
}
