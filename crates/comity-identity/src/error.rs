//! What can go wrong with tokens and keys.

use comity_core::ErrorKind;

/// Why a token, a key or a key set was not accepted. The text never holds a token, a key or a user's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than [`limits::MAX_TOKEN_LEN`](crate::limits::MAX_TOKEN_LEN).
    #[error("the token is too long")]
    TokenTooLong,
    /// Not three base64url parts, no usable `kid`, or a claim set that does not parse, lacks a member or repeats one.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// A header that is no JSON object with an `alg`, repeats a member, or has one that would have the verifier trust the
    /// token itself or do what it does not know.
    #[error("the token's header is not acceptable")]
    ForbiddenHeader,
    /// The header's `alg` is not the one that the key is for.
    #[error("the token's algorithm is not that of its key")]
    WrongAlgorithm,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// No integrator has this `iss`.
    #[error("the token's issuer is unknown")]
    UnknownIssuer,
    /// The `kid` is in no key set of this issuer.
    #[error("the token's key is unknown")]
    UnknownKey {
        /// Whether a fetch of the key set is under way or was scheduled by this very token: try again after it.
        refresh: bool,
    },
    /// There is no key set of this issuer, or only one older than [`limits::JWKS_MAX_AGE`](crate::limits::JWKS_MAX_AGE).
    #[error("there is no fresh key set of the token's issuer")]
    NoKeys,
    /// `aud` is not this verifier.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// `iss` is not the issuer expected.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `iat` or `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` is not after `iat`, or further from it than allowed.
    #[error("the token's life time is out of range")]
    BadLifetime,
    /// `sub` is not a user-visible id.
    #[error("the token's subject is not a user-visible id")]
    BadSubject,
    /// There is no `cnf.jkt`.
    #[error("the token is not bound to a key")]
    Unbound,
    /// `cnf.jkt` is not the thumbprint of the key in use.
    #[error("the token is bound to another key")]
    WrongKeyBinding,
    /// A JWK set that does not parse or breaks a rule; the last good set stays in use.
    #[error("the key set is not acceptable: {0}")]
    BadJwks(&'static str),
    /// A private key that does not parse, or is not RSA (2048 bits and up), P-256 or Ed25519; a stored key ring that does
    /// not parse.
    #[error("not a usable signing key")]
    BadSigningKey,
    /// An argument that the documentation rules out.
    #[error("{0}")]
    Misuse(&'static str),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl Error {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TokenTooLong => ErrorKind::LimitExceeded,
            Self::Malformed(_) | Self::BadSubject | Self::BadLifetime | Self::BadJwks(_) => ErrorKind::PeerMisbehaved,
            Self::ForbiddenHeader
            | Self::WrongAlgorithm
            | Self::BadSignature
            | Self::UnknownIssuer
            | Self::UnknownKey { .. }
            | Self::WrongAudience
            | Self::WrongIssuer
            | Self::Expired
            | Self::NotYetValid
            | Self::Unbound
            | Self::WrongKeyBinding => ErrorKind::Untrusted,
            Self::NoKeys => ErrorKind::Transport,
            Self::BadSigningKey => ErrorKind::StateCorrupt,
            Self::Misuse(_) => ErrorKind::ApiMisuse,
            Self::Crypto => ErrorKind::Bug,
        }
    }
}
