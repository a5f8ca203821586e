//! The Noise state machine: snow, with this crate's primitives and the wire's transcript (PROTOCOL §5.2).
//!
//! Two departures from a stock XX are reached from below, through the hash that the state machine is given:
//! the wire's XX and every XXfallback must not hash the empty payload of the message that carries the client's ephemeral.
//! In the wire's XX that is "the modification"; XXfallback is run as XX under its own name, with the client's ephemeral
//! (a pre-message there, which has no payload) in the place of message 1.
//!
//! snow wipes neither its chaining key nor its working copies; what it was given by this module is wiped.

use crate::provider::{AeadKey, CIPHER_KEY, PrivateKey, Provider};
use crate::{Error, Pattern, Profile, PublicKey, StaticKey, error};
use comity_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifierList, HandshakePattern, HashChoice,
    NoiseParams,
};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

/// The private half of a handshake's ephemeral: drawn before the state machine starts, so that an IK that falls back
/// can keep it.
pub(crate) type Ephemeral = Zeroizing<[u8; 32]>;

pub(crate) fn draw(rng: &mut dyn CryptoRng) -> Ephemeral {
    let mut ephemeral = Ephemeral::default();
    rng.fill_bytes(ephemeral.as_mut());
    ephemeral
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// Starts a state machine. A client's IK needs `server`.
pub(crate) fn build(
    role: Role,
    pattern: Pattern,
    profile: &Profile,
    provider: Provider,
    key: &StaticKey,
    server: Option<&PublicKey>,
    ephemeral: &Ephemeral,
) -> Result<HandshakeState, Error> {
    let skip_empty = match (pattern, profile) {
        (Pattern::XxFallback, _) | (Pattern::Xx, Profile::WhatsApp) => true,
        (Pattern::Xx, Profile::Plain { .. }) | (Pattern::Ik, _) => false,
    };
    let shape = match pattern {
        Pattern::Xx | Pattern::XxFallback => HandshakePattern::XX,
        Pattern::Ik => HandshakePattern::IK,
    };
    let params = NoiseParams::new(
        pattern.name().to_owned(),
        BaseChoice::Noise,
        HandshakeChoice { pattern: shape, modifiers: HandshakeModifierList { list: Vec::new() } },
        DHChoice::Curve25519,
        CipherChoice::AESGCM,
        HashChoice::SHA256,
    );
    let resolver = Resolver { provider, own: key.clone(), ephemeral: ephemeral.clone(), skip_empty };
    let mut builder = Builder::with_resolver(params, Box::new(resolver))
        .prologue(profile.prologue())
        .map_err(error::handshake)?
        .local_private_key(key.expose())
        .map_err(error::handshake)?;
    if let Some(server) = server {
        builder = builder.remote_public_key(server.as_bytes()).map_err(error::handshake)?;
    }
    match role {
        Role::Client => builder.build_initiator(),
        Role::Server => builder.build_responder(),
    }
    .map_err(error::handshake)
}

/// The two transport keys of a finished handshake, client to server first. The same order in all three patterns: the
/// client is the initiator of each of them here.
pub(crate) fn split(state: &mut HandshakeState) -> Result<[Zeroizing<[u8; CIPHER_KEY]>; 2], Error> {
    if !state.is_handshake_finished() {
        return Err(Error::Bug("split before the end"));
    }
    let (to_server, to_client) = state.dangerously_get_raw_split();
    Ok([Zeroizing::new(to_server), Zeroizing::new(to_client)])
}

/// Writes one message.
pub(crate) fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, Error> {
    const OVERHEAD: usize = 32 + 32 + 16 + 16;
    let mut message = vec![0; payload.len() + OVERHEAD];
    let len = state.write_message(payload, &mut message).map_err(error::handshake)?;
    message.truncate(len);
    Ok(message)
}

/// Reads one message; its payload. After an error the state is not usable.
pub(crate) fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut payload = vec![0; message.len()];
    let len = state.read_message(message, &mut payload).map_err(error::handshake)?;
    payload.truncate(len);
    Ok(payload)
}

