//! A user of the demo: a `comity chat --json` process with its own store.

use crate::Failure;
use crate::chat::chat_home;
use crate::chat::json::{Call, What};
use crate::place::Place;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

/// Nothing in the demo but a transfer takes longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A user.
pub(super) struct Party {
    pub(super) name: &'static str,
    pub(super) jid: String,
    /// Where its store is.
    pub(super) home: PathBuf,
    child: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<Value>,
    /// Events that came while something else was awaited.
    kept: VecDeque<Value>,
    calls: u64,
    /// Set once a server is gone: there is no use in waiting then.
    alarm: watch::Receiver<Option<String>>,
}

impl Party {
    pub(super) fn start(
        name: &'static str,
        who: &str,
        post_quantum: bool,
        place: &Place,
        alarm: watch::Receiver<Option<String>>,
    ) -> Result<Self, Failure> {
        let home = chat_home(place, who);
        let log = std::fs::File::create(place.path(&format!("{name}.log")))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["chat", "--json", "--as", who, "--name", name, "--dir"]).arg(place.path(""));
        if post_quantum {
            command.arg("--post-quantum");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let (tell, lines) = mpsc::channel(1024);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if tell.send(value).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { name, jid: String::new(), home, child, input, lines, kept: VecDeque::new(), calls: 0, alarm })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Calls the client and waits for its answer.
    pub(super) async fn call(&mut self, what: What) -> Result<Value, Failure> {
        let call = self.begin(what).await?;
        self.answer(call, PATIENCE, &mut |_| {}).await
    }

    /// Calls the client; [`Party::answer`] gets the answer.
    pub(super) async fn begin(&mut self, what: What) -> Result<u64, Failure> {
        self.calls += 1;
        let mut line = serde_json::to_string(&Call { call: self.calls, what })?;
        line.push('\n');
        let written = self.input.write_all(line.as_bytes()).await;
        written.map_err(|_| format!("{}'s client has ended; see {}.log", self.name, self.name))?;
        Ok(self.calls)
    }

    /// The answer to a call; `other` sees the progress meanwhile.
    pub(super) async fn answer(
        &mut self,
        call: u64,
        patience: Duration,
        other: &mut dyn FnMut(&Value),
    ) -> Result<Value, Failure> {
        let line = self.find("an answer", patience, &mut |v| v["answer"] == call, other).await?;
        match line.get("error").and_then(Value::as_str) {
            Some(error) => Err(format!("{}: {error}", self.name).into()),
            None => Ok(line["ok"].clone()),
        }
    }

    /// Waits for the event `event` that `fits`.
    pub(super) async fn event(&mut self, event: &str, fits: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
        self.find(event, PATIENCE, &mut |v| v["event"] == event && fits(v), &mut |_| {}).await
    }

    /// Whether such an event has come that nothing waited for.
    pub(super) fn has_event(&self, event: &str, fits: impl Fn(&Value) -> bool) -> bool {
        self.kept.iter().any(|v| v["event"] == event && fits(v))
    }

    /// Waits for a line that `fits`, keeping others for later; `patience` is counted from the last line.
    pub(super) async fn find(
        &mut self,
        what: &str,
        patience: Duration,
        fits: &mut dyn FnMut(&Value) -> bool,
        other: &mut dyn FnMut(&Value),
    ) -> Result<Value, Failure> {
        if let Some(at) = self.kept.iter().position(&mut *fits)
            && let Some(line) = self.kept.remove(at)
        {
            return Ok(line);
        }
        loop {
            let line = tokio::select! {
                line = tokio::time::timeout(patience, self.lines.recv()) => line,
                cause = alarmed(&mut self.alarm) => return Err(format!("{cause} (while waiting for {what} of {})", self.name).into()),
            };
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => return Err(format!("{}'s client has ended; see {}.log", self.name, self.name).into()),
                Err(_) => return Err(self.timed_out(what, patience)),
            };
            if fits(&line) {
                return Ok(line);
            }
            match line["event"].as_str() {
                Some("progress") => other(&line),
                Some("login_refused" | "enlist_failed" | "file_failed" | "replaced") => {
                    return Err(format!("{}: {line} (while waiting for {what})", self.name).into());
                }
                _ => self.kept.push_back(line),
            }
        }
    }

    fn timed_out(&self, what: &str, patience: Duration) -> Failure {
        let warning = self.kept.iter().rev().find(|line| line["event"] == "warning");
        let hint =
            warning.and_then(|line| line["error"].as_str()).map(|w| format!("; it says: {w}")).unwrap_or_default();
        format!("{}: no {what} within {} s{hint}", self.name, patience.as_secs()).into()
    }

    /// Closes the client's input, and waits until it has finished.
    pub(super) async fn quit(mut self) -> Result<(), Failure> {
        drop(self.input);
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => Err(format!("{}'s client ended with {}", self.name, status?).into()),
            Err(_) => Err(format!("{}'s client does not end", self.name).into()),
        }
    }
}

async fn alarmed(alarm: &mut watch::Receiver<Option<String>>) -> String {
    match alarm.wait_for(Option::is_some).await {
        Ok(cause) => cause.clone().unwrap_or_default(),
        Err(_) => std::future::pending().await,
    }
}

/// The most memory process `pid` has had, where the system tells.
pub(super) fn peak_memory(pid: Option<u32>) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
