//! A pair in memory: both profiles, all three patterns, and what must be refused (PROTOCOL §5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use bytes::{Bytes, BytesMut};
use comity_core::{ErrorKind, Timestamp};
use comity_noise::cert::{self, CertificateError, Issuer, Link};
use comity_noise::frame::{self, FrameDecoder};
use comity_noise::limits::{MAX_EDGE_ROUTING, MAX_FRAME, MAX_HANDSHAKE_FRAME, MAX_HANDSHAKE_PAYLOAD, MAX_PLAINTEXT};
use comity_noise::{
    Accepted, Error, Established, Initiator, InitiatorConfig, Pattern, Profile, Provider, PublicKey, Responder,
    ServerTrust, StaticKey, Step, TrustRoot, Validity, VerifiedServer,
};
use comity_proto::Codec as _;
use comity_proto::handshake::{CertChain, Details, HandshakeMessage};
use common::{NOW, Sandbox, VALIDITY, rng};

const LOGIN: &[u8] = b"an encoded ClientPayload";

fn providers() -> Vec<Provider> {
    vec![
        Provider::RustCrypto,
        #[cfg(feature = "aws-lc-rs")]
        Provider::AwsLc,
    ]
}

/// Runs a handshake, with the frames' bodies passed through `change`: 0 and 2 the client's, 1 the server's.
fn run_with(
    client: &InitiatorConfig,
    server: &Sandbox,
    mut change: impl FnMut(usize, &mut BytesMut),
) -> Result<(Established, Accepted), Error> {
    let mut rng = rng(7);
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    let initiator = Initiator::start(client, Bytes::from_static(LOGIN), NOW, &mut rng, &mut up)?;
    let mut from_client = match client.profile {
        Profile::WhatsApp => FrameDecoder::with_prologue(),
        _ => FrameDecoder::new(),
    };
    let mut from_server = FrameDecoder::new();
    let mut hello = from_client.decode(&mut up)?.unwrap();
    change(0, &mut hello);
    let step = Responder::new(&server.config).read(&hello, &mut rng, &mut down)?;
    let mut hello = from_server.decode(&mut down)?.unwrap();
    change(1, &mut hello);
    let established = initiator.read(&hello, NOW, &mut up)?;
    let accepted = match step {
        Step::Done(accepted) => accepted,
        Step::Continue(wait) => {
            let mut finish = from_client.decode(&mut up)?.unwrap();
            change(2, &mut finish);
            wait.read(&finish)?
        }
    };
    assert!(up.is_empty() && down.is_empty());
    Ok((established, accepted))
}

fn run(client: &InitiatorConfig, server: &Sandbox) -> Result<(Established, Accepted), Error> {
    run_with(client, server, |_, _| ())
}

fn talk(mut client: Established, mut server: Accepted, pattern: Pattern) {
    assert_eq!((client.pattern, server.pattern), (pattern, pattern));
    assert_eq!(client.handshake_hash, server.handshake_hash);
    assert_eq!(server.login.payload(), LOGIN);
    assert_eq!(server.login.is_replayable(), pattern == Pattern::Ik);
    assert!(!server.transport.is_live());
    for len in [0, 1, 15, 16, 65_535, 65_536, 1 << 20] {
        let text = vec![0x5a; len];
        let mut buf = BytesMut::from(&text[..]);
        client.transport.seal(&mut buf).unwrap();
        assert_eq!(buf.len(), len + 16);
        server.transport.open(&mut buf).unwrap();
        assert_eq!(buf, text);
        server.transport.seal(&mut buf).unwrap();
        client.transport.open(&mut buf).unwrap();
        assert_eq!(buf, text);
    }
    assert!(server.transport.is_live());
}