/// The peer's static key, once a message told it.
pub(crate) fn remote(state: &HandshakeState) -> Result<PublicKey, Error> {
    state.get_remote_static().ok_or(Error::Bug("no remote key")).and_then(PublicKey::try_from)
}

/// The transcript's hash.
pub(crate) fn transcript(state: &HandshakeState) -> Result<[u8; 32], Error> {
    state.get_handshake_hash().try_into().map_err(|_| Error::Bug("hash length"))
}

struct Resolver {
    provider: Provider,
    own: StaticKey,
    ephemeral: Ephemeral,
    skip_empty: bool,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneDraw(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(X25519 {
            provider: self.provider,
            own: self.own.clone(),
            key: None,
            private: Zeroizing::default(),
            public: [0; 32],
        }))
    }

    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn Hash>> {
        Some(Box::new(TranscriptHash { skip_empty: self.skip_empty, ..TranscriptHash::default() }))
    }

    fn resolve_cipher(&self, _: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::new(HandshakeCipher { provider: self.provider, key: Zeroizing::default() }))
    }
}

/// Gives the ephemeral, once: a handshake draws nothing else.
struct OneDraw(Option<Ephemeral>);

impl Random for OneDraw {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let drawn = self.0.take().ok_or(snow::Error::Rng)?;
        if dest.len() != drawn.len() {
            return Err(snow::Error::Rng);
        }
        dest.copy_from_slice(drawn.as_ref());
        Ok(())
    }
}

struct X25519 {
    provider: Provider,
    /// The static key, so that its public half is not computed for each handshake.
    own: StaticKey,
    key: Option<PrivateKey>,
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    /// Called with the static key alone.
    fn set(&mut self, private: &[u8]) {
        if let Ok(private) = private.try_into() {
            self.private = Zeroizing::new(private);
            self.key = self.own.with(self.provider);
            self.public = *self.own.public().as_bytes();
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(self.private.as_mut())?;
        let key = PrivateKey::new(self.provider, &self.private).ok_or(snow::Error::Dh)?;
        self.public = key.public().ok_or(snow::Error::Dh)?;
        self.key = Some(key);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_ref()
    }

    /// Refuses low-order points: their agreement is zero.
    fn dh(&self, theirs: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let theirs = PublicKey::from_bytes(*theirs.first_chunk().ok_or(snow::Error::Dh)?);
        if theirs.is_listed() {
            return Err(snow::Error::Dh);
        }
        let out: &mut [u8; 32] = out.first_chunk_mut().ok_or(snow::Error::Dh)?;
        *out = *self.key.as_ref().and_then(|key| key.agree(theirs.as_bytes())).ok_or(snow::Error::Dh)?;
        Ok(())
    }
}

/// SHA-256 that can leave the empty payload after the client's ephemeral out of the transcript.
#[derive(Default)]
struct TranscriptHash {
    sha: Sha256,
    skip_empty: bool,
    /// Lengths of the inputs since the reset: `h ‖ data` for a MixHash. An HMAC's first input is a block of 64 bytes.
    inputs: [Option<usize>; 2],
    /// Whether the hash before was MixHash(e).
    after_key: bool,
    /// The first input, when it has a digest's length.
    first: [u8; 32],
}

impl Hash for TranscriptHash {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.sha.reset();
        self.inputs = [None, None];
    }

    fn input(&mut self, data: &[u8]) {
        match &mut self.inputs {
            [first @ None, _] => {
                *first = Some(data.len());
                if let Ok(h) = data.try_into() {
                    self.first = h;
                }
            }
            [_, second] => *second = Some(data.len()),
        }
        self.sha.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let digest: [u8; 32] = self.sha.finalize_reset().into();
        let skip = self.skip_empty && self.after_key && self.inputs == [Some(32), Some(0)];
        self.after_key = self.inputs == [Some(32), Some(32)];
        if let Some(out) = out.first_chunk_mut() {
            *out = if skip { self.first } else { digest };
        }
    }
}

