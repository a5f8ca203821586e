//! Every key of the peer that is a point of low order is refused, at either end and wherever it stands (PROTOCOL §5.2).
//!
//! The peer is one that cheats consistently: it knows that each agreement with such a point is zero, so its messages
//! authenticate, and only a look at the point itself can refuse them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use bytes::{Bytes, BytesMut};
use comity_noise::frame::PROLOGUE;
use comity_noise::{
    Error, Initiator, InitiatorConfig, Pattern, Profile, Provider, PublicKey, Responder, ServerTrust, Step, Validity,
    VerifiedServer,
};
use comity_proto::Codec as _;
use comity_proto::handshake::{ClientFinish, ClientHello, HandshakeMessage, ServerHello};
use common::{NOW, Sandbox, low_order, rng};
use noise_protocol::patterns::{HandshakePattern, Token, noise_ik, noise_xx};
use noise_protocol::{DH, HandshakeState};
use noise_rust_crypto::{Aes256Gcm, Sha256};
use x25519_dalek::StaticSecret;

/// X25519 of a cheat: a "private key" that is a point of low order has itself as public key.
enum Cheat {}

impl DH for Cheat {
    type Key = [u8; 32];
    type Pubkey = [u8; 32];
    type Output = [u8; 32];

    fn name() -> &'static str {
        "25519"
    }

    fn genkey() -> [u8; 32] {
        unreachable!("all keys are given")
    }

    fn pubkey(key: &[u8; 32]) -> [u8; 32] {
        if low_order().contains(key) {
            *key
        } else {
            *x25519_dalek::PublicKey::from(&StaticSecret::from(*key)).as_bytes()
        }
    }

    fn dh(key: &[u8; 32], theirs: &[u8; 32]) -> Result<[u8; 32], ()> {
        if low_order().contains(key) || low_order().contains(theirs) {
            return Ok([0; 32]);
        }
        Ok(StaticSecret::from(*key).diffie_hellman(&(*theirs).into()).to_bytes())
    }
}

type Peer = HandshakeState<Cheat, Aes256Gcm, Sha256>;

/// ← e, ee, s, es; → s, se after a client's ephemeral that is a pre-message; the server is the notation's initiator.
fn after_the_ephemeral(name: &'static str) -> HandshakePattern {
    use Token::{E, EE, ES, S, SE};
    HandshakePattern::new(&[], &[E], &[&[E, EE, S, SE], &[S, ES]], name)
}

fn prologue(profile: &Profile) -> Vec<u8> {
    match profile {
        Profile::Plain { prologue } => prologue.to_vec(),
        _ => PROLOGUE.to_vec(),
    }
}

fn message(profile: &Profile, noise: Vec<u8>, wrap: impl FnOnce(Bytes) -> HandshakeMessage) -> Vec<u8> {
    if *profile == Profile::WhatsApp { wrap(noise.into()).encode_to_vec() } else { noise }
}

