//! The connection: when there is one, its handshake and login, its frames, and its end (PROTOCOL §5).

use crate::Error;
use crate::config::Role;
use crate::drain::Offline;
use crate::engine::{Engine, Then};
use crate::io::{ConnectionState, Event, LoginRefusal, NextStep, Output, RequestId, StreamEnd};
use crate::limits::{KEEPALIVE_INTERVAL, LOGIN_TIMEOUT, PROBE_TIMEOUT, RECONNECT_MAX, RECONNECT_MIN, SILENCE_LIMIT};
use crate::record::login_key;
use crate::start::Start;
use bytes::{Bytes, BytesMut};
use comity_core::{Batch, CryptoRng, Jid, Timestamp};
use comity_noise::frame::FrameDecoder;
use comity_noise::limits::MAX_FRAME;
use comity_noise::{Initiator, InitiatorConfig, Opener, Pattern, Provider, Sealer, ServerTrust};
use comity_proto::Codec;
use comity_proto::handshake as pb;
use comity_xmpp::Node;
use comity_xmpp::stanza::{Conflict, Failure, Stanza, StreamError, Success};
use core::time::Duration;

/// The connection and the wish for one.
pub(crate) struct Link {
    pub(crate) state: State,
    /// The application wants to be connected.
    pub(crate) wanted: bool,
    attempts: u32,
    /// The store failed, and has not taken anything since: a login is of no use.
    store_fails: bool,
    /// When the next attempt is due, if the server said so.
    not_before: Option<Timestamp>,
    shown: ConnectionState,
    buffer: BytesMut,
    decoder: FrameDecoder,
}

/// Where the connection is.
pub(crate) enum State {
    Offline,
    /// Before the next attempt.
    Waiting(Timestamp),
    /// The partner server is asked for a token.
    Token(RequestId),
    Enlisting(RequestId, String),
    /// A commit comes first.
    Storing,
    /// The socket is being opened.
    Opening {
        token: String,
        deadline: Timestamp,
    },
    Handshake {
        initiator: Box<Initiator>,
        deadline: Timestamp,
    },
    /// The handshake is done; `<success>` or `<failure>` is due.
    LoggingIn {
        sealer: Box<Sealer>,
        opener: Box<Opener>,
        deadline: Timestamp,
    },
    Open(Box<Session>),
    /// The socket is being closed.
    Closing,
    /// Not again without a new command.
    Stopped,
}

/// A login that succeeded.
pub(crate) struct Session {
    sealer: Sealer,
    opener: Opener,
    /// When something was last received.
    heard: Timestamp,
    /// Until when something must be heard, after a change of the network.
    probe: Option<Timestamp>,
    /// When the last keep-alive was sent.
    kept_alive: Timestamp,
    /// `<active/>` is answered: stanzas may go out.
    pub(crate) active: bool,
    /// New pre-keys are being made or uploaded.
    pub(crate) refilling: bool,
    /// What waited on the server, as it comes.
    pub(crate) offline: Offline,
}

impl Link {
    pub(crate) fn new(wanted: bool) -> Self {
        Self {
            state: State::Offline,
            wanted,
            attempts: 0,
            store_fails: false,
            not_before: None,
            shown: ConnectionState::Offline,
            buffer: BytesMut::new(),
            decoder: FrameDecoder::new(),
        }
    }

    /// No connection again before a command asks for one.
    pub(crate) fn stop(&mut self) {
        self.wanted = false;
        self.state = State::Stopped;
    }

    /// The login is of use: the next failure is a first one.
    pub(crate) fn succeeded(&mut self) {
        if !self.store_fails {
            self.attempts = 0;
        }
    }

    pub(crate) fn store_failed(&mut self) {
        self.store_fails = true;
    }

    pub(crate) fn store_works(&mut self) {
        self.store_fails = false;
    }

    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Open(session) => Some(session),
            _ => None,
        }
    }
}

impl Engine {
    /// Whether stanzas may go out.
    pub(crate) fn is_active(&mut self) -> bool {
        self.link.session().is_some_and(|session| session.active)
    }

