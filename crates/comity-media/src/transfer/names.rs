//! Names for received files: what the sender calls a file is only a hint.

use super::{file::temp_file, io};
use crate::Error;
use crate::limits::{MAX_FILE_NAME_LEN, MAX_NAME_VARIANTS};
use std::path::{Path, PathBuf};

/// A name that stays inside its directory on every system and shows what it is: no separators, control or
/// direction-changing characters, no leading or trailing dots and blanks, no device names, bounded length with the
/// extension kept. What remains empty becomes `file`.
pub fn safe_file_name(hint: &str) -> String {
    let last = hint.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last
        .chars()
        .filter(|c| {
            !c.is_control()
                && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        })
        .map(|c| if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { c })
        .collect();
    let clean = clean.trim_matches(|c: char| c == '.' || c.is_whitespace());
    let (stem, extension) = match clean.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 16 => (stem, Some(extension)),
        _ => (clean, None),
    };
    let room = MAX_FILE_NAME_LEN - extension.map_or(0, |extension| extension.len() + 1);
    let end = (0..=room.min(stem.len())).rev().find(|end| stem.is_char_boundary(*end)).unwrap_or(0);
    let stem = stem.split_at(end).0.trim_end();
    let device = ["con", "prn", "aux", "nul"].iter().any(|name| stem.eq_ignore_ascii_case(name))
        || (stem.len() == 4
            && stem.ends_with(|c: char| c.is_ascii_digit())
            && stem.get(..3).is_some_and(|s| s.eq_ignore_ascii_case("com") || s.eq_ignore_ascii_case("lpt")));
    let stem = match stem {
        "" => "file".to_owned(),
        stem if device => format!("_{stem}"),
        stem => stem.to_owned(),
    };
    match extension {
        Some(extension) => format!("{stem}.{extension}"),
        None => stem,
    }
}

/// The temporary file of a download, beside its final place.
pub(super) fn incoming(dir: &Path) -> Result<tempfile::NamedTempFile, Error> {
    std::fs::create_dir_all(dir).map_err(io("make the directory for received files"))?;
    temp_file(dir)
}

/// Makes `temp` durable and gives it `name`, or the first free `name (n)`; never replaces a file.
pub(super) fn keep(mut temp: tempfile::NamedTempFile, dir: &Path, name: &str) -> Result<PathBuf, Error> {
    temp.as_file().sync_all().map_err(io("sync the received file"))?;
    for n in 0..=MAX_NAME_VARIANTS {
        let path = dir.join(variant(name, n));
        match temp.persist_noclobber(&path) {
            Ok(_) => {
                #[cfg(unix)]
                std::fs::File::open(dir)
                    .and_then(|dir| dir.sync_all())
                    .map_err(io("sync the directory for received files"))?;
                return Ok(path);
            }
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => temp = error.file,
            Err(error) => return Err(io("name the received file")(error.error)),
        }
    }
    Err(Error::Io { what: "name the received file", kind: std::io::ErrorKind::AlreadyExists })
}

fn variant(name: &str, n: u32) -> String {
    match (n, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (n, Some((stem, extension))) if !stem.is_empty() => format!("{stem} ({n}).{extension}"),
        (n, _) => format!("{name} ({n})"),
    }
}
