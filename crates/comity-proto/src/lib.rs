//! The protobuf schema of the interop protocol (PROTOCOL §5, §9): prost types, byte fields as [`bytes::Bytes`].
//!
//! The code under `generated/` is made from `proto/*.proto`; a test fails when they differ. Fields that the schema does
//! not name are skipped on decode: keep the received bytes where they must survive.

pub use prost::{self, Message as Codec};

/// Noise handshake messages, server certificates and login.
#[allow(missing_docs, clippy::doc_markdown, reason = "generated; the field names are the wire's")]
#[rustfmt::skip]
#[path = "generated/handshake.rs"]
pub mod handshake;

/// End-to-end content.
#[allow(missing_docs, clippy::doc_markdown, clippy::large_enum_variant, reason = "generated; the field names are the wire's")]
#[rustfmt::skip]
#[path = "generated/message.rs"]
pub mod message;

/// Content, keys and tokens stay out of logs: `Debug` names the type alone.
macro_rules! silent_debug {
    ($($module:ident: $($name:ident)+;)+) => {$($(
        impl core::fmt::Debug for $module::$name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )+)+};
}

silent_debug! {
    handshake: InteropData;
    message: Message SenderKeyDistributionMessage ExtendedTextMessage ContextInfo MessageKey ProtocolMessage
        ReactionMessage FutureProofMessage DeviceSentMessage MessageContextInfo ImageMessage VideoMessage AudioMessage
        DocumentMessage StickerMessage ServerErrorReceipt MediaRetryNotification;
}

/// The source of [`message`]: what a table over every message type is checked against.
pub const MESSAGE_SCHEMA: &str = include_str!("../proto/message.proto");
