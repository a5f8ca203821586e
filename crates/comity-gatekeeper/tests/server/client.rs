//! A client on bare stanzas: `enc` payloads are opaque bytes to it, as they are to the server.

use crate::world::rng;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use comity_core::Timestamp;
use comity_noise::io::websocket::{self, ByteStream};
use comity_noise::io::{ClientConnection, MessageReader, MessageWriter, Timeouts, connect};
use comity_noise::{InitiatorConfig, Pattern, PublicKey, ServerTrust, StaticKey, TrustRoot, VerifiedServer, xeddsa};
use comity_proto::Codec as _;
use comity_proto::handshake::ClientPayload;
use comity_xmpp::{EncodeOptions, Limits, Node, encode};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A Signal identity with its signed pre-key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) key: StaticKey,
    skey: StaticKey,
    pub(crate) registration: u32,
}

fn leaf(tag: &'static str, bytes: &[u8]) -> Node {
    Node::new(tag).with_bytes(bytes.to_vec())
}

impl Identity {
    pub(crate) fn generate() -> Self {
        Self { key: StaticKey::generate(&mut rng()), skey: StaticKey::generate(&mut rng()), registration: 0x1234 }
    }

    pub(crate) fn sign(&self, value: &[u8]) -> [u8; 64] {
        xeddsa::sign(&self.key, &[&[5], value].concat(), &mut rng())
    }

    pub(crate) fn form(&self, authkey: &[u8; 32], token: String) -> Vec<(&'static str, String)> {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let value = *self.skey.public().as_bytes();
        vec![
            ("authkey", b64(authkey)),
            ("e_keytype", b64(&[5])),
            ("e_regid", b64(&self.registration.to_be_bytes())),
            ("e_ident", b64(self.key.public().as_bytes())),
            ("e_skey_id", b64(&[0, 0, 7])),
            ("e_skey_val", b64(&value)),
            ("e_skey_sig", b64(&self.sign(&value))),
            ("token", token),
            ("v", "1.0.3".into()),
        ]
    }

    pub(crate) fn skey_node(&self, id: u8) -> Node {
        let value = *self.skey.public().as_bytes();
        Node::new("skey").with_children([
            leaf("id", &[0, 0, id]),
            leaf("value", &value),
            leaf("signature", &self.sign(&value)),
        ])
    }

    /// The children of an upload with fresh one-time keys `ids`.
    pub(crate) fn upload(&self, ids: std::ops::Range<u32>) -> Vec<Node> {
        let key = |id: u32| {
            let key = StaticKey::generate(&mut rng());
            Node::new("key").with_children([leaf("id", &id.to_be_bytes()[1..]), leaf("value", key.public().as_bytes())])
        };
        vec![
            leaf("registration", &self.registration.to_be_bytes()),
            leaf("type", &[5]),
            leaf("identity", self.key.public().as_bytes()),
            Node::new("list").with_children(ids.map(key)),
            self.skey_node(7),
        ]
    }
}

pub(crate) struct Client<R = OwnedReadHalf, W = OwnedWriteHalf> {
    reader: MessageReader<R>,
    writer: MessageWriter<W>,
    pub(crate) pattern: Pattern,
    pub(crate) server: VerifiedServer,
    next_id: u32,
    /// Stanzas that came while another was awaited.
    pub(crate) backlog: Vec<Node>,
}

impl Client {
    /// Connects; the server's first stanza is given too.
    pub(crate) async fn connect(
        address: SocketAddr,
        root: PublicKey,
        key: &StaticKey,
        payload: &ClientPayload,
        resume: Option<VerifiedServer>,
        now: Timestamp,
    ) -> (Self, Node) {
        let mut client = Self::shake(address, root, key, payload, resume, now).await;
        let first = client.next().await.expect("an answer to the log-in");
        (client, first)
    }

    /// Connects and runs the handshake alone.
    pub(crate) async fn shake(
        address: SocketAddr,
        root: PublicKey,
        key: &StaticKey,
        payload: &ClientPayload,
        resume: Option<VerifiedServer>,
        now: Timestamp,
    ) -> Self {
        let (read, write) = TcpStream::connect(address).await.unwrap().into_split();
        let mut config = InitiatorConfig::new(key.clone(), ServerTrust::Chain(TrustRoot(root)));
        config.resume = resume;
        let payload = payload.encode_to_vec().into();
        connect(read, write, &config, payload, now, &mut rng(), Timeouts::default()).await.unwrap().into()
    }
}

