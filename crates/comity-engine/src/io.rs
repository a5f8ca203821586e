//! What goes into the engine and what comes out.

use crate::Error;
use crate::Media;
use crate::content::Content;
use bytes::Bytes;
use comity_core::{Batch, IntegratorId, Jid, MessageId, Record, RecordKey, RecordKind, StoreError, Timestamp};
use comity_media::{MediaKey, MediaKind};
use comity_noise::Pattern;

/// Names a command, so that its reply finds its caller. Chosen by the caller; unique among the commands under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// Names a question of the engine to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// Names a message event until the application has confirmed it; sorts by arrival.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub Box<str>);

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The program started; the first input.
    Start,
    /// The connection asked for by [`Output::Connect`] is open.
    Connected,
    /// The connection is closed, or could not be opened.
    Disconnected,
    /// Bytes came in, in any split.
    Received(Bytes),
    /// Answers [`Output::Load`].
    Loaded(RequestId, Result<Vec<Record>, StoreError>),
    /// The batch is durable.
    Persisted(BatchId),
    /// The batch changed nothing.
    PersistFailed(BatchId, StoreError),
    /// Answers [`Output::FetchToken`]: the JWT, or why there is none.
    Token(RequestId, Result<String, String>),
    /// Answers [`Output::Enlist`]: the body of the HTTP answer, or why there is none.
    EnlistAnswer(RequestId, Result<Bytes, String>),
    /// The application wants something.
    Command(CommandId, Command),
    /// The deadline passed, or the caller just looks in.
    Tick,
}

/// What the driver is to do. Everything that depends on a batch is held back inside the engine until
/// [`Input::Persisted`] names it: a driver cannot send or show what is not durable.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Open a connection to the chat server; answer with [`Input::Connected`] or [`Input::Disconnected`].
    Connect,
    /// Write these bytes, in order.
    Transmit(Bytes),
    /// Close the connection; answer with [`Input::Disconnected`].
    Disconnect,
    /// Commit; batches in the order of their ids.
    Persist(BatchId, Batch),
    /// Load records.
    Load(RequestId, Query),
    /// Ask the partner server for an ownership token bound to this Noise static public key.
    FetchToken(RequestId, [u8; 32]),
    /// POST this `application/x-www-form-urlencoded` body to the gatekeeper's `/3p/interop_reg`.
    Enlist(RequestId, String),
    /// The answer to a command.
    Reply(CommandId, Result<Reply, Error>),
    /// Something the application may want to know.
    Event(Event),
}

/// Which records to load.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Query {
    /// These, in this order.
    Keys(Vec<RecordKey>),
    /// The first `limit` of a kind, in order of id.
    First(RecordKind, usize),
    /// The first `limit` of a kind whose id is greater than this one, in order of id.
    After(RecordKind, Box<str>, usize),
}

