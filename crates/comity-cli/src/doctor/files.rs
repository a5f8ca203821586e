//! Files: who may read them, room on the disk, the servers' configurations.

use super::{Report, Status, same_profile};
use crate::Failure;
use crate::place::Place;
use crate::servers::binary;
use comity_core::Profile;
use std::path::{Path, PathBuf};

/// With less free space than this, in bytes, a check warns; with less than a tenth of it, it fails.
const MIN_SPACE: u64 = 1 << 30;

/// Directories at most looked into below the place, and files of each.
const MAX_DEPTH: usize = 3;
const MAX_FILES: usize = 10_000;

/// What holds secrets is for its owner alone.
#[cfg(unix)]
pub(super) fn permissions(report: &mut Report, place: &Place) {
    use std::os::unix::fs::PermissionsExt;
    let (mut open, mut looked) = (Vec::new(), 0_usize);
    let mut todo = vec![(place.path(""), 0)];
    while let Some((path, depth)) = todo.pop() {
        looked += 1;
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        let (mode, secret) = (meta.permissions().mode() & 0o777, depth == 0 || is_secret(&path));
        if secret && mode & 0o077 != 0 {
            open.push((path.clone(), mode, meta.is_dir()));
        }
        if meta.is_dir() && depth < MAX_DEPTH && looked < MAX_FILES {
            let inside = std::fs::read_dir(&path).into_iter().flatten().flatten();
            todo.extend(inside.take(MAX_FILES).map(|entry| (entry.path(), depth + 1)));
        }
    }
    if open.is_empty() {
        return report.ok("permissions", format!("{looked} files and directories, those with secrets for you alone"));
    }
    for (path, mode, dir) in open {
        // A server's own files are below a directory that is checked itself.
        let servers = ["gatekeeper", "partner"].iter().any(|name| path.starts_with(place.path(name)));
        let status = if servers { Status::Warn } else { Status::Fail };
        let (right, path) = (if dir { "700" } else { "600" }, path.display());
        let found = format!("{path} has mode {mode:o}");
        report.line(status, "permissions", &found, &format!("run `chmod {right} '{path}'`"));
    }
}

#[cfg(not(unix))]
pub(super) fn permissions(report: &mut Report, place: &Place) {
    report.warn(
        "permissions",
        place.path("").display(),
        "cannot be looked at on this system: see that it is yours alone",
    );
}

/// Stores, keys, configurations, and what says where the servers are.
fn is_secret(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    [".db", ".db-wal", ".toml", ".key", ".pem"].iter().any(|end| name.ends_with(end))
        || ["gatekeeper.json", "partner.json"].contains(&&*name)
}

#[cfg(unix)]
pub(super) fn space(report: &mut Report, place: &Place) {
    let path = place.path("");
    let free = match rustix::fs::statvfs(&path) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return report.warn("disk space", error, "look with `df`"),
    };
    let found = format!("{} MiB free", free >> 20);
    match free {
        _ if free < MIN_SPACE / 10 => report.fail("disk space", found, "make room: stores and media need it"),
        _ if free < MIN_SPACE => report.warn("disk space", found, "make room soon: stores and media need it"),
        _ => report.ok("disk space", found),
    }
}

#[cfg(not(unix))]
pub(super) fn space(report: &mut Report, _place: &Place) {
    report.warn("disk space", "unknown", "cannot be looked at on this system");
}

/// Both servers' configurations: taken by the servers themselves, and of one profile with ours.
pub(super) async fn servers(report: &mut Report, place: &Place, ours: &Profile) {
    for (server, file) in [("comity-gatekeeper", "gatekeeper.toml"), ("comity-partner", "partner.toml")] {
        let path = place.path(file);
        if !path.exists() {
            report.warn(file, "there is none", "it is elsewhere, or the server has never run here");
            continue;
        }
        if let Some(said) = report.take(file, check(server, &path).await, "correct it, and start the server again") {
            report.ok(file, said);
        }
        let theirs = config(place, file).ok().and_then(|table| {
            let name = table.get("profile").and_then(toml::Value::as_str).unwrap_or("sandbox").to_owned();
            crate::profile::read(&name).ok()
        });
        let differ = theirs.map(|theirs| same_profile(ours, &theirs)).unwrap_or_default();
        if !differ.is_empty() {
            report.fail(file, format!("another profile: {}", differ.join(", ")), "give both ends the same profile");
        }
    }
}

async fn check(server: &str, config: &PathBuf) -> Result<String, Failure> {
    let program = binary(server)?;
    let mut command = tokio::process::Command::new(&program);
    command.arg("--check-config").arg("--config").arg(config);
    let output = command.output().await.map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    let text = if output.status.success() { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(text).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(said.into()) }
}

/// A server's configuration, as far as it is a TOML table.
pub(super) fn config(place: &Place, file: &str) -> Result<toml::Table, Failure> {
    // Not the parser's own words, which quote the line: it may hold a secret.
    Ok(std::fs::read_to_string(place.path(file))?.parse().map_err(|_| format!("{file} is not TOML"))?)
}