    /// Takes the first step towards a connection, if one is wanted and none is under way.
    pub(crate) fn go(&mut self) {
        if self.start != Start::Ready || !self.link.wanted {
            return;
        }
        if !matches!(self.link.state, State::Offline | State::Waiting(_) | State::Stopped) {
            return;
        }
        self.show(ConnectionState::Connecting);
        match self.config.role {
            // A token goes with every handshake (PROTOCOL §3).
            Role::Partner { .. } => {
                let Some(account) = &self.account else { return };
                let key = *account.noise.public().as_bytes();
                let id = self.request();
                self.link.state = State::Token(id);
                self.output(Output::FetchToken(id, key));
            }
            Role::Native { .. } => self.connect(String::new()),
        }
    }

    pub(crate) fn on_token(&mut self, id: RequestId, result: Result<String, String>, rng: &mut dyn CryptoRng) {
        if !matches!(self.link.state, State::Token(asked) if asked == id) {
            return;
        }
        match result {
            Ok(token) if self.me().is_ok() => self.connect(token),
            Ok(token) => self.enlist(token),
            Err(cause) => {
                self.emit(Event::Warning(Error::Token(cause)));
                self.link_lost(rng);
            }
        }
    }

    /// The account is enlisted, and that is durable.
    pub(crate) fn connect_enlisted(&mut self, token: String) {
        if matches!(self.link.state, State::Storing) {
            self.connect(token);
        }
    }

    fn connect(&mut self, token: String) {
        self.link.state = State::Opening { token, deadline: self.now.after(LOGIN_TIMEOUT) };
        self.output(Output::Connect);
    }

    pub(crate) fn on_connected(&mut self, rng: &mut dyn CryptoRng) {
        let State::Opening { token, deadline } = &self.link.state else { return };
        let (token, deadline) = (token.clone(), *deadline);
        let mut out = BytesMut::new();
        match self.begin(&token, rng, &mut out) {
            Ok(initiator) => {
                self.link.buffer.clear();
                self.link.decoder = FrameDecoder::new();
                self.link.state = State::Handshake { initiator: Box::new(initiator), deadline };
                self.output(Output::Transmit(out.freeze()));
            }
            Err(error) => self.hang_up(Some(error)),
        }
    }

    fn begin(&self, token: &str, rng: &mut dyn CryptoRng, out: &mut BytesMut) -> Result<Initiator, Error> {
        let account = self.account.as_ref().ok_or(Error::NotEnlisted)?;
        let payload = self.login_payload(token)?.encode_to_vec();
        let config = InitiatorConfig {
            profile: self.config.noise.clone(),
            key: account.noise.clone(),
            trust: ServerTrust::Chain(self.config.root),
            resume: account.resume,
            edge_routing: None,
            provider: Provider::RustCrypto,
        };
        Initiator::start(&config, payload.into(), self.now, rng, out).map_err(|e| Error::Channel(e.to_string()))
    }

    /// PROTOCOL §5.4.
    fn login_payload(&self, token: &str) -> Result<pb::ClientPayload, Error> {
        let profile = &self.config.profile;
        let mut parts = profile.interop_version.split('.').map(|part| part.parse().ok());
        let mut part = || parts.next().flatten();
        let version = pb::AppVersion {
            primary: part(),
            secondary: part(),
            tertiary: part(),
            quaternary: part(),
            quinary: part(),
        };
        let mut payload = pb::ClientPayload {
            passive: Some(profile.login_passive),
            pull: Some(profile.login_pull),
            push_name: Some(self.config.display_name.clone()),
            user_agent: Some(pb::UserAgent { app_version: Some(version), ..Default::default() }),
            ..Default::default()
        };
        match self.config.role {
            Role::Native { phone_number } => payload.username = Some(phone_number),
            Role::Partner { .. } => {
                payload.product = i32::try_from(profile.login_product).ok();
                payload.interop_data = Some(pb::InteropData {
                    account_id: self.me()?.user().parse().ok(),
                    token: Some(Bytes::copy_from_slice(token.as_bytes())),
                    enable_read_receipts: Some(self.config.read_receipts),
                });
            }
        }
        Ok(payload)
    }

