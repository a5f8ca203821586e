//! Transport messages after the handshake: AES-256-GCM, empty AAD, a counter per direction (PROTOCOL §5.2).

use crate::Error;
use crate::frame::header;
use crate::limits::{FRAME_HEADER, MAX_COUNTER, MAX_PLAINTEXT, TAG};
use crate::provider::{AeadKey, CIPHER_KEY, Provider};
use bytes::{BufMut, BytesMut};
use core::fmt;

/// One direction: its key and the counter of its next message.
struct Direction {
    key: AeadKey,
    counter: u64,
}

impl Direction {
    fn new(provider: Provider, key: &[u8; CIPHER_KEY]) -> Result<Self, Error> {
        Ok(Self { key: AeadKey::new(provider, key)?, counter: 0 })
    }

    fn next(&self) -> Result<u64, Error> {
        if self.counter > MAX_COUNTER { Err(Error::CounterExhausted) } else { Ok(self.counter) }
    }

    /// Advances only if it succeeds.
    fn seal(&mut self, text: &mut [u8]) -> Result<[u8; TAG], Error> {
        if text.len() > MAX_PLAINTEXT {
            return Err(Error::PlaintextTooLong { len: text.len(), limit: MAX_PLAINTEXT });
        }
        let tag = self.key.seal(self.next()?, &[], text).map_err(|_| Error::Bug("seal"))?;
        self.counter += 1;
        Ok(tag)
    }

    /// Advances only if it succeeds.
    fn open(&mut self, sealed: &mut [u8]) -> Result<usize, Error> {
        let len = self.key.open(self.next()?, &[], sealed).map_err(|_| Error::Forged)?;
        self.counter += 1;
        Ok(len)
    }
}

/// The sending direction.
pub struct Sealer(Direction);

impl Sealer {
    /// Encrypts `buf` in place and appends the tag: the body of one frame. With [`TAG`] bytes of spare capacity nothing is
    /// copied.
    ///
    /// # Errors
    /// [`Error::PlaintextTooLong`] above [`MAX_PLAINTEXT`] bytes and [`Error::CounterExhausted`]; neither changes
    /// anything.
    pub fn seal(&mut self, buf: &mut BytesMut) -> Result<(), Error> {
        let tag = self.0.seal(buf)?;
        buf.put_slice(&tag);
        Ok(())
    }

    /// Appends one whole frame to `out`: length, then the sealed message that `write` appends as plaintext. The plaintext
    /// is encrypted where it was written. Call it repeatedly to batch frames into one write.
    ///
    /// # Errors
    /// As [`seal`](Self::seal), and [`Error::Misuse`] if `write` shortens the buffer; `out` is cut back to what it was.
    pub fn seal_frame_with(&mut self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> Result<(), Error> {
        let start = out.len();
        out.put_bytes(0, FRAME_HEADER);
        write(out);
        let sealed = self.seal_tail(out, start);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Appends one whole frame with `plaintext` to `out`.
    ///
    /// # Errors
    /// As [`seal`](Self::seal); nothing is appended.
    pub fn seal_frame(&mut self, plaintext: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Error::PlaintextTooLong { len: plaintext.len(), limit: MAX_PLAINTEXT });
        }
        out.reserve(FRAME_HEADER + plaintext.len() + TAG);
        self.seal_frame_with(out, |out| out.put_slice(plaintext))
    }

    fn seal_tail(&mut self, out: &mut BytesMut, start: usize) -> Result<(), Error> {
        let body = out.get_mut(start..).ok_or(Error::Misuse("the buffer was shortened"))?;
        let (head, text) =
            body.split_first_chunk_mut::<FRAME_HEADER>().ok_or(Error::Misuse("the buffer was shortened"))?;
        if text.len() > MAX_PLAINTEXT {
            return Err(Error::PlaintextTooLong { len: text.len(), limit: MAX_PLAINTEXT });
        }
        *head = header(text.len() + TAG)?;
        let tag = self.0.seal(text)?;
        out.put_slice(&tag);
        Ok(())
    }
}

/// The receiving direction.
pub struct Opener {
    direction: Direction,
    closed: bool,
}

