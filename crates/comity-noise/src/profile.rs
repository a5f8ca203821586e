//! Which form of the handshake is spoken, and its patterns (PROTOCOL §5.2).

use crate::frame::PROLOGUE;
use bytes::Bytes;

/// The form of the handshake. Both ends must be set to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// The wire's form: the stream begins with [`PROLOGUE`], messages are protobuf, and XX leaves the first message's
    /// empty payload out of the transcript.
    WhatsApp,
    /// The Noise specification to the letter: each handshake message is one frame, nothing precedes the first.
    Plain {
        /// Noise's prologue, the same at both ends.
        prologue: Bytes,
    },
}

impl Profile {
    pub(crate) fn prologue(&self) -> &[u8] {
        match self {
            Self::WhatsApp => &PROLOGUE,
            Self::Plain { prologue } => prologue,
        }
    }
}

/// The pattern a handshake ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `Noise_XX_25519_AESGCM_SHA256`: a first login.
    Xx,
    /// `Noise_IK_25519_AESGCM_SHA256`: a resumed one; the login is 0-RTT.
    Ik,
    /// `Noise_XXfallback_25519_AESGCM_SHA256`: the server could not read an IK message.
    XxFallback,
}

impl Pattern {
    /// The Noise protocol name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xx => "Noise_XX_25519_AESGCM_SHA256",
            Self::Ik => "Noise_IK_25519_AESGCM_SHA256",
            Self::XxFallback => "Noise_XXfallback_25519_AESGCM_SHA256",
        }
    }
}
