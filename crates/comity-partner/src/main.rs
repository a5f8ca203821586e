//! The `comity-partner` server.

use clap::Parser;
use comity_partner::{Config, Error, Server};
use comity_server::config::overlay;
use comity_server::stop_signal;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Partner server for interoperability under the DMA: keys, ownership tokens, push, media host.
///
/// Settings come from the file, then the environment, then the flags; the later wins.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Configuration file (TOML)
    #[arg(long, env = "COMITY_PARTNER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "COMITY_PARTNER_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// This server's origin as the gatekeeper reaches it
    #[arg(long, env = "COMITY_PARTNER_ORIGIN", value_name = "URL")]
    origin: Option<String>,
    /// Directory of the signing key and the media files
    #[arg(long, env = "COMITY_PARTNER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the gatekeeper publishes its keys
    #[arg(long, env = "COMITY_PARTNER_GATEKEEPER_JWKS_URL", value_name = "URL")]
    gatekeeper_jwks_url: Option<String>,
    /// The issuer of the gatekeeper's tokens
    #[arg(long, env = "COMITY_PARTNER_GATEKEEPER_ISSUER", value_name = "TEXT")]
    gatekeeper_issuer: Option<String>,
    /// The gatekeeper's audience string
    #[arg(long, env = "COMITY_PARTNER_AUDIENCE", value_name = "TEXT")]
    audience: Option<String>,
    /// Whether the media host asks for the gatekeeper's bearer token
    #[arg(long, env = "COMITY_PARTNER_REQUIRE_BEARER", value_name = "BOOL")]
    require_bearer: Option<bool>,
    /// Allow plain http
    #[arg(long, env = "COMITY_PARTNER_SANDBOX", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    sandbox: Option<bool>,
    /// Check the configuration and exit
    #[arg(long)]
    check_config: bool,
    /// What to log to stderr, as `level` or `target=level,…`
    #[arg(long, env = "COMITY_PARTNER_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// Log as JSON lines
    #[arg(long, env = "COMITY_PARTNER_LOG_JSON")]
    log_json: bool,
}

impl Args {
    fn into_config(self) -> Result<Config, Error> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        overlay(&mut config.listen, self.listen);
        overlay(&mut config.data_dir, self.data_dir);
        overlay(&mut config.gatekeeper_jwks_url, self.gatekeeper_jwks_url);
        overlay(&mut config.gatekeeper_issuer, self.gatekeeper_issuer);
        overlay(&mut config.audience, self.audience);
        overlay(&mut config.require_bearer, self.require_bearer);
        overlay(&mut config.sandbox, self.sandbox);
        config.origin = self.origin.or(config.origin);
        config.check()?;
        Ok(config)
    }
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "comity-partner: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Error> {
    comity_server::init_logging(&args.log, args.log_json)?;
    let check_only = args.check_config;
    let config = args.into_config()?;
    if check_only {
        let _ = writeln!(std::io::stdout(), "configuration ok: {} users", config.users.len());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "cannot start the runtime".into(), source })?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(|source| Error::Io { what: "cannot listen for signals".into(), source })?;
        let server = Server::bind(&config).await?;
        let mut stdout = std::io::stdout();
        // Whoever started this may have closed the pipe; that is no reason not to serve.
        let _ = writeln!(stdout, "ready partner http=http://{}", server.local_addr());
        let _ = stdout.flush();
        server.serve(stop).await;
        Ok(())
    })
}
