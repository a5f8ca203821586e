//! Messaging interoperability under Article 7 of the EU Digital Markets Act: the client of a partner's user, in one crate.
//!
//! [`Client::builder`] sets an account up; [`Client`] sends, [`Events`] tells what comes in. What the crate rests on can be
//! taken alone: `comity-noise` (transport), `comity-xmpp` (stanzas), `comity-signal` (sessions), `comity-media` (files),
//! `comity-identity` (ownership tokens), `comity-engine` (the client without I/O). For the partner's own server there is
//! `comity-partner`, and `comity-gatekeeper` is a gatekeeper to build against.
//!
//! # Suites
//! Sessions need at least one suite. The two of this project wrap engines that are AGPL-3.0-only, so they are features and
//! off by default: `x3dh` (message version 3, what WhatsApp speaks) and `pqxdh` (version 4, post-quantum; needs `protoc` to
//! build). Another engine plugs in by implementing [`Suite`].
//!
//! ```no_run
//! # #[cfg(feature = "x3dh")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use comity::{Client, Config, Event, PartnerServer, SqliteStore, Suites, X3dh};
//! use std::{path::Path, sync::Arc};
//!
//! let config = Config::partner("alice@partner.example".parse()?, comity::TrustRoot::WHATSAPP);
//! let store = Arc::new(SqliteStore::open(Path::new("alice.db"))?);
//! let server = PartnerServer::new("https://partner.example", "alice@partner.example", "her secret")?;
//! let (client, mut events) =
//!     Client::builder(config, Suites::new().with(X3dh), store, "chat.example:443", "https://gatekeeper.example")
//!         .partner(server)
//!         .start()?;
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         client.send_text(&message.from, "Got it.").await?;
//!         client.confirm(message.event).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub use comity_client::*;
pub use comity_core::{IdError, IntegratorId, Jid, MessageId, PartnerUser, Store, Timestamp, UserVisibleId};
pub use comity_noise::{Profile, PublicKey, TrustRoot};
pub use comity_signal::{IdentityPolicy, Suite, Suites};
#[cfg(feature = "pqxdh")]
pub use comity_signal_pqxdh::Pqxdh;
#[cfg(feature = "x3dh")]
pub use comity_signal_x3dh::X3dh;

/// The README's code.
#[cfg(all(doctest, feature = "x3dh"))]
#[doc = include_str!("../README.md")]
struct Readme;
