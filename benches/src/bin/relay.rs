//! The ends of `cargo xtask bench media`'s relay: with the argument `origin` a media host whose every file is a gibibyte,
//! else the client, which for each line `{"address","path"}` fetches it and answers the nanoseconds.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures time")]

use serde_json::{Value, json};
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

const LEN: u64 = 1 << 30;
const CHUNK: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("origin") {
        return origin();
    }
    for line in std::io::stdin().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let field = |name| request.get(name).and_then(Value::as_str).ok_or("a field is missing");
        println!("{}", json!({"ns": fetch(field("address")?, field("path")?)?}));
    }
    Ok(())
}

/// Serves until its input ends.
fn origin() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", json!({"address": listener.local_addr()?.to_string()}));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// Answers each request of a connection with the same file.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    while !read_head(&mut stream)?.is_empty() {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {LEN}\r\n\r\n")?;
        for _ in 0..LEN / CHUNK as u64 {
            stream.write_all(&chunk)?;
        }
    }
    Ok(())
}

fn fetch(address: &str, path: &str) -> Result<u64, Box<dyn Error>> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let head = read_head(&mut stream)?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") || !head.contains(&format!("content-length: {LEN}\r\n")) {
        return Err(format!("the answer is {head:?}").into());
    }
    let (mut chunk, mut left) = (vec![0; CHUNK], LEN);
    while left > 0 {
        match stream.read(&mut chunk)? {
            0 => return Err("the body broke off".into()),
            count => left = left.checked_sub(count as u64).ok_or("the body is too long")?,
        }
    }
    Ok(u64::try_from(start.elapsed().as_nanos())?)
}

/// Up to the empty line; nothing if the connection ended before.
fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(String::new());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