#[test]
fn all_patterns_profiles_and_providers() {
    let plain = |prologue: &'static [u8]| Profile::Plain { prologue: Bytes::from_static(prologue) };
    for profile in [Profile::WhatsApp, plain(b""), plain(&[7; 32]), plain(b"WA")] {
        for (ours, theirs) in providers().into_iter().flat_map(|a| providers().into_iter().map(move |b| (a, b))) {
            let mut server = Sandbox::new(1, profile.clone());
            server.config.provider = theirs;
            let mut client = server.client(2);
            client.provider = ours;
            let (established, accepted) = run(&client, &server).unwrap();
            assert_eq!(accepted.client, client.key.public());
            assert_eq!(established.server, VerifiedServer { key: server.config.key.public(), validity: VALIDITY });
            client.resume = Some(established.server);
            talk(established, accepted, Pattern::Xx);

            let (established, accepted) = run(&client, &server).unwrap();
            assert_eq!(accepted.client, client.key.public());
            assert_eq!(established.server, client.resume.unwrap());
            talk(established, accepted, Pattern::Ik);

            // The server has another key than the one the client resumes with.
            let moved = server.with_new_key(3);
            let (established, accepted) = run(&client, &moved).unwrap();
            assert_eq!(established.server.key, moved.config.key.public());
            assert_eq!(accepted.client, client.key.public());
            talk(established, accepted, Pattern::XxFallback);
        }
    }
}

/// Whoever records a 0-RTT login and all that follows can repeat the login, at any node that has the server's key, and
/// nothing after it: no message of the recording opens, so the login never comes to count.
#[test]
fn a_replayed_login_never_counts() {
    for profile in [Profile::WhatsApp, Profile::Plain { prologue: Bytes::new() }] {
        let server = Sandbox::new(1, profile);
        let resume = Some(VerifiedServer { key: server.config.key.public(), validity: VALIDITY });
        let client = InitiatorConfig { resume, ..server.client(2) };
        let mut recorded = BytesMut::new();
        let (established, accepted) = run_with(&client, &server, |n, body| {
            if n == 0 {
                recorded = body.clone();
            }
        })
        .unwrap();
        assert!(accepted.login.is_replayable() && !accepted.transport.is_live());
        let (mut sealer, _) = established.transport.split();
        let (_, mut opener) = accepted.transport.split();
        let messages = [&b"active"[..], b"", b"a message"].map(|text| {
            let mut sealed = BytesMut::from(text);
            sealer.seal(&mut sealed).unwrap();
            sealed
        });
        for message in &messages {
            opener.open(&mut message.clone()).unwrap();
            assert!(opener.is_live());
        }

        let another_node = server.config.clone();
        for (seed, message) in (99..).zip(&messages) {
            let step = Responder::new(&another_node).read(&recorded, &mut rng(seed), &mut BytesMut::new()).unwrap();
            let Step::Done(mut replayed) = step else { panic!("not an IK") };
            assert!(replayed.login.is_replayable() && replayed.client == client.key.public());
            assert_eq!(replayed.login.payload(), LOGIN);
            for message in [message, &messages[0]] {
                assert!(replayed.transport.open(&mut message.clone()).is_err());
                assert!(!replayed.transport.is_live());
            }
        }
    }
}

/// A recorded 0-RTT hello at a server with another key is answered by XXfallback, which the recording cannot finish; the
/// client that is really there finishes it, and its login is fresh.
#[test]
fn a_replayed_login_after_a_key_change() {
    for profile in [Profile::WhatsApp, Profile::Plain { prologue: Bytes::new() }] {
        let server = Sandbox::new(1, profile);
        let resume = Some(VerifiedServer { key: server.config.key.public(), validity: VALIDITY });
        let client = InitiatorConfig { resume, ..server.client(2) };
        let moved = server.with_new_key(3);
        let mut recorded = Vec::new();
        let (established, accepted) = run_with(&client, &moved, |_, body| recorded.push(body.clone())).unwrap();
        assert_eq!((accepted.pattern, accepted.login.is_replayable()), (Pattern::XxFallback, false));
        assert_eq!(accepted.login.payload(), LOGIN);
        // What it proved is what the next connection resumes with.
        let next = InitiatorConfig { resume: Some(established.server), ..client };
        assert_eq!(run(&next, &moved).unwrap().1.pattern, Pattern::Ik);

        let step = Responder::new(&moved.config).read(&recorded[0], &mut rng(99), &mut BytesMut::new()).unwrap();
        let Step::Continue(wait) = step else { panic!("not a fallback") };
        assert!(matches!(wait.read(&recorded[2]), Err(Error::Handshake)));
    }
}

