//! Sends a file to a native user, and ends when it is on their device.
//!
//! With `comity sandbox` and `comity partner` running in DIR, and someone there as +4915100000001:
//! `cargo run -p comity --features x3dh --example file_sender -- DIR alice@partner.test +4915100000001 PATH`
#![allow(clippy::print_stdout, reason = "an example")]

mod place;

use comity::{ConnectionState, Event, FileToSend, LookUp, MessageState, Progress};
use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [dir, user, to, path] = &*args else { return Err("usage: file_sender DIR USER PHONE PATH".into()) };
    let (client, mut events) = place::start(Path::new(dir), user)?;
    let mut sent = None;
    while let Some(event) = events.next().await {
        match event {
            Event::Connection(ConnectionState::UpToDate) if sent.is_none() => {
                let whom = LookUp { external_id: to.clone(), integrator: None };
                let found = client.look_up(vec![whom]).await?.into_iter().next().and_then(|(_, jid)| jid);
                let jid = found.ok_or("nobody to be reached under that number")?;
                let progress = Progress::new(|done, total| println!("{done} of {total} bytes"));
                let file = FileToSend::new(path);
                let file = client.send_file(&jid, file, &progress).await?;
                println!("{} of {} bytes queued as {}", file.kind, file.file_length, file.id);
                sent = Some(file.id);
            }
            Event::State { id, state, .. } if sent.as_ref() == Some(&id) => {
                println!("{state:?}");
                match state {
                    MessageState::Delivered => return Ok(()),
                    MessageState::Failed(_) => return Err("it will not arrive".into()),
                    _ => {}
                }
            }
            Event::LoginRefused { refusal, .. } => return Err(format!("login refused: {refusal:?}").into()),
            Event::Warning(error) => println!("{error}"),
            _ => {}
        }
    }
    Ok(())
}
