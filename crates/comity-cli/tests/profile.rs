//! `comity profile show`: what it prints is a profile, and the table of docs/decisions.md (PROTOCOL, preamble).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use comity_core::Profile;
use std::path::Path;
use std::process::{Command, Output};

fn show(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_comity")).args(["profile", "show"]).args(args).output().unwrap()
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_shown_is_a_profile() {
    for (name, profile) in [("sandbox", Profile::sandbox()), ("whatsapp-1.0.3", Profile::whatsapp_1_0_3())] {
        let shown = text(show(&[name]));
        assert_eq!(Profile::from_toml(&shown).unwrap(), profile);
        assert_eq!(shown.matches("# [").count(), profile.fields().len());
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ours.toml");
    std::fs::write(&file, "base = \"whatsapp-1.0.3\"\npush_tries = 3\n").unwrap();
    assert!(text(show(&[file.to_str().unwrap()])).contains("push_tries = 3\n"));
    std::fs::write(&file, "push_trys = 3\n").unwrap();
    let refused = show(&[file.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("no field `push_trys`"));
    assert!(!show(&["whatsap"]).status.success());
}

#[test]
fn the_documentation_lists_it() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/decisions.md");
    let table = text(show(&["--markdown"]));
    let docs = std::fs::read_to_string(docs).unwrap();
    assert!(
        docs.contains(&table),
        "docs/decisions.md must hold the output of `comity profile show --markdown`:\n{table}"
    );
}

/// The longest file that a client sends fits through both servers as they are by default.
#[test]
fn the_longest_file_passes_the_caps_of_both_servers() {
    let longest = comity_media::limits::MAX_FILE_LEN;
    for encrypted in [comity_media::encrypted_length(longest), comity_media::format2::encrypted_length(longest)] {
        assert!(encrypted > longest);
        assert!(encrypted <= comity_partner::limits::DEFAULT_MAX_MEDIA_LEN);
        assert!(encrypted <= comity_core::Profile::default().media_max_len);
    }
}
