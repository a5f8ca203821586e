//! Encrypts a text as a document and opens it again.

use comity_media::{Error, Expected, MediaKey, MediaKind, decrypt, encrypt};

fn main() -> Result<(), Error> {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let key = MediaKey::generate(&mut rng);
    let (file, encrypted) = encrypt(MediaKind::Document, &key, b"a document")?;
    let plain = decrypt(MediaKind::Document, &key, Expected::from(&encrypted), &file)?;
    assert_eq!(&plain[..], b"a document");
    Ok(())
}