impl Opener {
    /// Decrypts `buf`, a frame's body, in place and cuts the tag off.
    ///
    /// # Errors
    /// [`Error::Forged`] for the first message that does not authenticate: the direction closes, its counter stays, and
    /// `buf` is emptied. [`Error::Closed`] ever after. [`Error::CounterExhausted`] closes it too.
    pub fn open(&mut self, buf: &mut BytesMut) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        match self.direction.open(buf) {
            Ok(len) => {
                buf.truncate(len);
                Ok(())
            }
            Err(e) => {
                self.closed = true;
                buf.clear();
                Err(e)
            }
        }
    }

    /// Whether the peer has proved that it is there now: a message opened. A 0-RTT login counts from then on alone.
    pub const fn is_live(&self) -> bool {
        self.direction.counter > 0
    }
}

/// Both directions of an established connection.
#[derive(Debug)]
pub struct Transport {
    sealer: Sealer,
    opener: Opener,
}

impl Transport {
    pub(crate) fn new(provider: Provider, send: &[u8; CIPHER_KEY], receive: &[u8; CIPHER_KEY]) -> Result<Self, Error> {
        Ok(Self {
            sealer: Sealer(Direction::new(provider, send)?),
            opener: Opener { direction: Direction::new(provider, receive)?, closed: false },
        })
    }

    /// See [`Sealer::seal`].
    ///
    /// # Errors
    /// As there.
    pub fn seal(&mut self, buf: &mut BytesMut) -> Result<(), Error> {
        self.sealer.seal(buf)
    }

    /// See [`Opener::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&mut self, buf: &mut BytesMut) -> Result<(), Error> {
        self.opener.open(buf)
    }

    /// See [`Opener::is_live`].
    pub const fn is_live(&self) -> bool {
        self.opener.is_live()
    }

    /// The two directions, to be used from different tasks.
    pub fn split(self) -> (Sealer, Opener) {
        (self.sealer, self.opener)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.0.counter)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({}{})", self.direction.counter, if self.closed { ", closed" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Direction, Direction) {
        let new = || Direction::new(Provider::default(), &[3; CIPHER_KEY]).unwrap();
        (new(), new())
    }

    #[test]
    fn ten_thousand_forgeries_between_two_good_messages() {
        let (mut sender, mut receiver) = pair();
        let mut seal = |text: &[u8]| {
            let mut buf = text.to_vec();
            let tag = sender.seal(&mut buf).unwrap();
            buf.extend_from_slice(&tag);
            buf
        };
        let (mut first, second) = (seal(b"first"), seal(b"second"));
        receiver.open(&mut first).unwrap();
        let mut replayed = first.clone();
        for n in 0..10_000usize {
            let mut forged = second.clone();
            match n % 4 {
                0 => forged[n / 4 % second.len()] ^= 1 << (n / 88 % 8),
                1 => forged.truncate(n / 4 % second.len()),
                2 => forged.extend_from_slice(&[0; 3]),
                _ => forged = core::mem::take(&mut replayed),
            }
            assert!(matches!(receiver.open(&mut forged), Err(Error::Forged)));
            assert_eq!(receiver.counter, 1);
        }
        let mut second = second;
        let len = receiver.open(&mut second).unwrap();
        assert_eq!(second[..len], *b"second");
    }

    #[test]
    fn a_counter_never_passes_its_end() {
        let (mut sender, mut receiver) = pair();
        (sender.counter, receiver.counter) = (MAX_COUNTER, MAX_COUNTER);
        let mut last = *b"last";
        let tag = sender.seal(&mut last).unwrap();
        let mut sealed = [&last[..], &tag].concat();
        assert_eq!(receiver.open(&mut sealed.clone()).unwrap(), 4);
        for _ in 0..2 {
            assert!(matches!(sender.seal(&mut last), Err(Error::CounterExhausted)));
            assert!(matches!(receiver.open(&mut sealed), Err(Error::CounterExhausted)));
        }
        assert_eq!((sender.counter, receiver.counter), (1 << 32, 1 << 32));
    }
}
