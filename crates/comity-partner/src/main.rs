//! The `comity-partner` server, and what its operator does with its keys.

use clap::{Parser, Subcommand};
use comity_identity::KeyState;
use comity_partner::{
    Config, Error, KeyCommand, KeyStatus, OidcConfig, S3Config, Server, SidecarConfig, WebPushConfig, manage_keys,
    open_store,
};
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
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file (TOML)
    #[arg(long, env = "COMITY_PARTNER_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "COMITY_PARTNER_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address of probes and metrics, in the clear
    #[arg(long, env = "COMITY_PARTNER_LISTEN_OPS", value_name = "ADDR:PORT")]
    listen_ops: Option<SocketAddr>,
    /// TLS: certificate chain (PEM)
    #[arg(long, env = "COMITY_PARTNER_TLS_CHAIN", value_name = "FILE")]
    tls_chain: Option<PathBuf>,
    /// TLS: private key (PEM)
    #[arg(long, env = "COMITY_PARTNER_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// This server's origin as the gatekeeper reaches it
    #[arg(long, env = "COMITY_PARTNER_ORIGIN", value_name = "URL")]
    origin: Option<String>,
    /// Directory of the database, with the signing keys, and the media files
    #[arg(long, env = "COMITY_PARTNER_DATA_DIR", value_name = "DIR", global = true)]
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
    /// Clients' addresses are the last in X-Forwarded-For
    #[arg(long, env = "COMITY_PARTNER_FORWARDED_FOR", value_name = "BOOL")]
    forwarded_for: Option<bool>,
    /// Days after which the signing key is changed; 0: never
    #[arg(long, env = "COMITY_PARTNER_ROTATE_KEYS_DAYS", value_name = "DAYS")]
    rotate_keys_days: Option<u32>,
    /// Sidecar mode: the back end that says who a user is
    #[arg(long, env = "COMITY_PARTNER_AUTH_URL", value_name = "URL")]
    auth_url: Option<String>,
    /// Sidecar mode: the back end that wakes devices
    #[arg(long, env = "COMITY_PARTNER_PUSH_URL", value_name = "URL")]
    push_url: Option<String>,
    /// Sidecar mode: file of the secret shared with the back end (whsec_…)
    #[arg(long, env = "COMITY_PARTNER_SIDECAR_SECRET_FILE", value_name = "FILE")]
    sidecar_secret_file: Option<PathBuf>,
    /// The OpenID provider that says who a user is
    #[arg(long, env = "COMITY_PARTNER_OIDC_ISSUER", value_name = "URL", requires = "oidc_audience")]
    oidc_issuer: Option<String>,
    /// What must be in the audience of its tokens
    #[arg(long, env = "COMITY_PARTNER_OIDC_AUDIENCE", value_name = "TEXT", requires = "oidc_issuer")]
    oidc_audience: Option<String>,
    /// The claim that is the user-visible id [default: sub]
    #[arg(long, env = "COMITY_PARTNER_OIDC_CLAIM", value_name = "TEXT", requires = "oidc_issuer")]
    oidc_claim: Option<String>,
    /// Web Push, with how push services reach the operator: mailto:… or an https URL
    #[arg(long, env = "COMITY_PARTNER_WEB_PUSH_SUBJECT", value_name = "URI")]
    web_push_subject: Option<String>,
    /// Media files in a bucket of an S3-compatible object store
    #[arg(long, env = "COMITY_PARTNER_S3_BUCKET", value_name = "NAME")]
    s3_bucket: Option<String>,
    /// Where that store is [default: Amazon's of the region]
    #[arg(long, env = "COMITY_PARTNER_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Its region [default: us-east-1]
    #[arg(long, env = "COMITY_PARTNER_S3_REGION", value_name = "TEXT")]
    s3_region: Option<String>,
    /// What the names of objects begin with [default: comity-media]
    #[arg(long, env = "COMITY_PARTNER_S3_PREFIX", value_name = "TEXT")]
    s3_prefix: Option<String>,
    /// Whether the bucket is named in the path of a URL, not in its host [default: true]
    #[arg(long, env = "COMITY_PARTNER_S3_PATH_STYLE", value_name = "BOOL")]
    s3_path_style: Option<bool>,
    /// The id of its access key
    #[arg(long, env = "COMITY_PARTNER_S3_ACCESS_KEY_ID", value_name = "TEXT")]
    s3_access_key_id: Option<String>,
    /// File of the access key's secret
    #[arg(long, env = "COMITY_PARTNER_S3_SECRET_ACCESS_KEY_FILE", value_name = "FILE")]
    s3_secret_access_key_file: Option<PathBuf>,
    /// Allow plain http
    #[arg(long, env = "COMITY_PARTNER_SANDBOX", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    sandbox: Option<bool>,
    /// Check the configuration and exit
    #[arg(long)]
    check_config: bool,
    /// What to log to stderr, as `level` or `target=level,…`
    #[arg(long, env = "COMITY_PARTNER_LOG", value_name = "FILTER", default_value = "info", global = true)]
    log: String,
    /// Log as JSON lines
    #[arg(long, env = "COMITY_PARTNER_LOG_JSON", global = true)]
    log_json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The signing keys of ownership tokens; a running server takes changes within seconds
    #[command(subcommand)]
    Keys(Keys),
}

