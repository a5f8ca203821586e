//! Answers every text with the same text, each once, whatever happens to this process in between.
//!
//! With `comity sandbox` and `comity partner` running in DIR:
//! `cargo run -p comity --features x3dh --example echo_bot -- DIR alice@partner.test`
#![allow(clippy::print_stdout, reason = "an example")]

mod place;

use comity::{ConnectionState, Content, Event, Quote, Side, Target};
use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(user)) = (args.next(), args.next()) else { return Err("usage: echo_bot DIR USER".into()) };
    let (client, mut events) = place::start(Path::new(&dir), &user)?;
    while let Some(event) = events.next().await {
        match event {
            Event::Connection(ConnectionState::UpToDate) => println!("ready"),
            Event::Message(message) => {
                if let Content::Text { text, .. } = &message.content {
                    let target = Target { author: Side::Peer, id: message.id.clone() };
                    let reply_to = Some(Quote { target, quoted: Some(text.clone()) });
                    // The answer's id comes from the question's. If the process ends before `confirm`, the question is
                    // given again, and the answer is sent under the same id: that is, once.
                    let id = format!("ECHO-{}", message.id).parse()?;
                    client.send(&message.from, Content::Text { text: text.clone(), reply_to }, Some(id)).await?;
                    client.mark_read(&message.from, vec![message.id.clone()]).await?;
                    println!("echoed {}", message.id);
                }
                client.confirm(message.event).await?;
            }
            Event::LoginRefused { refusal, .. } => println!("login refused: {refusal:?}"),
            Event::Warning(error) => println!("{error}"),
            _ => {}
        }
    }
    Ok(())
}