/// AES-256-GCM with the handshake's short-lived keys: each seals or opens once or twice, so it is expanded at use.
struct HandshakeCipher {
    provider: Provider,
    key: Zeroizing<[u8; CIPHER_KEY]>,
}

impl Cipher for HandshakeCipher {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; CIPHER_KEY]) {
        *self.key = *key;
    }

    /// The trait knows no failure; there is none below 64 GiB. Nothing is written then, and the peer refuses the message.
    fn encrypt(&self, counter: u64, aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let mut sealed = || {
            let (text, rest) = out.split_at_mut_checked(plaintext.len())?;
            let tag_out = rest.first_chunk_mut()?;
            let key = AeadKey::new(self.provider, &self.key).ok()?;
            text.copy_from_slice(plaintext);
            match key.seal(counter, aad, text) {
                Ok(tag) => *tag_out = tag,
                Err(_) => {
                    text.fill(0);
                    return None;
                }
            }
            Some(plaintext.len() + tag_out.len())
        };
        sealed().unwrap_or(0)
    }

    fn decrypt(&self, counter: u64, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let key = AeadKey::new(self.provider, &self.key).map_err(|_| snow::Error::Decrypt)?;
        let mut work = Zeroizing::new(sealed.to_vec());
        let len = key.open(counter, aad, &mut work).map_err(|_| snow::Error::Decrypt)?;
        match (out.get_mut(..len), work.get(..len)) {
            (Some(out), Some(text)) => out.copy_from_slice(text),
            _ => return Err(snow::Error::Decrypt),
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use bytes::{Bytes, BytesMut};
    use serde_json::Value;

    fn unhex(value: &Value) -> Vec<u8> {
        let pairs = value.as_str().unwrap().as_bytes().chunks(2);
        pairs.map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 16).unwrap()).collect()
    }

    fn key(value: &Value) -> [u8; 32] {
        unhex(value).try_into().unwrap()
    }

    fn vectors() -> Vec<Value> {
        serde_json::from_str(include_str!("../tests/data/noise/vectors.json")).unwrap()
    }

    /// Every public vector of these primitives, whatever its pattern: what stands below the state machine is right.
    #[test]
    fn public_vectors_of_all_patterns() {
        let providers = [
            Provider::RustCrypto,
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLc,
        ];
        let vectors = vectors();
        assert_eq!(vectors.len(), 110);
        for (v, provider) in vectors.iter().flat_map(|v| providers.map(|provider| (v, provider))) {
            let name = v["protocol_name"].as_str().unwrap();
            let end = |of: &str| {
                let optional = |field: &str| v.get(format!("{of}_{field}")).map(unhex);
                let own = optional("static").map_or([9; 32], |own| own.try_into().unwrap());
                let resolver = Resolver {
                    provider,
                    own: StaticKey::from_bytes(own),
                    ephemeral: Zeroizing::new(optional("ephemeral").map_or([0; 32], |e| e.try_into().unwrap())),
                    skip_empty: false,
                };
                let (prologue, remote) = (optional("prologue").unwrap(), optional("remote_static"));
                let mut builder =
                    Builder::with_resolver(name.parse().unwrap(), Box::new(resolver)).prologue(&prologue).unwrap();
                if optional("static").is_some() {
                    builder = builder.local_private_key(&own).unwrap();
                }
                if let Some(remote) = &remote {
                    builder = builder.remote_public_key(remote).unwrap();
                }
                let modifiers = name.split('_').nth(1).unwrap().split_once("psk").map_or("", |(_, rest)| rest);
                let psks: Vec<[u8; 32]> = v
                    .get(format!("{of}_psks"))
                    .map_or(Vec::new(), |psks| psks.as_array().unwrap().iter().map(key).collect());
                for (place, psk) in modifiers.split("+psk").filter(|place| !place.is_empty()).zip(&psks) {
                    builder = builder.psk(place.parse().unwrap(), psk).unwrap();
                }
                if of == "init" { builder.build_initiator() } else { builder.build_responder() }.unwrap()
            };
            let (mut ends, mut open) = ([end("init"), end("resp")], None);
            let one_way = matches!(
                name.split('_').nth(1).unwrap().as_bytes(),
                [b'N' | b'K' | b'X'] | [b'N' | b'K' | b'X', b'p', ..]
            );
            for (n, message) in v["messages"].as_array().unwrap().iter().enumerate() {
                let from = if one_way { 0 } else { n % 2 };
                let (payload, expected) = (unhex(&message["payload"]), unhex(&message["ciphertext"]));
                let (mut sent, mut got) = ([0; 1024], [0; 1024]);
                if ends.iter().all(HandshakeState::is_handshake_finished) {
                    let [a, b] = ends;
                    open = Some([a.into_transport_mode().unwrap(), b.into_transport_mode().unwrap()]);
                    ends = [end("init"), end("resp")];
                }
                let (len, read) = match &mut open {
                    Some(open) => {
                        let len = open[from].write_message(&payload, &mut sent).unwrap();
                        (len, open[1 - from].read_message(&sent[..len], &mut got).unwrap())
                    }
                    None => {
                        let len = ends[from].write_message(&payload, &mut sent).unwrap();
                        (len, ends[1 - from].read_message(&sent[..len], &mut got).unwrap())
                    }
                };
                assert_eq!(sent[..len], expected, "{name}, message {n}");
                assert_eq!(got[..read], payload, "{name}, message {n}");
            }
            assert!(open.is_some(), "{name}");
        }
    }

    /// The public vectors of the plain profile's patterns, both roles, transport messages included.
    #[test]
    fn public_vectors() {
        let mut tried = 0;
        for v in &vectors() {
            let pattern = [Pattern::Xx, Pattern::Ik].into_iter().find(|p| v["protocol_name"] == p.name());
            let Some(pattern) = pattern else { continue };
            tried += 1;
            let server = StaticKey::from_bytes(key(&v["resp_static"]));
            let build = |role, of: &str, remote| {
                let profile = Profile::Plain { prologue: Bytes::from(unhex(&v[format!("{of}_prologue")])) };
                let own = StaticKey::from_bytes(key(&v[format!("{of}_static")]));
                let ephemeral = Zeroizing::new(key(&v[format!("{of}_ephemeral")]));
                build(role, pattern, &profile, Provider::default(), &own, remote, &ephemeral).unwrap()
            };
            let remote = server.public();
            let mut client = build(Role::Client, "init", (pattern == Pattern::Ik).then_some(&remote));
            let mut server = build(Role::Server, "resp", None);
            let messages = v["messages"].as_array().unwrap();
            let handshake = if pattern == Pattern::Ik { 2 } else { 3 };
            for (n, message) in messages[..handshake].iter().enumerate() {
                let (from, to) = if n % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
                let payload = unhex(&message["payload"]);
                let sent = write(from, &payload).unwrap();
                assert_eq!(sent, unhex(&message["ciphertext"]), "message {n}");
                assert_eq!(read(to, &sent).unwrap(), payload, "message {n}");
            }
            if let Some(hash) = v.get("handshake_hash") {
                assert_eq!(transcript(&client).unwrap().to_vec(), unhex(hash));
            }
            assert_eq!(transcript(&client).unwrap(), transcript(&server).unwrap());
            let [up, down] = split(&mut client).unwrap();
            assert_eq!([&up, &down], [&split(&mut server).unwrap()[0], &split(&mut server).unwrap()[1]]);
            let mut client = Transport::new(Provider::default(), &up, &down).unwrap();
            let mut server = Transport::new(Provider::default(), &down, &up).unwrap();
            for (n, message) in messages.iter().enumerate().skip(handshake) {
                let (from, to) = if n % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
                let mut buf = BytesMut::from(&unhex(&message["payload"])[..]);
                from.seal(&mut buf).unwrap();
                assert_eq!(buf, unhex(&message["ciphertext"]), "message {n}");
                to.open(&mut buf).unwrap();
                assert_eq!(buf, unhex(&message["payload"]), "message {n}");
            }
        }
        assert_eq!(tried, 4);
    }
}
