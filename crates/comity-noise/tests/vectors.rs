//! Bytes made elsewhere: a recorded handshake in the wire's form, and XEdDSA signatures of both signs (PROTOCOL §5.2, §5.3).
//! The public vectors of Noise, X25519 and AES-GCM are tried beside the code they are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use bytes::{Bytes, BytesMut};
use comity_core::Timestamp;
use comity_noise::frame::{FrameDecoder, PROLOGUE};
use comity_noise::{
    Initiator, InitiatorConfig, Pattern, PublicKey, Responder, ResponderConfig, ServerTrust, StaticKey, Step,
    TrustRoot, xeddsa,
};
use common::{Fixed, rng};
use serde_json::Value;

/// The recorded client logs in to our server, and our client, given its keys, says the same bytes.
#[test]
fn a_recorded_handshake() {
    let v: Value = serde_json::from_str(include_str!("data/baileys/modified-xx.json")).unwrap();
    let bytes = |name: &str| unhex(v[name].as_str().unwrap());
    let key = |name| <[u8; 32]>::try_from(bytes(name)).unwrap();
    let now = Timestamp::from_secs(1_900_000_000);

    let server = ResponderConfig::new(StaticKey::from_bytes(key("server_static")), bytes("chain").into());
    let mut down = BytesMut::new();
    let step = Responder::new(&server).read(&bytes("client_hello"), &mut Fixed(key("server_ephemeral")), &mut down);
    let Ok(Step::Continue(wait)) = step else { panic!("not an XX") };
    assert_eq!(down[3..], bytes("server_hello"));
    let mut accepted = wait.read(&bytes("client_finish")).unwrap();
    assert_eq!((accepted.pattern, accepted.login.payload().to_vec()), (Pattern::Xx, bytes("login")));

    let trust = ServerTrust::Chain(TrustRoot(PublicKey::from_bytes(key("root"))));
    let client = InitiatorConfig::new(StaticKey::from_bytes(key("client_static")), trust);
    assert_eq!(accepted.client, client.key.public());
    let mut up = BytesMut::new();
    let login = Bytes::from(bytes("login"));
    let initiator = Initiator::start(&client, login, now, &mut Fixed(key("client_ephemeral")), &mut up).unwrap();
    assert_eq!(up[..4], PROLOGUE);
    assert_eq!(up.split_off(7), bytes("client_hello"));
    up.clear();
    let established = initiator.read(&bytes("server_hello"), now, &mut up).unwrap();
    assert_eq!(up.split_off(3), bytes("client_finish"));
    assert_eq!(established.handshake_hash, accepted.handshake_hash);

    let (mut sealer, _) = established.transport.split();
    for message in v["messages"].as_array().unwrap() {
        let text = unhex(message["plaintext"].as_str().unwrap());
        let mut frame = BytesMut::from(&unhex(message["frame"].as_str().unwrap())[..]);
        let mut ours = BytesMut::new();
        sealer.seal_frame(&text, &mut ours).unwrap();
        assert_eq!(ours, frame);
        let mut body = FrameDecoder::new().decode(&mut frame).unwrap().unwrap();
        accepted.transport.open(&mut body).unwrap();
        assert_eq!(body, text);
    }
}

#[test]
fn foreign_signatures_of_both_signs() {
    let mut signs = [0; 2];
    for line in include_str!("data/libsignal-js/xeddsa.txt").lines().skip(1) {
        let [sign, key, message, signature] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let key: PublicKey = key.parse().unwrap();
        let message = unhex(message);
        let mut signature: [u8; 64] = unhex(signature).try_into().unwrap();
        assert_eq!(signature[63] >> 7, sign.parse::<u8>().unwrap());
        signs[usize::from(signature[63] >> 7)] += 1;
        xeddsa::verify(&key, &message, &signature).unwrap();
        assert!(xeddsa::verify(&key, b"another message", &signature).is_err());
        assert!(xeddsa::verify(&StaticKey::from_bytes([1; 32]).public(), &message, &signature).is_err());
        for byte in 0..64 {
            for bit in 0..8 {
                signature[byte] ^= 1 << bit;
                assert!(xeddsa::verify(&key, &message, &signature).is_err(), "byte {byte} bit {bit}");
                signature[byte] ^= 1 << bit;
            }
        }
    }
    assert_eq!(signs, [8, 8]);
}

#[test]
fn our_signatures() {
    let rng = &mut rng(4);
    for _ in 0..50 {
        let key = StaticKey::generate(rng);
        let signature = xeddsa::sign(&key, b"message", rng);
        assert_eq!(signature[63] >> 7, 0);
        xeddsa::verify(&key.public(), b"message", &signature).unwrap();
    }
    for point in common::low_order() {
        // R and S zero "verify" under a low-order key where that is not refused.
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(xeddsa::verify(&PublicKey::from_bytes(point), b"message", &signature).is_err());
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let text = if text == "-" { "" } else { text };
    text.as_bytes().chunks(2).map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 16).unwrap()).collect()
}
