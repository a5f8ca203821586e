//! Another implementation of Noise in the same process, `noise-protocol`, against each of our roles in the wire's form
//! (PROTOCOL §5.2).
//!
//! It has no modified XX. What the wire calls XX it runs as a fallback pattern under XX's name: the client's ephemeral is a
//! pre-message, so nothing but the ephemeral is hashed for it, and the server is its initiator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use bytes::{Bytes, BytesMut};
use comity_noise::frame::{FrameDecoder, PROLOGUE};
use comity_noise::{
    Initiator, InitiatorConfig, Pattern, Profile, PublicKey, Responder, StaticKey, Step, Transport, VerifiedServer,
    cert,
};
use comity_proto::Codec as _;
use comity_proto::handshake::{ClientFinish, ClientHello, HandshakeMessage, ServerHello};
use common::{NOW, Sandbox, VALIDITY, rng};
use noise_protocol::patterns::{HandshakePattern, Token, noise_ik};
use noise_protocol::{CipherState, HandshakeState, U8Array};
use noise_rust_crypto::{Aes256Gcm, Sha256, X25519};

type Foreign = HandshakeState<X25519, Aes256Gcm, Sha256>;
type Ciphers = (CipherState<Aes256Gcm>, CipherState<Aes256Gcm>);
type ForeignKey = <X25519 as noise_protocol::DH>::Key;

/// ← e, ee, s, es; → s, se, in a notation where the server is the initiator.
fn after_the_ephemeral(name: &'static str) -> HandshakePattern {
    use Token::{E, EE, ES, S, SE};
    HandshakePattern::new(&[], &[E], &[&[E, EE, S, SE], &[S, ES]], name)
}

fn key(seed: u8) -> ForeignKey {
    ForeignKey::from_slice(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    *StaticKey::from_bytes([seed; 32]).public().as_bytes()
}

fn bytes(b: &[u8]) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(b))
}

/// Both ways, with the first output of the split from client to server.
fn talk(mut ours: Transport, theirs: Ciphers, we_are_client: bool) {
    let (up, down) = theirs;
    let (mut send, mut receive) = if we_are_client { (down, up) } else { (up, down) };
    for n in 0..5u8 {
        let text = vec![n; usize::from(n) * 1000];
        let mut buf = BytesMut::from(&text[..]);
        ours.seal(&mut buf).unwrap();
        assert_eq!(receive.decrypt_vec(&buf).unwrap(), text);
        let mut buf = BytesMut::from(&send.encrypt_vec(&text)[..]);
        ours.open(&mut buf).unwrap();
        assert_eq!(buf, text);
    }
}

