//! One end of a connection, for trying another implementation against ours (PROTOCOL §5.1 to §5.3).
//!
//! `noise_peer responder|initiator whatsapp|plain ADDRESS [OPTION VALUE].. [FLAG]..`
//!
//! The responder listens on ADDRESS, says where and with which keys, and sends every message back. The initiator connects
//! to ADDRESS, sends messages of several lengths and expects each back. Options: `--root HEX` and `--server-key HEX` (by
//! which the initiator knows its server), `--prologue HEX` (plain), `--connections N` (how many the responder takes).
//! Flags: `--websocket`, `--resume` (IK; needs `--server-key`). One JSON object a line on stdout; exit status 0 if all
//! went well.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program: it has a clock, a socket and a terminal"
)]

use bytes::Bytes;
use comity_core::Timestamp;
use comity_noise::cert::Issuer;
use comity_noise::io::{ClientConnection, ServerConnection, Timeouts, accept, connect, websocket};
use comity_noise::{
    InitiatorConfig, Pattern, Profile, PublicKey, ResponderConfig, ServerTrust, StaticKey, TrustRoot, Validity,
    VerifiedServer,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::error::Error;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// The last ones are beyond what the Noise specification allows, and so beyond what a library for it takes.
const LENGTHS: [usize; 6] = [0, 1, 1000, 65_519, 65_520, 100_000];

struct Options {
    responder: bool,
    profile: Profile,
    address: String,
    root: Option<PublicKey>,
    server_key: Option<PublicKey>,
    connections: usize,
    websocket: bool,
    resume: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let role = args.next().ok_or("a role is missing")?;
        let profile = args.next().ok_or("a profile is missing")?;
        let mut options = Self {
            responder: match role.as_str() {
                "responder" => true,
                "initiator" => false,
                _ => return Err("the role is responder or initiator".into()),
            },
            profile: match profile.as_str() {
                "whatsapp" => Profile::WhatsApp,
                "plain" => Profile::Plain { prologue: Bytes::new() },
                _ => return Err("the profile is whatsapp or plain".into()),
            },
            address: args.next().ok_or("an address is missing")?,
            root: None,
            server_key: None,
            connections: 1,
            websocket: false,
            resume: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or("a value is missing");
            match arg.as_str() {
                "--root" => options.root = Some(value()?.parse()?),
                "--server-key" => options.server_key = Some(value()?.parse()?),
                "--connections" => options.connections = value()?.parse()?,
                "--prologue" => options.profile = Profile::Plain { prologue: unhex(&value()?)?.into() },
                "--websocket" => options.websocket = true,
                "--resume" => options.resume = true,
                _ => return Err(format!("unknown option {arg}").into()),
            }
        }
        Ok(options)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut rng = StdRng::from_rng(&mut rand::rng());
    if options.responder { respond(&options, &mut rng).await } else { initiate(&options, &mut rng).await }
}

async fn respond(options: &Options, rng: &mut StdRng) -> Result<(), Box<dyn Error>> {
    let now = now()?;
    let validity = Validity { not_before: now.as_secs() - 60, not_after: now.as_secs() + 3600 };
    let root = StaticKey::generate(rng);
    let issuer = Issuer::new(&root, StaticKey::generate(rng), 1, validity, rng);
    let key = StaticKey::generate(rng);
    let chain = issuer.chain(key.public(), 2, validity, rng);
    let config = ResponderConfig { profile: options.profile.clone(), ..ResponderConfig::new(key, chain) };
    let listener = TcpListener::bind(&options.address).await?;
    println!(
        r#"{{"ready":"{}","root":"{}","server_key":"{}"}}"#,
        listener.local_addr()?,
        root.public(),
        config.key.public()
    );
    for _ in 0..options.connections {
        let (stream, _) = listener.accept().await?;
        // Each kind of connection has a type of its own: a program that serves both is generic over it, or boxes halves.
        if options.websocket {
            serve(websocket::accept(stream, &config, rng, Timeouts::default()).await?).await?;
        } else {
            let (reader, writer) = stream.into_split();
            serve(accept(reader, writer, &config, rng, Timeouts::default()).await?).await?;
        }
    }
    Ok(())
}

async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut connection: ServerConnection<R, W>,
) -> Result<(), Box<dyn Error>> {
    let mut messages = 0;
    while let Some(message) = connection.reader.read().await? {
        connection.writer.send(&message).await?;
        messages += 1;
    }
    println!(
        r#"{{"pattern":"{}","client":"{}","login":"{}","edge_routing":"{}","messages":{messages}}}"#,
        name(connection.pattern),
        connection.client,
        hex(connection.login.payload()),
        hex(connection.edge_routing.as_deref().unwrap_or_default()),
    );
    Ok(())
}

async fn initiate(options: &Options, rng: &mut StdRng) -> Result<(), Box<dyn Error>> {
    let trust = match (options.root, options.server_key) {
        (Some(root), _) => ServerTrust::Chain(TrustRoot(root)),
        (None, Some(key)) => ServerTrust::Key(key),
        (None, None) => return Err("--root or --server-key is needed".into()),
    };
    let resume = options.server_key.filter(|_| options.resume);
    let config = InitiatorConfig {
        profile: options.profile.clone(),
        resume: resume.map(|key| VerifiedServer { key, validity: Validity::ALWAYS }),
        ..InitiatorConfig::new(StaticKey::generate(rng), trust)
    };
    let stream = TcpStream::connect(&options.address).await?;
    let login = Bytes::from_static(b"a login");
    if options.websocket {
        let host = &options.address;
        talk(websocket::connect(stream, host, &config, login, now()?, rng, Timeouts::default()).await?, options).await
    } else {
        let (reader, writer) = stream.into_split();
        talk(connect(reader, writer, &config, login, now()?, rng, Timeouts::default()).await?, options).await
    }
}

async fn talk<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut connection: ClientConnection<R, W>,
    options: &Options,
) -> Result<(), Box<dyn Error>> {
    let lengths = match options.profile {
        Profile::Plain { .. } => &LENGTHS[..4],
        _ => &LENGTHS[..],
    };
    for &len in lengths {
        let text = vec![0xa5; len];
        connection.writer.send(&text).await?;
        if connection.reader.read().await?.as_deref() != Some(&text) {
            return Err(format!("{len} bytes did not come back").into());
        }
    }
    connection.writer.shutdown().await?;
    let (pattern, server) = (name(connection.pattern), connection.server.key);
    println!(r#"{{"pattern":"{pattern}","server":"{server}","messages":{}}}"#, lengths.len());
    Ok(())
}

fn now() -> Result<Timestamp, Box<dyn Error>> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(u64::try_from(since.as_millis())?))
}

const fn name(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::Xx => "XX",
        Pattern::Ik => "IK",
        Pattern::XxFallback => "XXfallback",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err("odd hexadecimal".into());
    }
    pairs.iter().map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?)).collect()
}
