//! `comity demo`: both ends of a conversation on loopback, every party a process of its own, narrated line by line. A
//! line is printed when what it says has happened, and not otherwise.
#![allow(clippy::indexing_slicing, reason = "indexing a JSON value gives null for what is missing")]

mod large;
mod narrate;
mod party;
mod script;

use crate::Failure;
use crate::place::Place;
use clap::Args;
use narrate::Narrator;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// A file for the partner's user to send; may be given more than once. Without it, a picture, a sound and a document
    /// of the demo's own.
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// One more file, of this many bytes (KiB, MiB, GiB: `2GiB`), made for the demo; it fails if a process needs more than
    /// 200 MB of memory. Five times as much room on disk is wanted.
    #[arg(long, value_name = "SIZE", value_parser = large::size)]
    file_size: Option<u64>,
    /// Keep configuration, stores, logs and received files in this directory; it must be empty.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode, Failure> {
    for file in &args.files {
        std::fs::File::open(file).map_err(|e| format!("--file {}: {e}", file.display()))?;
        if !file.is_file() {
            return Err(format!("--file {}: not a file", file.display()).into());
        }
    }
    let temp = tempfile::tempdir()?;
    let dir = args.dir.as_deref().unwrap_or_else(|| temp.path());
    let place = Place::open(dir)?;
    if std::fs::read_dir(dir)?.next().is_some() {
        return Err(format!("--dir {}: not empty", dir.display()).into());
    }
    let mut files = if args.files.is_empty() { own_files(&place)? } else { args.files };
    if let Some(bytes) = args.file_size {
        files.push(large::make(&place.path(""), bytes).await?);
    }
    let mut narrator = Narrator::new(args.json);
    let result = tokio::select! {
        done = script::play(&place, &files, args.file_size.map(|_| large::MAX_MEMORY), &mut narrator) => done,
        _told = crate::servers::told_to_stop() => Err("interrupted".into()),
    };
    match result {
        Ok(()) => {
            narrator.summary();
            if args.dir.is_some() {
                narrator.note(&format!("stores, logs and files are in {}", place.path("").display()));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            narrator.failed(&error.to_string());
            if args.dir.is_none() {
                let kept = temp.keep();
                narrator.note(&format!("the logs are in {}", kept.display()));
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn own_files(place: &Place) -> Result<Vec<PathBuf>, Failure> {
    let dir = place.path("samples");
    std::fs::create_dir(&dir)?;
    let samples: [(&str, &[u8]); 3] = [
        ("picture.png", include_bytes!("../../assets/picture.png")),
        ("tone.wav", include_bytes!("../../assets/tone.wav")),
        ("document.pdf", include_bytes!("../../assets/document.pdf")),
    ];
    samples
        .into_iter()
        .map(|(name, bytes)| {
            let path = dir.join(name);
            std::fs::write(&path, bytes)?;
            Ok(path)
        })
        .collect()
}

/// SHA-256 of a file, in hexadecimal.
async fn sha256_of(path: &Path) -> Result<String, Failure> {
    let path = path.to_path_buf();
    let hash = tokio::task::spawn_blocking(move || {
        use sha2::Digest;
        use std::io::Read;
        let mut file = std::fs::File::open(path)?;
        let mut hash = sha2::Sha256::new();
        let mut chunk = vec![0; 256 * 1024];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok::<_, std::io::Error>(hash.finalize()),
                n => hash.update(chunk.get(..n).unwrap_or_default()),
            }
        }
    });
    Ok(crate::chat::hex(&hash.await??))
}
