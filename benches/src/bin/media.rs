//! Our side of `cargo xtask bench media`: for each line `{"cmd":"encrypt","path"}` encrypts that file into another one
//! and answers the nanoseconds.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures time")]

use comity_media::transfer::{Progress, encrypt_file};
use comity_media::{Limits, MediaKey, MediaKind};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let temp = tempfile::tempdir()?;
    for line in std::io::stdin().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let path = Path::new(request.get("path").and_then(Value::as_str).ok_or("no path")?);
        let (key, kind) = (MediaKey::from([7; 32]), Some(MediaKind::Document));
        let start = Instant::now();
        let work = encrypt_file(path, kind, key, temp.path(), Limits::default(), Progress::none());
        let file = runtime.block_on(work)?;
        let ns = start.elapsed().as_nanos();
        drop(file);
        println!("{}", json!({"ns": u64::try_from(ns)?}));
    }
    Ok(())
}
