//! What all parts of one running gatekeeper share.

use crate::hub::Hub;
use crate::keys::Keys;
use crate::limiter::Buckets;
use crate::limits::{MAX_CLIENT_FRAME, MAX_CONNECTIONS, MAX_PAIRS, MAX_QUEUED_STANZA, MEDIA_AUTH_TTL, MEDIA_UPLOADS};
use crate::partners::Partners;
use crate::push::Push;
use crate::store::Storage;
use crate::{AdminToken, Clock, Config, Location, LocationPolicy};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use comity_core::{IntegratorId, Jid, Profile, Secret, Timestamp, UserVisibleId};
use comity_noise::ResponderConfig;
use comity_xmpp::{Dialect, Node};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) profile: Profile,
    /// How its stanzas are written and read.
    pub(crate) dialect: Dialect,
    pub(crate) admin_token: Option<AdminToken>,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Storage>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) partners: Arc<Partners>,
    pub(crate) push: Arc<Push>,
    pub(crate) noise: RwLock<Arc<ResponderConfig>>,
    pub(crate) media_dir: PathBuf,
    pub(crate) media_auth: MediaAuth,
    pub(crate) upload_slots: Arc<Semaphore>,
    /// A permit for each chat connection.
    pub(crate) chat_slots: Arc<Semaphore>,
    /// Set when connections are to end.
    pub(crate) drain: watch::Receiver<bool>,
    pub(crate) public_http: String,
    pub(crate) enlist_by_address: Buckets<IpAddr>,
    pub(crate) enlist_by_user: Buckets<(IntegratorId, UserVisibleId)>,
    pub(crate) enlist_by_integrator: Buckets<IntegratorId>,
    pub(crate) handed_out: PairCounter,
    pub(crate) location_policy: Option<LocationPolicy>,
}

impl Site {
    #[expect(clippy::too_many_arguments, reason = "called once")]
    pub(crate) fn new(
        config: Config,
        profile: Profile,
        admin_token: Option<AdminToken>,
        clock: Clock,
        store: Arc<dyn Storage>,
        hub: Arc<Hub>,
        partners: Arc<Partners>,
        keys: &Keys,
        public_http: String,
        location_policy: Option<LocationPolicy>,
        drain: watch::Receiver<bool>,
    ) -> Self {
        Self {
            push: Arc::new(Push::new(
                Arc::clone(&store),
                Arc::clone(&partners),
                Arc::clone(&hub),
                profile.clone(),
                drain.clone(),
            )),
            drain,
            noise: RwLock::new(Arc::new(keys.responder(clock.now()))),
            media_dir: config.data_dir.join("media"),
            media_auth: MediaAuth(keys.mac.clone()),
            upload_slots: Arc::new(Semaphore::new(MEDIA_UPLOADS)),
            chat_slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            enlist_by_address: Buckets::new(MINUTE),
            enlist_by_user: Buckets::new(MINUTE * 60),
            enlist_by_integrator: Buckets::new(MINUTE),
            handed_out: PairCounter::default(),
            dialect: Dialect::new(&profile).with_max_frame_len(MAX_CLIENT_FRAME),
            profile,
            config,
            admin_token,
            clock,
            store,
            hub,
            partners,
            public_http,
            location_policy,
        }
    }

    /// The location hook's decision.
    pub(crate) fn location(&self, address: IpAddr) -> Location {
        let Some(policy) = &self.location_policy else { return Location::Unknown };
        let decision = policy(address);
        tracing::info!(?decision, "location");
        decision
    }

    /// The frame of a stanza that is to be queued or delivered; `None` if it is too long.
    pub(crate) fn frame(&self, node: &Node) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        self.dialect.encode(node, &mut out).ok()?;
        (out.len() <= MAX_QUEUED_STANZA).then(|| out.to_vec())
    }

    /// What handshakes are answered with.
    pub(crate) fn noise(&self) -> Arc<ResponderConfig> {
        Arc::clone(&self.noise.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Issues a new certificate chain for the same key.
    pub(crate) fn renew_chain(&self, keys: &Keys) {
        let renewed = Arc::new(keys.responder(self.clock.now()));
        *self.noise.write().unwrap_or_else(PoisonError::into_inner) = renewed;
    }
}

/// Stateless authorisations for uploads: `{expiry}.{MAC}`.
pub(crate) struct MediaAuth(Secret<[u8; 32]>);

impl MediaAuth {
    fn mac(&self, expires: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).ok()?;
        mac.update(b"media upload\0");
        mac.update(expires.as_bytes());
        Some(mac)
    }

    pub(crate) fn issue(&self, now: Timestamp) -> Option<String> {
        let expires = now.after(MEDIA_AUTH_TTL).as_secs().to_string();
        let mac = self.mac(&expires)?.finalize().into_bytes();
        Some(format!("{expires}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    pub(crate) fn verify(&self, auth: &str, now: Timestamp) -> bool {
        let Some((expires, tag)) = auth.split_once('.') else { return false };
        let (Some(mac), Ok(tag)) = (self.mac(expires), URL_SAFE_NO_PAD.decode(tag)) else { return false };
        mac.verify_slice(&tag).is_ok() && expires.parse::<u64>().is_ok_and(|expires| now.as_secs() < expires)
    }
}

/// How many one-time keys an account took from another today (PROTOCOL §8): who asks cannot drain whom it asks about.
#[derive(Default)]
pub(crate) struct PairCounter(Mutex<Today>);

#[derive(Default)]
struct Today {
    day: u64,
    pairs: HashMap<(Jid, Jid), u32>,
}

impl PairCounter {
    /// Counts one more, or says that it was enough for today.
    pub(crate) fn take(&self, requester: &Jid, target: &Jid, now: Timestamp, most: u32) -> bool {
        let today = now.as_secs() / 86_400;
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Today { day, pairs } = &mut *guard;
        if *day != today {
            *day = today;
            pairs.clear();
        }
        let pair = (requester.clone(), target.clone());
        if pairs.len() >= MAX_PAIRS && !pairs.contains_key(&pair) {
            return false;
        }
        let count = pairs.entry(pair).or_insert(0);
        *count += 1;
        *count <= most
    }
}
