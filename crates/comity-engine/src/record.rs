//! The engine's own stored records, as protobuf. Field numbers are a storage format: never reuse one.

use crate::Error;
use bytes::Bytes;
use comity_core::{Jid, MessageId, Record, RecordKey, RecordKind, Timestamp};
use comity_proto::Codec;

/// The account's secrets outside the Signal state, and who it is. Record `Meta/login`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Login {
    /// The Noise static private key.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) noise_private: Vec<u8>,
    /// The JID the gatekeeper gave, once enlisted or registered.
    #[prost(string, tag = "2")]
    pub(crate) jid: String,
    /// Server key of the last verified chain, for IK.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) server_key: Vec<u8>,
    /// End of that chain's validity, unix s.
    #[prost(uint64, tag = "4")]
    pub(crate) server_key_until: u64,
}

/// A stanza the server has not acknowledged. Record `Outbox/{order}`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Outgoing {
    #[prost(string, tag = "1")]
    pub(crate) to: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    /// Unencrypted content; empty for a receipt.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) content: Bytes,
    /// The binary stanza, once encrypted: what goes out again after a reconnect.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) stanza: Bytes,
    /// `type` of the message, or empty for a receipt.
    #[prost(string, tag = "5")]
    pub(crate) message_type: String,
    #[prost(string, tag = "6")]
    pub(crate) mediatype: String,
    #[prost(string, tag = "7")]
    pub(crate) edit: String,
    #[prost(bool, tag = "8")]
    pub(crate) hide_on_failure: bool,
    /// A retry: the requester's count, or 0.
    #[prost(uint32, tag = "9")]
    pub(crate) retry: u32,
    /// A file's: what is kept of it once it is sent.
    #[prost(message, optional, tag = "10")]
    pub(crate) media: Option<SentMedia>,
    /// A revocation's: the id of the message taken back.
    #[prost(string, tag = "11")]
    pub(crate) revokes: String,
}

impl Outgoing {
    pub(crate) fn is_receipt(&self) -> bool {
        self.message_type.is_empty()
    }
}

/// What is kept of a message that went out. Record `Sent/{peer}/{id}`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Sent {
    /// When, unix ms.
    #[prost(uint64, tag = "1")]
    pub(crate) at: u64,
    /// The message as it was queued, without its stanza; none once it is delivered: then the record only keeps the id
    /// from being sent again.
    #[prost(message, optional, tag = "2")]
    pub(crate) outgoing: Option<Outgoing>,
    /// A file's: what answers its recipient who asks for it again.
    #[prost(message, optional, tag = "3")]
    pub(crate) media: Option<SentMedia>,
}

/// What is kept of a file that was sent (PROTOCOL §10, "Media gone").
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct SentMedia {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    /// Its `mms-type`.
    #[prost(string, tag = "2")]
    pub(crate) kind: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) file_enc_sha256: Vec<u8>,
    /// Where the application has it; empty if it did not say.
    #[prost(string, tag = "4")]
    pub(crate) source: String,
    /// The ivs of the requests that were taken.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(crate) requests: Vec<Vec<u8>>,
    /// The last one is not answered yet.
    #[prost(bool, tag = "6")]
    pub(crate) open: bool,
}

/// A file that was asked for again. Record `MediaRetry/{peer}/{id}`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct AskedMedia {
    /// When last, unix ms.
    #[prost(uint64, tag = "1")]
    pub(crate) at: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) key: Vec<u8>,
    /// How often.
    #[prost(uint32, tag = "3")]
    pub(crate) count: u32,
    /// An answer is awaited.
    #[prost(bool, tag = "4")]
    pub(crate) open: bool,
    /// The ivs of the answers that were taken.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(crate) answers: Vec<Vec<u8>>,
}

/// What an event says of a message's file, beside the message's id.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct MediaNotice {
    /// The peer asks for it again.
    #[prost(message, optional, tag = "1")]
    pub(crate) requested: Option<SentMedia>,
    /// Otherwise: where it is again; empty if it is gone for good.
    #[prost(string, tag = "2")]
    pub(crate) direct_path: String,
}

/// That a message was given to the application. Record `Seen/{peer}/{id}`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Seen {
    /// When, unix ms.
    #[prost(uint64, tag = "1")]
    pub(crate) at: u64,
}

/// A message event, or one about a message's file, that the application has not confirmed. Record `Inbox/{order}`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Incoming {
    #[prost(string, tag = "1")]
    pub(crate) from: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    /// Unix s.
    #[prost(uint64, tag = "3")]
    pub(crate) t: u64,
    #[prost(string, optional, tag = "4")]
    pub(crate) notify: Option<String>,
    /// The serialised `Message`.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) content: Bytes,
    #[prost(uint32, tag = "6")]
    pub(crate) version: u32,
    #[prost(bool, tag = "7")]
    pub(crate) offline: bool,
    /// Not a message, but news of one's file.
    #[prost(message, optional, tag = "8")]
    pub(crate) media: Option<MediaNotice>,
}

macro_rules! silent {
    ($($name:ident)+) => {$(
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )+};
}
silent!(Login Outgoing Sent SentMedia AskedMedia MediaNotice Incoming);

/// `Meta/login`.
pub(crate) fn login_key() -> RecordKey {
    RecordKey::new(RecordKind::Meta, "login")
}

/// A record that belongs to one message of one chat.
pub(crate) fn message_key(kind: RecordKind, chat: &Jid, id: &MessageId) -> RecordKey {
    RecordKey::new(kind, format_args!("{chat}/{id}"))
}

/// Parses a record's value; `None` if there is none.
pub(crate) fn parse<T: Codec + Default>(record: &Record, what: &'static str) -> Result<Option<T>, Error> {
    record.value.as_ref().map(|v| T::decode(v.expose().as_slice()).map_err(|_| Error::Corrupt(what))).transpose()
}

/// Gives record ids that sort by the time they were drawn, also when the clock steps back.
#[derive(Debug, Default)]
pub(crate) struct Order {
    last: u64,
}

impl Order {
    /// Ids drawn from now on sort after `id`.
    pub(crate) fn follow(&mut self, id: &str) {
        let drawn = id.get(..Self::DIGITS).and_then(|n| u64::from_str_radix(n, 16).ok()).unwrap_or(0);
        self.last = self.last.max(drawn);
    }

    /// The next id. The message's own id keeps two processes on one store apart.
    pub(crate) fn next(&mut self, now: Timestamp, id: &MessageId) -> String {
        // Microseconds of room under each millisecond.
        self.last = (self.last + 1).max(now.as_millis().saturating_mul(1024));
        format!("{:0width$x}/{id}", self.last, width = Self::DIGITS)
    }

    const DIGITS: usize = 16;
}
