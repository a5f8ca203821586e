//! The `comity-gatekeeper` binary: configuration, logs, signals.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use clap::Parser;
use comity_gatekeeper::limits::MAX_CONFIG_LEN;
use comity_gatekeeper::{AdminToken, Config, Error, Gatekeeper, Options};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use std::path::PathBuf;
use std::process::ExitCode;

/// Reference gatekeeper (sandbox) of the interop protocol: enlistment, chat, mailbox, media relay, push.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Configuration file (TOML).
    #[arg(long, env = "COMITY_GATEKEEPER_CONFIG")]
    config: PathBuf,
    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
    /// Where chat connections are taken.
    #[arg(long, env = "COMITY_GATEKEEPER_LISTEN_CHAT")]
    listen_chat: Option<SocketAddr>,
    /// Where HTTP is served.
    #[arg(long, env = "COMITY_GATEKEEPER_LISTEN_HTTP")]
    listen_http: Option<SocketAddr>,
    /// Database, keys and media.
    #[arg(long, env = "COMITY_GATEKEEPER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The audience that ownership tokens must have.
    #[arg(long, env = "COMITY_GATEKEEPER_AUDIENCE")]
    audience: Option<String>,
    /// The HTTP listener as clients reach it.
    #[arg(long, env = "COMITY_GATEKEEPER_PUBLIC_HTTP")]
    public_http: Option<String>,
    /// Takes tokens without `cnf` of these integrators, each for one time.
    #[arg(long, value_name = "ID", value_delimiter = ',', env = "COMITY_GATEKEEPER_ALLOW_UNBOUND_TOKENS")]
    allow_unbound_tokens: Vec<u16>,
    /// The administration interface's bearer token (environment only: arguments are visible to others).
    #[arg(skip)]
    admin_token: Option<AdminToken>,
}

impl Args {
    /// File, over it environment and flags.
    fn config(self) -> Result<Config, Error> {
        let unread = |e: std::io::Error| Error::Config(format!("{}: {e}", self.config.display()));
        let mut text = String::new();
        let file = std::fs::File::open(&self.config).map_err(unread)?;
        file.take(MAX_CONFIG_LEN + 1).read_to_string(&mut text).map_err(unread)?;
        if text.len() as u64 > MAX_CONFIG_LEN {
            return Err(Error::Config(format!("{}: longer than {MAX_CONFIG_LEN} bytes", self.config.display())));
        }
        let mut config = Config::from_toml(&text)?;
        config.listen_chat = self.listen_chat.unwrap_or(config.listen_chat);
        config.listen_http = self.listen_http.unwrap_or(config.listen_http);
        config.data_dir = self.data_dir.unwrap_or(config.data_dir);
        config.audience = self.audience.unwrap_or(config.audience);
        config.public_http = self.public_http.or(config.public_http);
        config.admin_token = self.admin_token.or(config.admin_token);
        for id in self.allow_unbound_tokens {
            let integrator = config.integrators.iter_mut().find(|integrator| integrator.id == id);
            let integrator = integrator.ok_or_else(|| Error::Config(format!("there is no integrator {id}")))?;
            integrator.allow_unbound_tokens = true;
        }
        config.check()?;
        Ok(config)
    }
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    args.admin_token = std::env::var("COMITY_GATEKEEPER_ADMIN_TOKEN").ok().map(AdminToken::from);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("comity-gatekeeper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Error> {
    let check_only = args.check_config;
    let config = args.config()?;
    if check_only {
        println!("configuration ok: {} integrators", config.integrators.len());
        return Ok(());
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("COMITY_GATEKEEPER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "runtime".into(), source })?;
    runtime.block_on(async {
        // Before the ready line: who reads it may send the signal at once.
        let stop = stop_signal().map_err(|source| Error::Io { what: "signals".into(), source })?;
        let gatekeeper = Gatekeeper::start(config, Options::default()).await?;
        let mut stdout = std::io::stdout();
        let ready = writeln!(
            stdout,
            "ready gatekeeper chat={} http=http://{} root={}",
            gatekeeper.chat_addr(),
            gatekeeper.http_addr(),
            gatekeeper.root()
        );
        ready.and_then(|()| stdout.flush()).map_err(|source| Error::Io { what: "stdout".into(), source })?;
        stop.await;
        gatekeeper.shutdown().await;
        Ok(())
    })
}

/// Ctrl-C, or SIGTERM where there is one; listened for from now on.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _without_signals_for_ever = tokio::signal::ctrl_c().await;
    })
}
