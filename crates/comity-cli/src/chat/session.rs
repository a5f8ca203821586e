//! The client and the history together: what is sent is in the history before, what came in is in it before it is
//! confirmed. Both faces of the chat, for a person and for a program, are on top of this.

use super::history::{Entry, History, Taken};
use crate::Failure;
use comity_client::{
    Client, Content, Error, EventId, Fetched, FileToSend, Media, MessageEvent, MessageState, Progress, ReportedMessage,
    SentFile,
};
use comity_core::{Jid, MessageId, Timestamp};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// States that came before their message was in the history: as many are kept.
const MAX_EARLY: usize = 1000;

pub(crate) struct Session {
    pub(crate) client: Client,
    history: Mutex<History>,
    early: Mutex<BTreeMap<MessageId, (Jid, MessageState)>>,
    /// Where files are that were asked for again and are not fetched yet; with the events that said so.
    refreshed: Mutex<BTreeMap<(Jid, MessageId), (EventId, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held left no open transaction.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs())
}

impl Session {
    pub(crate) fn new(client: Client, history: History) -> Self {
        Self { client, history: Mutex::new(history), early: Mutex::default(), refreshed: Mutex::default() }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// Sends a text; with an id, repeating the call changes nothing.
    pub(crate) async fn send_text(&self, to: &Jid, content: Content, id: Option<MessageId>) -> Result<Entry, Failure> {
        let Content::Text { text, reply_to } = &content else { return Err("not a text".into()) };
        let id = id.unwrap_or_else(|| MessageId::random(&mut UnwrapErr(SysRng)));
        let entry = self.history().queue(to, &id, "text", text, reply_to.as_ref(), now())?;
        match self.client.send(to, content, Some(id.clone())).await {
            Ok(_) => Ok(entry),
            // It goes out at the next start.
            Err(error @ Error::Stopped) => Err(error.into()),
            Err(error) => {
                self.history().refused(to, &id, &error.to_string())?;
                Err(error.into())
            }
        }
    }

    /// Texts that are in the history and perhaps not in the client: the chat was killed between the two.
    pub(crate) async fn resend(&self) -> Result<(), Failure> {
        let queued = self.history().queued()?;
        for Entry { chat, id, text, reply, .. } in queued {
            self.client.send(&chat, Content::Text { text, reply_to: reply }, Some(id)).await?;
        }
        Ok(())
    }

    /// Sends a reaction, an edit or a revocation.
    pub(crate) async fn send_change(&self, to: &Jid, content: Content) -> Result<(MessageId, Taken), Failure> {
        let id = self.client.send(to, content.clone(), None).await?;
        Ok((id, self.history().change(to, &content)?))
    }

    pub(crate) async fn send_file(&self, to: &Jid, file: FileToSend, progress: &Progress) -> Result<SentFile, Failure> {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = file.caption.clone().unwrap_or(name);
        let sent = self.client.send_file(to, file, progress).await?;
        self.history().queue(to, &sent.id, sent.kind.mms_type(), &text, None, now())?;
        if let Some((chat, state)) = lock(&self.early).remove(&sent.id) {
            self.history().state(&chat, &sent.id, &state)?;
        }
        Ok(sent)
    }

    /// A message of ours got further: the message, if that is news.
    pub(crate) fn on_state(&self, chat: &Jid, id: &MessageId, state: &MessageState) -> Result<Option<Entry>, Failure> {
        let mut history = self.history();
        let changed = history.state(chat, id, state)?;
        if changed.is_none() && !history.has(chat, id, true)? {
            let mut early = lock(&self.early);
            if early.len() >= MAX_EARLY {
                early.pop_first();
            }
            early.insert(id.clone(), (chat.clone(), state.clone()));
        }
        Ok(changed)
    }

    /// Takes a message event for good; then it may be confirmed.
    pub(crate) fn take(&self, message: &MessageEvent) -> Result<Taken, Failure> {
        self.history().take(message)
    }

    pub(crate) fn undecryptable(&self, from: &Jid, id: &MessageId) -> Result<Taken, Failure> {
        self.history().undecryptable(from, id, now())
    }

    pub(crate) async fn confirm(&self, event: EventId) -> Result<(), Failure> {
        self.client.confirm(event.clone()).await?;
        self.history().confirmed(&event)
    }

    /// Tells the peer that these, or all, messages of the chat were read.
    pub(crate) async fn mark_read(&self, chat: &Jid, ids: Option<Vec<MessageId>>) -> Result<usize, Failure> {
        let ids = match ids {
            Some(ids) => ids,
            None => self.history().unread(chat)?,
        };
        if !ids.is_empty() {
            self.client.mark_read(chat, ids.clone()).await?;
            self.history().mark_read(chat, &ids)?;
        }
        Ok(ids.len())
    }

    /// Fetches the file of a message; one that is gone from its host is asked for again.
    pub(crate) async fn fetch(
        &self,
        chat: &Jid,
        id: &MessageId,
        media: &Media,
        progress: &Progress,
    ) -> Result<Fetched, Failure> {
        let message = (chat.clone(), id.clone());
        let refreshed = lock(&self.refreshed).get(&message).cloned();
        let mut media = media.clone();
        if let Some((_, direct_path)) = &refreshed {
            media.direct_path.clone_from(direct_path);
        }
        let done = self.client.download_or_ask(chat, id, &media, progress).await;
        match &done {
            Ok(Fetched::File(file)) => self.history().file(chat, id, Ok(&file.path.to_string_lossy()))?,
            Ok(Fetched::Asked(error)) => self.history().file(chat, id, Err(&format!("{error}; asked for again")))?,
            Err(error) => self.history().file(chat, id, Err(&error.to_string()))?,
        }
        if let (Ok(_), Some((event, _))) = (&done, refreshed) {
            self.client.confirm(event.clone()).await?;
            lock(&self.refreshed).retain(|_, (kept, _)| *kept != event);
        }
        Ok(done?)
    }

    /// A file that was asked for again is there: what is to be fetched, if its message is still here.
    pub(crate) async fn refreshed(
        &self,
        me: &Jid,
        (chat, id): (&Jid, &MessageId),
        event: EventId,
        direct_path: String,
    ) -> Result<Option<Media>, Failure> {
        let Ok(media) = self.media(me, chat, id) else {
            self.client.confirm(event).await?;
            return Ok(None);
        };
        lock(&self.refreshed).insert((chat.clone(), id.clone()), (event, direct_path));
        Ok(Some(media))
    }

    /// A file that was asked for again is gone for good.
    pub(crate) async fn gone(&self, chat: &Jid, id: &MessageId, event: EventId) -> Result<(), Failure> {
        self.history().file(chat, id, Err("its sender has it no more"))?;
        Ok(self.client.confirm(event).await?)
    }

    /// The media of a message in the history.
    pub(crate) fn media(&self, me: &Jid, chat: &Jid, id: &MessageId) -> Result<Media, Failure> {
        let (_, raw) = self.history().raw(chat, id)?.ok_or("that message is not here any more")?;
        match Content::decode(&raw.into(), me)? {
            Some(Content::Media(media)) => Ok(*media),
            _ => Err("that message has no file".into()),
        }
    }

    /// Reports a peer with messages of theirs.
    pub(crate) async fn report(&self, jid: &Jid, flow: &str, ids: Vec<MessageId>) -> Result<usize, Failure> {
        let mut messages = Vec::new();
        for id in ids {
            let (t, raw) =
                self.history().raw(jid, &id)?.ok_or_else(|| format!("there is no message {id} of theirs"))?;
            messages.push(ReportedMessage { id, t, raw: raw.into() });
        }
        let count = messages.len();
        self.client.report(jid, flow, messages).await?;
        Ok(count)
    }
}