fn client_hello(profile: &Profile, noise: Vec<u8>) -> Vec<u8> {
    message(profile, noise, |noise| {
        let rest = |from: usize, to: usize| (noise.len() > 32).then(|| noise.slice(from..to));
        let hello =
            ClientHello { ephemeral: Some(noise.slice(..32)), r#static: rest(32, 80), payload: rest(80, noise.len()) };
        HandshakeMessage { client_hello: Some(hello), ..HandshakeMessage::default() }
    })
}

fn server_hello(profile: &Profile, noise: Vec<u8>, with_static: bool) -> Vec<u8> {
    message(profile, noise, |noise| {
        let (key, rest) = if with_static { (Some(noise.slice(32..80)), 80) } else { (None, 32) };
        let hello =
            ServerHello { ephemeral: Some(noise.slice(..32)), r#static: key, payload: Some(noise.slice(rest..)) };
        HandshakeMessage { server_hello: Some(hello), ..HandshakeMessage::default() }
    })
}

fn client_finish(profile: &Profile, noise: Vec<u8>) -> Vec<u8> {
    message(profile, noise, |noise| {
        let finish = ClientFinish { r#static: Some(noise.slice(..48)), payload: Some(noise.slice(48..)) };
        HandshakeMessage { client_finish: Some(finish), ..HandshakeMessage::default() }
    })
}

/// The Noise message in a ServerHello's frame.
fn noise_of(profile: &Profile, body: &[u8]) -> Vec<u8> {
    if *profile != Profile::WhatsApp {
        return body.to_vec();
    }
    let hello = HandshakeMessage::decode(body).unwrap().server_hello.unwrap();
    [hello.ephemeral.unwrap(), hello.r#static.unwrap_or_default(), hello.payload.unwrap()].concat()
}

/// A client with these keys logs in to our server.
fn client(server: &Sandbox, pattern: Pattern, ephemeral: [u8; 32], key: [u8; 32]) -> Result<Pattern, Error> {
    let (profile, out) = (&server.config.profile, &mut BytesMut::new());
    let prologue = prologue(profile);
    let new =
        |pattern, initiator, rs| Peer::new(pattern, initiator, prologue.clone(), Some(key), Some(ephemeral), rs, None);
    let read = |hello: &[u8], out: &mut BytesMut| Responder::new(&server.config).read(hello, &mut rng(1), out);
    let mut peer = match pattern {
        Pattern::Ik => {
            let mut peer = new(noise_ik(), true, Some(*server.config.key.public().as_bytes()));
            let hello = client_hello(profile, peer.write_message_vec(b"login").unwrap());
            let Step::Done(accepted) = read(&hello, out)? else { panic!("not an IK") };
            return Ok(accepted.pattern);
        }
        Pattern::Xx if *profile == Profile::WhatsApp => new(after_the_ephemeral("XX"), false, None),
        Pattern::Xx => new(noise_xx(), true, None),
        Pattern::XxFallback => new(after_the_ephemeral("XXfallback"), false, None),
    };
    let mut hello = Cheat::pubkey(&ephemeral).to_vec();
    if pattern == Pattern::XxFallback {
        hello.extend_from_slice(&[7; 48 + 16]);
    } else if *profile != Profile::WhatsApp {
        assert_eq!(peer.write_message_vec(b"").unwrap(), hello);
    }
    let Step::Continue(wait) = read(&client_hello(profile, hello), out)? else { panic!("an IK") };
    peer.read_message_vec(&noise_of(profile, &out[3..])).unwrap();
    Ok(wait.read(&client_finish(profile, peer.write_message_vec(b"login").unwrap()))?.pattern)
}

/// Our client connects to a server with these keys.
fn server(client: &InitiatorConfig, pattern: Pattern, ephemeral: [u8; 32], key: [u8; 32]) -> Result<Pattern, Error> {
    let (profile, out) = (&client.profile, &mut BytesMut::new());
    let initiator = Initiator::start(client, Bytes::from_static(b"login"), NOW, &mut rng(1), out)?;
    let body = &out[if *profile == Profile::WhatsApp { 4 + 3 } else { 3 }..];
    let hello = if *profile == Profile::WhatsApp {
        let hello = HandshakeMessage::decode(body).unwrap().client_hello.unwrap();
        [hello.ephemeral, hello.r#static, hello.payload].into_iter().flatten().collect::<Vec<_>>().concat()
    } else {
        body.to_vec()
    };
    let new =
        |pattern, initiator, re| Peer::new(pattern, initiator, prologue(profile), Some(key), Some(ephemeral), None, re);
    let e = Some(hello[..32].try_into().unwrap());
    let mut peer = match pattern {
        Pattern::Ik => new(noise_ik(), false, None),
        Pattern::Xx if *profile == Profile::WhatsApp => new(after_the_ephemeral("XX"), true, e),
        Pattern::Xx => new(noise_xx(), false, None),
        Pattern::XxFallback => new(after_the_ephemeral("XXfallback"), true, e),
    };
    if pattern == Pattern::Ik || (pattern == Pattern::Xx && *profile != Profile::WhatsApp) {
        peer.read_message_vec(&hello).unwrap();
    }
    let noise = peer.write_message_vec(b"").unwrap();
    let established = initiator.read(&server_hello(profile, noise, pattern != Pattern::Ik), NOW, out)?;
    Ok(established.pattern)
}

#[test]
fn refused_wherever_it_stands() {
    assert!(!Sandbox::new(1, Profile::WhatsApp).config.key.public().is_low_order());
    const GOOD: [[u8; 32]; 2] = [[1; 32], [2; 32]];
    let plain = Profile::Plain { prologue: Bytes::from_static(b"prologue") };
    let providers = [
        Provider::RustCrypto,
        #[cfg(feature = "aws-lc-rs")]
        Provider::AwsLc,
    ];
    let mut refused = 0;
    for (profile, provider) in [Profile::WhatsApp, plain].into_iter().flat_map(|p| providers.map(|q| (p.clone(), q))) {
        let mut ours = Sandbox::new(1, profile.clone());
        ours.config.provider = provider;
        let pinned = |key: [u8; 32], resume: Option<[u8; 32]>| InitiatorConfig {
            provider,
            trust: ServerTrust::Key(PublicKey::from_bytes(Cheat::pubkey(&key))),
            resume: resume.map(|key| VerifiedServer {
                key: PublicKey::from_bytes(Cheat::pubkey(&key)),
                validity: Validity::ALWAYS,
            }),
            ..ours.client(2)
        };
        for pattern in [Pattern::Xx, Pattern::Ik, Pattern::XxFallback] {
            // What our client resumes with: the server's own key in IK, another one before a fallback.
            let resume = |key| match pattern {
                Pattern::Xx => None,
                Pattern::Ik => Some(key),
                Pattern::XxFallback => Some([9; 32]),
            };
            // With good keys all is well, so it is the point that is refused.
            let [ephemeral, key] = GOOD;
            assert_eq!(client(&ours, pattern, ephemeral, key).unwrap(), pattern);
            assert_eq!(server(&pinned(key, resume(key)), pattern, ephemeral, key).unwrap(), pattern);
            for point in low_order() {
                assert!(PublicKey::from_bytes(point).is_low_order());
                let named = |e: &Result<Pattern, Error>, place| {
                    let name = PublicKey::from_bytes(point);
                    assert!(
                        matches!(e, Err(Error::LowOrderPoint)),
                        "{name} as {place}, {profile:?}, {pattern:?}: {e:?}"
                    );
                    1
                };
                refused += named(&client(&ours, pattern, point, key), "the client's ephemeral");
                refused += named(&client(&ours, pattern, ephemeral, point), "the client's static");
                refused += named(&server(&pinned(key, resume(key)), pattern, point, key), "the server's ephemeral");
                refused +=
                    named(&server(&pinned(point, resume(point)), pattern, ephemeral, point), "the server's static");
            }
        }
    }
    assert_eq!(refused, 2 * providers.len() * 3 * 16 * 4);
}
