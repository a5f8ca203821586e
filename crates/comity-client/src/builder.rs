//! Setting up a client: what must be decided, in one place.

use crate::client::{Client, Events};
use crate::driver::{Driver, Places, Tell};
use crate::http::{Http, PartnerServer, TokenSource};
use crate::limits::{COMMAND_QUEUE, EVENT_QUEUE, MEDIA_REQUESTS};
use crate::media_retry;
use crate::transfer::Hosting;
use crate::{Config, Error, Role};
use comity_core::Store;
use comity_engine::Engine;
use comity_signal::Suites;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A client being set up; see [`Client::builder`].
#[must_use]
pub struct ClientBuilder {
    pub(crate) config: Config,
    pub(crate) suites: Suites,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) chat: String,
    pub(crate) gatekeeper: String,
    pub(crate) partner: Option<PartnerServer>,
    pub(crate) tokens: Option<Arc<dyn TokenSource>>,
    pub(crate) files: PathBuf,
    pub(crate) http: Option<Http>,
    #[cfg(feature = "thumbnails")]
    pub(crate) previews: bool,
}

impl ClientBuilder {
    /// The partner server of the kit: gives tokens and hosts media.
    pub fn partner(mut self, server: PartnerServer) -> Self {
        self.tokens = Some(Arc::new(server.clone()));
        self.partner = Some(server);
        self
    }

    /// Another source of tokens than the kit's partner server.
    pub fn tokens(mut self, tokens: Arc<dyn TokenSource>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// HTTP connections that other accounts of this process use, too; its own if not set.
    pub fn http(mut self, http: Http) -> Self {
        self.http = Some(http);
        self
    }

    /// Where received files go, and the temporary ones of transfers; `files` below the working directory if not set.
    pub fn files(mut self, dir: impl Into<PathBuf>) -> Self {
        self.files = dir.into();
        self
    }

    /// [`Client::send_file`] finds out the dimensions of images and stickers, and makes a thumbnail of images
    /// ([`comity_media::thumbnail`]: JPEG, PNG, WebP), where the application does not give them. The file is sent even
    /// if it is too large or too damaged for that.
    #[cfg(feature = "thumbnails")]
    pub fn previews(mut self) -> Self {
        self.previews = true;
        self
    }

    /// Starts the client on the current tokio runtime. It connects by itself.
    ///
    /// # Errors
    /// [`Error::Config`] for a partner's user without a source of tokens; [`Error::Http`] or [`Error::Media`] if no HTTP
    /// client can be set up.
    pub fn start(self) -> Result<(Client, Events), Error> {
        if matches!(self.config.role, Role::Partner { .. }) && self.tokens.is_none() {
            return Err(Error::Config("a partner's user needs a source of ownership tokens"));
        }
        let (me, heard) = watch::channel(None);
        let gatekeeper = self.gatekeeper.trim_end_matches('/').to_owned();
        let http = self.http.map_or_else(Http::new, Ok)?;
        let hosting = Hosting {
            transfers: http.transfers,
            gatekeeper: gatekeeper.clone(),
            partner: self.partner,
            native: matches!(self.config.role, Role::Native { .. }),
            files: self.files,
            me: heard,
            #[cfg(feature = "thumbnails")]
            previews: self.previews,
        };
        let places = Places { chat: self.chat, gatekeeper, http: http.calls, tokens: self.tokens };
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let (tell, events) = mpsc::channel(EVENT_QUEUE);
        let account = match &self.config.role {
            Role::Partner { user } => user.as_str().to_owned(),
            Role::Native { phone_number } => phone_number.to_string(),
        };
        let (request, requests) = mpsc::channel(MEDIA_REQUESTS);
        let tell = Tell { events: tell, me, requests: request };
        let driver = Driver::new(Engine::new(self.config, self.suites), account, places, self.store, tell);
        tokio::spawn(driver.run(queue));
        let hosting = Arc::new(hosting);
        let (held, dropped) = mpsc::channel(1);
        tokio::spawn(media_retry::answer_requests(commands.downgrade(), Arc::clone(&hosting), requests, dropped));
        Ok((Client::new(commands, hosting, Some(held)), Events(events)))
    }
}
