//! The client's side of the handshake (PROTOCOL §5.2).

use crate::cert::{self, TrustRoot, Validity, VerifiedServer};
use crate::frame::write_introduction;
use crate::limits::MAX_HANDSHAKE_PAYLOAD;
use crate::provider::Provider;
use crate::state::{self, Ephemeral, Role};
use crate::wire::{self, Reply};
use crate::{Error, Pattern, Profile, PublicKey, StaticKey, Transport};
use bytes::{Bytes, BytesMut};
use comity_core::{CryptoRng, Timestamp};
use core::fmt;
use snow::HandshakeState;

/// By what a client knows its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerTrust {
    /// The server's payload is a certificate chain under this root.
    Chain(TrustRoot),
    /// The server's static key is this one; its payload is not looked at.
    Key(PublicKey),
}

/// A client's configuration.
#[derive(Clone, Debug)]
pub struct InitiatorConfig {
    /// The handshake's form.
    pub profile: Profile,
    /// The client's static key: the enlisted `authkey`.
    pub key: StaticKey,
    /// By what the server is known.
    pub trust: ServerTrust,
    /// [`Established::server`] of an earlier connection. While it is valid the handshake is IK, else XX. It is the caller
    /// who sets it to `None` after any error of a handshake that resumed, so that the next connection uses XX; XXfallback
    /// is no error, and its [`Established::server`] is the new one.
    pub resume: Option<VerifiedServer>,
    /// The value of the edge-routing preamble, if the server gave one.
    pub edge_routing: Option<Bytes>,
    /// Where the primitives come from.
    pub provider: Provider,
}

impl InitiatorConfig {
    /// The wire's form, nothing to resume, default provider.
    pub const fn new(key: StaticKey, trust: ServerTrust) -> Self {
        Self {
            profile: Profile::WhatsApp,
            key,
            trust,
            resume: None,
            edge_routing: None,
            provider: Provider::RustCrypto,
        }
    }
}

/// A client that has sent its first message and waits for the server's only one.
pub struct Initiator {
    profile: Profile,
    trust: ServerTrust,
    provider: Provider,
    payload: Bytes,
    state: HandshakeState,
    /// What an IK needs to become XXfallback.
    resumed: Option<Resumed>,
}

struct Resumed {
    key: StaticKey,
    ephemeral: Ephemeral,
    server: VerifiedServer,
}

/// A client's finished handshake.
#[derive(Debug)]
pub struct Established {
    /// The connection's ciphers.
    pub transport: Transport,
    /// The pattern that was run.
    pub pattern: Pattern,
    /// The server's key, and until when it may be used to resume: keep it for [`InitiatorConfig::resume`].
    pub server: VerifiedServer,
    /// The transcript's hash, the same at both ends and unique to the connection.
    pub handshake_hash: [u8; 32],
}

impl Initiator {
    /// Begins a handshake that will log in with `payload` (an encoded ClientPayload). Appends the client's first bytes to
    /// `out`: edge-routing preamble and prologue in the wire's form, then the first frame. In IK that frame carries
    /// `payload` as 0-RTT data, which whoever records it can replay.
    ///
    /// # Errors
    /// [`Error::PlaintextTooLong`] above [`MAX_HANDSHAKE_PAYLOAD`], [`Error::EdgeRoutingTooLong`],
    /// [`Error::LowOrderPoint`] if the key to resume with is one.
    pub fn start(
        config: &InitiatorConfig,
        payload: Bytes,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut BytesMut,
    ) -> Result<Self, Error> {
        if payload.len() > MAX_HANDSHAKE_PAYLOAD {
            return Err(Error::PlaintextTooLong { len: payload.len(), limit: MAX_HANDSHAKE_PAYLOAD });
        }
        let ephemeral = state::draw(rng);
        let resume = config.resume.filter(|server| server.validity.contains(now));
        let pattern = if resume.is_some() { Pattern::Ik } else { Pattern::Xx };
        let mut state = state::build(
            Role::Client,
            pattern,
            &config.profile,
            config.provider,
            &config.key,
            resume.as_ref().map(|server| &server.key),
            &ephemeral,
        )?;
        let noise = state::write(&mut state, if resume.is_some() { &payload } else { &[] })?;
        if config.profile == Profile::WhatsApp {
            write_introduction(config.edge_routing.as_deref(), out)?;
        }
        wire::write_client_hello(&config.profile, &noise, out)?;
        Ok(Self {
            profile: config.profile.clone(),
            trust: config.trust,
            provider: config.provider,
            payload,
            state,
            resumed: resume.map(|server| Resumed { key: config.key.clone(), ephemeral, server }),
        })
    }