/// The next connection after a resumption that failed uses XX: it is the caller who drops what it resumed with.
#[test]
fn after_a_failed_resumption() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let resume = Some(VerifiedServer { key: server.config.key.public(), validity: VALIDITY });
    let mut client = InitiatorConfig { resume, ..server.client(2) };
    let failed = run_with(&client, &server, |n, body| {
        if n == 1 {
            *body.last_mut().unwrap() ^= 1;
        }
    });
    assert!(matches!(failed, Err(Error::Handshake)));
    client.resume = None;
    assert_eq!(run(&client, &server).unwrap().0.pattern, Pattern::Xx);
}

#[test]
fn an_expired_server_key_is_not_resumed_with() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let mut client = server.client(2);
    let validity = Validity { not_before: 0, not_after: NOW.as_secs() - 1 };
    client.resume = Some(VerifiedServer { key: server.config.key.public(), validity });
    assert_eq!(run(&client, &server).unwrap().0.pattern, Pattern::Xx);
}

#[test]
fn a_pinned_server_key() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let mut client = server.client(2);
    client.trust = ServerTrust::Key(server.config.key.public());
    run(&client, &server).unwrap();
    client.trust = ServerTrust::Key(server.root.public());
    assert!(matches!(run(&client, &server), Err(Error::UnexpectedServerKey)));
}

