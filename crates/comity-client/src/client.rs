//! The handle an application holds.

use crate::builder::ClientBuilder;
use crate::driver::Ask;
use crate::transfer::Hosting;
use crate::{Command, Config, Content, Error, Event, EventId, LookUp, Reply, ReportedMessage, Target};
use comity_core::{IntegratorId, Jid, MessageId, Store};
use comity_signal::Suites;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A running client. Clones are handles to the same one; it stops when the last is dropped.
///
/// Dropping a call's future before it is done does not undo the call: a message whose future was dropped may still be
/// sent. Give the message an id ([`Client::send`]) and repeat the call: it is sent once.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::Sender<Ask>,
    pub(crate) hosting: Arc<Hosting>,
    /// Closed when the application has dropped its last handle; none in the client's own.
    _held: Option<mpsc::Sender<Infallible>>,
}

/// What happens at a client, in order.
#[derive(Debug)]
pub struct Events(pub(crate) mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` when the client has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Client {
    /// Begins to set up a client of the account that `store` holds (a new one if it is empty): `chat` is the chat
    /// server's `host:port`, `gatekeeper` the base of the gatekeeper's HTTP services.
    pub fn builder(
        config: Config,
        suites: Suites,
        store: Arc<dyn Store>,
        chat: &str,
        gatekeeper: &str,
    ) -> ClientBuilder {
        ClientBuilder {
            config,
            suites,
            store,
            chat: chat.to_owned(),
            gatekeeper: gatekeeper.to_owned(),
            partner: None,
            tokens: None,
            files: PathBuf::from("files"),
            http: None,
            #[cfg(feature = "thumbnails")]
            previews: false,
        }
    }

    pub(crate) const fn new(
        commands: mpsc::Sender<Ask>,
        hosting: Arc<Hosting>,
        held: Option<mpsc::Sender<Infallible>>,
    ) -> Self {
        Self { commands, hosting, _held: held }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// [`Error::Engine`] as the command's; [`Error::Stopped`].
    pub async fn run(&self, command: Command) -> Result<Reply, Error> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Ask { command, answer }).await.map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    pub(crate) async fn done(&self, command: Command) -> Result<(), Error> {
        match self.run(command).await? {
            Reply::Done => Ok(()),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// Queues a message. When this returns it is durable, and will be sent whatever happens to this process; how far it
    /// gets, [`Event::State`] tells. With an `id`, repeating the call changes nothing.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn send(&self, to: &Jid, content: Content, id: Option<MessageId>) -> Result<MessageId, Error> {
        match self.run(Command::Send { to: to.clone(), content, id }).await? {
            Reply::Queued(id) => Ok(id),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// Queues a text; see [`Client::send`].
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn send_text(&self, to: &Jid, text: &str) -> Result<MessageId, Error> {
        self.send(to, Content::text(text), None).await
    }

    /// Reacts to a message; an empty text takes the reaction back.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn react(&self, to: &Jid, target: Target, text: &str) -> Result<MessageId, Error> {
        self.send(to, Content::Reaction { target, text: text.to_owned() }, None).await
    }

    /// Tells the peer that messages were read.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn mark_read(&self, chat: &Jid, ids: Vec<MessageId>) -> Result<(), Error> {
        self.done(Command::MarkRead { chat: chat.clone(), ids, played: false }).await
    }

    /// Tells the peer that the user types, or stopped.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn typing(&self, to: &Jid, composing: bool) -> Result<(), Error> {
        self.done(Command::Typing { to: to.clone(), composing }).await
    }

    /// Confirms a message event: it is not given again after a restart.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn confirm(&self, event: EventId) -> Result<(), Error> {
        self.done(Command::Confirm(event)).await
    }

    /// Connects and stays connected.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn go_online(&self) -> Result<(), Error> {
        self.done(Command::GoOnline).await
    }

    /// Disconnects and stays so.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn go_offline(&self) -> Result<(), Error> {
        self.done(Command::GoOffline).await
    }

    /// The JIDs of external ids, in the order asked; `None` for one that is absent, closed to this service, or blocked.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn look_up(&self, whom: Vec<LookUp>) -> Result<Vec<(String, Option<Jid>)>, Error> {
        match self.run(Command::LookUp(whom)).await? {
            Reply::Found(found) => Ok(found),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// Native user: takes messages from these integrators' users, and from no others'.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn opt_in(&self, integrators: Vec<IntegratorId>) -> Result<(), Error> {
        self.done(Command::OptIn(integrators)).await
    }

    /// Native user: lets partners' users ask, by a ping, to be let in; or not.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn set_reachable(&self, enabled: bool) -> Result<(), Error> {
        self.done(Command::SetReachable(enabled)).await
    }

    /// Blocks or unblocks a peer.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn block(&self, jid: &Jid, block: bool) -> Result<(), Error> {
        self.done(Command::Block { jid: jid.clone(), block }).await
    }

    /// Tells the peer that voice notes were played.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn mark_played(&self, chat: &Jid, ids: Vec<MessageId>) -> Result<(), Error> {
        self.done(Command::MarkRead { chat: chat.clone(), ids, played: true }).await
    }

    /// The network is another, or back: tries the connection out, and waits no longer for the next one.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn network_changed(&self) -> Result<(), Error> {
        self.done(Command::NetworkChanged).await
    }

    /// Whom this account blocks.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn blocklist(&self) -> Result<Vec<Jid>, Error> {
        match self.run(Command::Blocklist).await? {
            Reply::Blocked(list) => Ok(list),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// Reports a peer to the gatekeeper's operator, who gets to see the `messages` given.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn report(&self, jid: &Jid, flow: &str, messages: Vec<ReportedMessage>) -> Result<(), Error> {
        self.done(Command::Report { jid: jid.clone(), flow: flow.to_owned(), messages }).await
    }

    /// Takes a peer's new identity key, as [`Event::IdentityChanged`] showed it, where the policy blocks such. Messages
    /// that waited for it come again.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn accept_identity(&self, peer: &Jid, identity: [u8; 32]) -> Result<(), Error> {
        self.done(Command::AcceptIdentity { peer: peer.clone(), identity }).await
    }

    /// Partner user: asks a native user to become reachable.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn ping(&self, jid: &Jid) -> Result<(), Error> {
        self.done(Command::Ping(jid.clone())).await
    }

    /// Deletes the partner account on the gatekeeper.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn delete_account(&self) -> Result<(), Error> {
        self.done(Command::DeleteAccount).await
    }

    /// The sixty digits both sides can compare.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn safety_number(&self, peer: &Jid) -> Result<String, Error> {
        match self.run(Command::SafetyNumber(peer.clone())).await? {
            Reply::SafetyNumber(digits) => Ok(digits),
            _ => Err(Error::UnexpectedReply),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client(..)")
    }
}
