//! Our side of `cargo xtask bench noise`, and the bounds beside it: the same provider's AEAD and X25519 bare.
//!
//! Benches are named `transport/PROVIDER/BYTES`, `aead/PROVIDER/BYTES`, `xx/PROVIDER`, `x25519/PROVIDER`.
#![allow(clippy::expect_used, reason = "a program that measures what works")]

use aes_gcm::aead::KeyInit as _;
use aes_gcm::{AeadInOut as _, Aes256Gcm};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement;
use bytes::{Bytes, BytesMut};
use comity_benches::side::{Answer, Refused, serve, time};
use comity_core::Timestamp;
use comity_noise::frame::FrameDecoder;
use comity_noise::limits::MAX_FRAME;
use comity_noise::{
    Initiator, InitiatorConfig, Provider, Responder, ResponderConfig, ServerTrust, StaticKey, Step, Transport,
};
use std::error::Error;
use std::hint::black_box;
use x25519_dalek::{PublicKey, StaticSecret};

fn main() -> Result<(), Box<dyn Error>> {
    serve(|bench, _| measure(bench))
}

fn measure(bench: &str) -> Result<Answer, Refused> {
    let parts: Vec<&str> = bench.split('/').collect();
    match *parts.as_slice() {
        ["transport", name, len] => transport(provider(name)?, len.parse()?),
        ["aead", name, len] => aead(provider(name)?, len.parse()?),
        ["xx", name] => {
            let pair = Pair::new(provider(name)?);
            Ok(time(|| drop(black_box(pair.log_in()))))
        }
        ["x25519", name] => x25519(provider(name)?),
        _ => Err("no such bench".into()),
    }
}

fn provider(name: &str) -> Result<Provider, Refused> {
    match name {
        "rust-crypto" => Ok(Provider::RustCrypto),
        "aws-lc" => Ok(Provider::AwsLc),
        _ => Err("no such provider".into()),
    }
}

/// A client and a server that know each other's keys, without certificates.
struct Pair {
    client: InitiatorConfig,
    server: ResponderConfig,
}

impl Pair {
    fn new(provider: Provider) -> Self {
        let rng = &mut rand::rng();
        let key = StaticKey::generate(rng);
        let trust = ServerTrust::Key(key.public());
        Self {
            client: InitiatorConfig { provider, ..InitiatorConfig::new(StaticKey::generate(rng), trust) },
            server: ResponderConfig { provider, ..ResponderConfig::new(key, Bytes::new()) },
        }
    }

    /// A whole XX, both sides.
    fn log_in(&self) -> [Transport; 2] {
        let (rng, now) = (&mut rand::rng(), Timestamp::from_secs(1));
        let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
        let (mut at_server, mut at_client) = (FrameDecoder::with_prologue(), FrameDecoder::new());
        let initiator = Initiator::start(&self.client, Bytes::new(), now, rng, &mut up).expect("starts");
        let hello = at_server.decode(&mut up).expect("a frame").expect("whole");
        let step = Responder::new(&self.server).read(&hello, rng, &mut down).expect("reads");
        let hello = at_client.decode(&mut down).expect("a frame").expect("whole");
        let established = initiator.read(&hello, now, &mut up).expect("reads");
        let Step::Continue(waiting) = step else { unreachable!("an XX") };
        let accepted = waiting.read(&at_server.decode(&mut up).expect("a frame").expect("whole")).expect("reads");
        [established.transport, accepted.transport]
    }
}

/// One message sealed into a frame, taken out of it and opened.
fn transport(provider: Provider, len: usize) -> Result<Answer, Refused> {
    let [client, server] = Pair::new(provider).log_in();
    let (mut sealer, mut opener) = (client.split().0, server.split().1);
    let mut decoder = FrameDecoder::new();
    decoder.set_limit(MAX_FRAME);
    let (plain, mut out) = (vec![0x5a; len], BytesMut::new());
    Ok(time(|| {
        sealer.seal_frame(black_box(&plain), &mut out).expect("seals");
        let mut frame = decoder.decode(&mut out).expect("a frame").expect("whole");
        opener.open(&mut frame).expect("opens");
        black_box(&frame);
    }))
}

/// The same without framing, counters and state.
fn aead(provider: Provider, len: usize) -> Result<Answer, Refused> {
    let (plain, mut buf) = (vec![0x5a; len], BytesMut::new());
    match provider {
        Provider::RustCrypto => {
            let key = Aes256Gcm::new(&[7; 32].into());
            Ok(time(|| {
                buf.clear();
                buf.extend_from_slice(black_box(&plain));
                let tag = key.encrypt_inout_detached(&[1; 12].into(), &[], (&mut *buf).into()).expect("seals");
                key.decrypt_inout_detached(&[1; 12].into(), &[], (&mut *buf).into(), &tag).expect("opens");
                black_box(&buf);
            }))
        }
        _ => {
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "key")?);
            let nonce = || Nonce::assume_unique_for_key([1; 12]);
            Ok(time(|| {
                buf.clear();
                buf.extend_from_slice(black_box(&plain));
                let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut buf).expect("seals");
                buf.extend_from_slice(tag.as_ref());
                key.open_in_place(nonce(), Aad::empty(), &mut buf).expect("opens");
                black_box(&buf);
            }))
        }
    }
}

/// The X25519 operations of an XX, both sides: two ephemerals, and ee, es and se twice.
fn x25519(provider: Provider) -> Result<Answer, Refused> {
    let private = [7; 32];
    match provider {
        Provider::RustCrypto => {
            let secret = StaticSecret::from(private);
            let theirs = PublicKey::from(&StaticSecret::from([9; 32]));
            Ok(time(|| {
                for _ in 0..2 {
                    black_box(PublicKey::from(black_box(&secret)));
                }
                for _ in 0..6 {
                    black_box(secret.diffie_hellman(black_box(&theirs)));
                }
            }))
        }
        _ => {
            let key = |bytes: &[u8]| agreement::PrivateKey::from_private_key(&agreement::X25519, bytes);
            let secret = key(&private).map_err(|_| "key")?;
            let theirs = key(&[9; 32]).map_err(|_| "key")?.compute_public_key().map_err(|_| "key")?;
            let theirs = agreement::UnparsedPublicKey::new(&agreement::X25519, theirs.as_ref().to_vec());
            Ok(time(|| {
                for _ in 0..2 {
                    black_box(black_box(&secret).compute_public_key().expect("computes"));
                }
                for _ in 0..6 {
                    let shared = agreement::agree(&secret, black_box(&theirs), (), |shared| Ok(shared.to_vec()));
                    black_box(shared.expect("agrees"));
                }
            }))
        }
    }
}