/// The wire form of each message, by the fields present.
#[test]
fn the_shape_of_messages() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let mut client = server.client(2);
    let mut out = BytesMut::new();
    client.edge_routing = Some(Bytes::from_static(b"fra"));
    Initiator::start(&client, Bytes::new(), NOW, &mut rng(1), &mut out).unwrap();
    assert_eq!(out[..18], *b"ED\x00\x01\x00\x00\x03fraWA\x06\x03\x00\x00\x24\x12");

    let shape = |resume, server: &Sandbox| {
        let mut shapes = Vec::new();
        let client = InitiatorConfig { resume, ..client.clone() };
        run_with(&client, server, |_, body| {
            let message = HandshakeMessage::decode(&body[..]).unwrap();
            let len = |b: &Option<Bytes>| b.as_ref().map_or(0, Bytes::len);
            if let Some(m) = &message.client_hello {
                shapes.push(("hello", len(&m.ephemeral), len(&m.r#static), len(&m.payload)));
            }
            if let Some(m) = &message.server_hello {
                shapes.push(("server", len(&m.ephemeral), len(&m.r#static), len(&m.payload)));
            }
            if let Some(m) = &message.client_finish {
                shapes.push(("finish", 0, len(&m.r#static), len(&m.payload)));
            }
        })
        .unwrap();
        shapes
    };
    let (chain, login) = (server.config.chain.len() + 16, LOGIN.len() + 16);
    assert_eq!(shape(None, &server), [("hello", 32, 0, 0), ("server", 32, 48, chain), ("finish", 0, 48, login)]);
    let resume = Some(VerifiedServer { key: server.config.key.public(), validity: VALIDITY });
    assert_eq!(shape(resume, &server), [("hello", 32, 48, login), ("server", 32, 0, chain)]);
    let moved = server.with_new_key(8);
    let chain = moved.config.chain.len() + 16;
    assert_eq!(shape(resume, &moved), [("hello", 32, 48, login), ("server", 32, 48, chain), ("finish", 0, 48, login)]);
}

/// Every bit of every handshake message counts: a flipped one never gives two ends that talk to each other.
#[test]
fn a_flipped_bit_never_connects() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let client = server.client(2);
    let resuming = InitiatorConfig {
        resume: Some(VerifiedServer { key: server.config.key.public(), validity: VALIDITY }),
        ..client.clone()
    };
    for (client, messages) in [(client, 0..3), (resuming, 0..2)] {
        for message in messages {
            let mut len = 0;
            run_with(&client, &server, |n, body| len = if n == message { body.len() } else { len }).unwrap();
            for byte in 0..len {
                let bit = 1 << (byte % 8);
                let result = run_with(&client, &server, |n, body| {
                    if n == message {
                        body[byte] ^= bit;
                    }
                });
                // A field number that turns unknown can make IK's message one of XX, which then stands on its own.
                if let Ok((mut established, mut accepted)) = result {
                    assert!(message == 0 && established.pattern != Pattern::Ik, "message {message}, byte {byte}");
                    let mut buf = BytesMut::from(&b"x"[..]);
                    established.transport.seal(&mut buf).unwrap();
                    accepted.transport.open(&mut buf).unwrap();
                }
            }
        }
    }
}

#[test]
fn malformed_handshakes() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let read = |frame: &[u8]| Responder::new(&server.config).read(frame, &mut rng(1), &mut BytesMut::new());
    let hello = |e: usize, key: Option<usize>, payload: Option<usize>| {
        let bytes = |n| Bytes::from(vec![9; n]);
        let hello = comity_proto::handshake::ClientHello {
            ephemeral: Some(bytes(e)),
            r#static: key.map(bytes),
            payload: payload.map(bytes),
        };
        HandshakeMessage { client_hello: Some(hello), ..HandshakeMessage::default() }.encode_to_vec()
    };
    for bad in [
        vec![],
        b"\x12".to_vec(),
        vec![0xff; 40],
        hello(31, None, None),
        hello(33, None, None),
        hello(0, None, None),
        hello(32, Some(32), Some(16)),
        hello(32, Some(48), None),
        hello(32, Some(48), Some(15)),
        hello(32, None, Some(16)),
    ] {
        assert!(matches!(read(&bad), Err(Error::Malformed(_))), "{bad:?}");
    }
    assert!(matches!(read(&vec![0; MAX_HANDSHAKE_FRAME + 1]), Err(Error::FrameTooLong { .. })));
    assert!(
        matches!(read(&hello(32, Some(48), Some(100))), Ok(Step::Continue(wait)) if wait.pattern() == Pattern::XxFallback)
    );

    let too_long = Bytes::from(vec![0; MAX_HANDSHAKE_PAYLOAD + 1]);
    let mut out = BytesMut::new();
    let client = server.client(2);
    let started = Initiator::start(&client, too_long.clone(), NOW, &mut rng(1), &mut out);
    assert!(matches!(started, Err(Error::PlaintextTooLong { .. })) && out.is_empty());
    let longest = too_long.slice(1..);
    let resume = Some(VerifiedServer { key: server.config.key.public(), validity: VALIDITY });
    for client in [client.clone(), InitiatorConfig { resume, ..client }] {
        let initiator = Initiator::start(&client, longest.clone(), NOW, &mut rng(1), &mut out).unwrap();
        let body = FrameDecoder::with_prologue().decode(&mut out).unwrap().unwrap();
        let mut down = BytesMut::new();
        let step = Responder::new(&server.config).read(&body, &mut rng(2), &mut down).unwrap();
        initiator.read(&down[3..], NOW, &mut out).unwrap();
        if let Step::Continue(wait) = step {
            wait.read(&FrameDecoder::new().decode(&mut out).unwrap().unwrap()).unwrap();
        }
    }
}

#[test]
fn frames_however_they_are_cut() {
    let mut stream = BytesMut::new();
    frame::write_introduction(Some(b"region"), &mut stream).unwrap();
    let bodies: Vec<Vec<u8>> = [0, 1, 255, 256, 5000, MAX_HANDSHAKE_FRAME].map(|n| vec![3; n]).to_vec();
    for body in &bodies {
        frame::write_frame(body, &mut stream).unwrap();
    }
    for piece in [1, 2, 3, 7, 1000, stream.len()] {
        let mut decoder = FrameDecoder::with_prologue();
        let (mut buf, mut got) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(piece) {
            buf.extend_from_slice(piece);
            while let Some(body) = decoder.decode(&mut buf).unwrap() {
                got.push(body.to_vec());
            }
            assert!(decoder.missing(&buf) > 0);
        }
        assert_eq!(got, bodies);
        assert_eq!(decoder.edge_routing().unwrap(), "region");
    }
    assert!(frame::write_frame(&vec![0; MAX_FRAME + 1], &mut stream).is_err());
    assert!(frame::write_introduction(Some(&[0; MAX_EDGE_ROUTING + 1]), &mut stream).is_err());
}

#[test]
fn bad_beginnings_are_refused_at_the_first_wrong_byte() {
    let decode = |bytes: &[u8]| FrameDecoder::with_prologue().decode(&mut BytesMut::from(bytes));
    for bad in [&b"G"[..], b"WB", b"WA\x06\x02", b"EC", b"ED\x00\x01\x00\x00\x01xED", b"\x16\x03\x01"] {
        assert!(matches!(decode(bad), Err(Error::Prologue)), "{bad:?}");
    }
    for short in [&b""[..], b"W", b"WA\x06", b"E", b"ED\x00\x01", b"ED\x00\x01\x00\x02", b"ED\x00\x01\x00\x02\x00x"] {
        assert!(matches!(decode(short), Ok(None)), "{short:?}");
    }
    assert!(matches!(decode(b"ED\x00\x01\x00\x02\x01"), Err(Error::EdgeRoutingTooLong { len: 513 })));
    assert!(matches!(decode(b"WA\x06\x03\x00\x18\x01"), Err(Error::FrameTooLong { len: 6145, .. })));
}

#[test]
fn transport_frames() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    let (client, accepted) = run(&server.client(2), &server).unwrap();
    let (mut sealer, _) = client.transport.split();
    let (_, mut opener) = accepted.transport.split();
    let mut out = BytesMut::from(&b"before"[..]);
    sealer.seal_frame(b"one", &mut out).unwrap();
    sealer.seal_frame_with(&mut out, |out| out.extend_from_slice(b"two")).unwrap();
    // What fails changes nothing: the next message has the next counter.
    assert!(matches!(sealer.seal_frame_with(&mut out, BytesMut::clear), Err(Error::Misuse(_))));
    assert!(out.is_empty());
    let mut out = BytesMut::new();
    assert!(sealer.seal_frame_with(&mut out, |out| out.resize(MAX_PLAINTEXT + 4, 0)).is_err());
    assert!(sealer.seal_frame(&vec![0; MAX_PLAINTEXT + 1], &mut out).is_err());
    assert!(sealer.seal(&mut BytesMut::zeroed(MAX_PLAINTEXT + 1)).is_err());
    assert!(out.is_empty());
    // "one" and "two" went with the cleared buffer: the message after them does not open, and that is the end.
    sealer.seal_frame(b"three", &mut out).unwrap();
    let mut decoder = FrameDecoder::new();
    let mut body = decoder.decode(&mut out).unwrap().unwrap();
    assert!(matches!(opener.open(&mut body), Err(Error::Forged)));
    assert!(body.is_empty());
    let mut body = BytesMut::zeroed(16);
    assert!(matches!(opener.open(&mut body), Err(Error::Closed)));
    assert!(!opener.is_live());
}

#[test]
fn the_largest_frame() {
    let server = Sandbox::new(1, Profile::WhatsApp);
    for provider in providers() {
        let client = InitiatorConfig { provider, ..server.client(2) };
        let (mut client, mut accepted) = run(&client, &server).unwrap();
        let mut buf = BytesMut::zeroed(MAX_PLAINTEXT);
        client.transport.seal(&mut buf).unwrap();
        assert_eq!(buf.len(), MAX_FRAME);
        accepted.transport.open(&mut buf).unwrap();
        assert_eq!(buf, vec![0; MAX_PLAINTEXT]);
    }
}

#[test]
fn certificates() {
    let rng = &mut rng(11);
    let [root, middle, server] = [(); 3].map(|()| StaticKey::generate(rng));
    let trust = TrustRoot(root.public());
    let span = |not_before, not_after| Validity { not_before, not_after };
    let at = Timestamp::from_secs;
    let issuer = Issuer::new(&root, middle.clone(), 7, span(100, 300), rng);
    let chain = issuer.chain(server.public(), 8, span(200, 400), rng);
    let check = |chain: &[u8], now| cert::verify(chain, &trust, &server.public(), at(now));

    assert_eq!(check(&chain, 200).unwrap(), VerifiedServer { key: server.public(), validity: span(200, 300) });
    assert!(check(&chain, 300).is_ok());
    let (leaf, intermediate) = (Link::Leaf, Link::Intermediate);
    assert_eq!(check(&chain, 199).unwrap_err(), CertificateError::NotYetValid { link: leaf, not_before: 200 });
    assert_eq!(check(&chain, 99).unwrap_err(), CertificateError::NotYetValid { link: intermediate, not_before: 100 });
    assert_eq!(check(&chain, 301).unwrap_err(), CertificateError::Expired { link: intermediate, not_after: 300 });
    let short = issuer.chain(server.public(), 8, span(200, 250), rng);
    assert_eq!(check(&short, 251).unwrap_err(), CertificateError::Expired { link: leaf, not_after: 250 });

    let other = issuer.chain(middle.public(), 8, span(200, 400), rng);
    assert_eq!(check(&other, 250).unwrap_err(), CertificateError::KeyMismatch);
    let whatsapp = cert::verify(&chain, &TrustRoot::WHATSAPP, &server.public(), at(250));
    assert_eq!(whatsapp.unwrap_err(), CertificateError::Signature { link: intermediate });
    assert_eq!(check(b"\x0a", 250).unwrap_err(), CertificateError::Chain);
    assert_eq!(check(b"", 250).unwrap_err(), CertificateError::Chain);

    // A leaf of another intermediate with the same key, a leaf without its intermediate, a leaf signed by the root.
    let twin = Issuer::new(&root, middle, 9, span(100, 300), rng);
    let mut mixed = CertChain::decode(chain.clone()).unwrap();
    mixed.leaf = CertChain::decode(twin.chain(server.public(), 8, span(100, 300), rng)).unwrap().leaf;
    let wrong = CertificateError::Issuer { link: leaf, expected: 7, found: 9 };
    assert_eq!(check(&mixed.encode_to_vec(), 250).unwrap_err(), wrong);
    mixed.intermediate = None;
    assert_eq!(check(&mixed.encode_to_vec(), 250).unwrap_err(), CertificateError::Chain);
    let direct = Issuer::new(&root, root.clone(), 0, span(100, 300), rng);
    let mut mixed = CertChain::decode(chain.clone()).unwrap();
    mixed.leaf = CertChain::decode(direct.chain(server.public(), 8, span(100, 300), rng)).unwrap().leaf;
    assert_eq!(check(&mixed.encode_to_vec(), 250).unwrap_err(), CertificateError::Signature { link: leaf });
    // A chain whose intermediate names another issuer than the root.
    let deep = CertChain::decode(issuer.chain(server.public(), 8, span(100, 300), rng)).unwrap();
    let swapped = CertChain { intermediate: deep.leaf.clone(), leaf: deep.leaf };
    let under = cert::verify(&swapped.encode_to_vec(), &TrustRoot(middle_key(&chain)), &server.public(), at(250));
    assert_eq!(under.unwrap_err(), CertificateError::Issuer { link: intermediate, expected: 0, found: 7 });

    // Every bit of it counts.
    for byte in 0..chain.len() {
        let mut bad = chain.to_vec();
        bad[byte] ^= 1 << (byte % 8);
        assert!(check(&bad, 250).is_err(), "byte {byte}");
    }
    assert_eq!(CertificateError::KeyMismatch.kind(), ErrorKind::Untrusted);
    assert_eq!(CertificateError::Chain.kind(), ErrorKind::PeerMisbehaved);
}

fn middle_key(chain: &[u8]) -> PublicKey {
    let intermediate = CertChain::decode(chain).unwrap().intermediate.unwrap();
    let details = Details::decode(intermediate.details.unwrap()).unwrap();
    PublicKey::try_from(&details.key.unwrap()[..]).unwrap()
}

#[test]
fn keys() {
    let key = StaticKey::from_bytes([5; 32]);
    assert_eq!(*key.to_bytes().expose(), [5; 32]);
    assert!(!format!("{key:?}").contains("0505"));
    let text = key.public().to_string();
    assert_eq!(text.parse::<PublicKey>().unwrap(), key.public());
    let root = "142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b";
    assert_eq!(TrustRoot::WHATSAPP.0.to_string(), root);
    for bad in ["", &text[1..], &format!("{text}0"), &format!("g{}", &text[1..]), &format!("+{}", &text[1..])] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
    }
}
