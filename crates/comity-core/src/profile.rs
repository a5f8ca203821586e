//! The profile: every unpublished detail of the protocol that is a value, and a few published ones, by name (PROTOCOL,
//! preamble). What the other end's documentation says otherwise is set here, not in the code.

use core::fmt;
use core::time::Duration;

/// How sure a fact is (PROTOCOL, preamble).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Stated by the public specification.
    S,
    /// Seen on the wire.
    W,
    /// Unpublished: decided by this project.
    D,
}

/// One value of a [`Profile`], as it is shown and listed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// Its name, in a file and in Rust.
    pub name: &'static str,
    /// The section of PROTOCOL.
    pub clause: &'static str,
    /// How sure it is.
    pub mark: Mark,
    /// Its value, as a TOML value.
    pub value: String,
    /// What the number counts; empty for what is no number.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// A profile that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// There is no such field.
    #[error("profile: no field `{0}`")]
    UnknownField(String),
    /// The field takes other values.
    #[error("profile: `{name}` takes {takes}")]
    BadValue {
        /// The field.
        name: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// There is no such ready-made profile.
    #[error("profile: `{0}` is none of `sandbox`, `whatsapp-1.0.3`")]
    UnknownBase(String),
    /// The file is not TOML.
    #[error("profile: {0}")]
    Syntax(String),
}

