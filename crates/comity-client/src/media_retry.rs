//! A file that is gone from its host: its recipient asks again, its sender uploads it once more (PROTOCOL §10, "Media
//! gone").

use crate::driver::Ask;
use crate::limits::{MEDIA_ANSWER_MAX, MEDIA_ANSWER_MIN};
use crate::transfer::Hosting;
use crate::{Client, Command, Error, Media, MediaRequest, Reply};
use comity_core::{Jid, MessageId};
use comity_engine::limits::MAX_SOURCE_LEN;
use comity_media::transfer::{Progress, Received, encrypt_file};
use comity_media::{Error as MediaError, Limits, Remedy};
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What [`Client::download_or_ask`] came to.
#[derive(Debug)]
pub enum Fetched {
    /// The file is here.
    File(Received),
    /// It is gone from the host, for the reason given, and its sender is asked for it:
    /// [`Event::MediaRefreshed`](crate::Event::MediaRefreshed) or [`Event::MediaGone`](crate::Event::MediaGone) follows.
    Asked(MediaError),
}

impl Client {
    /// Asks a message's sender for its file again. When this returns the request is durable, and will be sent;
    /// [`Event::MediaRefreshed`](crate::Event::MediaRefreshed) brings the file's new path, to be downloaded with the
    /// message's key and hashes. Repeating the call while a request is open changes nothing.
    ///
    /// # Errors
    /// As [`Client::run`]; [`Error::Engine`] with [`Full`](comity_engine::Error::Full) if it was asked for too often.
    pub async fn ask_again(&self, chat: &Jid, id: &MessageId, media: &Media) -> Result<(), Error> {
        self.done(Command::AskMedia { chat: chat.clone(), id: id.clone(), key: media.key.clone() }).await
    }

    /// Downloads a message's file ([`Client::download`]); if its host has it no more, or gives it no more (404, 410, 401,
    /// 403), asks the sender for it ([`Client::ask_again`]).
    ///
    /// # Errors
    /// [`Error::Media`] for every other failure; as [`Client::ask_again`].
    pub async fn download_or_ask(
        &self,
        chat: &Jid,
        id: &MessageId,
        media: &Media,
        progress: &Progress,
    ) -> Result<Fetched, Error> {
        match self.download(media, progress).await {
            Err(Error::Media(error)) if error.remedy() == Remedy::AskSender => {
                self.ask_again(chat, id, media).await?;
                Ok(Fetched::Asked(error))
            }
            done => done.map(Fetched::File),
        }
    }

    /// Queues a file's message, with the file's place for those who ask for it again.
    pub(crate) async fn send_media(&self, to: &Jid, media: Media, path: &Path) -> Result<MessageId, Error> {
        let path = std::path::absolute(path).unwrap_or_default();
        let source = path.to_str().filter(|path| path.len() <= MAX_SOURCE_LEN).unwrap_or_default().to_owned();
        match self.run(Command::SendMedia { to: to.clone(), media: Box::new(media), id: None, source }).await? {
            Reply::Queued(id) => Ok(id),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// Uploads the file again if it is here as it was, and tells whoever asks.
    async fn answer(&self, request: &MediaRequest) -> Result<(), Error> {
        let direct_path = self.upload_again(request).await?;
        self.done(Command::AnswerMedia { event: request.event.clone(), to: request.from.clone(), direct_path }).await
    }

    /// The file's new path; `None` if it is not here any more, or is another now.
    async fn upload_again(&self, request: &MediaRequest) -> Result<Option<String>, Error> {
        let Some(source) = &request.source else { return Ok(None) };
        let temp = self.hosting.files.join("outgoing");
        let key = request.key.clone();
        let encrypted =
            encrypt_file(source.as_ref(), Some(request.kind), key, &temp, Limits::default(), Progress::none()).await;
        let encrypted = match encrypted {
            Ok(encrypted) => encrypted,
            Err(MediaError::Io { kind: io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied, .. })
            | Err(MediaError::TooLarge { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if encrypted.encrypted().file_enc_sha256 != request.file_enc_sha256 {
            return Ok(None); // never uploaded: the key is another file's
        }
        Ok(Some(self.upload(&encrypted, &Progress::none()).await?.direct_path))
    }
}

/// Answers requests for files that were sent, one after the other, until the client has stopped. A request that is not
/// answered by then is given again at the next start.
pub(crate) async fn answer_requests(
    commands: mpsc::WeakSender<Ask>,
    hosting: Arc<Hosting>,
    mut requests: mpsc::Receiver<MediaRequest>,
    mut dropped: mpsc::Receiver<Infallible>,
) {
    while let Some(request) = requests.recv().await {
        let mut wait = MEDIA_ANSWER_MIN;
        loop {
            let Some(commands) = commands.upgrade() else { return };
            let client = Client::new(commands, Arc::clone(&hosting), None);
            let answered = tokio::select! {
                answered = client.answer(&request) => answered,
                _ = dropped.recv() => return,
            };
            drop(client);
            match answered {
                Ok(()) => break,
                // It makes no sense any more: what was asked is answered, or the account is gone.
                Err(Error::Engine(comity_engine::Error::Content(_))) | Err(Error::Role(_)) => break,
                Err(error) => tracing::warn!(%error, "a file that was asked for again is not uploaded yet"),
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(MEDIA_ANSWER_MAX);
        }
    }
}
