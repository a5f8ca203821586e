//! Bodies for comity-noise.

use super::alloc::cost;
use arbitrary::{Arbitrary as _, Unstructured};
use bytes::{Bytes, BytesMut};
use comity_core::{ErrorKind, Timestamp};
use comity_noise::cert::{self, Issuer};
use comity_noise::frame::{FrameDecoder, write_frame, write_introduction};
use comity_noise::limits::{MAX_EDGE_ROUTING, MAX_FRAME, MAX_HANDSHAKE_FRAME, TAG};
use comity_noise::{
    Accepted, Error, Established, Initiator, InitiatorConfig, Pattern, Profile, Provider, Responder, ResponderConfig,
    ServerTrust, StaticKey, Step, Transport, TrustRoot, Validity, VerifiedServer,
};
use comity_proto::Codec as _;
use comity_proto::handshake::{CertChain, Details, HandshakeMessage};
use core::convert::Infallible;
use rand_core::{TryCryptoRng, TryRng};
use std::sync::LazyLock;

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LOGIN: &[u8] = b"an encoded ClientPayload";

/// Reproducible "randomness".
pub(super) struct Draw(pub(super) u64);

impl TryRng for Draw {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|n| n as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Ok(n ^ (n >> 27))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.try_next_u64()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Draw {}

/// However a stream is cut it gives the same frames and the same fault, none of them above the limit, and holds nothing
/// for them; what is written anew of them is the stream. The first byte says what it begins with and how many sizes of
/// pieces follow.
pub fn frame_decode(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let (sizes, stream) = rest.split_at(usize::from(first & 15).min(rest.len()));
    let prologue = first & 0x80 != 0;
    let limit = [MAX_HANDSHAKE_FRAME, 20, 1 << 16, MAX_FRAME][usize::from(first >> 4 & 3)];
    let new = || {
        let mut decoder = if prologue { FrameDecoder::with_prologue() } else { FrameDecoder::new() };
        decoder.set_limit(limit);
        decoder
    };
    let (whole, rest, routing) = frames(new(), stream, [stream.len()].into_iter());
    assert_eq!(frames(new(), stream, core::iter::repeat(1)), (whole.clone(), rest, routing.clone()));
    let pieces = sizes.iter().map(|size| usize::from(*size)).chain([stream.len()]);
    assert_eq!(frames(new(), stream, pieces), (whole.clone(), rest, routing.clone()));

    let mut again = BytesMut::new();
    let taken = stream.len() - rest;
    if prologue && taken >= 4 {
        assert!(routing.as_ref().is_none_or(|value| value.len() <= MAX_EDGE_ROUTING));
        write_introduction(routing.as_deref(), &mut again).expect("within the limit");
    }
    for frame in whole.iter().flatten() {
        assert!(frame.len() <= limit);
        write_frame(frame, &mut again).expect("within the limit");
    }
    // A preamble whose prologue has not come yet is taken, but not an introduction.
    assert!(again.starts_with(&stream[..taken]) && (taken == 0 || again.len() - taken <= 4));
}

type Frames = (Vec<Result<Bytes, String>>, usize, Option<Bytes>);

/// The frames, the fault if there is one, how many bytes were not taken, and the edge-routing value.
fn frames(mut decoder: FrameDecoder, stream: &[u8], sizes: impl Iterator<Item = usize>) -> Frames {
    let (mut all, mut buf, mut rest, mut due) = (Vec::new(), BytesMut::new(), stream, 0);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        buf.extend_from_slice(piece);
        loop {
            let (frame, _, peak) = cost(|| decoder.decode(&mut buf));
            assert!(peak <= MAX_EDGE_ROUTING + 256, "{peak} bytes");
            match frame {
                Ok(Some(frame)) => {
                    assert!(stream.len() - rest.len() >= due, "a frame came before it was due");
                    all.push(Ok(frame.freeze()));
                }
                Ok(None) => break,
                Err(e) => {
                    assert!(matches!(e.kind(), ErrorKind::LimitExceeded | ErrorKind::PeerIncompatible));
                    all.push(Err(e.to_string()));
                    return (all, buf.len() + rest.len(), decoder.edge_routing().cloned());
                }
            }
        }
        due = stream.len() - rest.len() + decoder.missing(&buf);
        if rest.is_empty() {
            break;
        }
    }
    (all, buf.len(), decoder.edge_routing().cloned())
}

