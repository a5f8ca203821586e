//! Bodies for comity-media.

use bytes::BytesMut;
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
