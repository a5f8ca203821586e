//! The two servers, as processes of their own binaries: they hold no code that could decrypt, this program does.

use crate::Failure;
use crate::place::{Gatekeeper, INTEGRATOR, Partner, Place, User, fresh_secret, write_private};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A server that is not ready by then has failed.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Time to finish after being asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Directory shared by `sandbox`, `partner` and `chat`.
    #[arg(long, default_value = "comity-data", env = "COMITY_DIR")]
    dir: PathBuf,
    /// Configuration of the server; a first one is made if there is none.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// A server process. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    child: Child,
    ready: String,
}

impl Server {
    /// Starts a server's binary and waits for its ready line. Its log goes to `log`, or to our standard error.
    pub(crate) async fn start(name: &'static str, config: &Path, log: Option<&Path>) -> Result<Self, Failure> {
        let binary = binary(name)?;
        let log = match log {
            Some(path) => Stdio::from(std::fs::OpenOptions::new().create(true).append(true).open(path)?),
            None => Stdio::inherit(),
        };
        let mut command = Command::new(&binary);
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        // Ctrl-C in the terminal is for us; the server is then asked to finish.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = match tokio::time::timeout(READY_TIMEOUT, lines.next_line()).await {
            Ok(line) => line?,
            Err(_) => return Err(format!("{name} was not ready after {} s", READY_TIMEOUT.as_secs()).into()),
        };
        let Some(ready) = line else {
            let status = child.wait().await?;
            return Err(format!("{name} ended before it was ready ({status}); see its log").into());
        };
        // Keep reading, so that the server never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { name, child, ready })
    }

    /// A field of the ready line.
    pub(crate) fn field(&self, name: &str) -> Result<String, Failure> {
        let prefix = format!("{name}=");
        let value = self.ready.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
        value.map(str::to_owned).ok_or_else(|| format!("{} did not say its {name}: {}", self.name, self.ready).into())
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to finish, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        #[cfg(unix)]
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        }
        #[cfg(not(unix))]
        self.child.start_kill()?;
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => match status? {
                status if status.success() => Ok(()),
                status => Err(format!("{} ended with {status}", self.name).into()),
            },
            Err(_) => Err(format!("{} did not finish after {} s", self.name, STOP_TIMEOUT.as_secs()).into()),
        }
    }
}

/// A server's binary: beside this one, else on the path.
pub(crate) fn binary(name: &str) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe()?.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    Ok(if beside.exists() { beside } else { name.into() })
}

/// Ports of the servers: 0 in the demo, which wants any.
pub(crate) struct Ports {
    pub(crate) chat: u16,
    pub(crate) http: u16,
    pub(crate) partner: u16,
}

impl Ports {
    pub(crate) const USUAL: Self = Self { chat: 7300, http: 7301, partner: 7302 };
}

/// A first configuration of the sandbox, which knows one partner server.
pub(crate) fn write_sandbox_config(place: &Place, ports: &Ports, partner: &str) -> Result<PathBuf, Failure> {
    let path = place.path("gatekeeper.toml");
    let data = toml::Value::from(place.path("gatekeeper").display().to_string());
    let (chat, http, admin_token) = (ports.chat, ports.http, fresh_secret()?);
    write_private(
        &path,
        &format!(
            r#"# The sandbox gatekeeper: see docs for every field.
sandbox = true
listen_chat = "127.0.0.1:{chat}"
listen_http = "127.0.0.1:{http}"
data_dir = {data}
admin_token = "{admin_token}"

[[integrator]]
id = {INTEGRATOR}
name = "Partner"
origin = "{partner}"
media_base_url = "{partner}/media"
identifier_type = "email"
"#
        ),
    )?;
    Ok(path)
}