/// What the application can ask for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Stay connected. The state after start.
    GoOnline,
    /// Disconnect, and stay so.
    GoOffline,
    /// A hint: the network is another, or back. A connection is tried out at once, and a wait for the next one is over.
    NetworkChanged,
    /// Send a message; answered with [`Reply::Queued`] when it is durable. Sending an id again, within
    /// [`crate::limits::MESSAGE_RETENTION`], does nothing.
    Send {
        /// The chat.
        to: Jid,
        /// What.
        content: Content,
        /// The id, for idempotence; drawn if not given.
        id: Option<MessageId>,
    },
    /// Send a file's message, as [`Command::Send`] does, and remember where the application has the file: should the peer
    /// ask for it again, [`Event::MediaRequested`] gives that back.
    SendMedia {
        /// The chat.
        to: Jid,
        /// The file.
        media: Box<Media>,
        /// The id, for idempotence; drawn if not given.
        id: Option<MessageId>,
        /// Where the application has the file, of at most [`crate::limits::MAX_SOURCE_LEN`] bytes; it is told to nobody.
        source: String,
    },
    /// Ask a message's sender for its file again, because it is gone from the media host. The request is durable when this
    /// is answered; [`Event::MediaRefreshed`] or [`Event::MediaGone`] follows, perhaps much later, perhaps never. Within
    /// [`crate::limits::MEDIA_RETRY_INTERVAL`] of an unanswered request this does nothing; past
    /// [`crate::limits::MAX_MEDIA_RETRIES`] it fails with [`Error::Full`].
    AskMedia {
        /// The chat.
        chat: Jid,
        /// The message.
        id: MessageId,
        /// The file's key.
        key: MediaKey,
    },
    /// Answer an [`Event::MediaRequested`], which this confirms, too. The answer is durable when this is answered; an event
    /// that was answered before changes nothing.
    AnswerMedia {
        /// The event.
        event: EventId,
        /// Who asked.
        to: Jid,
        /// Where the file is again; `None`: the sender has it no more.
        direct_path: Option<String>,
    },
    /// Tell the peer that these messages were read, or, for voice notes, played.
    MarkRead {
        /// The chat.
        chat: Jid,
        /// Its messages.
        ids: Vec<MessageId>,
        /// Played, not only read.
        played: bool,
    },
    /// Tell the peer that the user is typing, or stopped. Not queued.
    Typing {
        /// The chat.
        to: Jid,
        /// Typing, or stopped.
        composing: bool,
    },
    /// The application has the message event for good.
    Confirm(EventId),
    /// Find native users by phone number (partner) or partner users by user-visible id (native).
    LookUp(Vec<LookUp>),
    /// Native user: accept messages from exactly these integrators.
    OptIn(Vec<IntegratorId>),
    /// Native user: let partners' users ask, by a ping, to be let in; or not.
    SetReachable(bool),
    /// Block or unblock.
    Block {
        /// Whom.
        jid: Jid,
        /// Block, or unblock.
        block: bool,
    },
    /// Whom this account blocks.
    Blocklist,
    /// Report a peer to the gatekeeper's operator, with messages of theirs as they were decrypted: these are given away.
    Report {
        /// Whom.
        jid: Jid,
        /// Where in the application the report was made.
        flow: String,
        /// At most [`crate::limits::MAX_REPORT_MESSAGES`].
        messages: Vec<ReportedMessage>,
    },
    /// Take a peer's new identity key, as [`Event::IdentityChanged`] showed it, where the policy blocks such.
    AcceptIdentity {
        /// Whose.
        peer: Jid,
        /// The key.
        identity: [u8; 32],
    },
    /// Partner user: ask a native user to become reachable.
    Ping(Jid),
    /// Fetch credentials for a native user's media upload.
    MediaConn,
    /// Delete the partner account on the gatekeeper.
    DeleteAccount,
    /// The safety number of the chat with this peer.
    SafetyNumber(Jid),
}

/// Whom to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// Phone number, e-mail or user name.
    pub external_id: String,
    /// Whose user, when a native user asks.
    pub integrator: Option<IntegratorId>,
}

/// A message given to the gatekeeper's operator.
#[derive(Clone, PartialEq, Eq)]
pub struct ReportedMessage {
    /// Its id.
    pub id: MessageId,
    /// Its time.
    pub t: Timestamp,
    /// The serialised `Message`: [`crate::MessageEvent::raw`].
    pub raw: Bytes,
}

impl core::fmt::Debug for ReportedMessage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ReportedMessage({} bytes)", self.raw.len())
    }
}

/// What a command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Done; nothing to say.
    Done,
    /// The message is durable and will be sent.
    Queued(MessageId),
    /// One entry for each external id asked: the JID, or `None` for one that is absent, closed or blocked.
    Found(Vec<(String, Option<Jid>)>),
    /// Sixty digits.
    SafetyNumber(String),
    /// Who is blocked.
    Blocked(Vec<Jid>),
    /// Credentials for upload.
    MediaConn(MediaConn),
}

/// Where and with which credential a native user uploads (PROTOCOL §10).
#[derive(Clone, PartialEq, Eq)]
pub struct MediaConn {
    /// The credential: a secret.
    pub auth: String,
    /// Host names, best first.
    pub hosts: Vec<String>,
    /// When to ask again.
    pub valid_until: Timestamp,
}

impl core::fmt::Debug for MediaConn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MediaConn(..)")
    }
}