/// One over a WebSocket.
pub(crate) type WebClient = Client<ReadHalf<ByteStream<TcpStream>>, WriteHalf<ByteStream<TcpStream>>>;

impl WebClient {
    /// Connects at the HTTP port; the server's first stanza is given too.
    pub(crate) async fn web(
        address: SocketAddr,
        root: PublicKey,
        key: &StaticKey,
        payload: &ClientPayload,
        now: Timestamp,
    ) -> (Self, Node) {
        let stream = TcpStream::connect(address).await.unwrap();
        let config = InitiatorConfig::new(key.clone(), ServerTrust::Chain(TrustRoot(root)));
        let payload = payload.encode_to_vec().into();
        let host = address.to_string();
        let connected = websocket::connect(stream, &host, &config, payload, now, &mut rng(), Timeouts::default()).await;
        let mut client = Self::from(connected.unwrap());
        let first = client.next().await.expect("an answer to the log-in");
        (client, first)
    }
}

impl<R, W> From<ClientConnection<R, W>> for Client<R, W> {
    fn from(c: ClientConnection<R, W>) -> Self {
        Self {
            reader: c.reader,
            writer: c.writer,
            pattern: c.pattern,
            server: c.server,
            next_id: 0,
            backlog: Vec::new(),
        }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Client<R, W> {
    pub(crate) async fn send(&mut self, node: &Node) {
        let mut out = BytesMut::new();
        encode(node, &mut out, &EncodeOptions::default()).unwrap();
        self.writer.send(&out).await.unwrap();
    }

    /// Sends a frame that may be anything.
    pub(crate) async fn raw(&mut self, frame: &[u8]) {
        self.writer.send(frame).await.unwrap();
    }

    /// The next stanza from the socket; `None` once the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Node> {
        let frame = timeout(PATIENCE, self.reader.read()).await.expect("the server is silent").ok()??;
        Some(comity_xmpp::decode(&frame, &Limits::DEFAULT).unwrap())
    }

    /// The next stanza that fits, in the backlog or from the socket; others are kept.
    pub(crate) async fn wait(&mut self, what: &str, fits: impl Fn(&Node) -> bool) -> Node {
        if let Some(at) = self.backlog.iter().position(&fits) {
            return self.backlog.remove(at);
        }
        loop {
            let node = self.next().await.unwrap_or_else(|| panic!("closed while waiting for {what}"));
            if fits(&node) {
                return node;
            }
            self.backlog.push(node);
        }
    }

    pub(crate) async fn wait_tag(&mut self, tag: &str) -> Node {
        self.wait(tag, |node| node.tag() == tag).await
    }

    /// Nothing of that tag comes, checked by a ping's answer that overtakes nothing.
    pub(crate) async fn assert_none(&mut self, tag: &str) {
        self.ping().await;
        assert!(self.backlog.iter().all(|node| node.tag() != tag), "{:?}", self.backlog);
    }

    pub(crate) fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        format!("{:08X}", self.next_id)
    }

    /// Sends an iq and gives its answer, result or error.
    pub(crate) async fn iq(&mut self, kind: &str, xmlns: &str, to: &str, children: Vec<Node>) -> Node {
        let id = self.fresh_id();
        let iq = Node::new("iq")
            .with_attr("type", kind)
            .with_attr("xmlns", xmlns)
            .with_attr("to", to)
            .with_attr("id", id.as_str())
            .with_children(children);
        self.send(&iq).await;
        self.wait("iq answer", |node| node.tag() == "iq" && node.attr_str("id").as_deref() == Some(&id)).await
    }

    pub(crate) async fn ok(&mut self, kind: &str, xmlns: &str, children: Vec<Node>) -> Node {
        let answer = self.iq(kind, xmlns, "s.whatsapp.net", children).await;
        assert_eq!(answer.attr_str("type").as_deref(), Some("result"), "{answer:?}");
        assert_eq!(answer.attr_str("from").as_deref(), Some("s.whatsapp.net"));
        answer
    }