/// A server, the same after a change of its key, and their client.
pub(super) struct Setup {
    pub(super) server: ResponderConfig,
    moved: ResponderConfig,
    pub(super) client: InitiatorConfig,
    pub(super) resume: VerifiedServer,
}

pub(super) static SETUPS: LazyLock<[Setup; 2]> = LazyLock::new(|| {
    [Profile::WhatsApp, Profile::Plain { prologue: Bytes::from_static(b"prologue") }].map(|profile| {
        let rng = &mut Draw(1);
        let [root, middle, own, other, client] = [(); 5].map(|()| StaticKey::generate(rng));
        let issuer = Issuer::new(&root, middle, 5, Validity::ALWAYS, rng);
        let [server, moved] = [own, other].map(|key| {
            let chain = issuer.chain(key.public(), 9, Validity::ALWAYS, rng);
            ResponderConfig { profile: profile.clone(), ..ResponderConfig::new(key, chain) }
        });
        let client = InitiatorConfig::new(client, ServerTrust::Chain(TrustRoot(root.public())));
        let resume = VerifiedServer { key: server.key.public(), validity: Validity::ALWAYS };
        Setup { server, moved, client: InitiatorConfig { profile, ..client }, resume }
    })
});

/// Nothing that was changed on its way to a server is accepted; all that was not is.
pub fn handshake_responder(input: &[u8]) {
    handshake(&mut Unstructured::new(input), Provider::RustCrypto, [true, false, true]);
}

/// Nothing that was changed on its way to a client is accepted; all that was not is.
pub fn handshake_initiator(input: &[u8]) {
    handshake(&mut Unstructured::new(input), Provider::RustCrypto, [false, true, false]);
}

/// As the two above, without the ciphers in the way; where both ends saw the same, they agree.
pub fn handshake_null(input: &[u8]) {
    #[cfg(fuzzing)]
    let provider = Provider::Null;
    #[cfg(not(fuzzing))]
    let provider = Provider::RustCrypto;
    let mut u = Unstructured::new(input);
    let Ok(changed) = u.arbitrary() else { return };
    handshake(&mut u, provider, changed);
}

fn handshake(u: &mut Unstructured<'_>, provider: Provider, changes: [bool; 3]) {
    let real = provider == Provider::RustCrypto;
    let Ok(choice) = u8::arbitrary(u) else { return };
    let setup = &SETUPS[usize::from(choice & 1)];
    let pattern = [Pattern::Xx, Pattern::Ik, Pattern::XxFallback][usize::from(choice >> 1) % 3];
    let server = if pattern == Pattern::XxFallback { &setup.moved } else { &setup.server };
    let server = ResponderConfig { provider, ..server.clone() };
    let resume = (pattern != Pattern::Xx).then_some(setup.resume);
    let client = InitiatorConfig { provider, resume, ..setup.client.clone() };
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    let mut from_client = match client.profile {
        Profile::WhatsApp => FrameDecoder::with_prologue(),
        _ => FrameDecoder::new(),
    };
    // Without ciphers a server does not see that an IK message was for another.
    let mut changed = !real && pattern == Pattern::XxFallback;
    let mut change = |at: usize, body: BytesMut| {
        let mut after = body.to_vec();
        if changes[at] {
            damage(u, &mut after);
        }
        changed |= after != body;
        (after, changed)
    };

    let payload = Bytes::from_static(LOGIN);
    let waiting = Initiator::start(&client, payload, NOW, &mut Draw(2), &mut up).expect("a good configuration");
    let (hello, changed) = change(0, from_client.decode(&mut up).expect("ours").expect("whole"));
    let (step, _, peak) = cost(|| Responder::new(&server).read(&hello, &mut Draw(3), &mut down));
    assert!(peak <= 4 * hello.len() + 16 * 1024, "{peak} bytes for {}", hello.len());
    let step = match step {
        Ok(step) => step,
        Err(e) => return refused(&e, changed, &down),
    };
    let (hello, changed) = change(1, FrameDecoder::new().decode(&mut down).expect("ours").expect("whole"));
    let established = match waiting.read(&hello, NOW, &mut up) {
        Ok(established) => established,
        Err(e) => return refused(&e, changed, &up),
    };
    let (accepted, changed) = match step {
        Step::Done(accepted) => (accepted, changed),
        // A client that was made to believe in IK sends nothing more.
        Step::Continue(_) if up.is_empty() => return assert!(changed && !real),
        Step::Continue(wait) => {
            let (finish, changed) = change(2, from_client.decode(&mut up).expect("ours").expect("whole"));
            match wait.read(&finish) {
                Ok(accepted) => (accepted, changed),
                Err(e) => return refused(&e, changed, &BytesMut::new()),
            }
        }
    };
    assert!(changed || established.pattern == pattern);
    if real || !changed || established.handshake_hash == accepted.handshake_hash {
        agree(&client, &server, established, accepted);
    }
}

