//! Bodies for comity-media.

use bytes::BytesMut;
use comity_media::format2;
use comity_media::{Decryptor, Encryptor, Expected, MediaKey, MediaKind, Unverified};

/// A file comes back in any chunking, and not at all once a byte of it is changed or it is cut.
pub fn format1_decrypt(input: &[u8]) {
    let Some(([kind, chunk, damage, at_high, at_low], plain)) = input.split_first_chunk() else { return };
    let kind = MediaKind::ALL[usize::from(*kind) % MediaKind::ALL.len()];
    let (key, chunk) = (MediaKey::from([7; 32]), usize::from(*chunk) * 33 + 1);
    let (mut encryptor, mut file) = (Encryptor::new(kind, &key), BytesMut::new());
    for part in plain.chunks(chunk) {
        encryptor.update(part, &mut file).expect("small");
    }
    let expected = Expected::from(&encryptor.finish(&mut file));
    let at = usize::from(u16::from_be_bytes([*at_high, *at_low])) % file.len();
    file[at] ^= damage;
    if *damage == 1 {
        file.truncate(at);
    }

    let mut decryptor = Decryptor::new(kind, &key, expected, &Default::default()).expect("small");
    let mut out = Unverified::new();
    let done = file.chunks(chunk).try_for_each(|part| decryptor.update(part, &mut out));
    match done.and_then(|()| decryptor.finish(&mut out)) {
        Ok(proof) => assert!(*damage == 0 && out.release(&proof) == plain),
        Err(_) => assert!(*damage != 0 && out.len() <= plain.len() / 16 * 16),
    }
}

/// A salt that a run can repeat.
struct Fixed;

impl rand_core::TryRng for Fixed {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(7)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(7)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(7);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Fixed {}

/// A file of format 2, made of as many bytes as the input says, with the rest of the input laid over it or put in its
/// place: what comes out is a beginning of the plaintext, all of it only if the file is whole, and never a byte of a
/// segment that was touched.
pub fn format2_decrypt_stream(input: &[u8]) {
    let Some(([mode, chunk, len_high, len_low, at_high, at_low], patch)) = input.split_first_chunk() else { return };
    let number = |high: &u8, low: &u8| usize::from(u16::from_be_bytes([*high, *low]));
    let plain: Vec<u8> = (0..number(len_high, len_low) * 3).map(|i| (i >> 3) as u8).collect();
    let key = MediaKey::from([7; 32]);
    let (file, encrypted) = format2::encrypt(MediaKind::Image, &key, &plain, &mut Fixed).expect("small");
    let at = number(at_high, at_low) * 3 % (file.len() + 1);
    let mut given = file.to_vec();
    match mode % 4 {
        0 => given.iter_mut().skip(at).zip(patch).for_each(|(byte, patch)| *byte ^= patch),
        1 => given.truncate(at),
        2 => drop(given.splice(at..at, patch.iter().copied())),
        _ => given = patch.to_vec(),
    }
    let hashes = mode & 4 != 0;
    let expected = if hashes { encrypted.expected() } else { format2::Expected::of_length(plain.len() as u64) };
    let mut decryptor = format2::Decryptor::new(MediaKind::Image, &key, expected, &Default::default()).expect("small");
    let mut out = BytesMut::new();
    for part in given.chunks(usize::from(*chunk) * 333 + 1) {
        let _ = decryptor.update(part, &mut out);
    }
    let same = file.iter().zip(&given).take_while(|(a, b)| a == b).count();
    assert!(plain.starts_with(&out) && out.len() <= same, "{} bytes of {same}", out.len());
    match decryptor.finish() {
        Ok(proof) => assert!(given == file && out == plain && proof.file_length() == plain.len() as u64),
        Err(_) => assert!(given != file),
    }
}