#[derive(Subcommand)]
enum Keys {
    /// List them: id, state, since when (a retired one: until when)
    List,
    /// Publish a fresh key, to be the next that signs
    Stage,
    /// Let the staged key sign, once it was published for long enough
    Rotate,
    /// Take a key out at once; if it is the one that signs, the staged or a fresh one takes its place
    Revoke {
        /// The key's id
        kid: String,
    },
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
        overlay(&mut config.forwarded_for, self.forwarded_for);
        overlay(&mut config.rotate_keys_days, self.rotate_keys_days);
        overlay(&mut config.sandbox, self.sandbox);
        config.origin = self.origin.or(config.origin);
        config.listen_ops = self.listen_ops.or(config.listen_ops);
        config.tls_chain = self.tls_chain.or(config.tls_chain);
        config.tls_key = self.tls_key.or(config.tls_key);
        if self.auth_url.is_some() || self.push_url.is_some() || self.sidecar_secret_file.is_some() {
            let sidecar = config.sidecar.get_or_insert_with(SidecarConfig::default);
            sidecar.auth_url = self.auth_url.or(sidecar.auth_url.take());
            sidecar.push_url = self.push_url.or(sidecar.push_url.take());
            if self.sidecar_secret_file.is_some() {
                (sidecar.secret, sidecar.secret_file) = (None, self.sidecar_secret_file);
            }
        }
        if let (Some(issuer), Some(audience)) = (self.oidc_issuer, self.oidc_audience) {
            let oidc = OidcConfig::new(&issuer, &audience);
            config.oidc = Some(match self.oidc_claim {
                Some(claim) => oidc.with_claim(&claim),
                None => oidc,
            });
        }
        if self.s3_bucket.is_some() {
            config.s3.get_or_insert_with(S3Config::default);
        }
        if let Some(s3) = &mut config.s3 {
            overlay(&mut s3.bucket, self.s3_bucket);
            overlay(&mut s3.region, self.s3_region);
            overlay(&mut s3.prefix, self.s3_prefix);
            overlay(&mut s3.path_style, self.s3_path_style);
            overlay(&mut s3.access_key_id, self.s3_access_key_id);
            s3.endpoint = self.s3_endpoint.or(s3.endpoint.take());
            if self.s3_secret_access_key_file.is_some() {
                (s3.secret_access_key, s3.secret_access_key_file) = (None, self.s3_secret_access_key_file);
            }
        }
        if let Some(subject) = self.web_push_subject {
            config.web_push.get_or_insert_with(WebPushConfig::default).subject = subject;
        }
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

fn run(mut args: Args) -> Result<(), Error> {
    comity_server::init_logging(&args.log, args.log_json)?;
    let (check_only, command) = (args.check_config, args.command.take());
    let config = args.into_config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(comity_server::Error::io("cannot start the runtime"))?;
    if let Some(Command::Keys(keys)) = command {
        return runtime.block_on(manage(&config, keys));
    }
    config.check()?;
    if check_only {
        let _ = writeln!(std::io::stdout(), "configuration ok: {} users", config.users.len());
        return Ok(());
    }
    runtime.block_on(async {
        let stop = stop_signal().map_err(comity_server::Error::io("cannot listen for signals"))?;
        let server = Server::bind(&config).await?;
        let mut stdout = std::io::stdout();
        let ops = server.ops_addr().map(|address| format!(" ops=http://{address}")).unwrap_or_default();
        // Whoever started this may have closed the pipe; that is no reason not to serve.
        let _ = writeln!(stdout, "ready partner http={}://{}{ops}", server.scheme(), server.local_addr());
        let _ = stdout.flush();
        server.serve(stop).await;
        Ok(())
    })
}

async fn manage(config: &Config, keys: Keys) -> Result<(), Error> {
    let command = match keys {
        Keys::List => KeyCommand::List,
        Keys::Stage => KeyCommand::Stage,
        Keys::Rotate => KeyCommand::Rotate,
        Keys::Revoke { kid } => KeyCommand::Revoke(kid),
    };
    let store = open_store(&config.data_dir).await?;
    for KeyStatus { kid, state, .. } in manage_keys(&store, &command).await? {
        let (state, at) = match state {
            KeyState::Current { since } => ("current", since),
            KeyState::Staged { since } => ("staged", since),
            KeyState::Retired { until } => ("retired", until),
        };
        let _ = writeln!(std::io::stdout(), "{kid} {state} {}", utc(at.as_secs()));
    }
    Ok(())
}

/// Seconds since 1970 as RFC 3339 in UTC.
fn utc(secs: u64) -> String {
    let (day, time) = (secs / 86_400, secs % 86_400);
    // Days to a date of the Gregorian calendar, with years that begin in March.
    let z = day + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_in_utc() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_764_000_000, "2025-11-24T16:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(super::utc(secs), text);
        }
    }
}