fn client_of(server: &Sandbox, hello: ClientHello, pattern: Pattern) {
    let name = if pattern == Pattern::Xx { "XX" } else { "XXfallback" };
    let hello = HandshakeMessage { client_hello: Some(hello), ..HandshakeMessage::default() };
    let mut out = BytesMut::new();
    let step = Responder::new(&server.config).read(&hello.encode_to_vec(), &mut rng(1), &mut out).unwrap();
    let Step::Continue(wait) = step else { panic!("not an XX") };
    let body = FrameDecoder::new().decode(&mut out).unwrap().unwrap();
    let hello = HandshakeMessage::decode(&body[..]).unwrap().server_hello.unwrap();

    let mut client = Foreign::new(after_the_ephemeral(name), false, PROLOGUE, Some(key(2)), Some(key(1)), None, None);
    let noise = [hello.ephemeral.unwrap(), hello.r#static.unwrap(), hello.payload.unwrap()].concat();
    let chain = client.read_message_vec(&noise).unwrap();
    cert::verify(&chain, &server.trust(), &PublicKey::from_bytes(client.get_rs().unwrap()), NOW).unwrap();
    let finish = client.write_message_vec(b"login").unwrap();
    let finish = ClientFinish { r#static: bytes(&finish[..48]), payload: bytes(&finish[48..]) };
    let finish = HandshakeMessage { client_finish: Some(finish), ..HandshakeMessage::default() };
    let accepted = wait.read(&finish.encode_to_vec()).unwrap();
    assert_eq!((accepted.pattern, accepted.client), (pattern, PublicKey::from_bytes(public(2))));
    assert_eq!(accepted.login.payload(), "login");
    assert_eq!(client.get_hash(), accepted.handshake_hash);
    talk(accepted.transport, client.get_ciphers(), false);
}

#[test]
fn a_foreign_client_logs_in_by_xx() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    client_of(&server, ClientHello { ephemeral: bytes(&public(1)), ..ClientHello::default() }, Pattern::Xx);
}

#[test]
fn a_foreign_client_falls_back() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let hello = ClientHello { ephemeral: bytes(&public(1)), r#static: bytes(&[7; 48]), payload: bytes(&[7; 100]) };
    client_of(&server, hello, Pattern::XxFallback);
}

/// The fallback as the specification has it, under prologues that look like other parts of the transcript.
#[test]
fn a_foreign_client_falls_back_in_the_plain_profile() {
    for prologue in [&b""[..], &[5; 32], b"prologue"] {
        let server = Sandbox::new(1, Profile::Plain { prologue: Bytes::copy_from_slice(prologue) });
        let hello = [&public(1)[..], &[7; 48], &[7; 30]].concat();
        let mut out = BytesMut::new();
        let step = Responder::new(&server.config).read(&hello, &mut rng(1), &mut out).unwrap();
        let Step::Continue(wait) = step else { panic!("not a fallback") };
        let pattern = after_the_ephemeral("XXfallback");
        let mut client = Foreign::new(pattern, false, prologue, Some(key(2)), Some(key(1)), None, None);
        assert_eq!(client.read_message_vec(&out[3..]).unwrap(), server.config.chain);
        let accepted = wait.read(&client.write_message_vec(b"login").unwrap()).unwrap();
        assert_eq!((accepted.pattern, &accepted.login.payload()[..]), (Pattern::XxFallback, &b"login"[..]));
        talk(accepted.transport, client.get_ciphers(), false);
    }
}

#[test]
fn a_foreign_client_resumes_by_ik() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let remote = *server.config.key.public().as_bytes();
    let mut client = Foreign::new(noise_ik(), true, PROLOGUE, Some(key(2)), Some(key(1)), Some(remote), None);
    let noise = client.write_message_vec(b"login").unwrap();
    let hello =
        ClientHello { ephemeral: bytes(&noise[..32]), r#static: bytes(&noise[32..80]), payload: bytes(&noise[80..]) };
    let hello = HandshakeMessage { client_hello: Some(hello), ..HandshakeMessage::default() };
    let mut out = BytesMut::new();
    let step = Responder::new(&server.config).read(&hello.encode_to_vec(), &mut rng(1), &mut out).unwrap();
    let Step::Done(accepted) = step else { panic!("not an IK") };
    let body = FrameDecoder::new().decode(&mut out).unwrap().unwrap();
    let hello = HandshakeMessage::decode(&body[..]).unwrap().server_hello.unwrap();
    assert!(hello.r#static.is_none());
    let noise = [hello.ephemeral.unwrap(), hello.payload.unwrap()].concat();
    assert_eq!(client.read_message_vec(&noise).unwrap(), server.config.chain);
    assert!(accepted.login.is_replayable());
    assert_eq!((&accepted.login.payload()[..], accepted.client), (&b"login"[..], PublicKey::from_bytes(public(2))));
    talk(accepted.transport, client.get_ciphers(), false);
}

/// Our client's first message.
fn start(client: &InitiatorConfig) -> (Initiator, ClientHello, BytesMut) {
    let mut out = BytesMut::new();
    let initiator = Initiator::start(client, Bytes::from_static(b"login"), NOW, &mut rng(3), &mut out).unwrap();
    let body = FrameDecoder::with_prologue().decode(&mut out).unwrap().unwrap();
    let hello = HandshakeMessage::decode(&body[..]).unwrap().client_hello.unwrap();
    (initiator, hello, out)
}

fn server_hello(noise: &[u8], with_static: bool) -> Vec<u8> {
    let rest = if with_static { 80 } else { 32 };
    let hello = ServerHello {
        ephemeral: bytes(&noise[..32]),
        r#static: if with_static { bytes(&noise[32..80]) } else { None },
        payload: bytes(&noise[rest..]),
    };
    HandshakeMessage { server_hello: Some(hello), ..HandshakeMessage::default() }.encode_to_vec()
}

fn server_for(sandbox: &Sandbox, client: &InitiatorConfig, pattern: Pattern) {
    let name = if pattern == Pattern::Xx { "XX" } else { "XXfallback" };
    let (initiator, hello, mut out) = start(client);
    assert_eq!(hello.r#static.is_some(), pattern == Pattern::XxFallback);
    let re = hello.ephemeral.unwrap()[..].try_into().unwrap();
    let own = ForeignKey::from_slice(sandbox.config.key.to_bytes().expose());
    let mut server = Foreign::new(after_the_ephemeral(name), true, PROLOGUE, Some(own), Some(key(9)), None, Some(re));
    let noise = server.write_message_vec(&sandbox.config.chain).unwrap();
    let established = initiator.read(&server_hello(&noise, true), NOW, &mut out).unwrap();
    let body = FrameDecoder::new().decode(&mut out).unwrap().unwrap();
    let finish = HandshakeMessage::decode(&body[..]).unwrap().client_finish.unwrap();
    let noise = [finish.r#static.unwrap(), finish.payload.unwrap()].concat();
    assert_eq!(server.read_message_vec(&noise).unwrap(), b"login");
    assert_eq!(server.get_rs(), Some(*client.key.public().as_bytes()));
    assert_eq!(established.pattern, pattern);
    assert_eq!(server.get_hash(), established.handshake_hash);
    talk(established.transport, server.get_ciphers(), true);
}

#[test]
fn a_foreign_server_takes_xx_and_falls_back() {
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let client = sandbox.client(2);
    server_for(&sandbox, &client, Pattern::Xx);
    let key = PublicKey::from_bytes(public(77));
    let resume = Some(VerifiedServer { key, validity: VALIDITY });
    server_for(&sandbox, &InitiatorConfig { resume, ..client }, Pattern::XxFallback);
}

#[test]
fn a_foreign_server_takes_ik() {
    let sandbox = Sandbox::new(1, Profile::WhatsApp);
    let resume = Some(VerifiedServer { key: sandbox.config.key.public(), validity: VALIDITY });
    let client = InitiatorConfig { resume, ..sandbox.client(2) };
    let (initiator, hello, mut out) = start(&client);
    let own = ForeignKey::from_slice(sandbox.config.key.to_bytes().expose());
    let mut server = Foreign::new(noise_ik(), false, PROLOGUE, Some(own), Some(key(9)), None, None);
    let noise = [hello.ephemeral.unwrap(), hello.r#static.unwrap(), hello.payload.unwrap()].concat();
    assert_eq!(server.read_message_vec(&noise).unwrap(), b"login");
    // What the payload says is not looked at.
    let noise = server.write_message_vec(b"anything").unwrap();
    let established = initiator.read(&server_hello(&noise, false), NOW, &mut out).unwrap();
    assert!(out.is_empty() && established.pattern == Pattern::Ik);
    talk(established.transport, server.get_ciphers(), true);
}