    /// Reads the server's message, a frame's body, and appends the client's second one to `out` if there is one (XX and
    /// XXfallback; in IK none). The server is verified before anything secret is sent.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Handshake`], [`Error::LowOrderPoint`], [`Error::Certificate`],
    /// [`Error::UnexpectedServerKey`]. Each is final, as the signature says; nothing is appended.
    pub fn read(mut self, frame: &[u8], now: Timestamp, out: &mut BytesMut) -> Result<Established, Error> {
        let (noise, reply) = wire::read_server_hello(&self.profile, frame)?;
        match (self.resumed.take(), reply) {
            (None, Reply::WithoutStatic) => Err(Error::Malformed("static")),
            (None, Reply::WithStatic | Reply::Either) => self.finish(Pattern::Xx, &noise, now, out),
            (Some(resumed), Reply::WithoutStatic) => {
                state::read(&mut self.state, &noise)?;
                self.established(Pattern::Ik, resumed.server)
            }
            (Some(resumed), Reply::WithStatic) => {
                self.fall_back(&resumed)?.finish(Pattern::XxFallback, &noise, now, out)
            }
            (Some(resumed), Reply::Either) => match state::read(&mut self.state, &noise) {
                Ok(_) => self.established(Pattern::Ik, resumed.server),
                Err(Error::Handshake) => self.fall_back(&resumed)?.finish(Pattern::XxFallback, &noise, now, out),
                Err(e) => Err(e),
            },
        }
    }

    /// A fresh state with the ephemeral that the IK message sent.
    fn fall_back(mut self, resumed: &Resumed) -> Result<Self, Error> {
        self.state = state::build(
            Role::Client,
            Pattern::XxFallback,
            &self.profile,
            self.provider,
            &resumed.key,
            None,
            &resumed.ephemeral,
        )?;
        state::write(&mut self.state, &[])?; // the server has this one already
        Ok(self)
    }

    fn finish(
        mut self,
        pattern: Pattern,
        noise: &[u8],
        now: Timestamp,
        out: &mut BytesMut,
    ) -> Result<Established, Error> {
        let chain = state::read(&mut self.state, noise)?;
        let key = state::remote(&self.state)?;
        let server = match &self.trust {
            ServerTrust::Chain(root) => cert::verify(&chain, root, &key, now)?,
            ServerTrust::Key(pinned) if *pinned == key => VerifiedServer { key, validity: Validity::ALWAYS },
            ServerTrust::Key(_) => return Err(Error::UnexpectedServerKey),
        };
        let noise = state::write(&mut self.state, &self.payload)?;
        let profile = self.profile.clone();
        let established = self.established(pattern, server)?;
        wire::write_client_finish(&profile, &noise, out)?;
        Ok(established)
    }

    fn established(mut self, pattern: Pattern, server: VerifiedServer) -> Result<Established, Error> {
        let [send, receive] = state::split(&mut self.state)?;
        Ok(Established {
            transport: Transport::new(self.provider, &send, &receive)?,
            pattern,
            server,
            handshake_hash: state::transcript(&self.state)?,
        })
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("resuming", &self.resumed.is_some()).finish_non_exhaustive()
    }
}
