//! Media encryption of the interop protocol (PROTOCOL §10); behind the feature `transfer`, upload and download; behind
//! `thumbnails`, dimensions and small previews of images.
//!
//! [`Encryptor`] and [`Decryptor`] take a file of any size chunk by chunk, in constant memory, and do no I/O. What a
//! decryptor gives before [`Decryptor::finish`] is [`Unverified`]: write it to a temporary file and give that its name
//! only once there is a [`Verified`]. That is WhatsApp's format; [`format2`] is the other one.
//!
//! ```
//! # use comity_media::{Encryptor, Decryptor, Expected, Limits, MediaKey, MediaKind, Unverified};
//! # use bytes::BytesMut;
//! # fn main() -> Result<(), comity_media::Error> {
//! # let key = MediaKey::from([7; 32]); // in life: MediaKey::generate(rng), once per file
//! let (mut encryptor, mut file) = (Encryptor::new(MediaKind::Image, &key), BytesMut::new());
//! encryptor.update(b"chunk by ", &mut file)?;
//! encryptor.update(b"chunk", &mut file)?;
//! let encrypted = encryptor.finish(&mut file);
//!
//! let expected = Expected::from(&encrypted);
//! let mut decryptor = Decryptor::new(MediaKind::Image, &key, expected, &Limits::default())?;
//! let mut plain = Unverified::new();
//! decryptor.update(&file, &mut plain)?;
//! let proof = decryptor.finish(&mut plain)?;
//! assert_eq!(&plain.release(&proof)[..], b"chunk by chunk");
//! # Ok(())
//! # }
//! ```

mod decrypt;
mod encrypt;
mod error;
pub mod format2;
mod key;
mod kind;
pub mod limits;
mod retry;
mod sidecar;
mod sniff;
#[cfg(feature = "thumbnails")]
pub mod thumbnail;
#[cfg(feature = "transfer")]
pub mod transfer;

pub use decrypt::{Decryptor, Expected, Unverified, Verified, decrypt};
pub use encrypt::{Encrypted, Encryptor, encrypt, encrypted_length};
pub use error::{Error, Remedy};
pub use key::MediaKey;
pub use kind::{MediaContent, MediaKind, UnknownKind};
pub use limits::Limits;
pub use retry::{MAX_RETRY_LEN, SealedRetry, open_retry, seal_retry};
pub use sidecar::{SEGMENT_LEN, SegmentReader};
pub use sniff::{SNIFF_LEN, Sniffed, check_declared, sniff};
