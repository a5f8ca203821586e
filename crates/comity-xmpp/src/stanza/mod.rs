//! Typed stanzas (PROTOCOL §7, §8, §12 to §15).
//!
//! Each stanza has `parse(&Node)`, `from_node(Node)` and `into_node()`. An [`Iq`] or a [`Notification`] is an envelope; what
//! it carries is a [`Payload`], read with [`Iq::payload`] and built with [`Iq::request`] or [`Iq::result`]. Attributes and
//! children that a type does not know are kept in its [`Rest`] and written again, those at children without a type of their
//! own too. Only what is a name alone ([`Stanza::StreamEnd`], and a payload without a field such as [`KeyCountQuery`], whose
//! [`Iq`] keeps everything) has no room for them.

mod ack;
mod any;
mod blocking;
mod call;
mod error;
mod fields;
mod groups;
mod interop;
mod iq;
mod keys;
mod media;
mod message;
mod notification;
mod presence;
mod receipt;
mod session;
mod usync;

pub use ack::{Ack, AckClass, nack};
pub use any::{AnyRequest, Stanza};
pub use blocking::{
    BlockAction, BlockChange, Blocklist, BlocklistQuery, NativeBlockChange, ReportedMessage, SpamReport,
};
pub use call::{Call, CallAction};
pub use error::{Problem, StanzaError};
pub use fields::{Fields, FromValue, Rest};
pub use groups::{GroupAction, GroupChange, GroupCreate, GroupInfo, GroupLeave, GroupMember, GroupQuery};
pub use interop::{
    DeleteAccount, FoundUser, IdentifierType, Integrator, IntegratorStatus, Integrators, IntegratorsQuery, InteropPing,
    InteropPingNotice, OptIn, Reachability, ReachabilityQuery, UserEntry, UserQuery, UsersQuery, UsersResult,
};
pub use iq::{Iq, IqType, Payload, Reported, Request, error_text};
pub use keys::{
    IdentityChanged, KEY_TYPE, KeyBundle, KeyCount, KeyCountQuery, KeyDigest, KeyDigestQuery, KeyFetch, KeyFetchEntry,
    KeyFetchResult, KeyFetchUser, KeyRotate, KeyUpload, PRE_KEY_IDS, PqPreKeyXml, PreKeyXml, SignedPreKeyXml,
};
pub use media::{Encrypted, MediaConn, MediaConnQuery, MediaHost, MediaRetry};
pub use message::{Edit, Enc, EncType, Message, MessageType, Participant};
pub use notification::{Notification, notice};
pub use presence::{Chatstate, Presence, Typing};
pub use receipt::{Readers, Receipt, ReceiptType, Retry, RetryKeys};
pub use session::{
    Conflict, Delivery, Failure, Ib, IbBody, OfflinePreview, Ping, ServerPing, StreamError, Success, failure,
};
pub use usync::{DevicesQuery, DevicesResult, UserDevices};