trait Value: Sized {
    const TAKES: &'static str;
    const UNIT: &'static str;
    fn read(text: &str) -> Option<Self>;
    fn show(&self) -> String;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const TAKES: &'static str = "a whole number";
            const UNIT: &'static str = "count";
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
numbers!(u16, u32, u64, usize);

impl Value for bool {
    const TAKES: &'static str = "`true` or `false`";
    const UNIT: &'static str = "";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// Whole seconds.
impl Value for Duration {
    const TAKES: &'static str = "a whole number of seconds";
    const UNIT: &'static str = "s";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::from_secs)
    }
    fn show(&self) -> String {
        self.as_secs().to_string()
    }
}

/// Names, versions: what is on the wire between quotes or as a tag.
impl Value for String {
    const TAKES: &'static str = "a text of 1 to 64 letters, digits and `._:-`";
    const UNIT: &'static str = "";
    fn read(text: &str) -> Option<Self> {
        let fit = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        ((1..=64).contains(&text.len()) && text.bytes().all(fit)).then(|| text.to_owned())
    }
    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}

macro_rules! profile {
    ($($(#[doc = $doc:literal])+ [$clause:literal $mark:ident] $name:ident: $type:ty = $value:expr;)*) => {
        /// Every unpublished detail that is a value, by name. Start from a ready-made one and set fields, or read a file.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Profile {
            $($(#[doc = $doc])+ pub $name: $type,)*
        }

        impl Profile {
            /// What the sandbox speaks.
            pub fn sandbox() -> Self {
                Self { $($name: $value.into(),)* }
            }

            /// All fields, in the order of PROTOCOL.
            pub fn fields(&self) -> Vec<Field> {
                vec![$(Field {
                    name: stringify!($name),
                    clause: $clause,
                    mark: Mark::$mark,
                    value: self.$name.show(),
                    unit: <$type as Value>::UNIT,
                    meaning: concat!($($doc),+).trim_ascii(),
                }),*]
            }

            /// Sets a field from its text: numbers in decimal, durations in seconds.
            ///
            /// # Errors
            /// [`ProfileError::UnknownField`], [`ProfileError::BadValue`]; the profile is then as before.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), ProfileError> {
                match name {
                    $(stringify!($name) => {
                        let bad = ProfileError::BadValue { name: stringify!($name), takes: <$type as Value>::TAKES };
                        self.$name = Value::read(value).ok_or(bad)?;
                    })*
                    _ => return Err(ProfileError::UnknownField(name.chars().take(64).collect())),
                }
                Ok(())
            }
        }
    };
}

profile! {
    /// Longest life of an ownership token: `exp` after `iat`.
    ["3" D] token_lifetime: Duration = Duration::from_secs(600);
    /// How far the clocks of issuer and verifier may be apart; at most 300 count.
    ["3" D] clock_leeway: Duration = Duration::from_secs(60);
    /// Whether tokens may be signed by ES256, where the key says so.
    ["3" D] token_es256: bool = true;
    /// Whether tokens may be signed by EdDSA, where the key says so.
    ["3" D] token_eddsa: bool = true;
    /// How often a key set is fetched when all goes well; at most 600 count, which signers rely on.
    ["3" D] jwks_refresh: Duration = Duration::from_secs(600);
    /// How often it is fetched at most because its publisher asks for it.
    ["3" D] jwks_min_refresh: Duration = Duration::from_secs(40);
    /// Shortest time between two fetches because of unknown `kid`s, and longest between two that fail.
    ["3" D] jwks_min_gap: Duration = Duration::from_secs(60);
    /// How long the last good key set is used while fetches fail.
    ["3" D] jwks_max_age: Duration = Duration::from_secs(86_400);
    /// The `iss` of the gatekeeper's bearer tokens.
    ["3" S] bearer_issuer: String = "WHATSAPP";
    /// The version of the protocol: enlistment's `v`, log-in's `appVersion`.
    ["4" D] interop_version: String = "1.0.3";
    /// How long a resumed client may take to its first stanza, before which the log-in has no effect.
    ["5.2" D] first_stanza: Duration = Duration::from_secs(45);
    /// Log-in: `passive`.
    ["5.4" D] login_passive: bool = true;
    /// Log-in: `pull`.
    ["5.4" D] login_pull: bool = true;
    /// Log-in: `product` of a partner's user; INTEROP is 2.
    ["5.4" D] login_product: u32 = 2u32;
    /// Refused log-in: bad or expired token, another key.
    ["5.5" D] failure_token: u16 = 401u16;
    /// Refused log-in: blocked user, removed integrator, denied location.
    ["5.5" D] failure_blocked: u16 = 403u16;
    /// Refused log-in: another version of the protocol.
    ["5.5" W] failure_version: u16 = 405u16;
    /// Refused log-in: not enlisted, or no more; the client enlists again.
    ["5.5" D] failure_not_enlisted: u16 = 415u16;
    /// Refused log-in: too many unbound tokens to be remembered.
    ["5.5" D] failure_rate_limited: u16 = 429u16;
    /// Refused log-in: a product that is not served.
    ["5.5" D] failure_product: u16 = 501u16;
    /// Refused log-in: key set not to be had, integrator suspended.
    ["5.5" D] failure_unavailable: u16 = 503u16;
    /// Whether writers compress long stanzas.
    ["6.1" D] compress: bool = false;
    /// Whether writers end an INTEROP_JID in the string `interop`.
    ["6.1" D] interop_jid_server: bool = true;
    /// Deepest nesting of a stanza that is read.
    ["6.1" D] max_depth: usize = 32usize;
    /// Most nodes of a stanza that is read.
    ["6.1" D] max_nodes: usize = 65_536usize;
    /// Most attributes of a node that is read.
    ["6.1" D] max_attributes: usize = 256usize;
    /// Whether a message's `<enc>` goes out within `<participants><to>`, not bare.
    ["7" D] enc_in_participants: bool = false;
    /// Stanzas sent to a client that never pulls, ahead of its answers.
    ["7" D] delivery_window: u32 = 256u32;
    /// One-time keys below which their owner is told, and uploads more.
    ["8" D] low_water: u32 = 10u32;
    /// Most users of one key fetch.
    ["8" D] fetch_max_users: usize = 256usize;
    /// One-time keys that one account may take from another in a day.
    ["8" D] one_time_per_pair_and_day: u32 = 20u32;
    /// Whether post-quantum keys are published, and used where both ends publish them.
    ["8" D] post_quantum: bool = true;
    /// The element of a post-quantum key.
    ["8" D] element_pq_key: String = "pqkey";
    /// The element of an upload's post-quantum one-time keys.
    ["8" D] element_pq_list: String = "pqlist";
    /// The element of the post-quantum key of last resort.
    ["8" D] element_pq_last: String = "pqlast";
    /// Longest media file that is relayed or taken, in bytes: encrypted, 2 GiB of plaintext and 64 KiB.
    ["10" D] media_max_len: u64 = 2_147_549_184u64;
    /// Longest silence within a media transfer, and longest wait for a media host's answer.
    ["10" D] media_idle: Duration = Duration::from_secs(30);
    /// Longest media transfer.
    ["10" D] media_total: Duration = Duration::from_secs(3600);
    /// Time-out of a push call.
    ["11" D] push_timeout: Duration = Duration::from_secs(10);
    /// Tries of one wake-up.
    ["11" D] push_tries: u32 = 10u32;
    /// First wait between them; doubles.
    ["11" D] push_backoff: Duration = Duration::from_secs(1);
    /// Longest wait between them.
    ["11" D] push_backoff_max: Duration = Duration::from_secs(600);
    /// After a wake-up was taken, the next one for the same user waits this long unless the user has come.
    ["11" D] push_quiet: Duration = Duration::from_secs(30);
    /// How long a mailbox keeps a stanza.
    ["12" S] mail_keep: Duration = Duration::from_secs(30 * 86_400);
    /// How long a partner's user may stay away before it must enlist again.
    ["12" S] lapse_after: Duration = Duration::from_secs(30 * 86_400);
    /// The element that deletes an account.
    ["12" D] element_delete_account: String = "delete_account";
    /// The element of a reachability ping.
    ["13" D] element_ping: String = "ping";
    /// Pings per sender, target and day.
    ["13" D] pings_per_day: u32 = 3u32;
    /// Refused message: its recipient has not opted in.
    ["13" D] nack_not_opted_in: u16 = 475u16;
    /// Refused message: there is nobody of that id.
    ["13" D] nack_unknown: u16 = 404u16;
    /// Refused message: the recipient's mailbox is full, or the stanza too long for it.
    ["12" D] nack_full: u16 = 552u16;
}

impl Default for Profile {
    fn default() -> Self {
        Self::sandbox()
    }
}

impl Profile {
    /// Names of the ready-made profiles.
    pub const NAMES: [&'static str; 2] = ["sandbox", "whatsapp-1.0.3"];

    /// WhatsApp's interop protocol 1.0.3, as far as it is public: no post-quantum keys, for which it has no words.
    pub fn whatsapp_1_0_3() -> Self {
        Self { post_quantum: false, ..Self::sandbox() }
    }

    /// A ready-made profile by its name.
    ///
    /// # Errors
    /// [`ProfileError::UnknownBase`].
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        match name {
            "sandbox" => Ok(Self::sandbox()),
            "whatsapp-1.0.3" => Ok(Self::whatsapp_1_0_3()),
            _ => Err(ProfileError::UnknownBase(name.chars().take(64).collect())),
        }
    }

    /// Reads a TOML document: `base`, the name of a ready-made profile (`sandbox` if it is missing), and the fields that
    /// differ from it.
    ///
    /// # Errors
    /// [`ProfileError`] names the field.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| ProfileError::Syntax(e.message().into()))?;
        let mut profile = match table.remove("base") {
            None => Self::sandbox(),
            Some(toml::Value::String(name)) => Self::named(&name)?,
            Some(_) => return Err(ProfileError::UnknownBase("base".into())),
        };
        for (name, value) in table {
            match value {
                toml::Value::String(text) => profile.set(&name, &text)?,
                value => profile.set(&name, &value.to_string())?,
            }
        }
        Ok(profile)
    }

    /// What this profile calls the elements whose names are decisions: (this project's name, the wire's), where they differ.
    pub fn renames(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("pqkey", &self.element_pq_key),
            ("pqlist", &self.element_pq_list),
            ("pqlast", &self.element_pq_last),
            ("delete_account", &self.element_delete_account),
            ("ping", &self.element_ping),
        ];
        all.into_iter().filter(|(ours, theirs)| ours != theirs).map(|(ours, theirs)| (ours, theirs.as_str())).collect()
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S => "S",
            Self::W => "W",
            Self::D => "D",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_field_takes_its_own_text() {
        let mut copy = Profile::whatsapp_1_0_3();
        for field in Profile::sandbox().fields() {
            copy.set(field.name, field.value.trim_matches('"')).unwrap();
        }
        assert_eq!(copy, Profile::sandbox());
        assert_eq!(copy.set("low_water", "-1").unwrap_err().to_string(), "profile: `low_water` takes a whole number");
        assert!(copy.set("element_ping", "a b").is_err());
        assert!(copy.set("no_such", "1").is_err());
        assert_eq!(copy, Profile::sandbox());
    }

    #[cfg(feature = "toml")]
    #[test]
    fn a_file_overrides_its_base() {
        let profile = Profile::from_toml("base = \"whatsapp-1.0.3\"\nlow_water = 5\ntoken_es256 = false\n").unwrap();
        assert!((profile.low_water, profile.token_es256, profile.post_quantum) == (5, false, false));
        assert!(matches!(Profile::from_toml("low_water = 5.5"), Err(ProfileError::BadValue { .. })));
        assert!(matches!(Profile::from_toml("low_watr = 5"), Err(ProfileError::UnknownField(_))));
        assert!(matches!(Profile::from_toml("base = \"x\""), Err(ProfileError::UnknownBase(_))));
        assert!(matches!(Profile::from_toml("["), Err(ProfileError::Syntax(_))));
    }

    #[test]
    fn only_what_differs_is_renamed() {
        let mut profile = Profile::sandbox();
        assert!(profile.renames().is_empty());
        profile.set("element_ping", "knock").unwrap();
        assert_eq!(profile.renames(), [("ping", "knock")]);
    }
}
