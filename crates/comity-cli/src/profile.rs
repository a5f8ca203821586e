//! `comity profile`: the unpublished details of the protocol, by name (PROTOCOL, preamble).

use crate::Failure;
use clap::Subcommand;
use comity_core::Profile;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

/// Largest profile that is read, in bytes.
const MAX_PROFILE_LEN: u64 = 1 << 20;

#[derive(Subcommand)]
pub(crate) enum ProfileCommand {
    /// Print every field of a profile with its value, its section of PROTOCOL and its mark: S stated by the specification,
    /// W seen on the wire, D decided here. The output is a profile, too.
    Show {
        /// `sandbox`, `whatsapp-1.0.3`, or a file.
        #[arg(default_value = "sandbox")]
        profile: String,
        /// As the table of the documentation.
        #[arg(long)]
        markdown: bool,
    },
}

pub(crate) fn run(command: ProfileCommand) -> Result<ExitCode, Failure> {
    let ProfileCommand::Show { profile, markdown } = command;
    let fields = read(&profile)?.fields();
    if markdown {
        println!("| field | value | § | mark | what it is |\n|---|---|---|---|---|");
        for f in fields {
            let unit = if f.unit == "s" { " s" } else { "" };
            println!("| `{}` | {}{unit} | {} | {} | {} |", f.name, f.value, f.clause, f.mark, f.meaning);
        }
    } else {
        for f in fields {
            let unit = if f.unit == "s" { ", in seconds" } else { "" };
            println!(
                "# [{}] §{}: {}{unit}\n{} = {}",
                f.mark,
                f.clause,
                f.meaning.trim_end_matches('.'),
                f.name,
                f.value
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A profile by its name, or from a file.
pub(crate) fn read(name_or_path: &str) -> Result<Profile, Failure> {
    if let Ok(profile) = Profile::named(name_or_path) {
        return Ok(profile);
    }
    let path = Path::new(name_or_path);
    let wrong = |e: &dyn std::fmt::Display| {
        let names = Profile::NAMES.join("`, `");
        format!("{}: {e} (a profile is `{names}`, or a file)", path.display())
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
    file.take(MAX_PROFILE_LEN).read_to_string(&mut text).map_err(|e| wrong(&e))?;
    Ok(Profile::from_toml(&text).map_err(|e| format!("{}: {e}", path.display()))?)
}
