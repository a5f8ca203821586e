//! What the rest of the gatekeeper asks of its storage, as operations of the protocol: each is one transaction, and durable
//! when its future (of those that answer a [`Committed`]: the inner one) resolves. Another database implements [`Storage`].

use super::mailbox::Queued;
use super::*;
use comity_core::{IntegratorId, Jid, Timestamp};
use comity_identity::SingleUse;
use futures_util::future::BoxFuture;
use std::collections::HashMap;

/// Makes the notification that tells an account's contacts of its new identity.
pub(crate) type MakeNotice = Box<dyn Fn(&Jid) -> Result<Notice> + Send>;

macro_rules! storage {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        /// The storage of a gatekeeper. Writes that are begun one after the other take effect in that order; a read sees
        /// every write that was answered before it. A dropped future does not undo a write.
        pub(crate) trait Storage: Send + Sync {
            $($(#[$doc])* fn $name<'a>(&'a self, $($arg: $type),*) -> BoxFuture<'a, $answer>;)*
        }

        impl Storage for Store {
            $(fn $name<'a>(&'a self, $($arg: $type),*) -> BoxFuture<'a, $answer> {
                Box::pin(Store::$name(self, $($arg),*))
            })*
        }
    };
}

storage! {
    // Accounts (PROTOCOL §2, §4, §12).

    /// Stores an enlistment; `notice` makes the identity-change notification from an account.
    fn enlist(enlistment: Enlistment, now: Timestamp, notice: MakeNotice) -> Result<Enlisted>;

    /// Registers a native user, or gives a registered one a new Noise key, name and view of partner users. Answers whether
    /// an old key was replaced.
    fn register_native(account: Jid, auth_key: [u8; 32], display_name: String, alias_view: bool, now: Timestamp) -> Result<bool>;

    /// The aliases of these partner users, given on first use; of accounts that never were there is none.
    fn aliases(accounts: Vec<Jid>) -> Result<HashMap<Jid, Jid>>;

    /// The partner users behind these aliases.
    fn aliased(aliases: Vec<Jid>) -> Result<HashMap<Jid, Jid>>;

    /// Blocks a partner user, or lets it in again; a blocked one that is let in has to enlist. `false`: there is none.
    fn set_blocked(account: Jid, blocked: bool) -> Result<bool>;

    /// The account, if there is one.
    fn user(account: Jid) -> Result<Option<User>>;

    /// Records a log-in: seen now, wake-up answered, display name kept; an unbound token used up. Anything but
    /// [`Use::First`] refuses the log-in and changes nothing.
    fn logged_in(account: &'a Jid, display_name: Option<String>, single_use: Option<SingleUse>, now: Timestamp) -> Result<Use>;

    /// Records that the account was connected until now.
    fn seen(account: &'a Jid, now: Timestamp) -> Committed<()>;

    /// Deletes an account: keys, mailbox and blocklist gone, the id tombstoned, the contacts' notice stored. Answers the
    /// contacts.
    fn delete_account(account: Jid, notice: Notice, now: Timestamp) -> Result<Vec<Jid>>;

    /// Expires what is due: mail that was kept its time, used tokens, partner users too long without a connection (their
    /// accounts are answered). Those `connected` are seen now.
    fn sweep(connected: Vec<Jid>, now: Timestamp) -> Result<Vec<Jid>>;

    /// Whether the token was used before. Changes nothing.
    fn is_used(token: SingleUse) -> Result<bool>;

    // The key directory (PROTOCOL §8).

    /// Adds an upload to what is stored.
    fn upload_keys(account: Jid, upload: Upload, notice: Notice, now: Timestamp) -> Result<Uploaded>;

    /// How many one-time keys are left.
    fn count_keys(account: Jid) -> Result<KeyCount>;

    /// Hands out bundles, one-time keys with them, in the order asked; `None` for whom the requester may not see.
    fn fetch_keys(requester: Jid, wanted: Vec<Wanted>) -> Result<Vec<Option<Handout>>>;

    /// The bundle, all one-time Curve25519 keys by id, and the ids of the post-quantum ones, as a digest states them.
    fn published(account: Jid) -> Result<Option<(Bundle, Vec<OneTimeKey>, Vec<u32>)>>;

    /// The identity key of `account`.
    fn identity(account: Jid) -> Result<Option<[u8; 32]>>;

    /// Replaces the signed pre-key and, where given, the last-resort key; `false` if nothing was ever published.
    fn rotate_keys(account: Jid, skey: Option<SignedKey>, pq_last: Option<SignedKey>) -> Result<bool>;

    // The mailbox and whom to wake (PROTOCOL §7, §11, §12).

    /// Stores a message or call for its recipient, if the recipient's consent, blocklist and room allow it.
    fn send(sender: &'a User, mail: Mail, now: Timestamp) -> Committed<Outcome>;

    /// Takes a receipt: the answered messages leave the mailbox of `account`, and the receipt is queued for their sender
    /// in the same transaction. Answers how many left, and whether it was queued.
    fn receipt(user: &'a User, peer: Jid, answered: Vec<String>, forward: Option<Mail>, now: Timestamp) -> Committed<(u32, bool)>;

    /// Takes a client's ack: the stanza leaves the mailbox; answers how many did. `kind` may be missing on the wire; then
    /// the oldest goes.
    fn acked(account: &'a Jid, class: Class, peer: Jid, id: String, kind: Option<String>) -> Committed<u32>;

    /// What waits for `account`.
    fn waiting(account: Jid) -> Result<Waiting>;

    /// Up to `limit` queued stanzas of `account` after place `after`, at most about `max_bytes` of them (but one always).
    fn page(account: &'a Jid, after: i64, limit: u32, max_bytes: usize) -> Result<Vec<Queued>>;

    /// Partner users with mail whose push has not been refused: who is woken when the server starts.
    fn to_wake() -> Result<Vec<Jid>>;

    /// Records that the partner answered a push with 410; it stops until the next log-in.
    fn push_gone(account: Jid) -> Result<()>;

    /// Where a push for `account` goes: integrator and user-visible id; `None` if it must not be sent (any more): no mail
    /// waits, or the partner said that the user is gone.
    fn push_target(account: Jid) -> Result<Option<User>>;

    // Consent, blocks, reports (PROTOCOL §13).

    /// The integrators a native user has opted in to.
    fn opt_ins(account: Jid) -> Result<Vec<u16>>;

    /// Replaces the whole list of opt-ins.
    fn set_opt_ins(account: Jid, integrators: Vec<IntegratorId>) -> Result<()>;

    /// Whether pings reach the native user, and the integrators for whom they do not all the same. Unset: as soon as
    /// there is an opt-in.
    fn reachability(account: Jid) -> Result<(bool, Vec<u16>)>;

    /// Sets reachability: for all if `only` is empty, else for those integrators alone.
    fn set_reachability(account: Jid, enabled: bool, only: Vec<IntegratorId>) -> Result<()>;

    /// The accounts looked up, in order; `None` for absent, not opted in and blocked alike.
    fn look_up(viewer: Jid, wanted: Vec<Lookup>) -> Result<Vec<Option<Jid>>>;

    /// Queues a reachability ping unless the target blocks the sender, does not want pings, or had enough of them today.
    fn ping(sender: &'a User, mail: Mail, now: Timestamp) -> Result<bool>;

    /// The blocklist.
    fn blocklist(account: Jid) -> Result<Blocklist>;

    /// Blocks or unblocks `peer`; the list after it, or `None` if it is full.
    fn set_block(account: Jid, peer: Jid, block: bool) -> Result<Option<Blocklist>>;

    /// Whether `viewer` may know that `target` exists, and show it that it is typing.
    fn may_see(viewer: Jid, target: Jid) -> Result<bool>;

    /// Files a report; the oldest make room.
    fn report(reporter: Jid, subject: Jid, flow: String, stanza: Vec<u8>, now: Timestamp) -> Result<()>;
}