/// The connection, as an application shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Not connected, and not trying.
    Offline,
    /// Connecting, or in the handshake.
    Connecting,
    /// Logged in; keys are being checked, queued messages come in.
    LoggedIn,
    /// All that was queued has come.
    UpToDate,
    /// Waiting to try again.
    Waiting,
    /// Stopped for good: see the event before.
    Stopped,
}

/// How far a sent message is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageState {
    /// The server has stored it.
    Sent,
    /// It is on the recipient's device.
    Delivered,
    /// The recipient has seen it.
    Read,
    /// The recipient has played it.
    Played,
    /// It will not arrive.
    Failed(Failure),
}

/// Why a message will not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused it with this code (475: the recipient takes no messages from this service).
    Server(u16),
    /// The recipient is unknown or has no keys.
    UnknownRecipient,
    /// The recipient's identity key is another than before, and the policy blocks it until it is accepted.
    IdentityChanged {
        /// The key that the recipient shows now, for [`Command::AcceptIdentity`].
        identity: [u8; 32],
    },
    /// The session could not be built or used; the text names the cause.
    Session(String),
}

/// Why the server refused a login (PROTOCOL §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginRefusal {
    /// 400, and whatever has no meaning here.
    Generic,
    /// The token is bad or expired, or the account's key is another.
    NotAuthorised,
    /// 402: banned until then, if the server said so.
    TemporaryBan(Option<Timestamp>),
    /// The user is blocked, or not where users may be.
    Blocked,
    /// This version of the protocol is not spoken any more.
    Version,
    /// 406: banned.
    Banned,
    /// 409: this kind of client is not let in.
    UserAgent,
    /// Not enlisted, or not any more.
    NotEnlisted,
    /// Too many logins.
    RateLimited,
    /// The server cannot, now.
    Unavailable,
}

/// What the engine does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextStep {
    /// It tries again, after the usual wait.
    Retry,
    /// It tries again then.
    RetryAt(Timestamp),
    /// It enlists again, with the keys it has.
    Enlist,
    /// Nothing before [`Command::GoOnline`].
    Stop,
}

/// Why the server ended a session (PROTOCOL §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// 515: it wants to be connected to anew, at once.
    Restart,
    /// The credentials are gone: the account was deleted, or enlisted with another key. There is no next attempt before
    /// [`Command::GoOnline`].
    DeviceRemoved,
    /// It could not read what was sent.
    NotWellFormed,
    /// Anything else, with its code if it has one: the next attempt comes after the usual wait.
    Other(Option<u16>),
}

