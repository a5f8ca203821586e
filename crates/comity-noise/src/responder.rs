//! The server's side of the handshake (PROTOCOL §5.2).

use crate::limits::MAX_HANDSHAKE_PAYLOAD;
use crate::provider::Provider;
use crate::state::{self, Ephemeral, Role};
use crate::wire;
use crate::{Error, Pattern, Profile, PublicKey, StaticKey, Transport};
use bytes::{Bytes, BytesMut};
use comity_core::CryptoRng;
use core::fmt;
use snow::HandshakeState;

/// A server's configuration, shared by all its connections.
#[derive(Clone, Debug)]
pub struct ResponderConfig {
    /// The handshake's form.
    pub profile: Profile,
    /// The server's static key.
    pub key: StaticKey,
    /// The encoded certificate chain of that key ([`crate::cert::Issuer::chain`]); may be empty in the plain profile.
    pub chain: Bytes,
    /// Where the primitives come from.
    pub provider: Provider,
}

impl ResponderConfig {
    /// The wire's form, default provider.
    pub const fn new(key: StaticKey, chain: Bytes) -> Self {
        Self { profile: Profile::WhatsApp, key, chain, provider: Provider::RustCrypto }
    }
}

/// A server that waits for the client's first message. It holds nothing for the connection yet.
#[derive(Clone, Copy, Debug)]
pub struct Responder<'a> {
    config: &'a ResponderConfig,
}

/// What a client's first message led to. The server's answer is in the output buffer in both cases.
#[derive(Debug)]
pub enum Step {
    /// XX or XXfallback: the client has one more message to send.
    Continue(AwaitFinish),
    /// IK: done; the login is 0-RTT.
    Done(Accepted),
}

/// A server that has answered and waits for the client's second message.
pub struct AwaitFinish {
    profile: Profile,
    provider: Provider,
    pattern: Pattern,
    state: Box<HandshakeState>,
}

/// A server's finished handshake.
#[derive(Debug)]
pub struct Accepted {
    /// The connection's ciphers.
    pub transport: Transport,
    /// The pattern that was run.
    pub pattern: Pattern,
    /// The client's static key, proved: to be compared with the enlisted `authkey`.
    pub client: PublicKey,
    /// What the client logs in with.
    pub login: Login,
    /// The transcript's hash, the same at both ends and unique to the connection.
    pub handshake_hash: [u8; 32],
}

/// A client's login payload (an encoded ClientPayload).
///
/// One that came as 0-RTT data authenticates the client but not the moment: it may be a replay. Until
/// [`Opener::is_live`](crate::Opener::is_live) says that the client's first transport message opened, such a login may be
/// answered but must have no effect: it replaces no other connection and delivers nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    payload: Bytes,
    replayable: bool,
}

impl Login {
    /// The payload.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Whether it came as 0-RTT data.
    pub const fn is_replayable(&self) -> bool {
        self.replayable
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({} bytes{})", self.payload.len(), if self.replayable { ", replayable" } else { "" })
    }
}

impl<'a> Responder<'a> {
    /// For one new connection.
    pub const fn new(config: &'a ResponderConfig) -> Self {
        Self { config }
    }

    /// Reads the client's first message, a frame's body, and appends the answer to `out`. An IK message that cannot be
    /// read is answered by XXfallback.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::LowOrderPoint`]; [`Error::PlaintextTooLong`] if the configured chain is above
    /// [`MAX_HANDSHAKE_PAYLOAD`]. Nothing is appended.
    pub fn read(self, frame: &[u8], rng: &mut dyn CryptoRng, out: &mut BytesMut) -> Result<Step, Error> {
        let config = self.config;
        if config.chain.len() > MAX_HANDSHAKE_PAYLOAD {
            return Err(Error::PlaintextTooLong { len: config.chain.len(), limit: MAX_HANDSHAKE_PAYLOAD });
        }
        let (noise, ik) = wire::read_client_hello(&config.profile, frame)?;
        let ephemeral = state::draw(rng);
        if !ik {
            return self.answer(Pattern::Xx, &noise, &ephemeral, out);
        }
        let mut state = self.build(Pattern::Ik, &ephemeral)?;
        match state::read(&mut state, &noise) {
            Ok(payload) => {
                let noise = state::write(&mut state, &config.chain)?;
                let accepted = accepted(config.provider, Pattern::Ik, &mut state, payload)?;
                wire::write_server_hello(&config.profile, false, &noise, out)?;
                Ok(Step::Done(accepted))
            }
            Err(Error::Handshake) => {
                let e = noise.get(..32).ok_or(Error::Malformed("ephemeral"))?;
                self.answer(Pattern::XxFallback, e, &ephemeral, out)
            }
            Err(e) => Err(e),
        }
    }

    /// Answers the client's ephemeral `e` as XX or XXfallback.
    fn answer(self, pattern: Pattern, e: &[u8], ephemeral: &Ephemeral, out: &mut BytesMut) -> Result<Step, Error> {
        let config = self.config;
        let mut state = self.build(pattern, ephemeral)?;
        state::read(&mut state, e)?;
        let noise = state::write(&mut state, &config.chain)?;
        wire::write_server_hello(&config.profile, true, &noise, out)?;
        Ok(Step::Continue(AwaitFinish {
            profile: config.profile.clone(),
            provider: config.provider,
            pattern,
            state: Box::new(state),
        }))
    }

    fn build(self, pattern: Pattern, ephemeral: &Ephemeral) -> Result<HandshakeState, Error> {
        let config = self.config;
        state::build(Role::Server, pattern, &config.profile, config.provider, &config.key, None, ephemeral)
    }
}

impl AwaitFinish {
    /// Reads the client's second message, a frame's body.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Handshake`], [`Error::LowOrderPoint`]. Each is final, as the signature says.
    pub fn read(mut self, frame: &[u8]) -> Result<Accepted, Error> {
        let noise = wire::read_client_finish(&self.profile, frame)?;
        let payload = state::read(&mut self.state, &noise)?;
        accepted(self.provider, self.pattern, &mut self.state, payload)
    }

    /// The pattern being run.
    pub const fn pattern(&self) -> Pattern {
        self.pattern
    }
}

impl fmt::Debug for AwaitFinish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitFinish").field("pattern", &self.pattern).finish_non_exhaustive()
    }
}

fn accepted(
    provider: Provider,
    pattern: Pattern,
    state: &mut HandshakeState,
    payload: Vec<u8>,
) -> Result<Accepted, Error> {
    let [receive, send] = state::split(state)?;
    Ok(Accepted {
        transport: Transport::new(provider, &send, &receive)?,
        pattern,
        client: state::remote(state)?,
        login: Login { payload: payload.into(), replayable: pattern == Pattern::Ik },
        handshake_hash: state::transcript(state)?,
    })
}
