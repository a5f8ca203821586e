//! Server certificates: issue, parse, verify (PROTOCOL §5.3).

use crate::xeddsa::{self, SIGNATURE_LEN};
use crate::{PublicKey, StaticKey};
use bytes::Bytes;
use comity_core::{CryptoRng, ErrorKind, Timestamp};
use comity_proto::Codec as _;
use comity_proto::handshake::{CertChain, Details, NoiseCertificate};
use core::fmt;

/// The serial by which an intermediate names the root as its issuer.
pub const ROOT_SERIAL: u32 = 0;

/// Which certificate of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Signed by the intermediate; certifies the server's static key.
    Leaf,
    /// Signed by the root.
    Intermediate,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaf => "the leaf",
            Self::Intermediate => "the intermediate",
        })
    }
}

/// Why a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The chain is not a chain of two certificates.
    #[error("the chain does not parse")]
    Chain,
    /// A certificate lacks a field, or a field has the wrong form.
    #[error("{link} has no valid {field}")]
    Field {
        /// Which certificate.
        link: Link,
        /// The field's name on the wire.
        field: &'static str,
    },
    /// A certificate names another issuer than the one above it.
    #[error("{link} names issuer {found}, not {expected}")]
    Issuer {
        /// Which certificate.
        link: Link,
        /// The serial of the certificate above it; 0 is the root.
        expected: u32,
        /// The serial it names.
        found: u32,
    },
    /// A certificate's signature does not verify.
    #[error("the signature of {link} does not verify")]
    Signature {
        /// Which certificate.
        link: Link,
    },
    /// A certificate is not valid yet.
    #[error("{link} is valid from {not_before} s on")]
    NotYetValid {
        /// Which certificate.
        link: Link,
        /// The start of its validity, Unix seconds.
        not_before: u64,
    },
    /// A certificate is not valid any more.
    #[error("{link} was valid until {not_after} s")]
    Expired {
        /// Which certificate.
        link: Link,
        /// The end of its validity, Unix seconds.
        not_after: u64,
    },
    /// The leaf certifies another key than the one the handshake proved.
    #[error("the leaf certifies another key than the server's")]
    KeyMismatch,
}

impl CertificateError {
    /// Whose fault it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Chain | Self::Field { .. } => ErrorKind::PeerMisbehaved,
            _ => ErrorKind::Untrusted,
        }
    }
}

/// The key that signs intermediates: configuration of every client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrustRoot(pub PublicKey);

impl TrustRoot {
    /// WhatsApp's root.
    pub const WHATSAPP: Self = Self(PublicKey::from_bytes([
        0x14, 0x23, 0x75, 0x57, 0x4d, 0x0a, 0x58, 0x71, 0x66, 0xaa, 0xe7, 0x1e, 0xbe, 0x51, 0x64, 0x37, 0xc4, 0xa2,
        0x8b, 0x73, 0xe3, 0x69, 0x5c, 0x6c, 0xe1, 0xf7, 0xf9, 0x54, 0x5d, 0xa8, 0xee, 0x6b,
    ]));
}

/// A span of time, both ends included, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: u64,
    /// Last second.
    pub not_after: u64,
}

impl Validity {
    /// All time.
    pub const ALWAYS: Self = Self { not_before: 0, not_after: u64::MAX };

    /// Whether `now` lies in it.
    pub const fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now.as_secs() && now.as_secs() <= self.not_after
    }
}

/// A server key that a handshake proved and a chain certified, with the time for which it may be used to resume by IK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedServer {
    /// The server's static key.
    pub key: PublicKey,
    /// When every certificate of its chain is valid.
    pub validity: Validity,
}

