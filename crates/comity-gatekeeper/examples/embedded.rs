//! A sandbox inside a test or a tool: starts on free ports in a temporary folder, prints where it is, stops.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "an example")]

use comity_gatekeeper::{Config, Error, Gatekeeper, Options};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let dir = std::env::temp_dir().join(format!("comity-sandbox-{}", std::process::id()));
    let config = Config::from_toml(&format!(
        "listen_chat = \"127.0.0.1:0\"\nlisten_http = \"127.0.0.1:0\"\ndata_dir = {:?}",
        dir.display().to_string()
    ))?;
    let gatekeeper = Gatekeeper::start(config, Options::default()).await?;
    println!("chat on {}, trust {}", gatekeeper.chat_addr(), gatekeeper.root());
    gatekeeper.shutdown().await;
    let _left_behind = std::fs::remove_dir_all(dir);
    Ok(())
}