fn refused(e: &Error, changed: bool, out: &BytesMut) {
    assert!(changed && out.is_empty(), "{e}");
    assert!(!matches!(e.kind(), ErrorKind::Bug | ErrorKind::ApiMisuse), "{e}");
}

fn agree(client: &InitiatorConfig, server: &ResponderConfig, mut here: Established, mut there: Accepted) {
    assert_eq!((here.pattern, here.handshake_hash), (there.pattern, there.handshake_hash));
    assert_eq!((here.server.key, there.client), (server.key.public(), client.key.public()));
    assert_eq!((&there.login.payload()[..], there.login.is_replayable()), (LOGIN, there.pattern == Pattern::Ik));
    for text in [&b"one"[..], b"two"] {
        let mut message = BytesMut::from(text);
        here.transport.seal(&mut message).expect("small");
        assert_eq!(there.transport.is_live(), text == b"two");
        there.transport.open(&mut message).expect("both have the same keys");
        there.transport.seal(&mut message).expect("small");
        here.transport.open(&mut message).expect("both have the same keys");
        assert_eq!(message, text);
    }
}

/// Changes a handshake message: its bytes, or in the wire's form its fields.
fn damage(u: &mut Unstructured<'_>, body: &mut Vec<u8>) {
    for _ in 0..4 {
        let at = usize::from(u16::arbitrary(u).unwrap_or(0)) % (body.len() + 1);
        match u.int_in_range(0..=5) {
            Ok(1) => body.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= u8::arbitrary(u).unwrap_or(0)),
            Ok(2) => body.truncate(at),
            Ok(3) => drop(body.splice(at..at, <Vec<u8>>::arbitrary(u).unwrap_or_default())),
            Ok(4) => *body = <Vec<u8>>::arbitrary(u).unwrap_or_default(),
            Ok(5) => {
                let Ok(mut message) = HandshakeMessage::decode(&body[..]) else { continue };
                let (hello, server, finish) =
                    (&mut message.client_hello, &mut message.server_hello, &mut message.client_finish);
                let mut fields = Vec::new();
                hello.iter_mut().for_each(|m| fields.extend([&mut m.ephemeral, &mut m.r#static, &mut m.payload]));
                server.iter_mut().for_each(|m| fields.extend([&mut m.ephemeral, &mut m.r#static, &mut m.payload]));
                finish.iter_mut().for_each(|m| fields.extend([&mut m.r#static, &mut m.payload]));
                let Some(field) = fields.into_iter().cycle_to(at) else { continue };
                *field = match u.int_in_range(0..=3) {
                    Ok(0) => None,
                    Ok(1) => Some(Bytes::from(vec![u8::arbitrary(u).unwrap_or(0); 32])),
                    Ok(2) => Some(Bytes::from(vec![0; 48])),
                    _ => <Vec<u8>>::arbitrary(u).ok().map(Bytes::from),
                };
                *body = message.encode_to_vec();
            }
            _ => return,
        }
    }
}

trait CycleTo: ExactSizeIterator + Sized {
    /// The item at `at`, counted round.
    fn cycle_to(mut self, at: usize) -> Option<Self::Item> {
        let len = self.len();
        self.nth(at.checked_rem(len)?)
    }
}

impl<I: ExactSizeIterator> CycleTo for I {}

/// Two ends with every provider, both directions, against a model: what is sealed opens once, in order, and nothing after
/// the first that is not what comes next. All providers give the same bytes.
pub fn transport_ops(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let mut pairs = [Provider::RustCrypto, Provider::AwsLc].map(pair);
    let mut models = [Model::default(), Model::default()];
    while !u.is_empty() {
        let op = u8::arbitrary(&mut u).unwrap_or(0);
        let (from, to) = if op & 1 == 0 { (0, 1) } else { (1, 0) };
        let model = &mut models[from];
        let n = usize::from(u8::arbitrary(&mut u).unwrap_or(0));
        let known = |model: &Model| (!model.sent.is_empty()).then(|| n % model.sent.len());
        match op >> 1 & 7 {
            0 | 1 => {
                let text = vec![op; n << (op >> 5)];
                let sealed = pairs.each_mut().map(|pair| pair[from].seal(&text, op & 16 != 0));
                assert_eq!(sealed[0], sealed[1]);
                assert_eq!(sealed[0].len(), text.len() + TAG);
                model.sent.push((text, sealed[0].clone()));
            }
            // What comes next, or is lost, or comes too early or again.
            2 => deliver(&mut pairs, model, to, model.next, |_| ()),
            3 => model.next_sent += usize::from(model.next_sent < model.sent.len()),
            4 => {
                let Some(at) = known(model) else { continue };
                deliver(&mut pairs, model, to, at, |_| ());
            }
            5 => {
                let Some(at) = known(model) else { continue };
                let by = u8::arbitrary(&mut u).unwrap_or(0);
                deliver(&mut pairs, model, to, at, |sealed| {
                    let at = usize::from(by) % sealed.len();
                    sealed[at] ^= 1 << (by & 7);
                });
            }
            6 => {
                let Some(at) = known(model) else { continue };
                deliver(&mut pairs, model, to, at, |sealed| match op & 16 {
                    0 => sealed.truncate(n % sealed.len()),
                    _ => sealed.push(0),
                });
            }
            _ => pairs.each_mut().into_iter().for_each(|pair| pair[from].split()),
        }
    }
    // At last all that is still to come, in order.
    for (from, to) in [(0, 1), (1, 0)] {
        for at in models[from].next..models[from].sent.len() {
            deliver(&mut pairs, &mut models[from], to, at, |_| ());
        }
        let model = &models[from];
        assert!(model.closed || model.next == model.sent.len());
        pairs.each_ref().into_iter().for_each(|pair| assert_eq!(pair[to].is_live(), model.next > 0));
    }
}

/// One direction.
#[derive(Default)]
struct Model {
    /// Plaintext and sealed message, by counter.
    sent: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many have opened.
    next: usize,
    next_sent: usize,
    closed: bool,
}

fn deliver(pairs: &mut [[End; 2]], model: &mut Model, to: usize, at: usize, change: impl Fn(&mut Vec<u8>)) {
    let Some((text, sealed)) = model.sent.get(at) else { return };
    let mut message = sealed.clone();
    change(&mut message);
    let good = !model.closed && at == model.next && message == *sealed;
    for pair in pairs {
        let mut buf = BytesMut::from(&message[..]);
        match pair[to].open(&mut buf) {
            Ok(()) => assert!(good && buf == text[..]),
            Err(Error::Forged) => assert!(!good && !model.closed && buf.is_empty()),
            Err(Error::Closed) => assert!(model.closed && buf == message[..]),
            Err(e) => panic!("{e}"),
        }
        assert_eq!(pair[to].is_live(), model.next > 0 || good);
    }
    model.next += usize::from(good);
    model.closed |= !good;
}

/// One end's ciphers, together or apart.
enum End {
    Whole(Transport),
    Halves(comity_noise::Sealer, comity_noise::Opener),
    Moving,
}

impl End {
    fn split(&mut self) {
        *self = match core::mem::replace(self, Self::Moving) {
            Self::Whole(transport) => {
                let (sealer, opener) = transport.split();
                Self::Halves(sealer, opener)
            }
            other => other,
        };
    }

    fn seal(&mut self, text: &[u8], as_frame: bool) -> Vec<u8> {
        let mut buf = BytesMut::new();
        match self {
            Self::Halves(sealer, _) if as_frame => {
                assert!(matches!(sealer.seal_frame_with(&mut buf, BytesMut::clear), Err(Error::Misuse(_))));
                sealer.seal_frame(text, &mut buf).expect("small");
                return FrameDecoder::decode(&mut unlimited(), &mut buf).expect("ours").expect("whole").to_vec();
            }
            Self::Halves(sealer, _) => {
                buf.extend_from_slice(text);
                sealer.seal(&mut buf).expect("small");
            }
            Self::Whole(transport) => {
                buf.extend_from_slice(text);
                transport.seal(&mut buf).expect("small");
            }
            Self::Moving => unreachable!(),
        }
        buf.to_vec()
    }

    fn open(&mut self, buf: &mut BytesMut) -> Result<(), Error> {
        match self {
            Self::Whole(transport) => transport.open(buf),
            Self::Halves(_, opener) => opener.open(buf),
            Self::Moving => unreachable!(),
        }
    }

    fn is_live(&self) -> bool {
        match self {
            Self::Whole(transport) => transport.is_live(),
            Self::Halves(_, opener) => opener.is_live(),
            Self::Moving => unreachable!(),
        }
    }
}

fn unlimited() -> FrameDecoder {
    let mut decoder = FrameDecoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder
}

/// Client and server after a handshake with always the same keys.
fn pair(provider: Provider) -> [End; 2] {
    let setup = &SETUPS[1];
    let resume = Some(setup.resume);
    let client = InitiatorConfig { provider, resume, ..setup.client.clone() };
    let server = ResponderConfig { provider, ..setup.server.clone() };
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    let waiting = Initiator::start(&client, Bytes::new(), NOW, &mut Draw(2), &mut up).expect("a good configuration");
    let step = Responder::new(&server).read(&up[3..], &mut Draw(3), &mut down).expect("honest");
    let Step::Done(accepted) = step else { unreachable!("an IK") };
    let established = waiting.read(&down[3..], NOW, &mut up).expect("honest");
    [End::Whole(established.transport), End::Whole(accepted.transport)]
}

/// No bytes are a chain under a root that did not sign; what was issued verifies exactly while it is valid, and after a
/// change only if the change meant nothing.
pub fn cert_parse(input: &[u8]) {
    let rng = &mut Draw(7);
    let [root, middle, server, other] = [(); 4].map(|()| StaticKey::generate(rng));
    let trust = TrustRoot(root.public());
    assert!(cert::verify(input, &trust, &server.public(), NOW).is_err());
    // The reader behind the signatures.
    if let Ok(details) = Details::decode(input) {
        assert_eq!(Details::decode(&details.encode_to_vec()[..]).as_ref(), Ok(&details));
    }

    let mut u = Unstructured::new(input);
    let Ok(([from, until, leaf_from, leaf_until, now], [serial, leaf_serial], wrong)) =
        u.arbitrary::<([u8; 5], [u32; 2], u8)>()
    else {
        return;
    };
    let span = |from: u8, until: u8| Validity { not_before: from.into(), not_after: until.into() };
    let (outer, inner) = (span(from, until), span(leaf_from, leaf_until));
    let signer = if wrong == 1 { &other } else { &root };
    let subject = if wrong == 2 { other.public() } else { server.public() };
    let chain = Issuer::new(signer, middle, serial, outer, rng).chain(subject, leaf_serial, inner, rng);
    let now = Timestamp::from_secs(now.into());
    let verified = cert::verify(&chain, &trust, &server.public(), now);
    let good = outer.contains(now) && inner.contains(now) && !matches!(wrong, 1 | 2);
    assert_eq!(verified.is_ok(), good, "{verified:?}");
    let Ok(verified) = verified else { return };
    let both = Validity {
        not_before: outer.not_before.max(inner.not_before),
        not_after: outer.not_after.min(inner.not_after),
    };
    assert_eq!(verified, VerifiedServer { key: server.public(), validity: both });

    let mut changed = chain.to_vec();
    damage(&mut u, &mut changed);
    if let Ok(accepted) = cert::verify(&changed, &trust, &server.public(), now) {
        assert_eq!((CertChain::decode(&changed[..]), accepted), (CertChain::decode(&chain[..]), verified));
    }
}