    pub(crate) async fn fails(&mut self, kind: &str, xmlns: &str, children: Vec<Node>) -> u16 {
        let answer = self.iq(kind, xmlns, "s.whatsapp.net", children).await;
        assert_eq!(answer.attr_str("type").as_deref(), Some("error"), "{answer:?}");
        let error = answer.child("error").unwrap();
        assert!(error.attr_str("text").is_some());
        error.attr_str("code").unwrap().parse().unwrap()
    }

    pub(crate) async fn ping(&mut self) {
        let pong = self.iq("get", "w:p", "s.whatsapp.net", vec![Node::new("ping")]).await;
        assert!(pong.attr_str("t").is_some());
    }

    pub(crate) async fn activate(&mut self) {
        self.ok("set", "passive", vec![Node::new("active")]).await;
    }

    /// Reads up to the end of the offline queue; what was in it.
    pub(crate) async fn drain_offline(&mut self) -> Vec<Node> {
        let preview = self.wait("preview", |n| n.child("offline_preview").is_some()).await;
        let end = self.wait("offline end", |n| n.child("offline").is_some()).await;
        let announced = preview.child("offline_preview").unwrap().attr_str("count").unwrap().into_owned();
        assert_eq!(end.child("offline").unwrap().attr_str("count").unwrap(), announced);
        let (queued, other) = self.backlog.drain(..).partition(|node| node.attr("offline").is_some());
        self.backlog = other;
        queued
    }

    pub(crate) async fn opt_in(&mut self, integrators: &[u16]) {
        let list = Node::new("integrator_list")
            .with_children(integrators.iter().map(|id| Node::new("integrator").with_attr("id", *id)));
        self.ok("set", "w:interop", vec![Node::new("opt_in_integrators").with_child(list)]).await;
    }

    /// Sends a message without waiting.
    pub(crate) async fn message(&mut self, to: &str, id: &str, body: &[u8]) {
        let enc = Node::new("enc").with_attr("v", "2").with_attr("type", "msg").with_bytes(body.to_vec());
        let node = Node::new("message")
            .with_attr("id", id)
            .with_attr("to", to.parse::<comity_core::Jid>().unwrap())
            .with_attr("type", "text")
            .with_child(enc);
        self.send(&node).await;
    }

    /// The server's ack of a message.
    pub(crate) async fn acked(&mut self, class: &str, id: &str) -> Node {
        self.wait("ack", |node| {
            node.tag() == "ack"
                && node.attr_str("class").as_deref() == Some(class)
                && node.attr_str("id").as_deref() == Some(id)
        })
        .await
    }

    /// Sends a message and waits for its acknowledgement without error.
    pub(crate) async fn deliver(&mut self, to: &str, id: &str, body: &[u8]) {
        self.message(to, id, body).await;
        let ack = self.acked("message", id).await;
        assert!(ack.attr("error").is_none() && ack.attr("t").is_some(), "{ack:?}");
        assert_eq!(ack.attr_str("from").unwrap(), to);
    }

    /// Answers a stanza with a receipt of that type.
    pub(crate) async fn receipt(&mut self, of: &Node, kind: Option<&str>) {
        let receipt = Node::new("receipt")
            .with_opt_attr("id", of.attr("id").cloned())
            .with_opt_attr("to", of.attr("from").cloned())
            .with_opt_attr("type", kind);
        self.send(&receipt).await;
    }

    /// Acks a stanza as clients do.
    pub(crate) async fn ack(&mut self, of: &Node) {
        let ack = Node::new("ack")
            .with_attr("class", of.tag())
            .with_opt_attr("id", of.attr("id").cloned())
            .with_opt_attr("to", of.attr("from").cloned())
            .with_opt_attr("type", of.attr("type").cloned());
        self.send(&ack).await;
    }

    pub(crate) async fn close(mut self) {
        let _may_be_closed = self.writer.shutdown().await;
        while self.next().await.is_some() {}
    }
}

pub(crate) fn body(message: &Node) -> &[u8] {
    message.child("enc").unwrap().bytes().unwrap()
}
