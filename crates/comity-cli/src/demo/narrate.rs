//! What the demo prints.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::Instant;

/// Prints steps as they are done, and counts them.
pub(super) struct Narrator {
    json: bool,
    began: Instant,
    steps: u32,
    pub(super) messages: u32,
    pub(super) files: u32,
    pub(super) bytes: u64,
    memory: Vec<(String, u64)>,
    bar: Option<ProgressBar>,
}

impl Narrator {
    pub(super) fn new(json: bool) -> Self {
        Self { json, began: Instant::now(), steps: 0, messages: 0, files: 0, bytes: 0, memory: Vec::new(), bar: None }
    }

    /// The heading of some steps.
    pub(super) fn scene(&self, title: &str) {
        if self.json {
            println!("{}", json!({ "scene": title }));
        } else {
            println!("\n{title}");
        }
    }

    /// A step that was done; `id` names it for programs, `facts` are what only they want.
    pub(super) fn step(&mut self, id: &str, text: &str, mut facts: Value) {
        self.steps += 1;
        let ms = self.began.elapsed().as_millis();
        if self.json {
            if let Some(object) = facts.as_object_mut() {
                object.insert("step".into(), json!(id));
                object.insert("n".into(), json!(self.steps));
                object.insert("text".into(), json!(text));
                object.insert("ms".into(), json!(u64::try_from(ms).unwrap_or(u64::MAX)));
            }
            println!("{facts}");
        } else {
            println!("  {:>2}. {text}", self.steps);
        }
    }

    /// Something beside the steps.
    pub(super) fn note(&self, text: &str) {
        if self.json {
            println!("{}", json!({ "note": text }));
        } else {
            println!("      {text}");
        }
    }

    /// A transfer got further.
    pub(super) fn progress(&mut self, what: &str, done: u64, total: u64) {
        if self.json {
            return println!("{}", json!({ "progress": what, "done": done, "total": total }));
        }
        if !std::io::stderr().is_terminal() {
            if done >= total {
                println!("      {what} [{}] {}", "#".repeat(20), size(total));
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("      {msg:8} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_message(what.to_owned());
        bar.set_length(total);
        bar.set_position(done);
        if done >= total
            && let Some(bar) = self.bar.take()
        {
            bar.finish();
        }
    }

    /// The most memory a process had.
    pub(super) fn memory(&mut self, who: &str, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.memory.push((who.to_owned(), bytes));
        }
    }

    /// Who had the most memory, and how much.
    pub(super) fn most_memory(&self) -> Option<(String, u64)> {
        self.memory.iter().max_by_key(|(_, bytes)| *bytes).cloned()
    }

    pub(super) fn failed(&mut self, error: &str) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
        if self.json {
            println!("{}", json!({ "failed": error, "after_steps": self.steps }));
        } else {
            eprintln!("\nFAILED after {} steps: {error}", self.steps);
        }
    }

    pub(super) fn summary(&self) {
        let seconds = self.began.elapsed().as_secs_f64();
        if self.json {
            let memory: serde_json::Map<_, _> =
                self.memory.iter().map(|(who, bytes)| (who.clone(), json!(bytes))).collect();
            println!(
                "{}",
                json!({ "summary": { "steps": self.steps, "messages": self.messages, "files": self.files,
                    "bytes": self.bytes, "seconds": seconds, "peak_memory": memory } })
            );
            return;
        }
        println!("\n  {:<12}{:>12}", "steps", self.steps);
        println!("  {:<12}{:>12}", "messages", self.messages);
        println!("  {:<12}{:>12}", "files", self.files);
        println!("  {:<12}{:>12}", "file bytes", self.bytes);
        println!("  {:<12}{:>10.1} s", "time", seconds);
        for (who, bytes) in &self.memory {
            println!("  {:<12}{:>12}  most memory", who, size(*bytes));
        }
        println!("\nAll steps done.");
    }
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
