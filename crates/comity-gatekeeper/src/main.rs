//! The `comity-gatekeeper` binary: configuration, logs, signals.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use clap::{Parser, Subcommand};
use comity_gatekeeper::limits::MAX_CONFIG_LEN;
use comity_gatekeeper::{AdminToken, Config, Error, Gatekeeper, NativeUser, Options, register_native};
use comity_server::config::read_capped;
use comity_server::{init_logging, stop_signal};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Reference gatekeeper (sandbox) of the interop protocol: enlistment, chat, mailbox, media relay, push.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
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
    /// Where probes and metrics are served, in the clear.
    #[arg(long, env = "COMITY_GATEKEEPER_LISTEN_OPS")]
    listen_ops: Option<SocketAddr>,
    /// TLS of the HTTP listener: certificate chain (PEM).
    #[arg(long, env = "COMITY_GATEKEEPER_TLS_CHAIN")]
    tls_chain: Option<PathBuf>,
    /// TLS of the HTTP listener: private key (PEM).
    #[arg(long, env = "COMITY_GATEKEEPER_TLS_KEY")]
    tls_key: Option<PathBuf>,
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
    /// The file of the administration interface's bearer token.
    #[arg(long, env = "COMITY_GATEKEEPER_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
    /// What to log to stderr, as `level` or `target=level,…`.
    #[arg(long, env = "COMITY_GATEKEEPER_LOG", default_value = "info")]
    log: String,
    /// Log as JSON lines.
    #[arg(long, env = "COMITY_GATEKEEPER_LOG_JSON")]
    log_json: bool,
    /// The administration interface's bearer token (environment only: arguments are visible to others).
    #[arg(skip)]
    admin_token: Option<AdminToken>,
}

#[derive(Subcommand)]
enum Command {
    /// The native users of the running gatekeeper
    #[command(subcommand)]
    Native(Native),
}

#[derive(Subcommand)]
enum Native {
    /// Register a native user, or give it a new key, name and view; prints its JID
    Add {
        /// Phone number: 5 to 15 digits
        phone_number: String,
        /// The Noise public key it logs in with: 32 bytes in base64url without padding
        #[arg(allow_hyphen_values = true)]
        noise_key: String,
        /// The name others see
        #[arg(long, default_value = "")]
        name: String,
        /// It sees partner users as `{15 digits}@lid`: for clients that know no interop JIDs
        #[arg(long)]
        alias_view: bool,
        /// The integrators whose users may reach it, all of them; an empty list is none
        #[arg(long, value_name = "ID,…", value_delimiter = ',')]
        opt_in: Option<Vec<u16>>,
        /// Where the gatekeeper's HTTP is, if not where the configuration says
        #[arg(long)]
        url: Option<String>,
    },
}

impl Args {
    /// File, over it environment and flags.
    fn config(self) -> Result<Config, Error> {
        let at = self.config.display();
        let text = String::from_utf8(read_capped(&self.config, MAX_CONFIG_LEN)?)
            .map_err(|_| comity_server::Error::Config(format!("{at}: not UTF-8")))?;
        let mut config = Config::from_toml(&text)?;
        config.listen_chat = self.listen_chat.unwrap_or(config.listen_chat);
        config.listen_http = self.listen_http.unwrap_or(config.listen_http);
        config.data_dir = self.data_dir.unwrap_or(config.data_dir);
        config.audience = self.audience.unwrap_or(config.audience);
        config.public_http = self.public_http.or(config.public_http);
        config.listen_ops = self.listen_ops.or(config.listen_ops);
        config.tls_chain = self.tls_chain.or(config.tls_chain);
        config.tls_key = self.tls_key.or(config.tls_key);
        if self.admin_token_file.is_some() || self.admin_token.is_some() {
            (config.admin_token, config.admin_token_file) = (self.admin_token, self.admin_token_file);
        }
        for id in self.allow_unbound_tokens {
            let integrator = config.integrators.iter_mut().find(|integrator| integrator.id == id);
            let integrator =
                integrator.ok_or_else(|| comity_server::Error::Config(format!("there is no integrator {id}")))?;
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

fn run(mut args: Args) -> Result<(), Error> {
    init_logging(&args.log, args.log_json)?;
    let (check_only, command) = (args.check_config, args.command.take());
    let config = args.config()?;
    if check_only {
        println!("configuration ok: {} integrators", config.integrators.len());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(comity_server::Error::io("runtime"))?;
    if let Some(Command::Native(Native::Add { phone_number, noise_key, name, alias_view, opt_in, url })) = command {
        let user = NativeUser { phone_number, noise_key, display_name: name, alias_view, opt_in };
        println!("{}", runtime.block_on(register_native(&config, url.as_deref(), &user))?);
        return Ok(());
    }
    runtime.block_on(async {
        // Before the ready line: who reads it may send the signal at once.
        let stop = stop_signal().map_err(comity_server::Error::io("signals"))?;
        let gatekeeper = Gatekeeper::start(config, Options::default()).await?;
        let mut stdout = std::io::stdout();
        let ready = writeln!(
            stdout,
            "ready gatekeeper chat={} http={}://{} root={}{}",
            gatekeeper.chat_addr(),
            gatekeeper.http_scheme(),
            gatekeeper.http_addr(),
            gatekeeper.root(),
            gatekeeper.ops_addr().map(|address| format!(" ops=http://{address}")).unwrap_or_default()
        );
        ready.and_then(|()| stdout.flush()).map_err(comity_server::Error::io("stdout"))?;
        stop.await;
        gatekeeper.shutdown().await;
        Ok(())
    })
}
