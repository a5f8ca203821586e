//! How stanzas are written and read under a [`Profile`]: what of the codec is a decision (PROTOCOL, preamble; §6.1).

use crate::{Content, EncodeOptions, Error, Limits, Node, Text};
use bytes::{Bytes, BytesMut};
use comity_core::Profile;
use std::borrow::Cow;

/// Elements that are renamed only where `w:interop` is what a stanza is about: keep-alives have a `<ping/>`, too.
const OF_INTEROP: [&str; 2] = ["ping", "delete_account"];

/// The binary form as one profile has it: options, limits, and the names of elements that are decisions. Inside a program
/// such an element has this project's name.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    options: EncodeOptions,
    limits: Limits,
    /// This project's names and the wire's.
    renames: Vec<(Text, Text)>,
}

impl Dialect {
    /// The profile's dialect.
    pub fn new(profile: &Profile) -> Self {
        Self {
            options: EncodeOptions { interop_server: profile.interop_jid_server, compress: profile.compress },
            limits: Limits {
                max_depth: profile.max_depth,
                max_nodes: profile.max_nodes,
                max_attrs: profile.max_attributes,
                ..Limits::DEFAULT
            },
            renames: profile.renames().into_iter().map(|(ours, theirs)| (ours.into(), theirs.into())).collect(),
        }
    }

    /// The same with frames, and inflated ones, of at most `len` bytes.
    #[must_use]
    pub fn with_max_frame_len(mut self, len: usize) -> Self {
        (self.limits.max_frame_len, self.limits.max_inflated_len) = (len, len);
        self
    }

    /// Appends a stanza's frame to `out`; after an error `out` is as before.
    ///
    /// # Errors
    /// As [`encode`](crate::encode).
    pub fn encode(&self, node: &Node, out: &mut BytesMut) -> Result<(), Error> {
        crate::encode(&self.renamed(node, |(ours, theirs)| (ours, theirs)), out, &self.options)
    }

    /// The stanza of a frame.
    ///
    /// # Errors
    /// As [`decode`](crate::decode).
    pub fn decode(&self, frame: &[u8]) -> Result<Node, Error> {
        crate::decode(frame, &self.limits).map(|node| self.read(node))
    }

    /// The stanza of a frame, whose buffer its byte contents go on sharing.
    ///
    /// # Errors
    /// As [`decode_bytes`](crate::decode_bytes).
    pub fn decode_bytes(&self, frame: &Bytes) -> Result<Node, Error> {
        crate::decode_bytes(frame, &self.limits).map(|node| self.read(node))
    }

    fn read(&self, node: Node) -> Node {
        match self.renamed(&node, |(ours, theirs)| (theirs, ours)) {
            Cow::Borrowed(_) => node,
            Cow::Owned(renamed) => renamed,
        }
    }

    fn renamed<'n>(&self, node: &'n Node, way: impl Fn(&(Text, Text)) -> (&Text, &Text)) -> Cow<'n, Node> {
        if self.renames.is_empty() || !matches!(node.tag(), "iq" | "notification" | "receipt") {
            return Cow::Borrowed(node);
        }
        let about = if node.tag() == "iq" { "xmlns" } else { "type" };
        let interop = node.attr_str(about).as_deref() == Some("w:interop");
        let renames: Vec<_> =
            self.renames.iter().filter(|(ours, _)| interop || !OF_INTEROP.contains(&&**ours)).map(way).collect();
        let mut node = node.clone();
        rename(&mut node, &renames);
        Cow::Owned(node)
    }
}

/// Renames what is below `node`; as deep as [`Limits::max_depth`] lets a stanza be.
fn rename(node: &mut Node, renames: &[(&Text, &Text)]) {
    let Content::Nodes(children) = node.content_mut() else { return };
    for child in children {
        if let Some((_, to)) = renames.iter().find(|(from, _)| child.tag() == &***from) {
            child.set_tag((*to).clone());
        }
        rename(child, renames);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn knock() -> Dialect {
        let mut profile = Profile::sandbox();
        profile.set("element_ping", "knock").unwrap();
        profile.set("element_pq_key", "kyber").unwrap();
        Dialect::new(&profile)
    }

    #[test]
    fn elements_have_the_wires_names_outside_and_ours_inside() {
        let ours = Node::new("iq").with_attr("xmlns", "w:interop").with_child(Node::new("ping"));
        let keep_alive = Node::new("iq").with_attr("xmlns", "w:p").with_child(Node::new("ping"));
        let bundle = Node::new("iq").with_child(Node::new("user").with_child(Node::new("pqkey")));
        for (node, inner) in [(&ours, "knock"), (&keep_alive, "ping")] {
            let mut out = BytesMut::new();
            knock().encode(node, &mut out).unwrap();
            let wire = crate::decode(&out, &Limits::DEFAULT).unwrap();
            assert_eq!(wire.children()[0].tag(), inner);
            assert_eq!(&knock().decode(&out).unwrap(), node);
            assert_eq!(&knock().decode_bytes(&out.freeze()).unwrap(), node);
        }
        let mut out = BytesMut::new();
        knock().encode(&bundle, &mut out).unwrap();
        assert_eq!(crate::decode(&out, &Limits::DEFAULT).unwrap().children()[0].children()[0].tag(), "kyber");
        assert_eq!(knock().decode(&out).unwrap(), bundle);
    }

    #[test]
    fn limits_and_options_are_the_profiles() {
        let mut profile = Profile::sandbox();
        profile.set("max_depth", "2").unwrap();
        profile.set("compress", "true").unwrap();
        let dialect = Dialect::new(&profile);
        let deep = Node::new("a").with_child(Node::new("b").with_child(Node::new("c")));
        let mut out = BytesMut::new();
        dialect.encode(&deep, &mut out).unwrap();
        assert!(dialect.decode(&out).is_err());
        let long = Node::new("a").with_bytes(vec![7; 4096]);
        out.clear();
        dialect.encode(&long, &mut out).unwrap();
        assert!(out.len() < 1000 && dialect.decode(&out).unwrap() == long);
        assert!(dialect.with_max_frame_len(512).decode(&out).is_err());
    }
}
