//! `comity chat`: a small client for a person, or, with `--json`, for another program.

mod command;
mod history;
pub(crate) mod json;
mod session;
mod terminal;

use crate::Failure;
use crate::place::{Gatekeeper, INTEGRATOR, Place};
use clap::Args;
use comity_client::{Client, Config, Event, Events, LookUp, PartnerServer, SqliteStore};
use comity_core::{IntegratorId, Jid};
use comity_noise::{PublicKey, TrustRoot};
use comity_signal::{IdentityPolicy, Suites};
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;
use history::History;
use session::Session;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args)]
pub(crate) struct ChatArgs {
    /// Who: a partner server's user (`alice@partner.test`) or a native user's phone number (`+4915100000001`).
    #[arg(long = "as", value_name = "WHO")]
    who: String,
    /// With whom: a user of the other side, or a JID.
    #[arg(long, value_name = "WHO")]
    to: Option<String>,
    /// Directory shared by `sandbox`, `partner` and `chat`.
    #[arg(long, default_value = "comity-data", env = "COMITY_DIR")]
    dir: PathBuf,
    /// The name others see; by default, who you are.
    #[arg(long)]
    name: Option<String>,
    /// Publish post-quantum keys, and use PQXDH with those who do.
    #[arg(long)]
    post_quantum: bool,
    /// The profile: `sandbox`, `whatsapp-1.0.3`, or a file; see `comity profile show`.
    #[arg(long, default_value = "sandbox", env = "COMITY_PROFILE", value_name = "NAME|FILE")]
    profile: String,
    /// Nothing goes to a peer with a new identity key, and nothing is taken from one, until it is accepted.
    #[arg(long)]
    block_new_keys: bool,
    /// Read commands and write events as JSON lines (docs/chat-json.md).
    #[arg(long)]
    json: bool,
    /// With --json: an event is given again after a restart until a call confirms it.
    #[arg(long, requires = "json")]
    manual_confirm: bool,
}

/// A started client and what a chat needs beside it.
struct Chat {
    session: Arc<Session>,
    events: Events,
    partner: Option<PartnerServer>,
    /// Who we are on the wire, if that is known already.
    jid: Option<Jid>,
    native: bool,
}

pub(crate) async fn run(args: ChatArgs) -> Result<ExitCode, Failure> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .init();
    let chat = start(&args).await?;
    if args.json { json::run(chat, args.manual_confirm).await } else { terminal::run(chat, &args.who, args.to).await }
}

/// Where the chat of `who` keeps what it has.
pub(crate) fn chat_home(place: &Place, who: &str) -> PathBuf {
    let name: String = who.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    place.path(&format!("chat-{name}"))
}

async fn start(args: &ChatArgs) -> Result<Chat, Failure> {
    let place = Place::open(&args.dir)?;
    let gatekeeper = place.gatekeeper()?;
    let phone = args.who.strip_prefix('+').unwrap_or(&args.who);
    let native = phone.parse::<u64>().is_ok();
    let root = root(&gatekeeper)?;
    let mut config = if native {
        // The key must be known to the gatekeeper before the first login.
        Config::native(phone.parse()?, root).offline()
    } else {
        Config::partner(args.who.parse().map_err(|e| format!("--as: {e}"))?, root)
    };
    config.profile = crate::profile::read(&args.profile)?;
    if args.block_new_keys {
        config.identity_policy = IdentityPolicy::Block;
    }
    if let Some(name) = &args.name {
        config.display_name.clone_from(name);
    }
    let mut suites = Suites::new().with(X3dh);
    if args.post_quantum {
        suites = suites.with(Pqxdh::new());
    }
    let home = chat_home(&place, &args.who);
    std::fs::create_dir_all(&home)?;
    let store = Arc::new(SqliteStore::open(&home.join("store.db"))?);
    let mut builder =
        Client::builder(config, suites, store, &gatekeeper.chat, &gatekeeper.http).files(home.join("files")).previews();
    let mut partner = None;
    if !native {
        let server = place.partner()?;
        let user = server.users.iter().find(|user| user.id == args.who);
        let user = user.ok_or_else(|| format!("the partner server knows no user {}", args.who))?;
        let server = PartnerServer::new(&server.http, &user.id, &user.secret)?;
        builder = builder.partner(server.clone());
        partner = Some(server);
    }
    let (client, mut events) = builder.start()?;
    let (noise_key, jid) = loop {
        match events.next().await {
            Some(Event::AccountReady { noise_key, jid }) => break (noise_key, jid),
            Some(Event::Warning(error)) => return Err(error.into()),
            Some(_) => {}
            None => return Err("the client stopped".into()),
        }
    };
    if native {
        register(&gatekeeper, phone, &noise_key).await?;
        client.go_online().await?;
    }
    let session = Arc::new(Session::new(client, History::open(&home.join("history.db"))?));
    Ok(Chat { session, events, partner, jid, native })
}

pub(crate) fn root(gatekeeper: &Gatekeeper) -> Result<TrustRoot, Failure> {
    let key = key(&gatekeeper.root).ok_or("the sandbox's root key is not 64 hexadecimal digits")?;
    Ok(TrustRoot(PublicKey::from_bytes(key)))
}

/// A key of 64 hexadecimal digits.
fn key(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let bytes = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit).try_into());
    bytes.collect::<Result<Vec<u8>, _>>().ok()?.try_into().ok().filter(|_| hex.len() == 64)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Makes a phone number and its key known to the sandbox, as its administrator.
async fn register(gatekeeper: &Gatekeeper, phone: &str, noise_key: &[u8; 32]) -> Result<(), Failure> {
    use base64::Engine;
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(noise_key);
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(std::time::Duration::from_secs(10))
        .build()?;
    let request = http
        .post(format!("{}/admin/native", gatekeeper.http))
        .bearer_auth(&gatekeeper.admin_token)
        .json(&serde_json::json!({ "phone_number": phone, "noise_key": key }));
    let response = request.send().await.map_err(|_| "cannot reach the sandbox: is `comity sandbox` running?")?;
    match response.status().as_u16() {
        200 => Ok(()),
        status => Err(format!("the sandbox does not register {phone}: status {status}").into()),
    }
}

impl Chat {
    /// The JID of `who`: one already, or an id of the other side that the gatekeeper looks up.
    async fn find(&self, who: &str) -> Result<Jid, Failure> {
        if let Ok(jid) = who.parse::<Jid>() {
            return Ok(jid);
        }
        let integrator = if self.native { Some(IntegratorId::new(INTEGRATOR)?) } else { None };
        let found = self.session.client.look_up(vec![LookUp { external_id: who.to_owned(), integrator }]).await?;
        let jid = found.into_iter().next().and_then(|(_, jid)| jid);
        jid.ok_or_else(|| format!("nobody to be reached as {who}").into())
    }
}
