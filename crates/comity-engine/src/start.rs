//! From an empty or an old store to an account that can connect, and enlistment (PROTOCOL §4).

use crate::config::Role;
use crate::connection::State;
use crate::engine::{Effect, Engine, Loading, Then};
use crate::io::{Event, Output, Query, RequestId};
use crate::limits::{MAX_INBOX, MAX_OUTBOX};
use crate::record::{Incoming, Login, login_key, parse};
use crate::{Error, outbox, receive};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use comity_core::{Batch, CryptoRng, Jid, Record, RecordKind, Server, StoreError};
use comity_noise::{PublicKey, StaticKey, Validity, VerifiedServer};
use comity_proto::Codec;
use comity_signal::{Records, account_key};

/// What of the account is in memory.
pub(crate) struct Account {
    pub(crate) noise: StaticKey,
    pub(crate) jid: Option<Jid>,
    pub(crate) resume: Option<VerifiedServer>,
    pub(crate) signal: comity_signal::Account,
}

impl Account {
    /// The record that holds what is not Signal's.
    pub(crate) fn login_record(&self) -> Vec<u8> {
        Login {
            noise_private: self.noise.to_bytes().expose().to_vec(),
            jid: self.jid.as_ref().map(ToString::to_string).unwrap_or_default(),
            server_key: self.resume.map(|server| server.key.as_bytes().to_vec()).unwrap_or_default(),
            server_key_until: self.resume.map_or(0, |server| server.validity.not_after),
        }
        .encode_to_vec()
    }
}

/// How far the start is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Start {
    #[default]
    New,
    Keys,
    Outbox,
    Inbox,
    Ready,
}

impl Engine {
    pub(crate) fn on_start(&mut self) {
        if self.start == Start::New {
            self.start = Start::Keys;
            self.load(Query::Keys(vec![login_key(), account_key()]), Loading::Start);
        }
    }

    pub(crate) fn on_start_loaded(&mut self, result: Result<Vec<Record>, StoreError>, rng: &mut dyn CryptoRng) {
        let step = self.start;
        let done = result.map_err(Error::from).and_then(|records| match step {
            Start::Keys => self.take_keys(records, rng),
            Start::Outbox => self.take_outbox(&records),
            Start::Inbox => self.take_inbox(&records),
            Start::New | Start::Ready => Ok(()),
        });
        if let Err(error) = done {
            // Without its keys a client must not go on as someone new.
            self.emit(Event::Warning(error));
            self.link.stop();
        }
    }

    fn take_keys(&mut self, records: Vec<Record>, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        let records: Records = records.into_iter().collect();
        let login = records.get(&login_key()).map_err(|_| Error::Corrupt("login"))?;
        if let Some(stored) = parse::<Login>(login, "login")? {
            let private = <[u8; 32]>::try_from(stored.noise_private.as_slice()).map_err(|_| Error::Corrupt("login"))?;
            let server_key = <[u8; 32]>::try_from(stored.server_key.as_slice()).ok();
            self.account = Some(Account {
                noise: StaticKey::from_bytes(private),
                jid: self.native_jid().or_else(|| stored.jid.parse().ok()),
                resume: server_key.map(|key| VerifiedServer {
                    key: PublicKey::from_bytes(key),
                    validity: Validity { not_before: 0, not_after: stored.server_key_until },
                }),
                signal: comity_signal::Account::load(&records).map_err(|e| Error::Session(e.to_string()))?,
            });
            self.on_started();
            return Ok(());
        }
        let (signal, mut batch) = comity_signal::Account::generate(&records, &self.suites, self.now, rng)
            .map_err(|e| Error::Session(e.to_string()))?;
        let account = Account { noise: StaticKey::generate(rng), jid: self.native_jid(), resume: None, signal };
        batch.put(login, account.login_record());
        self.account = Some(account);
        self.commit(batch, Then { effects: vec![Effect::Started], lane: None });
        Ok(())
    }

    fn native_jid(&self) -> Option<Jid> {
        match self.config.role {
            Role::Native { phone_number } => Jid::new(&phone_number.to_string(), Server::Whatsapp).ok(),
            Role::Partner { .. } => None,
        }
    }

    /// The keys are durable: on to what waits to be sent, and to be shown.
    pub(crate) fn on_started(&mut self) {
        self.start = Start::Outbox;
        self.load(Query::First(RecordKind::Outbox, MAX_OUTBOX), Loading::Start);
    }