/// Something the application may want to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The account's keys are stored. Emitted once at each start.
    AccountReady {
        /// The Noise static public key: a native user's is registered with the gatekeeper.
        noise_key: [u8; 32],
        /// The account's id, if it has one already.
        jid: Option<Jid>,
    },
    /// The gatekeeper has enlisted the user.
    Enlisted {
        /// The internal id.
        jid: Jid,
    },
    /// Enlistment failed; it is tried again on the next [`Command::GoOnline`].
    EnlistFailed(Error),
    /// The connection's state changed.
    Connection(ConnectionState),
    /// The handshake is done and the server's certificate chain verified up to the configured root.
    HandshakeDone {
        /// The Noise pattern.
        pattern: Pattern,
        /// The end of the chain's validity.
        valid_until: Timestamp,
    },
    /// The server refused the login.
    LoginRefused {
        /// The code on the wire.
        reason: u16,
        /// What it means.
        refusal: LoginRefusal,
        /// What follows.
        next: NextStep,
    },
    /// The server ended the session.
    StreamEnded(StreamEnd),
    /// Another login took over; this client does not connect again by itself.
    Replaced,
    /// Pre-keys were uploaded.
    KeysUploaded {
        /// How many one-time keys.
        one_time: usize,
        /// Whether post-quantum keys went with them.
        post_quantum: bool,
    },
    /// All that was queued has come, is stored, and was given to the application.
    UpToDate {
        /// How many stanzas.
        count: u32,
    },
    /// A message.
    Message(Box<MessageEvent>),
    /// A peer asks for the file of a message of ours again: upload it, and say with [`Command::AnswerMedia`] where it is.
    /// Given again after a restart until then. [`Command::Confirm`] instead lets it, and what the peer asks of this message
    /// from then on, go unanswered.
    MediaRequested(Box<MediaRequest>),
    /// A file that was asked for again is there. Given again after a restart until [`Command::Confirm`] names its `event`.
    MediaRefreshed {
        /// For [`Command::Confirm`].
        event: EventId,
        /// The chat.
        chat: Jid,
        /// The message.
        id: MessageId,
        /// Its path now, in place of the message's; key and hashes are as they were.
        direct_path: String,
    },
    /// The sender of a file that was asked for again has it no more. Given again after a restart until
    /// [`Command::Confirm`] names its `event`.
    MediaGone {
        /// For [`Command::Confirm`].
        event: EventId,
        /// The chat.
        chat: Jid,
        /// The message.
        id: MessageId,
    },
    /// A message came that could not be decrypted; its sender was asked to send it again.
    Undecryptable {
        /// The chat.
        from: Jid,
        /// The message.
        id: MessageId,
        /// How often it was asked for.
        count: u32,
        /// Why, without content or keys.
        cause: String,
    },
    /// A session with a peer was built.
    SessionReady {
        /// Whose.
        peer: Jid,
        /// Signal message version: 3 (X3DH) or 4 (PQXDH).
        version: u8,
    },
    /// A sent message got further.
    State {
        /// The chat.
        chat: Jid,
        /// The message.
        id: MessageId,
        /// How far.
        state: MessageState,
    },
    /// A peer asked for a message again, and it was encrypted anew.
    Resent {
        /// The chat.
        chat: Jid,
        /// The message.
        id: MessageId,
        /// The peer's count.
        count: u32,
    },
    /// The peer is typing, or stopped.
    Typing {
        /// The chat.
        from: Jid,
        /// Typing, or stopped.
        composing: bool,
    },
    /// A peer's identity key changed: a security notification.
    IdentityChanged {
        /// Whose.
        peer: Jid,
        /// The new key, if it has been seen: the server's notice has none.
        identity: Option<[u8; 32]>,
        /// Messages wait for [`Command::AcceptIdentity`].
        blocked: bool,
    },
    /// The signed pre-key was replaced, here and on the server.
    SignedPreKeyRotated,
    /// A partner user asks to be reachable.
    Pinged {
        /// How the partner user is called.
        display_name: String,
        /// Whose user.
        integrator: IntegratorId,
        /// The integrator's name.
        integrator_name: String,
    },
    /// The partner account is deleted on the gatekeeper.
    Deleted,
    /// Something failed that no command waits for.
    Warning(Error),
}

/// A peer's request for a file that it was sent. That the peer knows the file's key, and means this message, is verified.
#[derive(Clone)]
pub struct MediaRequest {
    /// For [`Command::AnswerMedia`].
    pub event: EventId,
    /// Who asks: the chat.
    pub from: Jid,
    /// The message.
    pub id: MessageId,
    /// As what the file was sent.
    pub kind: MediaKind,
    /// The file's key: the same file under it has the same encrypted form.
    pub key: MediaKey,
    /// SHA-256 of the encrypted file, as the message has it: another file is of no use to the peer.
    pub file_enc_sha256: [u8; 32],
    /// Where the application said it has the file ([`Command::SendMedia`]).
    pub source: Option<String>,
}

impl core::fmt::Debug for MediaRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MediaRequest({:?})", self.kind)
    }
}

/// A message that came in. It is given again after a restart until [`Command::Confirm`] names its `event`.
#[derive(Clone, Debug)]
pub struct MessageEvent {
    /// For [`Command::Confirm`].
    pub event: EventId,
    /// The chat: the peer whose session decrypted the message.
    pub from: Jid,
    /// Its id.
    pub id: MessageId,
    /// When the server took it.
    pub t: Timestamp,
    /// The name the sender goes by: a claim.
    pub notify: Option<String>,
    /// What.
    pub content: Content,
    /// The serialised `Message` that the content was read from.
    pub raw: Bytes,
    /// Signal message version of the session: 3 or 4.
    pub version: u8,
    /// It waited on the server.
    pub offline: bool,
}
