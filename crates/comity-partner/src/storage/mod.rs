//! Durable state of a partner's server behind one trait, so that another database can stand in for the embedded SQLite.

mod sqlite;

pub use sqlite::SqliteStore;

use crate::BoxFuture;
use comity_core::{Secret, StoreError, Timestamp, UserVisibleId};

/// The outcome of a [`PartnerStore`].
pub type StoreResult<T> = Result<T, StoreError>;

/// A secret the server keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretName {
    /// The key ring of ownership tokens, as `KeyRing::to_bytes` writes it.
    SigningKeys,
    /// The PKCS#8 document of the key that signs Web Push requests (RFC 8292).
    Vapid,
}

impl SecretName {
    /// The name under which it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SigningKeys => "signing-keys",
            Self::Vapid => "vapid",
        }
    }
}

/// A stored secret and its revision, from 1.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// Counts the writes.
    pub revision: u64,
    /// The bytes.
    pub bytes: Secret<Vec<u8>>,
}

/// Where a user's device takes Web Push messages (RFC 8030, RFC 8291).
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The push resource.
    pub endpoint: String,
    /// The device's public key, P-256, uncompressed.
    pub p256dh: [u8; 65],
    /// The device's authentication secret.
    pub auth: Secret<[u8; 16]>,
}

impl core::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Subscription(..)") // the endpoint is a capability
    }
}

/// A wake-up that is to be handed to a push service.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whom to wake.
    pub user: UserVisibleId,
    /// Failed tries so far.
    pub attempts: u32,
    /// Tells this wake-up from a later one of the same user.
    pub version: u64,
}

/// How much one user may keep on the media host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserQuota {
    /// Files.
    pub max_files: u64,
    /// Bytes of all of them.
    pub max_bytes: u64,
}

/// A user's file, whole or still coming in parts.
#[derive(Clone, Debug)]
pub struct StoredUpload {
    /// Whose it is.
    pub user: UserVisibleId,
    /// Its length.
    pub len: u64,
    /// Bytes of it that are durable, and were recorded.
    pub offset: u64,
    /// Whether it is whole.
    pub done: bool,
    /// When it is given up, if it comes in parts.
    pub until: Option<Timestamp>,
}

/// What a partner's server must remember. Every write is durable when its future resolves. A future that is dropped may
/// still take effect.
///
/// Users are known by their user-visible ids.
pub trait PartnerStore: Send + Sync {
    /// A secret, if it was ever put.
    fn secret(&self, name: SecretName) -> BoxFuture<'_, StoreResult<Option<Versioned>>>;

    /// A secret's revision; 0 if it was never put.
    fn secret_revision(&self, name: SecretName) -> BoxFuture<'_, StoreResult<u64>>;

    /// Puts a secret in the place of the one with revision `replaces` (0: there is none); gives its revision.
    /// [`StoreError::Conflict`] if another was put meanwhile.
    fn put_secret(&self, name: SecretName, bytes: Secret<Vec<u8>>, replaces: u64) -> BoxFuture<'_, StoreResult<u64>>;

    /// Marks a user as to be woken, from `now` on. `false`: [`MAX_PENDING_WAKES`](crate::limits::MAX_PENDING_WAKES) others
    /// are. A user who is marked already stays marked once.
    fn put_wake(&self, user: &UserVisibleId, now: Timestamp) -> BoxFuture<'_, StoreResult<bool>>;

    /// Whether a user is to be woken.
    fn has_wake(&self, user: &UserVisibleId) -> BoxFuture<'_, StoreResult<bool>>;

    /// Takes the mark off: the user was woken.
    fn take_wake(&self, user: &UserVisibleId) -> BoxFuture<'_, StoreResult<()>>;

    /// Up to `limit` wake-ups of users with a subscription that are due at `now`, the longest due first. They are due again at
    /// `until`, unless [`delivered`](Self::delivered) or [`retry`](Self::retry) says otherwise before: so that nobody else
    /// takes them meanwhile, and a crash loses none.
    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> BoxFuture<'_, StoreResult<Vec<Delivery>>>;

    /// When the next wake-up of a user with a subscription is due.
    fn next_due(&self) -> BoxFuture<'_, StoreResult<Option<Timestamp>>>;

    /// A push service took a wake-up: its mark is taken off unless there is a later one.
    fn delivered(&self, delivery: &Delivery) -> BoxFuture<'_, StoreResult<()>>;

    /// A push service did not take a wake-up: it is due again at `again`.
    fn retry(&self, delivery: &Delivery, again: Timestamp) -> BoxFuture<'_, StoreResult<()>>;

    /// A user's subscription.
    fn subscription(&self, user: &UserVisibleId) -> BoxFuture<'_, StoreResult<Option<Subscription>>>;

    /// Puts a user's subscription in the place of any before. `false`:
    /// [`MAX_SUBSCRIPTIONS`](crate::limits::MAX_SUBSCRIPTIONS) other users have one.
    fn put_subscription(&self, user: &UserVisibleId, subscription: Subscription) -> BoxFuture<'_, StoreResult<bool>>;

    /// Removes a user's subscription; with `endpoint`, only if it is that one. Whether there was one.
    fn remove_subscription(&self, user: &UserVisibleId, endpoint: Option<&str>) -> BoxFuture<'_, StoreResult<bool>>;

    /// Sets room aside for a user's file before it is received. `false`: the quota does not allow it.
    fn reserve_media(
        &self,
        user: &UserVisibleId,
        reference: &str,
        len: u64,
        quota: UserQuota,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<bool>>;

    /// Sets room aside for a user's file that comes in parts, until `until` or until it is kept or released. `false`: the
    /// quota does not allow it, or [`MAX_OPEN_UPLOADS`](crate::limits::MAX_OPEN_UPLOADS) others are coming.
    fn begin_upload(
        &self,
        user: &UserVisibleId,
        reference: &str,
        len: u64,
        quota: UserQuota,
        now: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, StoreResult<bool>>;

    /// A file that comes in parts, or is whole.
    fn upload(&self, reference: &str) -> BoxFuture<'_, StoreResult<Option<StoredUpload>>>;

    /// So much of a file is durable.
    fn advance_upload(&self, reference: &str, offset: u64) -> BoxFuture<'_, StoreResult<()>>;

    /// The files that come in parts and are not whole, with their references.
    fn open_uploads(&self) -> BoxFuture<'_, StoreResult<Vec<(String, StoredUpload)>>>;

    /// The file was received: its room is taken until it expires.
    fn keep_media(&self, reference: &str) -> BoxFuture<'_, StoreResult<()>>;

    /// The file was not received, or is gone: its room is free again.
    fn release_media(&self, reference: &str) -> BoxFuture<'_, StoreResult<()>>;

    /// Forgets marks and files from before these times.
    fn sweep(&self, wakes: Timestamp, media: Timestamp) -> BoxFuture<'_, StoreResult<()>>;
}
