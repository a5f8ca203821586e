//! The handshake in the plain profile against snow with the resolver it comes with, and none of ours.

use bytes::{Bytes, BytesMut};
use comity_core::Timestamp;
use comity_noise::frame::FrameDecoder;
use comity_noise::{
    Error, Initiator, InitiatorConfig, Pattern, Profile, Provider, Responder, ResponderConfig, ServerTrust, StaticKey,
    Step, Transport, Validity, VerifiedServer,
};
use core::convert::Infallible;
use rand_core::{TryCryptoRng, TryRng};
use snow::{Builder, HandshakeState, TransportState};

const NOW: Timestamp = Timestamp::from_secs(1);

/// "Randomness" that is the same bytes again and again.
struct Fixed([u8; 32]);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

/// Both sides send the same bytes as snow's do in their place, and take what snow takes. The first bytes choose pattern,
/// provider, keys, and one change to one message; the rest is prologue and payload.
pub fn run(input: &[u8]) {
    let Some(([choice, seed, message, at, by], rest)) = input.split_first_chunk() else { return };
    let (prologue, payload) = rest.split_at((usize::from(*seed) % 48).min(rest.len()));
    let payload = &payload[..payload.len().min(4000)];
    let pattern = if choice & 1 == 0 { Pattern::Xx } else { Pattern::Ik };
    let provider = if choice & 2 == 0 { Provider::RustCrypto } else { Provider::AwsLc };
    let chain = if choice & 4 == 0 { &b""[..] } else { payload };
    let keys: [[u8; 32]; 4] = core::array::from_fn(|n| [seed.wrapping_mul(4).wrapping_add(n as u8); 32]);
    let [client_key, server_key, client_e, server_e] = keys;

    let profile = Profile::Plain { prologue: Bytes::copy_from_slice(prologue) };
    let key = StaticKey::from_bytes(server_key);
    let known = VerifiedServer { key: key.public(), validity: Validity::ALWAYS };
    let client = InitiatorConfig {
        profile: profile.clone(),
        provider,
        resume: (pattern == Pattern::Ik).then_some(known),
        ..InitiatorConfig::new(StaticKey::from_bytes(client_key), ServerTrust::Key(known.key))
    };
    let server = ResponderConfig { profile, provider, ..ResponderConfig::new(key, Bytes::copy_from_slice(chain)) };
    let mut theirs = [(client_key, client_e, true), (server_key, server_e, false)].map(|(key, e, initiator)| {
        let params = pattern.name().parse().expect("a name that snow knows");
        let mut builder = Builder::new(params).prologue(prologue).expect("the first");
        builder = builder.local_private_key(&key).expect("the first").fixed_ephemeral_key_for_testing_only(&e);
        if initiator && pattern == Pattern::Ik {
            builder = builder.remote_public_key(known.key.as_bytes()).expect("the first");
        }
        if initiator { builder.build_initiator() } else { builder.build_responder() }.expect("all there")
    });
    let [their_client, their_server] = &mut theirs;

    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    let login = Bytes::copy_from_slice(payload);
    let waiting = Initiator::start(&client, login, NOW, &mut Fixed(client_e), &mut up).expect("a good configuration");
    let mut hello = body(&mut up);
    assert_eq!(hello, write(their_client, if pattern == Pattern::Ik { payload } else { b"" }));
    change(&mut hello, *message == 0, *at, *by);
    let read = read_by(their_server, &hello);
    let step = match (Responder::new(&server).read(&hello, &mut Fixed(server_e), &mut down), read) {
        // A changed IK message is answered by a fallback, which snow leaves to its caller.
        (Ok(Step::Continue(_)), Err(_)) => return assert_eq!(pattern, Pattern::Ik),
        (Err(Error::LowOrderPoint), _) => return,
        // Nor does snow know that the first message of XX has no payload.
        (Err(Error::Malformed(_)), Ok(payload)) if pattern == Pattern::Xx && !payload.is_empty() => return,
        (Err(e), Ok(_)) => panic!("snow takes it: {e}"),
        (Err(_), Err(_)) => return,
        (Ok(_), Err(e)) => panic!("snow refuses it: {e}"),
        (Ok(step), Ok(_)) => step,
    };
    let mut hello = body(&mut down);
    assert_eq!(hello, write(their_server, chain));
    change(&mut hello, *message == 1, *at, *by);
    let (established, read) = (waiting.read(&hello, NOW, &mut up), read_by(their_client, &hello));
    let established = match (established, read) {
        (Err(Error::LowOrderPoint), _) | (Err(_), Err(_)) => return,
        (ours, theirs) => {
            assert_eq!(theirs.expect("ours took it"), chain);
            ours.expect("snow took it")
        }
    };
    let accepted = match step {
        Step::Done(accepted) => accepted,
        Step::Continue(wait) => {
            let mut finish = body(&mut up);
            assert_eq!(finish, write(their_client, payload));
            change(&mut finish, *message == 2, *at, *by);
            match (wait.read(&finish), read_by(their_server, &finish)) {
                (Err(_), Err(_)) => return,
                (ours, theirs) => {
                    assert_eq!(theirs.expect("ours took it"), payload);
                    ours.expect("snow took it")
                }
            }
        }
    };
    assert_eq!(&accepted.login.payload()[..], payload);
    assert_eq!(their_client.get_handshake_hash(), established.handshake_hash);
    assert_eq!(their_server.get_handshake_hash(), accepted.handshake_hash);
    let [mut their_client, mut their_server] = theirs.map(|state| state.into_transport_mode().expect("finished"));
    let (mut here, mut there) = (established.transport, accepted.transport);
    for _ in 0..2 {
        same(&mut here, &mut their_client, &mut there, &mut their_server, payload);
        same(&mut there, &mut their_server, &mut here, &mut their_client, payload);
    }
}

fn same(
    from: &mut Transport,
    their_from: &mut TransportState,
    to: &mut Transport,
    their_to: &mut TransportState,
    text: &[u8],
) {
    let mut message = BytesMut::from(text);
    from.seal(&mut message).expect("small");
    let mut theirs = vec![0; text.len() + 16];
    their_from.write_message(text, &mut theirs).expect("small");
    assert_eq!(message, theirs);
    let len = their_to.read_message(&message, &mut theirs).expect("good");
    to.open(&mut message).expect("good");
    assert_eq!(message, theirs[..len]);
}

fn body(stream: &mut BytesMut) -> Vec<u8> {
    FrameDecoder::new().decode(stream).expect("ours").expect("whole").to_vec()
}

fn change(body: &mut Vec<u8>, here: bool, at: u8, by: u8) {
    let at = usize::from(at) * 7 % body.len();
    match by {
        _ if !here => {}
        255 => body.truncate(at),
        254 => body.push(at as u8),
        _ => body[at] ^= by,
    }
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; payload.len() + 200];
    let len = state.write_message(payload, &mut out).expect("its turn");
    out.truncate(len);
    out
}

fn read_by(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, snow::Error> {
    let mut out = vec![0; message.len()];
    let len = state.read_message(message, &mut out)?;
    out.truncate(len);
    Ok(out)
}
