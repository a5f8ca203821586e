//! The records' own encoding: a version byte, then fixed-order big-endian fields, bytes with a u32 length before them;
//! at the end a checksum, so that no engine gets to see a damaged state.

use crate::Error;

const CHECKSUM_LEN: usize = 4;

/// CRC-32, against damage and not against forgery.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    crc32fast::hash(bytes).to_be_bytes()
}

/// A bounds-checked reader of one record.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads a record of layout `version`.
    pub(crate) fn new(bytes: &'a [u8], version: u8) -> Result<Self, Error> {
        if bytes.len() > crate::limits::MAX_RECORD_LEN {
            return Err(Error::LimitExceeded("stored record"));
        }
        let (bytes, check) = bytes.split_last_chunk().ok_or(Error::Corrupt("record cut short"))?;
        if *check != checksum(bytes) {
            return Err(Error::Corrupt("record does not fit its checksum"));
        }
        let mut reader = Self(bytes);
        if reader.u8()? != version {
            return Err(Error::Corrupt("unknown record layout"));
        }
        Ok(reader)
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Error::Corrupt("record cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Corrupt("record cut short"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let n = usize::try_from(self.u32()?).map_err(|_| Error::Corrupt("record length"))?;
        self.take(n)
    }

    pub(crate) fn end(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Corrupt("record too long")) }
    }
}

/// Writes a record.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// What [`Writer::bytes`] writes beyond them.
    pub(crate) const BYTES_OVERHEAD: usize = 4;

    pub(crate) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    /// With room for `len` bytes more and a count of them: secrets are not left behind by a growing vector.
    pub(crate) fn with_room(version: u8, len: usize) -> Self {
        let mut out = Vec::with_capacity(1 + 1 + len + CHECKSUM_LEN);
        out.push(version);
        Self(out)
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, n: u8) -> Self {
        self.raw(&[n])
    }

    pub(crate) fn u32(self, n: u32) -> Self {
        self.raw(&n.to_be_bytes())
    }

    pub(crate) fn u64(self, n: u64) -> Self {
        self.raw(&n.to_be_bytes())
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        // Records are below MAX_RECORD_LEN, far from u32::MAX.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).raw(bytes)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let check = checksum(&self.0);
        self.raw(&check).0
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "test code")]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_under_the_checksum() {
        for len in 0..40 {
            let good = Writer::new(7).raw(&vec![0xa5; len]).finish();
            assert!(Reader::new(&good, 7).is_ok());
            assert_eq!(Reader::new(&good, 8).err(), Some(Error::Corrupt("unknown record layout")));
            for bit in 0..8 * good.len() {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Reader::new(&bad, 7).err(), Some(Error::Corrupt("record does not fit its checksum")));
            }
        }
    }
}
