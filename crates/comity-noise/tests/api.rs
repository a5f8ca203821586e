//! A pair in memory: both profiles, all three patterns, and what must be refused (PROTOCOL §5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use bytes::{Bytes, BytesMut};
use comity_core::Timestamp;
use comity_noise::cert::{CertificateError, Link};
use comity_noise::frame::FrameDecoder;
use comity_noise::limits::{MAX_HANDSHAKE_PAYLOAD, MAX_PLAINTEXT};
use comity_noise::{
    Accepted, Error, Established, Initiator, InitiatorConfig, Pattern, Profile, Responder, ServerTrust, StaticKey,
    Step, TrustRoot, Validity,
};
use common::{NOW, Sandbox, rng};

const LOGIN: &[u8] = b"an encoded ClientPayload";

/// Runs a handshake; `reopened` is the server as it is when the client comes.
fn run(client: &InitiatorConfig, server: &Sandbox) -> Result<(Established, Accepted), Error> {
    let mut rng = rng(7);
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    let initiator = Initiator::start(client, Bytes::from_static(LOGIN), NOW, &mut rng, &mut up)?;
    let mut from_client = match client.profile {
        Profile::WhatsApp => FrameDecoder::with_prologue(),
        _ => FrameDecoder::new(),
    };
    let mut from_server = FrameDecoder::new();
    let hello = from_client.decode(&mut up)?.unwrap();
    let step = Responder::new(&server.config).read(&hello, &mut rng, &mut down)?;
    let hello = from_server.decode(&mut down)?.unwrap();
    let established = initiator.read(&hello, NOW, &mut up)?;
    let accepted = match step {
        Step::Done(accepted) => accepted,
        Step::Continue(wait) => wait.read(&from_client.decode(&mut up)?.unwrap())?,
    };
    assert!(up.is_empty() && down.is_empty());
    Ok((established, accepted))
}

fn talk(mut client: Established, mut server: Accepted, pattern: Pattern) {
    assert_eq!((client.pattern, server.pattern), (pattern, pattern));
    assert_eq!(client.handshake_hash, server.handshake_hash);
    assert_eq!(server.login.payload(), LOGIN);
    assert_eq!(server.login.is_replayable(), pattern == Pattern::Ik);
    assert!(!server.transport.is_live());
    for len in [0, 1, 15, 16, 65_535, 65_536, 1 << 20] {
        let text = vec![0x5a; len];
        for (from, to) in [(&mut client.transport, &mut server.transport)].into_iter().chain([]).collect::<Vec<_>>() {
            let mut buf = BytesMut::from(&text[..]);
            from.seal(&mut buf).unwrap();
            assert_eq!(buf.len(), len + 16);
            to.open(&mut buf).unwrap();
            assert_eq!(buf, text);
        }
        let mut buf = BytesMut::from(&text[..]);
        server.transport.seal(&mut buf).unwrap();
        client.transport.open(&mut buf).unwrap();
        assert_eq!(buf, text);
    }
    assert!(server.transport.is_live());
}

#[test]
fn all_patterns_in_both_profiles() {
    for profile in [
        Profile::WhatsApp,
        Profile::Plain { prologue: Bytes::new() },
        Profile::Plain { prologue: [7; 32].as_slice().into() },
    ] {
        let server = Sandbox::new(1, profile.clone());
        let mut client = server.client(2);
        let (established, accepted) = run(&client, &server).unwrap();
        assert_eq!(accepted.client, client.key.public());
        assert_eq!(established.server.key, server.config.key.public());
        client.resume = Some(established.server);
        talk(established, accepted, Pattern::Xx);

        let (established, accepted) = run(&client, &server).unwrap();
        assert_eq!(accepted.client, client.key.public());
        talk(established, accepted, Pattern::Ik);

        // The server has lost the key that the client resumes with.
        let moved = server.with_new_key(3);
        let (established, accepted) = run(&client, &moved).unwrap();
        assert_eq!(established.server.key, moved.config.key.public());
        assert_eq!(accepted.client, client.key.public());
        talk(established, accepted, Pattern::XxFallback);
    }
}