/// A first configuration of the partner server, with these users.
pub(crate) fn write_partner_config(
    place: &Place,
    port: u16,
    gatekeeper: &str,
    users: &[&str],
) -> Result<PathBuf, Failure> {
    let path = place.path("partner.toml");
    let data = toml::Value::from(place.path("partner").display().to_string());
    let mut text = format!(
        r#"# The partner server: see docs for every field.
sandbox = true
listen = "127.0.0.1:{port}"
data_dir = {data}
gatekeeper_jwks_url = "{gatekeeper}/.well-known/jwks"
"#
    );
    for user in users {
        text += &format!("\n[[users]]\nid = \"{user}\"\nsecret = \"{}\"\n", fresh_secret()?);
    }
    write_private(&path, &text)?;
    Ok(path)
}

/// The users of a partner server's configuration.
pub(crate) fn partner_users(config: &Path) -> Result<Vec<User>, Failure> {
    let table: toml::Table = std::fs::read_to_string(config)?.parse()?;
    let users = table.get("users").cloned().unwrap_or_else(|| toml::Value::Array(Vec::new()));
    Ok(users.try_into()?)
}

fn admin_token(config: &Path) -> Result<String, Failure> {
    let table: toml::Table = std::fs::read_to_string(config)?.parse()?;
    let token = table.get("admin_token").and_then(toml::Value::as_str);
    Ok(token.ok_or("the sandbox's configuration has no admin_token")?.to_owned())
}

/// What a ready sandbox is, for those who look for it.
pub(crate) fn gatekeeper_of(server: &Server, config: &Path) -> Result<Gatekeeper, Failure> {
    Ok(Gatekeeper {
        chat: server.field("chat")?,
        http: server.field("http")?,
        root: server.field("root")?,
        admin_token: admin_token(config)?,
    })
}

/// `comity sandbox`
pub(crate) async fn sandbox(args: ServerArgs) -> Result<ExitCode, Failure> {
    let place = Place::open(&args.dir)?;
    let usual = Ports::USUAL;
    let config = match args.config {
        Some(config) => config,
        None if place.path("gatekeeper.toml").exists() => place.path("gatekeeper.toml"),
        None => write_sandbox_config(&place, &usual, &format!("http://127.0.0.1:{}", usual.partner))?,
    };
    let server = Server::start("comity-gatekeeper", &config, None).await?;
    let gatekeeper = gatekeeper_of(&server, &config)?;
    place.write("gatekeeper.json", &gatekeeper)?;
    println!("sandbox gatekeeper: chat {}  http {}", gatekeeper.chat, gatekeeper.http);
    println!("root key {}", gatekeeper.root);
    println!("configuration {}", config.display());
    println!(
        "now run `comity partner`, then `comity chat --as alice@partner.test` and `comity chat --as +4915100000001`"
    );
    until_told(server).await
}

/// `comity partner`
pub(crate) async fn partner(args: ServerArgs) -> Result<ExitCode, Failure> {
    let place = Place::open(&args.dir)?;
    let config = match args.config {
        Some(config) => config,
        None if place.path("partner.toml").exists() => place.path("partner.toml"),
        None => {
            let gatekeeper = place.gatekeeper()?;
            let users = ["alice@partner.test", "ben@partner.test"];
            write_partner_config(&place, Ports::USUAL.partner, &gatekeeper.http, &users)?
        }
    };
    let server = Server::start("comity-partner", &config, None).await?;
    let partner = Partner { http: server.field("http")?, users: partner_users(&config)? };
    place.write("partner.json", &partner)?;
    println!("partner server: {}", partner.http);
    for user in &partner.users {
        println!("user {}", user.id);
    }
    println!("configuration {}", config.display());
    until_told(server).await
}

/// Runs until Ctrl-C, SIGTERM or the server's own end.
async fn until_told(mut server: Server) -> Result<ExitCode, Failure> {
    tokio::select! {
        status = server.ended() => Err(format!("{} ended with {}", server.name, status?).into()),
        done = told_to_stop() => {
            done?;
            server.stop().await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Ctrl-C or SIGTERM.
pub(crate) async fn told_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done,
            _ = term.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
