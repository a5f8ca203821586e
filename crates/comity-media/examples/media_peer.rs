//! Our side of the tests against foreign media code: one JSON request from the command line, files in and out, one JSON
//! answer on stdout.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that is run by foreign peers")]

use bytes::BytesMut;
use comity_media::{Decryptor, Encryptor, Expected, Limits, MediaKey, MediaKind, SegmentReader, Unverified, format2};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{Read, Write};

/// An odd size, so that no chunk ends where a block or a segment does.
const CHUNK_LEN: usize = 10_007;

fn main() -> Result<(), Box<dyn Error>> {
    let request: Value = serde_json::from_str(&std::env::args().nth(1).ok_or("one JSON argument")?)?;
    let text = |name: &str| request.get(name).and_then(Value::as_str).ok_or_else(|| format!("no {name}"));
    let number = |name: &str| request.get(name).and_then(Value::as_u64).ok_or_else(|| format!("no {name}"));
    let kind: MediaKind = text("kind")?.parse()?;
    let key = MediaKey::from_slice(&unhex(text("key")?)?)?;
    let input = std::fs::read(text("in")?)?;
    let mut output = std::fs::File::create(text("out")?)?;
    let answer = match text("cmd")? {
        "encrypt" => {
            let (mut encryptor, mut sealed) = (Encryptor::new(kind, &key), BytesMut::new());
            for chunk in input.chunks(CHUNK_LEN) {
                encryptor.update(chunk, &mut sealed)?;
            }
            let encrypted = encryptor.finish(&mut sealed);
            output.write_all(&sealed)?;
            json!({"file_sha256": hex(&encrypted.file_sha256), "file_enc_sha256": hex(&encrypted.file_enc_sha256),
                "file_length": encrypted.file_length, "sidecar": encrypted.sidecar.as_deref().map(hex)})
        }
        "decrypt" => {
            let hash = |name| Ok::<_, Box<dyn Error>>(<[u8; 32]>::try_from(unhex(text(name)?)?).map_err(|_| "hash")?);
            let expected = Expected {
                file_sha256: hash("file_sha256")?,
                file_enc_sha256: hash("file_enc_sha256")?,
                file_length: number("file_length")?,
            };
            let mut decryptor = Decryptor::new(kind, &key, expected, &Limits::default())?;
            let mut plain = Unverified::new();
            let done = input.chunks(CHUNK_LEN).try_for_each(|chunk| decryptor.update(chunk, &mut plain));
            match done.and_then(|()| decryptor.finish(&mut plain)) {
                Ok(proof) => {
                    output.write_all(&plain.release(&proof))?;
                    json!({"ok": true})
                }
                Err(error) => json!({"error": error.to_string()}),
            }
        }
        "segments" => {
            let sidecar = unhex(text("sidecar")?)?.into();
            let reader = SegmentReader::new(kind, &key, sidecar, number("file_length")?, &Limits::default())?;
            let mut parts = Vec::new();
            for n in (0..reader.segments()).rev() {
                let range = reader.encrypted_range(n)?;
                let mut bytes = Vec::new();
                let mut rest = input.get(usize::try_from(range.start)?..).ok_or("short file")?;
                rest.by_ref().take(range.end - range.start).read_to_end(&mut bytes)?;
                parts.push(reader.open(n, &bytes)?);
            }
            parts.iter().rev().try_for_each(|part| output.write_all(part))?;
            json!({"segments": reader.segments()})
        }
        "encrypt2" => {
            let (limits, mut rng) = (Limits::default(), rand_core::UnwrapErr(getrandom::SysRng));
            let mut encryptor = format2::Encryptor::new(kind, &key, input.len() as u64, &limits, &mut rng)?;
            let mut sealed = BytesMut::new();
            for chunk in input.chunks(CHUNK_LEN) {
                encryptor.update(chunk, &mut sealed)?;
            }
            let encrypted = encryptor.finish(&mut sealed)?;
            output.write_all(&sealed)?;
            json!({"encrypted_length": encrypted.encrypted_length})
        }
        "decrypt2" => {
            let expected = format2::Expected::of_length(number("file_length")?);
            let mut decryptor = format2::Decryptor::new(kind, &key, expected, &Limits::default())?;
            let mut plain = BytesMut::new();
            let done = input.chunks(CHUNK_LEN).try_for_each(|chunk| decryptor.update(chunk, &mut plain));
            output.write_all(&plain)?;
            match done.and_then(|()| decryptor.finish()) {
                Ok(_) => json!({"ok": true}),
                Err(error) => json!({"error": error.to_string()}),
            }
        }
        "segments2" => {
            let header = input.first_chunk().ok_or("short file")?;
            let reader = format2::SegmentReader::new(kind, &key, header, number("file_length")?, &Limits::default())?;
            let mut parts = Vec::new();
            for n in (0..reader.segments()).rev() {
                let range = reader.encrypted_range(n)?;
                let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
                parts.push(reader.open(n, input.get(range).ok_or("short file")?)?);
            }
            parts.iter().rev().try_for_each(|part| output.write_all(part))?;
            json!({"segments": reader.segments()})
        }
        other => return Err(format!("no command {other}").into()),
    };
    println!("{answer}");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    text.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(core::str::from_utf8(pair)?, 16)?)).collect()
}