    pub(crate) fn on_received(&mut self, bytes: Bytes) {
        if matches!(self.link.state, State::Closing | State::Offline | State::Waiting(_) | State::Stopped) {
            return; // what was under way when we hung up
        }
        if let Some(session) = self.link.session() {
            session.heard = self.now;
            session.probe = None;
        }
        self.link.buffer.extend_from_slice(&bytes);
        loop {
            match self.link.decoder.decode(&mut self.link.buffer) {
                Ok(Some(frame)) => {
                    if let Err(error) = self.on_frame(frame) {
                        return self.hang_up(Some(error));
                    }
                    if matches!(self.link.state, State::Closing | State::Stopped) {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return self.hang_up(Some(Error::Channel(error.to_string()))),
            }
        }
    }

    fn on_frame(&mut self, mut frame: BytesMut) -> Result<(), Error> {
        let channel = |e: comity_noise::Error| Error::Channel(e.to_string());
        match core::mem::replace(&mut self.link.state, State::Closing) {
            State::Handshake { initiator, deadline } => {
                let mut out = BytesMut::new();
                let done = match initiator.read(&frame, self.now, &mut out) {
                    Ok(done) => done,
                    Err(error) => {
                        self.forget_server();
                        return Err(channel(error));
                    }
                };
                if !out.is_empty() {
                    self.output(Output::Transmit(out.freeze()));
                }
                let valid_until = Timestamp::from_secs(done.server.validity.not_after);
                if done.pattern != Pattern::Ik {
                    self.remember_server(done.server);
                }
                self.emit(Event::HandshakeDone { pattern: done.pattern, valid_until });
                let (sealer, opener) = done.transport.split();
                self.link.decoder.set_limit(MAX_FRAME);
                self.link.state = State::LoggingIn { sealer: Box::new(sealer), opener: Box::new(opener), deadline };
            }
            State::LoggingIn { sealer, mut opener, deadline } => {
                opener.open(&mut frame).map_err(channel)?;
                self.link.state = State::LoggingIn { sealer, opener, deadline };
                let node = self.dialect.decode(&frame).map_err(|_| Error::BadAnswer("login"))?;
                self.on_login_answer(&node)?;
            }
            State::Open(mut session) => {
                let opened = session.opener.open(&mut frame);
                self.link.state = State::Open(session);
                opened.map_err(channel)?;
                let node = self.dialect.decode(&frame).map_err(|_| Error::BadAnswer("stanza"))?;
                self.on_stanza(node);
            }
            other => self.link.state = other,
        }
        Ok(())
    }

    fn on_login_answer(&mut self, node: &Node) -> Result<(), Error> {
        match Stanza::parse(node).map_err(|_| Error::BadAnswer("login"))? {
            Stanza::Success(Success { .. }) => {
                let State::LoggingIn { sealer, opener, .. } = core::mem::replace(&mut self.link.state, State::Closing)
                else {
                    return Ok(());
                };
                let now = self.now;
                let session = Session {
                    sealer: *sealer,
                    opener: *opener,
                    heard: now,
                    probe: None,
                    kept_alive: now,
                    active: false,
                    refilling: false,
                    offline: Offline::default(),
                };
                self.link.state = State::Open(Box::new(session));
                self.show(ConnectionState::LoggedIn);
                self.begin_session();
                Ok(())
            }
            Stanza::Failure(failure) => {
                self.on_failure(&failure);
                Ok(())
            }
            Stanza::StreamError(error) => {
                self.on_stream_error(&error);
                Ok(())
            }
            _ => Err(Error::BadAnswer("login")),
        }
    }

    fn on_failure(&mut self, failure: &Failure) {
        let (reason, profile) = (failure.reason, &self.config.profile);
        let until = failure.expire.map(|seconds| self.now.after(Duration::from_secs(seconds)));
        let partner = matches!(self.config.role, Role::Partner { .. });
        // The profile's codes first: another meaning of a number is theirs to give.
        let (refusal, next) = match reason {
            // It may have expired on the way; the next attempt brings a fresh one.
            r if r == profile.failure_token => (LoginRefusal::NotAuthorised, NextStep::Retry),
            r if r == profile.failure_blocked => (LoginRefusal::Blocked, NextStep::Stop),
            r if r == profile.failure_version => (LoginRefusal::Version, NextStep::Stop),
            r if r == profile.failure_not_enlisted && partner => (LoginRefusal::NotEnlisted, NextStep::Enlist),
            r if r == profile.failure_not_enlisted => (LoginRefusal::NotEnlisted, NextStep::Stop),
            r if r == profile.failure_rate_limited => (LoginRefusal::RateLimited, NextStep::Retry),
            r if [profile.failure_product, profile.failure_unavailable, 500, 501, 503].contains(&r) => {
                (LoginRefusal::Unavailable, NextStep::Retry)
            }
            402 => (LoginRefusal::TemporaryBan(until), until.map_or(NextStep::Retry, NextStep::RetryAt)),
            406 => (LoginRefusal::Banned, NextStep::Stop),
            409 => (LoginRefusal::UserAgent, NextStep::Stop),
            _ => (LoginRefusal::Generic, NextStep::Stop),
        };
        self.emit(Event::LoginRefused { reason, refusal, next });
        match next {
            NextStep::Retry => {}
            NextStep::RetryAt(at) => self.link.not_before = Some(at),
            NextStep::Enlist => {
                if let Some(account) = &mut self.account {
                    account.jid = None;
                    let mut batch = Batch::new();
                    batch.put_owned(login_key(), account.login_record());
                    self.commit(batch, Then::default());
                }
            }
            NextStep::Stop => self.link.wanted = false,
        }
        self.hang_up(None);
    }

    pub(crate) fn on_stream_error(&mut self, error: &StreamError) {
        match (&error.conflict, error.code) {
            (Some(Conflict::Replaced), _) => {
                self.emit(Event::Replaced);
                self.link.wanted = false;
            }
            (Some(Conflict::DeviceRemoved), _) => {
                self.emit(Event::StreamEnded(StreamEnd::DeviceRemoved));
                self.link.wanted = false;
            }
            (_, Some(515)) => {
                self.emit(Event::StreamEnded(StreamEnd::Restart));
                if self.link.attempts == 0 {
                    self.link.not_before = Some(self.now); // at once, unless it has said so before
                }
            }
            _ if error.not_well_formed => self.emit(Event::StreamEnded(StreamEnd::NotWellFormed)),
            (_, code) => self.emit(Event::StreamEnded(StreamEnd::Other(code))),
        }
        self.hang_up(None);
    }

    /// The network is another: whether the connection lives shows within [`PROBE_TIMEOUT`]; a wait is over.
    pub(crate) fn on_network_changed(&mut self) {
        let now = self.now;
        match &mut self.link.state {
            State::Open(session) => {
                session.probe.get_or_insert(now.after(PROBE_TIMEOUT));
                session.kept_alive = now;
                self.keep_alive();
            }
            State::Waiting(_) => {
                self.link.attempts = 0;
                self.go();
            }
            _ => {}
        }
    }

    /// Keeps the verified server key, so that the next login is IK.
    fn remember_server(&mut self, server: comity_noise::VerifiedServer) {
        let Some(account) = &mut self.account else { return };
        account.resume = Some(server);
        let mut batch = Batch::new();
        batch.put_owned(login_key(), account.login_record());
        self.commit(batch, Then::default());
    }

    /// After a failed handshake the next one is XX (PROTOCOL §5.2).
    fn forget_server(&mut self) {
        if let Some(account) = &mut self.account
            && account.resume.take().is_some()
        {
            let mut batch = Batch::new();
            batch.put_owned(login_key(), account.login_record());
            self.commit(batch, Then::default());
        }
    }

    /// Seals and sends a stanza. Without a connection it is lost: whoever needs more keeps it in the outbox.
    pub(crate) fn send(&mut self, node: &Node) {
        let mut stanza = BytesMut::new();
        match self.dialect.encode(node, &mut stanza) {
            Ok(()) => self.send_encoded(&stanza),
            Err(error) => {
                // Only what the application gave can be too large; the rest is of our own making.
                debug_assert!(false, "a stanza that does not encode: {error}");
                self.emit(Event::Warning(Error::Content("the stanza is too large")));
            }
        }
    }

    pub(crate) fn send_encoded(&mut self, stanza: &[u8]) {
        let Some(session) = self.link.session() else { return };
        let mut out = BytesMut::new();
        match session.sealer.seal_frame(stanza, &mut out) {
            Ok(()) => self.output(Output::Transmit(out.freeze())),
            Err(error) => self.hang_up(Some(Error::Channel(error.to_string()))),
        }
    }

    /// Closes the connection, and opens another at once.
    pub(crate) fn reconnect(&mut self) {
        self.link.not_before = Some(self.now);
        self.hang_up(None);
    }

    /// Closes the connection; the rest follows when the driver says that it is closed.
    pub(crate) fn hang_up(&mut self, error: Option<Error>) {
        if let Some(error) = error {
            self.emit(Event::Warning(error));
        }
        if matches!(
            self.link.state,
            State::Opening { .. } | State::Handshake { .. } | State::LoggingIn { .. } | State::Open(_) | State::Closing
        ) {
            self.link.state = State::Closing;
            self.output(Output::Disconnect);
        }
    }

    pub(crate) fn on_disconnected(&mut self, rng: &mut dyn CryptoRng) {
        match &self.link.state {
            State::Handshake { .. } => self.forget_server(),
            State::Opening { .. } | State::LoggingIn { .. } | State::Open(_) | State::Closing => {}
            _ => return,
        }
        self.connection_gone();
        self.link_lost(rng);
    }

    /// On to the next attempt, later.
    pub(crate) fn link_lost(&mut self, rng: &mut dyn CryptoRng) {
        if !self.link.wanted {
            self.link.state = State::Offline;
            return self.show(ConnectionState::Offline);
        }
        if let Some(at) = self.link.not_before.take() {
            self.link.attempts = self.link.attempts.saturating_add(1);
            self.link.state = State::Waiting(at);
            return self.show(ConnectionState::Waiting);
        }
        let wait = RECONNECT_MAX.min(RECONNECT_MIN.saturating_mul(1 << self.link.attempts.min(20)));
        self.link.attempts = self.link.attempts.saturating_add(1);
        // Between half of it and all of it: clients that were cut off together come back apart.
        let half = wait / 2;
        let spread = half.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
        self.link.state = State::Waiting(self.now.after(half + spread));
        self.show(ConnectionState::Waiting);
    }

    pub(crate) fn show(&mut self, state: ConnectionState) {
        if self.link.shown != state {
            self.link.shown = state;
            self.emit(Event::Connection(state));
        }
    }

    /// Whatever is due by now.
    pub(crate) fn on_time(&mut self) {
        let now = self.now;
        match &mut self.link.state {
            State::Waiting(until) if *until <= now => self.go(),
            State::Opening { deadline, .. } | State::Handshake { deadline, .. } | State::LoggingIn { deadline, .. }
                if *deadline <= now =>
            {
                self.hang_up(Some(Error::TimedOut));
            }
            State::Open(session)
                if session.heard.after(SILENCE_LIMIT) <= now || session.probe.is_some_and(|probe| probe <= now) =>
            {
                self.hang_up(Some(Error::TimedOut));
            }
            State::Open(session) if session.kept_alive.after(KEEPALIVE_INTERVAL) <= now => {
                session.kept_alive = now;
                self.keep_alive();
            }
            _ => {}
        }
        self.expire_iqs();
        self.sweep();
        self.upkeep();
    }

    pub(crate) fn deadline(&mut self) -> Option<Timestamp> {
        let link = match &self.link.state {
            State::Waiting(until) => Some(*until),
            State::Opening { deadline, .. } | State::Handshake { deadline, .. } | State::LoggingIn { deadline, .. } => {
                Some(*deadline)
            }
            State::Open(session) => {
                let due = session.heard.after(SILENCE_LIMIT).min(session.kept_alive.after(KEEPALIVE_INTERVAL));
                Some(session.probe.map_or(due, |probe| probe.min(due)))
            }
            _ => None,
        };
        link.into_iter().chain(self.iqs.deadline()).chain(self.sweep_due()).chain(self.upkeep_due()).min()
    }
}

/// The chat server.
pub(crate) fn server() -> Jid {
    Jid::server_only(comity_core::Server::Whatsapp)
}
