//! What a run leaves behind: its trace, hashed line by line, and what it counted.

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::ops::AddAssign;

pub(super) struct Trace {
    hash: Sha256,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(keep: bool) -> Self {
        Self { hash: Sha256::new(), lines: keep.then(Vec::new) }
    }

    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) {
        let line = line.to_string();
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub(super) fn into_parts(self) -> ([u8; 32], Vec<String>) {
        (self.hash.finalize().into(), self.lines.unwrap_or_default())
    }
}

/// A short name for bytes, so that a trace tells different ones apart.
pub(super) fn short(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("{}b {:02x}{:02x}{:02x}{:02x}", bytes.len(), digest[0], digest[1], digest[2], digest[3])
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident)+) => {
        /// What happened how often in a run, or in several.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }
        }

        impl fmt::Display for Counts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let all = [$((stringify!($name), self.$name)),+];
                let all = all.map(|(name, n)| format!("{} {n}", name.replace('_', " ")));
                f.write_str(&all.join(", "))
            }
        }
    };
}

counts! {
    /// Events of the world.
    steps
    /// Messages that the engine said it queued.
    sends
    /// Messages given to an application for the first time.
    deliveries
    /// Events given again, after a restart without confirmation.
    given_again
    /// Clients killed.
    client_crashes
    /// Gatekeepers killed.
    gatekeeper_crashes
    /// Networks cut off from the gatekeeper.
    partitions
    /// Connections that one end does not know to be gone.
    half_open
    /// Connections broken with bytes under way.
    breaks
    /// Log-ins.
    logins
    /// Log-ins with a known server key.
    logins_ik
    /// Messages asked for again.
    retries
    /// Messages encrypted anew.
    resends
    /// Installations with new keys.
    identity_changes
    /// New identities that waited to be accepted.
    accepted
    /// Batches and loads that failed.
    store_failures
    /// Commits lost to another process.
    conflicts
    /// Batches lost in a crash.
    unsynced_lost
    /// Stanzas delivered twice, or replayed.
    duplicates
    /// Ciphertexts changed under way.
    forgeries
    /// Uploads of one-time keys.
    uploads
    /// Log-ins replaced by another.
    replaced
    /// Messages dropped by a block.
    blocked
}