/// Verifies the chain `chain` for the server key `server`, as proved by the handshake, at time `now`.
///
/// # Errors
/// The first fault found, root first.
pub fn verify(
    chain: &[u8],
    root: &TrustRoot,
    server: &PublicKey,
    now: Timestamp,
) -> Result<VerifiedServer, CertificateError> {
    let chain = CertChain::decode(chain).map_err(|_| CertificateError::Chain)?;
    let (Some(leaf), Some(intermediate)) = (chain.leaf, chain.intermediate) else {
        return Err(CertificateError::Chain);
    };
    let intermediate = Verified::check(Link::Intermediate, &intermediate, &root.0, ROOT_SERIAL, now)?;
    let leaf = Verified::check(Link::Leaf, &leaf, &intermediate.key, intermediate.serial, now)?;
    if leaf.key != *server {
        return Err(CertificateError::KeyMismatch);
    }
    let validity = Validity {
        not_before: leaf.validity.not_before.max(intermediate.validity.not_before),
        not_after: leaf.validity.not_after.min(intermediate.validity.not_after),
    };
    Ok(VerifiedServer { key: leaf.key, validity })
}

struct Verified {
    serial: u32,
    key: PublicKey,
    validity: Validity,
}

impl Verified {
    /// Verifies one certificate under its issuer; nothing of `details` is believed before the signature.
    fn check(
        link: Link,
        certificate: &NoiseCertificate,
        issuer: &PublicKey,
        issuer_serial: u32,
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        let missing = |field| CertificateError::Field { link, field };
        let details = certificate.details.as_deref().ok_or(missing("details"))?;
        let signature: &[u8; SIGNATURE_LEN] =
            certificate.signature.as_deref().and_then(|s| s.try_into().ok()).ok_or(missing("signature"))?;
        xeddsa::verify(issuer, details, signature).map_err(|_| CertificateError::Signature { link })?;

        let details = Details::decode(details).map_err(|_| missing("details"))?;
        let serial = details.serial.ok_or(missing("serial"))?;
        let found = details.issuer_serial.ok_or(missing("issuerSerial"))?;
        let key = details.key.as_deref().and_then(|k| PublicKey::try_from(k).ok()).ok_or(missing("key"))?;
        let not_before = details.not_before.ok_or(missing("notBefore"))?;
        let not_after = details.not_after.ok_or(missing("notAfter"))?;
        if found != issuer_serial {
            return Err(CertificateError::Issuer { link, expected: issuer_serial, found });
        }
        if now.as_secs() < not_before {
            return Err(CertificateError::NotYetValid { link, not_before });
        }
        if now.as_secs() > not_after {
            return Err(CertificateError::Expired { link, not_after });
        }
        Ok(Self { serial, key, validity: Validity { not_before, not_after } })
    }
}

/// An intermediate that certifies server keys: for a sandbox or a test, which has its own root.
#[derive(Debug)]
pub struct Issuer {
    key: StaticKey,
    serial: u32,
    certificate: NoiseCertificate,
}

impl Issuer {
    /// An intermediate with key `key` and serial `serial`, signed by `root`.
    pub fn new(root: &StaticKey, key: StaticKey, serial: u32, validity: Validity, rng: &mut dyn CryptoRng) -> Self {
        let certificate = issue(root, ROOT_SERIAL, key.public(), serial, validity, rng);
        Self { key, serial, certificate }
    }

    /// The encoded chain of a server with the static key `server`: what it sends as its handshake payload.
    pub fn chain(&self, server: PublicKey, serial: u32, validity: Validity, rng: &mut dyn CryptoRng) -> Bytes {
        let leaf = issue(&self.key, self.serial, server, serial, validity, rng);
        CertChain { leaf: Some(leaf), intermediate: Some(self.certificate.clone()) }.encode_to_vec().into()
    }
}

fn issue(
    issuer: &StaticKey,
    issuer_serial: u32,
    subject: PublicKey,
    serial: u32,
    validity: Validity,
    rng: &mut dyn CryptoRng,
) -> NoiseCertificate {
    let details = Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(Bytes::copy_from_slice(subject.as_bytes())),
        not_before: Some(validity.not_before),
        not_after: Some(validity.not_after),
    }
    .encode_to_vec();
    let signature = xeddsa::sign(issuer, &details, rng);
    NoiseCertificate { details: Some(details.into()), signature: Some(Bytes::copy_from_slice(&signature)) }
}