    fn take_outbox(&mut self, records: &[Record]) -> Result<(), Error> {
        for record in records {
            self.order.follow(&record.key.id);
            self.outbox.insert(&record.key.id, outbox::Entry::of_record(record)?);
        }
        self.start = Start::Inbox;
        self.load(Query::First(RecordKind::Inbox, MAX_INBOX), Loading::Start);
        Ok(())
    }

    fn take_inbox(&mut self, records: &[Record]) -> Result<(), Error> {
        let account = self.account.as_ref().ok_or(Error::Corrupt("account"))?;
        let (noise_key, jid) = (*account.noise.public().as_bytes(), account.jid.clone());
        self.emit(Event::AccountReady { noise_key, jid: jid.clone() });
        self.unconfirmed = records.len();
        for record in records {
            self.order.follow(&record.key.id);
            let stored = parse::<Incoming>(record, "message")?.ok_or(Error::Corrupt("message"))?;
            let me = jid.as_ref().ok_or(Error::Corrupt("message"))?;
            self.emit(receive::event(&record.key.id, &stored, me)?);
        }
        self.start = Start::Ready;
        self.schedule_sweep();
        self.go();
        Ok(())
    }

    /// Asks the gatekeeper for an internal id, with a fresh token.
    pub(crate) fn enlist(&mut self, token: String) {
        let Some(account) = &self.account else { return };
        let signed = account.signal.signed_pre_key();
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let [_, id @ ..] = signed.id.to_be_bytes();
        let fields = [
            ("authkey", b64(account.noise.public().as_bytes())),
            ("e_keytype", b64(&[comity_signal::KEY_TYPE])),
            ("e_regid", b64(&account.signal.registration_id().to_be_bytes())),
            ("e_ident", b64(account.signal.identity().as_bytes())),
            ("e_skey_id", b64(&id)),
            ("e_skey_val", b64(signed.value.as_bytes())),
            ("e_skey_sig", b64(&signed.signature)),
            // A JWT has only characters that a form leaves as they are.
            ("token", token.clone()),
            ("v", self.config.profile.interop_version.clone()),
        ];
        let form = fields.map(|(name, value)| format!("{name}={value}")).join("&");
        let id = self.request();
        self.link.state = State::Enlisting(id, token);
        self.output(Output::Enlist(id, form));
    }

    /// The id that the gatekeeper gave could not be stored: it gives the same again.
    pub(crate) fn enlistment_lost(&mut self, rng: &mut dyn CryptoRng) {
        if matches!(self.link.state, State::Storing) {
            if let Some(account) = &mut self.account {
                account.jid = None;
            }
            self.link_lost(rng);
        }
    }

    pub(crate) fn on_enlist_answer(&mut self, id: RequestId, result: Result<Bytes, String>, rng: &mut dyn CryptoRng) {
        let token = match &self.link.state {
            State::Enlisting(asked, token) if *asked == id => token.clone(),
            _ => return,
        };
        match result.map_err(Error::Token).and_then(|body| parse_answer(&body)) {
            Ok(jid) => {
                let Some(account) = &mut self.account else { return };
                account.jid = Some(jid.clone());
                let mut batch = Batch::new();
                batch.put_owned(login_key(), account.login_record());
                self.link.state = State::Storing;
                let effects = vec![Effect::Emit(Event::Enlisted { jid }), Effect::Connect(token)];
                self.commit(batch, Then { effects, lane: None });
            }
            Err(error) => {
                // The partner's or the gatekeeper's word is not going to change by itself; a lost call may.
                let lasting = matches!(error, Error::Enlistment { .. });
                self.emit(Event::EnlistFailed(error));
                if lasting { self.link.stop() } else { self.link_lost(rng) }
            }
        }
    }
}

fn parse_answer(body: &[u8]) -> Result<Jid, Error> {
    let answer: serde_json::Value = serde_json::from_slice(body).map_err(|_| Error::BadAnswer("enlistment"))?;
    let text = |name| answer.get(name).and_then(serde_json::Value::as_str);
    match text("status") {
        Some("ok") => text("login").and_then(|jid| jid.parse().ok()).ok_or(Error::BadAnswer("enlistment")),
        Some("fail") => Err(Error::Enlistment {
            reason: text("reason").unwrap_or("unknown").chars().filter(char::is_ascii_graphic).take(32).collect(),
            retry_after: answer.get("retry_after").and_then(serde_json::Value::as_u64),
        }),
        _ => Err(Error::BadAnswer("enlistment")),
    }
}
