//! Token look-up in both directions (PROTOCOL §6.1).

use super::token_table::TOKENS;
use comity_core::Server;

/// The first index of the dictionaries in the table.
pub(crate) const FIRST_DOUBLE: u16 = 236;

const TABLE_LEN: u16 = 1260;
const SLOTS: usize = 4096;
const LONGEST: usize = 48;

/// A token: its index in the tables; 1..=235 single-byte, from 236 on the dictionaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(u16);

impl Token {
    /// The single-byte token `byte` (1..=235).
    #[inline]
    pub(crate) const fn single(byte: u8) -> Self {
        Self(byte as u16)
    }

    /// Token `index` of dictionary `dictionary` (0..=3).
    #[inline]
    pub(crate) const fn double(dictionary: u8, index: u8) -> Self {
        Self(FIRST_DOUBLE + ((dictionary & 3) as u16) * 256 + index as u16)
    }

    /// The token's index.
    #[inline]
    pub(crate) const fn index(self) -> u16 {
        self.0
    }

    /// The token's text.
    #[inline]
    pub(crate) fn as_str(self) -> &'static str {
        TOKENS.get(usize::from(self.0)).copied().unwrap_or("")
    }

    /// The key of the token's text: see [`key`].
    #[inline]
    pub(crate) fn key(self) -> u16 {
        KEYS.get(usize::from(self.0)).copied().unwrap_or(0)
    }

    /// The server that the token names.
    #[inline]
    pub(crate) fn server(self) -> Option<Server> {
        match self.0 {
            3 => Some(Server::Whatsapp),
            28 => Some(Server::Group),
            118 => Some(Server::Lid),
            _ => Server::parse(self.as_str()),
        }
    }

    /// The token of this text.
    #[inline]
    pub(crate) fn find(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > LONGEST {
            return None;
        }
        let mut slot = slot(bytes);
        loop {
            let index = *INDEX.get(slot)?;
            if index == 0 {
                return None;
            }
            if TOKENS.get(usize::from(index)).is_some_and(|t| *t == text) {
                return Some(Self(index));
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

/// Open addressing over [`TOKENS`], filled at compile time; 0 is an empty slot.
static INDEX: [u16; SLOTS] = build();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn build() -> [u16; SLOTS] {
    let mut index = [0u16; SLOTS];
    let mut i = 1;
    while i < TABLE_LEN {
        let mut slot = slot(TOKENS[i as usize].as_bytes());
        while index[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = i;
        i += 1;
    }
    index
}

/// The [`key`] of each of [`TOKENS`].
static KEYS: [u16; TABLE_LEN as usize] = keys();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn keys() -> [u16; TABLE_LEN as usize] {
    let mut keys = [0; TABLE_LEN as usize];
    let mut i = 0;
    while i < keys.len() {
        keys[i] = key(TOKENS[i].as_bytes());
        i += 1;
    }
    keys
}

/// Where the search for a text begins in [`INDEX`].
#[inline]
const fn slot(bytes: &[u8]) -> usize {
    (hash(bytes) >> 52) as usize
}

/// 16 bits that differ for most texts, and are the same for a token and its text written out.
#[inline]
pub(crate) const fn key(bytes: &[u8]) -> u16 {
    (hash(bytes) >> 48) as u16
}

/// Length, first eight and last eight bytes, multiplied together: the tokens differ there, but for a few.
#[inline]
const fn hash(bytes: &[u8]) -> u64 {
    let (head, tail) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(head), Some(tail)) => (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64),
            _ => match bytes {
                [a] => (*a as u64, 0),
                [a, b] => (*a as u64, *b as u64),
                [a, b, c] => (*a as u64 | (*b as u64) << 8, *c as u64),
                _ => (0, 0),
            },
        },
    };
    let mixed = (head ^ (bytes.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ tail.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(29);
    mixed.wrapping_mul(0x1656_67b1_9e37_79f9)
}

#[cfg(test)]
mod tests {
    use super::{Server, TABLE_LEN, Token, key};

    #[test]
    fn tokens_by_index_and_by_text_agree() {
        for token in (1..TABLE_LEN).map(Token) {
            assert!(!token.as_str().is_empty());
            assert_eq!(Token::find(token.as_str()), Some(token));
            assert_eq!(token.key(), key(token.as_str().as_bytes()));
            assert_eq!(token.server(), Server::parse(token.as_str()));
        }
    }
}
