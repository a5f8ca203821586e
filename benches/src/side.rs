//! One side of `cargo xtask bench`: a process that measures one thing per line of its input, ours or a peer's, so that
//! neither runs while the other is measured. The peers, a workspace of their own, include this file.

use serde_json::{Value, json};
use std::error::Error;
use std::time::{Duration, Instant};

/// A sample lasts at least so long.
const SAMPLE: Duration = Duration::from_micros(250);
/// Samples per answer; the least disturbed counts.
const SAMPLES: usize = 8;

/// Why a side cannot measure something: it says so, and the run goes on without that case.
pub type Refused = Box<dyn Error>;

/// What a side answers.
#[allow(dead_code, reason = "not every side has both")]
pub enum Answer {
    /// Nanoseconds of one call.
    Nanoseconds(f64),
    /// An input for other measurements.
    Output(Vec<u8>),
}

/// Answers each line `{"bench","input"}` (input in hex) with `{"ns"}`, `{"output"}` or `{"error"}`, until the input ends.
///
/// # Errors
/// If standard input cannot be read.
pub fn serve(mut measure: impl FnMut(&str, &[u8]) -> Result<Answer, Refused>) -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let field = |name| request.get(name).and_then(Value::as_str).ok_or("a field is missing");
        let answer = match unhex(field("input")?).and_then(|input| measure(field("bench")?, &input)) {
            Ok(Answer::Nanoseconds(ns)) => json!({"ns": ns}),
            Ok(Answer::Output(bytes)) => json!({"output": hex(&bytes)}),
            Err(error) => json!({"error": error.to_string()}),
        };
        println!("{answer}");
    }
    Ok(())
}

/// Bytes of their hex.
///
/// # Errors
/// If it is none.
pub fn unhex(hex: &str) -> Result<Vec<u8>, Refused> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    pairs.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Times one call.
pub fn time(mut call: impl FnMut()) -> Answer {
    let mut sample = |calls: u32| {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        start.elapsed()
    };
    let mut calls = 1;
    while sample(calls) < SAMPLE {
        calls *= 2;
    }
    let best = (0..SAMPLES).map(|_| sample(calls)).min().unwrap_or_default();
    Answer::Nanoseconds(best.as_nanos() as f64 / f64::from(calls))
}
