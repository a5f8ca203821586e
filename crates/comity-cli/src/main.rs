//! The `comity` command.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod chat;
mod demo;
mod doctor;
mod place;
mod profile;
mod servers;
mod stanza;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

macro_rules! licence {
    () => {
        "\
Licence of this program: AGPL-3.0-only, because the Signal engines inside it are. Whoever distributes it, or lets others
use a changed version over a network, must offer them its source. The servers comity-partner and comity-gatekeeper, and
all library crates but comity-signal-x3dh and comity-signal-pqxdh, are Apache-2.0 OR MIT."
    };
}

const LICENCE: &str = licence!();

#[derive(Parser)]
#[command(name = "comity", version, long_version = concat!(env!("CARGO_PKG_VERSION"), " (AGPL-3.0-only)\n\n", licence!()),
    about = "Messaging interoperability under Article 7 of the Digital Markets Act", after_help = LICENCE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Both ends of a conversation on loopback, offline, narrated.
    Demo(demo::DemoArgs),
    /// A small terminal client.
    Chat(chat::ChatArgs),
    /// Run the sandbox gatekeeper for this directory.
    Sandbox(servers::ServerArgs),
    /// Run the partner server for this directory.
    Partner(servers::ServerArgs),
    /// Look at everything a chat needs, and say what to do.
    Doctor(doctor::DoctorArgs),
    /// Translate stanzas between their binary form, JSON and XML.
    Stanza(stanza::StanzaArgs),
    /// What of the protocol is not published, and what it is taken to be.
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Say what the licence of this program means.
    Licence,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo(args) => run(demo::run(args)),
        Command::Chat(args) => run(chat::run(args)),
        Command::Sandbox(args) => run(servers::sandbox(args)),
        Command::Partner(args) => run(servers::partner(args)),
        Command::Doctor(args) => run(doctor::run(args)),
        Command::Stanza(args) => return stanza::run(args),
        Command::Profile(command) => profile::run(command),
        Command::Licence => {
            println!("{LICENCE}");
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("comity: {error}");
        ExitCode::FAILURE
    })
}

/// What a command fails with: a sentence for a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn run(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
